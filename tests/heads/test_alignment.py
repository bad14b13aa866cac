"""Texts of a CTC head with times, several texts, and a language model in the search."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
import torchaudio.functional

from multiseq.heads.alignment import ctc_align, stretches
from multiseq.heads.ctc import CTCHead
from multiseq.heads.language_model import WordScores, arpa_model
from multiseq.heads.search import ctc_beam_search
from multiseq.heads.text_target import TextTarget
from multiseq.protocols import Packed
from multiseq.requires import MissingLibraryError
from multiseq.results import Spoken, Text, joined_texts, timed
from multiseq.vectors import VectorSets
from tests.reference import decoding as reference

DIM = 16
TARGET = TextTarget.fit(["ab ba", "cab a"], unit="character")


def random_log_probs(lengths: list[int], size: int, seed: int = 0) -> VectorSets:
    values = 2 * torch.randn(sum(lengths), size, generator=torch.Generator().manual_seed(seed))
    return VectorSets(values.log_softmax(-1), lengths)


def head_of(target: TextTarget) -> CTCHead:
    torch.manual_seed(1)
    head = CTCHead(DIM, target)
    with torch.no_grad():
        head.read[1].weight.mul_(8.0)
    return head


def random_sets(lengths: list[int]) -> VectorSets:
    return VectorSets(torch.randn(sum(lengths), DIM, generator=torch.Generator().manual_seed(0)), lengths)


# --- alignment ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torchaudio.*")
def test_alignment_is_that_of_torchaudio() -> None:
    """With repeated tokens, a text that just fits, and one that is empty."""
    lengths = [31, 7, 5, 1, 13, 4, 0]
    texts = [[3, 3, 1, 2, 2, 2, 4], [1, 1, 2, 1], [2, 2, 2], [4], [1], [], []]
    log_probs = random_log_probs(lengths, 5)
    packed = Packed(torch.tensor([t for text in texts for t in text]), [len(text) for text in texts])
    paths = ctc_align(log_probs, packed, blank=0).split(lengths)
    for path, frames, text in zip(paths, log_probs.unpack(), texts, strict=True):
        assert [token for token, _, _ in stretches(path.tolist(), blank=0)] == text
        if text:  # torchaudio takes no empty text
            wanted, _ = torchaudio.functional.forced_align(frames[None], torch.tensor([text]), blank=0)
            assert path.tolist() == wanted[0].tolist()
        else:
            assert not path.any()


def test_alignment_is_the_best_of_all_paths() -> None:
    for seed in range(5):
        log_probs = random_log_probs([6], 3, seed)
        frames = log_probs.values
        paths = [torch.tensor(path) for path in torch.cartesian_prod(*[torch.arange(3)] * 6).tolist()]
        fitting = [p for p in paths if reference.collapse(tuple(p.tolist()), blank=0) == (1, 2, 2)]
        best = max(fitting, key=lambda p: float(frames.gather(1, p[:, None]).sum()))
        found = ctc_align(log_probs, Packed(torch.tensor([1, 2, 2]), [3]), blank=0)
        assert found.tolist() == best.tolist()


def test_a_text_that_does_not_fit() -> None:
    log_probs = random_log_probs([9, 3], 3)
    texts = Packed(torch.tensor([1, 1, 1]), [1, 2])
    assert len(ctc_align(log_probs, texts, blank=0)) == 12
    with pytest.raises(ValueError, match="set 1: got 3 vectors for a text of 3 tokens, expected a vector"):
        ctc_align(log_probs, Packed(torch.tensor([1, 1, 1, 2]), [1, 3]), blank=0)
    nothing = VectorSets(torch.zeros(0, 3), [])
    assert len(ctc_align(nothing, Packed(torch.zeros(0).long(), []), blank=0)) == 0


# --- times ----------------------------------------------------------------------------------------


def spoken_by(head: CTCHead, path: str) -> VectorSets:
    """One set whose vectors say these tokens; ``-`` is the blank. Each token's probability is near 0.9."""
    tokens = [head.target.blank if c == "-" else int(head.target.encode(f"a{c}a")[1]) for c in path]
    with torch.no_grad():
        head.read[1].weight.copy_(torch.eye(head.target.size, DIM))
        head.read[1].bias.zero_()
    share = math.log(0.9 / (0.1 / (head.target.size - 1)))
    return VectorSets(torch.eye(DIM)[tokens] * share, [len(path)])


