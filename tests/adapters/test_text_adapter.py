from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import example as st_example
from hypothesis import given, settings
from hypothesis import strategies as st

from multiseq.adapters import TextAdapter
from multiseq.adapters._text.words import (
    FORMATS,
    UNKNOWN,
    WordParts,
    fold,
    readable,
    split_words,
    train_pieces,
    traits_of,
)
from multiseq.adapters.text import LocalMixing
from multiseq.protocols import Adapter
from tests.reference.text import word_vectors

pytestmark = pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")

TEXTS = [
    "The cat sat on the mat.",
    "A dog was barking at the cat in 1984!",
    "Nobody is walking; everybody is talking.",
    "She walked and talked, and he jumped.",
    "我们 喜欢 猫 和 狗 。",
    "Привет, мир! नमस्ते दुनिया 🙂",
] * 2


def words_adapter(**options) -> TextAdapter:
    return TextAdapter.fit(TEXTS, dim=8, vocab_size=300, **options).eval()


def pieces_adapter(**options) -> TextAdapter:
    return TextAdapter.fit(TEXTS, dim=8, unit="piece", vocab_size=300, **options).eval()


ADAPTERS = {"word": words_adapter, "piece": pieces_adapter}
each_unit = pytest.mark.parametrize("make", ADAPTERS.values(), ids=ADAPTERS)


def vectors_of(adapter: TextAdapter, item) -> torch.Tensor:
    return adapter(adapter.collate(adapter.prepare(item))).values


# --- words of a raw text -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("I don't, d’accord?", ["I", "don't", ",", "d’accord", "?"]),
        ("3.14, 1,200.50 at 10:30.", ["3.14", ",", "1,200.50", "at", "10:30", "."]),
        ("well-known... (see)", ["well", "-", "known", "...", "(", "see", ")"]),
        ("我爱北京 2008年", ["我", "爱", "北", "京", "2008", "年"]),
        ("東京タワーへ", ["東", "京", "タ", "ワ", "ー", "へ"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("café", ["café"]),
        ("a\t b\n\nc", ["a", "b", "c"]),
        ("❤️🙂🙂 #tag", ["❤️", "🙂🙂", "#", "tag"]),
        ("", []),
        (" \n", []),
    ],
)
def test_split_words_by_hand(text, words):
    assert split_words(text) == words


@given(
    st.text(
        st.characters()
        | st.sampled_from("\u00ad\u200b\u200d\u200f\ufeff\u2061👩👍🏽🇩\U000e0067ก\ufe0f\u20e31.,' ")
    )
)
def test_split_words_leaves_out_white_space_only(text):
    seen = readable(text)
    assert "".join(split_words(text)) == "".join(c for c in seen if not c.isspace())
    assert readable(seen) == seen
    # No word is made only of format characters, and none begins with one.
    assert not [word for word in split_words(text) if re.match(f"[{FORMATS}]", word)]


@pytest.mark.parametrize(
    "text",
    [
        *("👨‍👩‍👧", "🧑🏽‍🤝‍🧑🏻", "❤️‍🔥", "🏳️‍🌈", "🙂‍↔️", "👍🏽", "🇩🇪", "1️⃣", "#️⃣"),
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England: tags spell its code
        *("می\u200cخواهم", "क्\u200dष", "नमस्ते", "ภาษาไทย", "\u0600١٢"),
    ],
)
def test_emoji_and_joined_letters_are_one_word(text):
    assert split_words(text) == [text]
    assert split_words(f"a {text}! {text}") == ["a", text, "!", text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("🇩🇪🇫🇷🇮", ["🇩🇪", "🇫🇷", "🇮"]),
        ("👍👍🏽👍🏽", ["👍", "👍🏽", "👍🏽"]),
        ("👩👩‍👧👧", ["👩", "👩‍👧", "👧"]),
        ("1️⃣2️⃣3", ["1️⃣", "2️⃣", "3"]),
        ("ไทย\u200bไทย\u200b ថ្ងៃ\u200b12", ["ไทย", "ไทย", "ថ្ងៃ", "12"]),
    ],
)
def test_emoji_beside_emoji_and_words_that_a_zero_width_space_separates(text, words):
    assert split_words(text) == words


