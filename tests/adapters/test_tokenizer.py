"""Sub-word pieces: the same as of plain byte-pair encoding, in bounded time, and from sound files only."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
import tokenizers

from multiseq import TextAdapter
from multiseq.adapters._text.words import PieceParts, WordParts, train_pieces
from multiseq.heads.text_target import TextTarget
from multiseq.tokenizer import LONGEST_WORD, read_tokenizer, train_tokenizer

TEXTS = [
    "the cat sat on the mat",
    "that cat's hats, 1,200 of them",
    "東京 東京タワー x" * 5,
    "naïve café",
] * 2
BYTES = tokenizers.pre_tokenizers.ByteLevel
DNA = "".join(random.Random(0).choices("ACGT", k=200_000))


def words(*, split: bool) -> Any:
    return BYTES(add_prefix_space=False, use_regex=split)


def plain(texts: list[str], *, split: bool) -> Any:
    """The `tokenizers` library alone: words are not cut."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = words(split=split)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, min_frequency=2, initial_alphabet=sorted(BYTES.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.mark.parametrize("split", [True, False])
def test_words_below_the_limit_are_encoded_as_if_there_were_none(split: bool) -> None:
    texts = [*TEXTS, "ab" * (LONGEST_WORD // 2)]
    expected = plain(texts, split=split)
    found = read_tokenizer(train_pieces(texts, 400, split=split), "a", words(split=split))
    assert found.get_vocab() == expected.get_vocab()
    for text in [*texts, "  two  blanks\n", "", "hat" * 333]:
        assert found.encode(text).ids == expected.encode(text).ids
        assert found.encode(text).offsets == expected.encode(text).offsets


def test_longer_words_are_cut() -> None:
    tokenizer = read_tokenizer(train_pieces(["ab" * 700], 300, split=False), "a", words(split=False))
    whole, pieces = tokenizer.encode("ab" * 700), tokenizer.encode("ab" * 500).ids
    assert whole.ids == [*pieces, *tokenizer.encode("ab" * 200).ids]
    assert whole.offsets[-1][1] == 1400


@pytest.mark.parametrize("text", [DNA, "[" * 400_000, " " * 400_000 + "a"], ids=["dna", "[", "blanks"])
@pytest.mark.parametrize("unit", ["word", "piece"])
def test_one_long_word_takes_seconds(unit: Any, text: str) -> None:
    start = time.process_time()
    adapter = TextAdapter.fit([text, "a"], dim=8, unit=unit, window=None)
    [example] = adapter.prepare(text)
    assert example.total > 0
    assert time.process_time() - start < 20  # 200,000 letters took 32


def test_one_long_word_of_a_target_text_takes_seconds_and_comes_back() -> None:
    start = time.process_time()
    target = TextTarget.fit([f"{DNA} end", "[" * 300_000], unit="piece")
    assert target.decode_tokens(target.encode(f"{DNA} end").tolist()) == f"{DNA} end"
    assert time.process_time() - start < 20


def test_the_text_of_a_special_token_is_only_text() -> None:
    target = TextTarget.fit(["say <end of text> now", "say it now"], unit="piece")
    assert target.decode_tokens(target.encode("say <end of text> now").tolist()) == "say <end of text> now"


# --- files ----------------------------------------------------------------------------------------


def changed(**model: Any) -> str:
    state = json.loads(train_pieces(TEXTS, 300, split=True))
    return json.dumps({**state, "model": {**state["model"], **model}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"model": null}',
        '{"model": {"vocab": {}}}',
        changed(vocab=None),
        changed(vocab=["a"]),
        changed(vocab={"a": 0, "b": 2}),
        changed(vocab={"a": -1, "b": 0}),
        changed(vocab={"a": 0, "b": 0}),
        changed(vocab={"a": "0"}),
        changed(vocab={"a": 0.0}),
        changed(vocab={"a": True}),
        changed(merges=None),
        changed(merges=[["x", "not there"]]),
        changed(merges=[["x"]]),
        changed(merges=["a", 3]),
        changed(unk_token="not there"),
        changed(unk_token=7),
    ],
)
def test_a_damaged_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"x\.json: got no tokenizer of this library .*, expected the file as"
    ):
        read_tokenizer(text, "x.json", words(split=True))


def test_steps_that_a_file_adds_are_not_taken() -> None:
    texts = ["a b c"]
    honest = train_pieces(texts, 300, split=True)
    state = json.loads(honest)
    state["model"]["dropout"] = 0.9
    state["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": "x"}
    state["truncation"] = {"max_length": 1, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    state["added_tokens"] = [
        {
            "id": 999_999,
            "content": "b",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ]
    forged = PieceParts(json.dumps(state))
    assert forged.size == PieceParts(honest).size
    assert forged.encode("a b c") == PieceParts(honest).encode("a b c")


def test_training_takes_options_of_the_library() -> None:
    tokenizer = train_tokenizer(["abab abab"], words(split=True), vocab_size=4, min_frequency=2)
    assert sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get) == ["a", "b", "Ġ", "ab"]
    assert WordParts.fit(["abab abab"], vocab_size=256, min_count=1).size > 256