@pytest.mark.parametrize("num_beams", [1, 8])
def test_words_have_times_and_confidence(num_beams: int) -> None:
    head = head_of(TARGET)
    [text] = head.decode(spoken_by(head, "--aab--   -c-a-"), num_beams=num_beams, times=True)
    assert text.text == "ab ca"
    assert [(w.text, w.start, w.end) for w in text.words] == [("ab", 2, 5), ("ca", 11, 14)]
    assert [(t.text, t.start, t.end) for t in text.tokens] == [
        ("a", 2, 4),
        ("b", 4, 5),
        (" ", 7, 10),
        ("c", 11, 12),
        ("a", 13, 14),
    ]
    assert [t.confidence for t in (*text.words, *text.tokens)] == pytest.approx([0.9] * 7)
    [plain] = head.decode(spoken_by(head, "--aab--   -c-a-"), num_beams=num_beams)
    assert plain == text
    assert plain.words == ()


def test_a_known_text_has_times_and_its_probability() -> None:
    head = head_of(TARGET)
    said = spoken_by(head, "--aab--   -c-a-")
    [right] = head.align(said, ["ab ca"])
    [found] = head.decode(said, num_beams=8, times=True)
    assert (right.text, right.words, right.tokens) == (found.text, found.words, found.tokens)
    assert right.score == pytest.approx(found.score)
    [wrong] = head.align(said, ["ab  ba"])  # the second b is where c was said
    assert [(w.text, w.start, w.end) for w in wrong.words] == [("ab", 2, 5), ("ba", 11, 14)]
    assert wrong.score < right.score - 1
    assert wrong.words[1].confidence < 0.5 < right.words[1].confidence
    [new] = head.align(said, ["aé ca"])
    assert [w.text for w in new.words] == ["a\ufffd", "ca"]


def test_texts_that_cannot_be_aligned() -> None:
    head = head_of(TARGET)
    with pytest.raises(ValueError, match="texts: got 2 for 1 sets, expected one for each"):
        head.align(random_sets([5]), ["a", "b"])
    with pytest.raises(ValueError, match=r"text 'aab': got 3 vectors, 3 tokens, 1 rep.*Subsample the"):
        head.align(random_sets([3]), ["aab"])
    assert head.align(random_sets([3]), [""])[0].words == ()
    assert head.align(random_sets([]), []) == []


def test_company_changes_no_time() -> None:
    head, lengths = head_of(TARGET), [13, 0, 1, 17]
    together = head.decode(random_sets(lengths), num_beams=3, times=True)
    for one, text in zip(random_sets(lengths).unpack(), together, strict=True):
        [alone] = head.decode(VectorSets(one, [len(one)]), num_beams=3, times=True)
        assert [(t.text, t.start, t.end) for t in alone.tokens] == [
            (t.text, t.start, t.end) for t in text.tokens
        ]
        sure = [t.confidence for t in text.tokens]
        assert [t.confidence for t in alone.tokens] == pytest.approx(sure, rel=1e-4)
        assert "".join(t.text for t in text.tokens) == text.text
        assert [w.text for w in text.words] == text.text.split()


def test_words_of_pieces() -> None:
    target = TextTarget.fit(["no no yes", "yes yes no"] * 3, unit="piece", vocab_size=40)
    [text] = head_of(target).decode(random_sets([40]), times=True)
    assert [word.text for word in text.words] == text.text.split()


def test_times_in_seconds_and_the_texts_of_chunks() -> None:
    one = Text("a", -1.0, (Spoken("a", 1.0, 2.0, 0.5),), (Spoken("a", 1.0, 2.0, 0.5),))
    in_seconds = timed(one, [10.0, 10.5, 11.25])
    assert in_seconds.words == in_seconds.tokens == (Spoken("a", 10.5, 11.25, 0.5),)
    best = (Text("x", -1.0), Text("y", -3.0))
    first, second = Text("x", -1.0, n_best=best), Text("z", -0.5, n_best=(Text("z", -0.5), Text("", -1.0)))
    whole = joined_texts([first, in_seconds, second])
    assert (whole.text, whole.score, whole.words) == ("x a z", -2.5, in_seconds.words)
    assert whole.n_best == (Text("x a z", -2.5), Text("x a", -3.0))


# --- several texts --------------------------------------------------------------------------------