INVISIBLE_MARKS = [
    *"\u00ad\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
]


@pytest.mark.parametrize("mark", INVISIBLE_MARKS, ids=ascii)
@pytest.mark.parametrize(
    "text", ["don't pay 1,200.50!", 'שלום, "עולם"', "مرحبا 12", "été 東京 🙂🙂", "नमस्ते दुनिया"]
)
def test_invisible_marks_change_no_word_and_no_vector(text, mark):
    marked = mark + mark.join(text) + mark
    words = split_words(text)
    assert split_words(marked) == words
    assert split_words(f"{mark} {text} {mark}") == words
    adapter = words_adapter().eval()
    torch.testing.assert_close(vectors_of(adapter, marked), vectors_of(adapter, text))
    given = [mark + mark.join(word) for word in words]
    torch.testing.assert_close(vectors_of(adapter, given), vectors_of(adapter, words))
    pieces = pieces_adapter().eval()
    torch.testing.assert_close(vectors_of(pieces, marked), vectors_of(pieces, text))


def test_a_given_word_without_a_visible_character_has_a_vector():
    [example] = words_adapter().prepare(["a", "\u200b\u200d", "b"])
    assert example.names == ("a", "", "b")


def test_a_joiner_in_a_word_changes_its_vector():
    adapter = words_adapter().eval()
    assert not torch.allclose(vectors_of(adapter, "می\u200cخواهم"), vectors_of(adapter, "میخواهم"))


def test_fold_and_traits_by_hand():
    assert fold("ＡBC-12") == "abc-00"  # full-width letters are letters
    assert traits_of("No.7") == [
        *("<n", "<no", "<no.", "<no.0"),
        *("0>", ".0>", "o.0>", "no.0>"),
        *("shape Xx.d", "length 4"),
    ]


# --- what prepare gives --------------------------------------------------------------------------


@each_unit
def test_is_an_adapter(make):
    assert isinstance(make(), Adapter)
    assert make().modality == "text"


def test_a_list_of_words_is_taken_as_it_is():
    adapter = words_adapter()
    [example] = adapter.prepare(["New York", "", "don't"])
    assert adapter.names(example) == ["New York", "", "don't"]
    assert adapter.num_vectors(example) == 3
    assert adapter(adapter.collate([example])).values.isfinite().all()


def test_rows_by_hand():
    items = [["aa", "aa", "Ab"]]
    adapter = TextAdapter.fit(items, dim=4, vocab_size=256, min_count=2)
    # Rows: 0 unknown; 1 "aa" (twice; "Ab" and "ab" are there once); then the traits that both words
    # have, "<a" and "length 2"; then one piece for each byte.
    assert adapter.assets()["words.txt"] == "aa\n"
    assert adapter.assets()["traits.txt"] == "<a\nlength 2\n"
    pieces = adapter.parts._tokenizer.get_vocab()
    a, b = 4 + pieces["a"], 4 + pieces["b"]
    [example] = adapter.prepare(["aa", "ab", "b"])
    assert example.counts.tolist() == [6, 6, 3]
    assert example.rows.tolist() == [1, 1, 2, 3, a, a, 0, 0, 2, 3, a, b, 0, 0, b]
    assert example.weights.tolist() == [1, 1, 1, 1, 0.5, 0.5, 1, 1, 1, 1, 0.5, 0.5, 1, 1, 1]


def test_an_unknown_word_is_like_a_word_that_is_built_the_same():
    adapter = words_adapter()
    [example] = adapter.prepare(["Skating", "walking", "xylophone"])
    skating, walking, other = (set(rows.tolist()) for rows in example.rows.split(example.counts.tolist()))
    ending = {adapter.parts._traits[t] for t in ("g>", "ng>", "ing>")}
    assert UNKNOWN in skating
    assert ending <= skating & walking
    assert not ending & other
    [x], [y] = (vectors_of(adapter, [word]) for word in ("Skating", "xylophone"))
    assert not torch.allclose(x, y)