def test_the_n_best_texts_are_those_of_enumeration() -> None:
    head, sets = head_of(TARGET).eval(), random_sets([4])
    [text] = head.decode(sets, num_beams=300, n_best=5)
    shares = reference.ctc_probabilities(head(sets).detach(), TARGET.blank)
    special = {TARGET.begin, TARGET.end, TARGET.unknown}
    wanted = sorted((p for t, p in shares.items() if not special & set(t)), reverse=True)[:5]
    assert [math.exp(t.score) for t in text.n_best] == pytest.approx(wanted, rel=1e-4)
    assert text.n_best[0] == text
    assert len({t.text for t in text.n_best}) == 5
    [few] = head.decode(sets, n_best=2)  # the beam is wide enough by itself
    assert len(few.n_best) == 2
    with pytest.raises(ValueError, match="num_beams, n_best: got 1, 0, expected 1 or more"):
        head.decode(sets, n_best=0)


# --- language model -------------------------------------------------------------------------------


def bigrams(before: tuple[str, ...], word: str | None) -> float:
    """A model that knows the words a and b: b after the beginning, then anything."""
    if not before:
        return math.log({"a": 0.1, "b": 0.8}.get(word or "", 0.05))
    return math.log(0.3)


def test_a_language_model_of_words_in_the_search() -> None:
    """A beam of everything finds the text of the largest log P(text) + 0.7 log P(words) + 0.2 words."""
    letters = ["", " ", "a", "b"]
    for seed in range(4):
        frames = random_log_probs([5], 4, seed).values
        words = WordScores(bigrams, lambda token: (token == 1, letters[token].strip()), 0.7, 0.2)
        found = ctc_beam_search(frames, blank=0, num_beams=10_000, words=words)

        def value(tokens: tuple[int, ...], score: float) -> float:
            said = "".join(letters[t] for t in tokens).split()
            gained = sum(0.7 * bigrams(tuple(said[:i]), word) + 0.2 for i, word in enumerate(said))
            return score + gained + 0.7 * bigrams(tuple(said), None)

        every = reference.ctc_probabilities(frames, blank=0)
        ranked = sorted((value(t, math.log(p)) for t, p in every.items()), reverse=True)
        assert [value(tuple(h.tokens), h.score) for h in found[:20]] == pytest.approx(ranked[:20], abs=1e-4)
        assert math.exp(found[0].score) == pytest.approx(every[tuple(found[0].tokens)], abs=1e-6)


def test_a_language_model_decides_between_words_that_sound_alike() -> None:
    head = head_of(TARGET)
    sets = spoken_by(head, "-a-")
    sets = sets.with_values(sets.values + torch.eye(DIM)[int(TARGET.encode("b")[0])] * 6.0)
    [heard] = head.decode(sets, num_beams=8)
    assert heard.text == "b"
    [text] = head.decode(sets, num_beams=8, language_model=lambda before, word: 0.0 if word != "b" else -20.0)
    assert text.text != "b"
    with pytest.raises(ValueError, match="language_model: got num_beams 1, expected 2 or more"):
        head.decode(sets, language_model=bigrams)


ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>\t0
0\t<s>\t-0.3
-0.9\t</s>\t0
-0.5\tyes\t-0.2
-0.7\tno\t-0.1

\\2-grams:
-0.1\t<s> no
-0.4\tno yes

\\end\\
"""


def test_an_arpa_file(tmp_path: Path) -> None:
    (tmp_path / "words.arpa").write_text(ARPA)
    if importlib.util.find_spec("kenlm") is None:
        with pytest.raises(MissingLibraryError, match="Run: pip install 'kenlm'"):
            arpa_model(tmp_path / "words.arpa")
        return
    model = arpa_model(tmp_path / "words.arpa")
    ten = math.log(10)
    assert model((), "no") == pytest.approx(-0.1 * ten)
    assert model(("no",), "yes") == pytest.approx(-0.4 * ten)
    assert model(("no", "yes"), "yes") == pytest.approx((-0.2 - 0.5) * ten)  # backs off
    assert model(("yes", "no"), None) == pytest.approx((-0.1 - 0.9) * ten)
    assert model(("no",), "perhaps") == pytest.approx((-0.1 - 1.0) * ten)
    with pytest.raises(ValueError, match=r"none\.arpa: no such file, expected an ARPA file"):
        arpa_model(tmp_path / "none.arpa")
    (tmp_path / "bad.arpa").write_text("hello")
    with pytest.raises(ValueError, match="not a language model of KenLM"):
        arpa_model(tmp_path / "bad.arpa")