@each_unit
@pytest.mark.parametrize("text", ["ᚠᛇᚻ ꙮ ΰ", "\x00\u200b\ud800", "日本語テキスト", "a" * 1000])
def test_any_script_has_vectors(make, text):
    adapter = make()
    x = vectors_of(adapter, text)
    assert len(x) > 0
    assert x.isfinite().all()


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet=st.characters(codec="utf-8")))
@st_example("\u00ad")
@st_example("\uf900")  # NFC writes it as U+8C48
def test_pieces_lose_nothing_that_is_readable(text):
    adapter = _pieces()
    [example] = adapter.prepare(text)
    decoded = adapter.parts._tokenizer.decode((example.rows - 1).tolist())
    assert decoded == (f" {seen}" if (seen := readable(text)) else "")


_CACHE: dict[str, TextAdapter] = {}


def _pieces() -> TextAdapter:
    return _CACHE.setdefault("piece", pieces_adapter())


def test_names_of_pieces_make_up_the_text():
    adapter = _pieces()
    [example] = adapter.prepare("The cat walked.")
    assert "".join(adapter.names(example)) == " The cat walked."
    assert " cat" in adapter.names(example)


# --- forward -------------------------------------------------------------------------------------


@each_unit
def test_matches_reference(make):
    adapter = make()
    examples = [e for text in TEXTS[:5] for e in adapter.prepare(text)]
    expected = torch.cat([word_vectors(adapter, e) for e in examples])
    torch.testing.assert_close(adapter(adapter.collate(examples)).values, expected)


@each_unit
def test_packed_is_alone_and_order_changes_nothing(make):
    adapter = make()
    items = [TEXTS[1], "", "cat", TEXTS[3], ""]
    examples = [adapter.prepare(item)[0] for item in items]
    together = adapter(adapter.collate(examples))
    backwards = adapter(adapter.collate(examples[::-1]))
    assert together.lengths == tuple(map(adapter.num_vectors, examples))
    for i, example in enumerate(examples):
        alone = adapter(adapter.collate([example]))
        assert together.unpack()[i].shape == alone.values.shape
        torch.testing.assert_close(together.unpack()[i], alone.values)
        torch.testing.assert_close(backwards.unpack()[len(items) - 1 - i], alone.values)
        assert torch.equal(alone.positions, torch.arange(len(example.names)))


@each_unit
def test_nothing_empty_or_one(make):
    adapter = make()
    assert adapter(adapter.collate([])).lengths == ()
    [empty] = adapter.prepare("")
    assert adapter.num_vectors(empty) == 0
    assert adapter.align([], empty) == []
    assert adapter.names(empty) == []
    assert adapter.augment(empty, torch.Generator()).names == ()
    sets = adapter(adapter.collate([empty]))
    assert sets.lengths == (0,)
    assert sets.values.shape == (0, 8)
    inputs = adapter.collate([*adapter.prepare("cat"), empty])
    one = adapter(inputs)
    assert one.num_sets == 2
    assert one.lengths[1] == 0
    assert adapter.read(one, inputs) is one


def test_a_neighbour_is_seen_and_the_next_but_one_is_not():
    adapter = words_adapter()
    before, after = (vectors_of(adapter, ["cat", "sat", "on", word]) for word in ("mat", "dog"))
    # To rounding: the two words are not cut into the same number of pieces.
    same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, False]


def test_local_mixing_by_hand():
    mixing = LocalMixing(1)
    torch.nn.init.constant_(mixing.linear.bias, 0.0)
    with torch.no_grad():  # the value is 100 before + 10 x + after, the gate is open by half
        mixing.linear.weight.copy_(torch.tensor([[100.0, 10.0, 1.0], [0.0, 0.0, 0.0]]))
    x, positions = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([0, 1, 0, 0])
    expected = torch.tensor([[1 + 12 / 2], [2 + 120 / 2], [3 + 30 / 2], [4 + 40 / 2]])
    torch.testing.assert_close(mixing(x, positions), expected)


def test_pooled_by_hand():
    adapter = words_adapter()
    examples = [adapter.prepare(item)[0] for item in (["cat", "dog", "mat"], [], ["cat"])]
    x, [y] = vectors_of(adapter, ["cat", "dog", "mat"]), vectors_of(adapter, ["cat"])
    expected = torch.stack([(x[0] + x[1] + x[2]) / 3, torch.zeros(8), y])
    torch.testing.assert_close(adapter.pooled(adapter.collate(examples)), expected)
    assert adapter.pooled(adapter.collate([])).shape == (0, 8)


@each_unit
def test_everything_that_learns_has_a_gradient(make):
    adapter = make(dropout=0.0).train()
    adapter(adapter.collate(adapter.prepare("cats sat"))).values.square().sum().backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_ten_unknown_words_can_be_learnt():
    adapter = words_adapter(dropout=0.0)
    words = ["jumping", "Paris", "42", "?!", "slowly", "cats", "USA", "e-mail", "10:30", "undo"]
    inputs = adapter.collate(adapter.prepare(words))
    head = torch.nn.Linear(8, 10)
    optimiser = torch.optim.Adam([*adapter.parameters(), *head.parameters()], lr=0.03)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(head(adapter(inputs).values), torch.arange(10))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.05


# --- windows and labels --------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "lengths"), [(7, [3, 3, 1]), (6, [3, 3]), (3, [3]), (1, [1]), (0, [0])])
def test_windows_by_hand(total, lengths):
    adapter = words_adapter(window=3)
    words = [f"w{i}" for i in range(total)]
    examples = adapter.prepare(words)
    assert [adapter.num_vectors(e) for e in examples] == lengths
    assert [n for e in examples for n in adapter.names(e)] == words
    assert [n for e in examples for n in adapter.align(list(range(total)), e)] == list(range(total))
    assert [n for e in examples for n in e.rows.tolist()] == words_adapter().prepare(words)[0].rows.tolist()


def test_a_text_that_is_cut_is_told_once():
    adapter = words_adapter()
    text = " ".join(["cat"] * 5000)
    with pytest.warns(UserWarning, match=r"5,000 words.* reads 2,048 .*into 3\) one after another"):
        assert [adapter.num_vectors(e) for e in adapter.prepare(text)] == [1667, 1667, 1666]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(adapter.prepare(text)) == 3
        assert len(words_adapter(window=None).prepare(text)) == 1


def test_windows_of_pieces():
    adapter = pieces_adapter(window=4)
    examples = adapter.prepare("The cat walked to Владивосток.")
    assert all(adapter.num_vectors(e) == 4 for e in examples[:-1])
    assert 0 < adapter.num_vectors(examples[-1]) <= 4
    labels = list(range(examples[0].total))
    assert [n for e in examples for n in adapter.align(labels, e)] == labels


def test_align_keeps_missing_labels_and_refuses_another_number():
    adapter = words_adapter()
    [example] = adapter.prepare("The cat sat on the mat")
    assert adapter.align([None, 1, 2, 3, 4, None], example) == [None, 1, 2, 3, 4, None]
    with pytest.raises(ValueError, match=r"got 5 labels for 6 words, .* word of .The cat sat"):
        adapter.align([1, 2, 3, 4, 5], example)
    with pytest.raises(ValueError, match="got str, expected a list"):
        adapter.align("DNVPDN", example)
    [example] = _pieces().prepare("cat")
    with pytest.raises(ValueError, match="for 1 pieces"):
        _pieces().align([1, 2], example)


# --- augment -------------------------------------------------------------------------------------


def test_word_dropout_hides_the_word_and_leaves_its_parts():
    adapter = words_adapter(word_dropout=1.0)
    [example] = adapter.prepare(["cat", "walking", "the"])
    # Seed 0 changes no case.
    changed = adapter.augment(example, torch.Generator().manual_seed(0))
    before, after = (e.rows.split(example.counts.tolist()) for e in (example, changed))
    for a, b in zip(before, after, strict=True):
        assert b[:2].tolist() == [UNKNOWN, UNKNOWN]
        assert torch.equal(a[2:], b[2:])
    assert UNKNOWN not in before[2]  # the example itself is as it was
    assert changed.names == example.names


def test_hidden_pieces():
    adapter = pieces_adapter(word_dropout=1.0)
    [example] = adapter.prepare("the cat")
    changed = adapter.augment(example, torch.Generator().manual_seed(0))
    assert set(changed.rows.tolist()) == {UNKNOWN}
    assert len(changed.rows) == len(example.rows)


@each_unit
def test_augment_without_dropout_changes_nothing_but_case(make):
    adapter = make(word_dropout=0.0)
    [example] = adapter.prepare("The cat walked")
    generator = torch.Generator().manual_seed(3)
    seen = set()
    for _ in range(300):
        changed = adapter.augment(example, generator)
        assert changed.names == example.names
        seen.add(tuple(changed.rows.tolist()))
    expected = {tuple(example.rows.tolist())}
    if adapter.parts.unit == "word":
        for text in ("the cat walked", "THE CAT WALKED"):
            expected.add(tuple(adapter.prepare(text)[0].rows.tolist()))
    assert seen == expected


@each_unit
def test_augment_is_a_function_of_the_generator(make):
    adapter = make(word_dropout=0.5)
    [example] = adapter.prepare(" ".join(TEXTS))
    draws = [adapter.augment(example, torch.Generator().manual_seed(s)).rows for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_word_dropout_hides_as_often_as_it_says():
    adapter = words_adapter(word_dropout=0.3, window=None)
    [example] = adapter.prepare(["cat"] * 10_000)
    rows = adapter.augment(example, torch.Generator().manual_seed(0)).rows
    hidden = (rows.view(10_000, -1)[:, 0] == UNKNOWN).float().mean().item()
    assert hidden == pytest.approx(0.3, abs=0.02)  # four standard deviations


# --- to disk and back ----------------------------------------------------------------------------


@each_unit
def test_round_trip(make):
    adapter = make(window=5, dropout=0.2, word_dropout=0.05)
    again = TextAdapter.from_config(adapter.config(), adapter.assets())
    again.load_state_dict(adapter.state_dict())
    assert again.config() == adapter.config()
    assert again.assets() == adapter.assets()
    for text in [*TEXTS, "Unseen wörds, 1999!"]:
        torch.testing.assert_close(vectors_of(again.eval(), text), vectors_of(adapter, text), rtol=0, atol=0)


@each_unit
def test_assets_survive_files(make, tmp_path):
    items = ["two\u2028lines \x1c odd\x85 words"] * 3
    adapter = TextAdapter.fit(items, dim=4, unit=make().parts.unit, vocab_size=260)
    for name, text in adapter.assets().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    read = {name: (tmp_path / name).read_text(encoding="utf-8") for name in adapter.assets()}
    assert TextAdapter.from_config(adapter.config(), read).assets() == adapter.assets()


def test_words_that_cannot_be_written_are_unknown_words():
    adapter = TextAdapter.fit([["a\nb", "a\nb", "\ud800", "\ud800", "c\rd", "c\rd"]], dim=4, vocab_size=256)
    assert adapter.assets()["words.txt"] == "\ufffd\n"  # half an emoji is no character
    "".join(adapter.assets().values()).encode()
    assert adapter.prepare(["a\nb"])[0].counts.item() > 2


@each_unit
def test_composed_and_decomposed_texts_are_the_same(make):
    adapter = make()
    composed, decomposed = "sch\u00f6n caf\u00e9", "scho\u0308n cafe\u0301"
    assert adapter.prepare(composed)[0].names == adapter.prepare(decomposed)[0].names
    assert torch.equal(vectors_of(adapter, composed), vectors_of(adapter, decomposed))
    fits = [TextAdapter.fit([text] * 3, dim=4, vocab_size=270).assets() for text in (composed, decomposed)]
    assert fits[0] == fits[1]


@each_unit
def test_goes_to_workers_and_copies(make):
    adapter = make()
    for other in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert torch.equal(vectors_of(other, TEXTS[0]), vectors_of(adapter, TEXTS[0]))


def test_training_a_tokenizer_is_the_same_in_another_process():
    words = [f"{a}{b}" for a in ("walk", "talk", "jump", "look") for b in ("s", "ed", "ing", "er")]
    call = f"print(train_pieces({words!r}, 280, split=False))"
    code = f"from multiseq.adapters._text.words import train_pieces; {call}"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == train_pieces(words, 280, split=False).strip()


def test_items_may_be_an_iterator_and_their_order_changes_no_word_vocabulary():
    def texts() -> Iterator[str]:
        yield from TEXTS[::-1]

    assert TextAdapter.fit(texts(), dim=8, vocab_size=300).assets() == words_adapter().assets()


# --- wrong input ---------------------------------------------------------------------------------


def test_wrong_items_say_what_was_expected():
    with pytest.raises(ValueError, match="text: got int, expected a string or a list of words"):
        words_adapter().prepare(3)
    with pytest.raises(ValueError, match="text: got float as word 1, expected a string"):
        words_adapter().prepare(["a", 1.5])
    with pytest.raises(ValueError, match=r"text: got list, expected a string .*raw text.* unit = .word."):
        pieces_adapter().prepare(["a"])
    with pytest.raises(ValueError, match="item 1: got NoneType"):
        TextAdapter.fit(["a", None], dim=8)
    with pytest.raises(ValueError, match="item 1: got NoneType"):
        TextAdapter.fit(["a", None], dim=8, unit="piece")


def test_wrong_settings_say_what_was_expected():
    with pytest.raises(ValueError, match="got no words"):
        TextAdapter.fit(["", []], dim=8)
    with pytest.raises(ValueError, match="got no text"):
        TextAdapter.fit([""], dim=8, unit="piece")
    with pytest.raises(ValueError, match='got \'char\', expected "word" or "piece"'):
        TextAdapter.from_config({"unit": "char", "dim": 8}, {})
    with pytest.raises(ValueError, match="window: got 0"):
        words_adapter(window=0)
    with pytest.raises(ValueError, match="vocab_size: got 100, expected at least 256"):
        TextAdapter.fit(TEXTS, dim=8, vocab_size=100)


# --- real text -----------------------------------------------------------------------------------


def _conllu(path: Path) -> list[list[str]]:
    rows = [
        [line.split("\t") for line in block.splitlines()] for block in path.read_text("utf-8").split("\n\n")
    ]
    return [words for block in rows if (words := [r[1] for r in block if len(r) == 10 and r[0].isdigit()])]


def test_english_treebank(data_dir):
    folder = data_dir / "text_pos" / "UD_English-EWT"
    train, test = (_conllu(folder / f"en_ewt-ud-{part}.conllu") for part in ("dev", "test"))
    assert len(train) == 2001
    adapter = TextAdapter.fit(train, dim=16).eval()
    assert isinstance(adapter.parts, WordParts)
    examples = [e for sentence in test for e in adapter.prepare(sentence)]
    sets = adapter(adapter.collate(examples))
    assert sets.num_vectors == 25_094
    assert sets.lengths == tuple(map(len, test))
    rows = torch.cat([e.rows for e in examples]).split(torch.cat([e.counts for e in examples]).tolist())
    known = {word for sentence in train for word in sentence}
    unknown = [r for r, w in zip(rows, (w for s in test for w in s), strict=True) if w not in known]
    traits = [
        ((r > len(adapter.parts._words)) & (r < adapter.parts._first_piece)).sum().item() for r in unknown
    ]
    # Most unknown words still have several affixes and a shape of known words.
    assert len(unknown) > 2000
    assert sum(t >= 5 for t in traits) > 0.95 * len(traits)


def test_chinese_treebank(data_dir):
    [path] = (data_dir / "text_pos" / "UD_Chinese-GSD-r1.3").glob("*-dev.conllu")
    sentences = _conllu(path)
    adapter = TextAdapter.fit(sentences, dim=16).eval()
    raw = "".join(sentences[0])
    assert "".join(adapter.names(adapter.prepare(raw)[0])) == raw
    assert unicodedata.category(adapter.names(adapter.prepare(raw)[0])[0][0]) == "Lo"


@pytest.mark.gpu
def test_on_a_gpu():
    adapter = words_adapter()
    inputs = adapter.collate([adapter.prepare(t)[0] for t in (TEXTS[0], "", TEXTS[1])])
    expected = adapter(inputs).values
    adapter.cuda()
    torch.testing.assert_close(adapter(inputs.to("cuda")).values.cpu(), expected)
    assert adapter(adapter.collate([]).to("cuda")).num_sets == 0
