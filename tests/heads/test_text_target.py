"""`TextTarget`: what goes in comes out, the vocabulary is the same every time."""

import gzip
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multiseq.heads.text_target import TextTarget, normalise

TEXTS = ["the cat sat on the mat", "the dog sat on the cat", "naïve ☃ 北京", "", "a  b\tc"]
UNITS = ["character", "piece"]


@pytest.mark.parametrize("unit", UNITS)
def test_round_trip(unit: str) -> None:
    target = TextTarget.fit(TEXTS, unit=unit)
    for text in TEXTS:
        ids = target.encode(text)
        assert ids.dtype == torch.long
        assert not {target.blank, target.begin, target.end, target.unknown} & set(ids.tolist())
        assert target.decode_tokens(ids.tolist()) == normalise(text)
    assert target.encode("").shape == (0,)
    assert normalise("a  b\tc ") == "a b c"
    assert normalise("nai\u0308ve") == "na\u00efve"


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet=sorted(set("".join(TEXTS)) - {"\t"}), max_size=30))
def test_round_trip_of_any_text_of_known_characters(unit: str, text: str) -> None:
    target = FITTED[unit]
    assert target.decode_tokens(target.encode(text).tolist()) == normalise(text)


FITTED = {unit: TextTarget.fit(TEXTS, unit=unit) for unit in UNITS}


def test_by_hand() -> None:
    target = TextTarget.fit(["abba", None, "cab"], unit="character")
    assert target.encode("bad").tolist() == [5, 4, target.unknown]
    assert target.decode_tokens([target.begin, 5, 4, target.unknown, target.end]) == "ba�"
    assert (target.size, target.longest) == (7, 4)
    packed = target.batch(["ab", "", "c"])
    assert (packed.values.tolist(), packed.lengths) == ([4, 5, 6], [2, 0, 1])
    assert target.batch([]).values.shape == (0,)


def test_pieces_are_longer_than_characters_and_the_limit_holds() -> None:
    pieces = TextTarget.fit(TEXTS * 3, unit="piece", vocab_size=40)
    assert pieces.size == 40
    assert len(pieces.encode("the cat")) < len("the cat") < 40
    assert pieces.longest < max(map(len, TEXTS))


@pytest.mark.parametrize("unit", UNITS)
def test_unknown_characters_and_nothing_else_become_unknown(unit: str) -> None:
    target = TextTarget.fit(TEXTS, unit=unit)
    ids = target.encode("the cät sat")
    assert ids.tolist().count(target.unknown) == 1
    assert target.decode_tokens(ids.tolist()) == "the c�t sat"


def test_a_text_cannot_spell_a_special_token() -> None:
    text = "<end of text> <unknown character>"
    target = TextTarget.fit([text] * 3, unit="piece")
    assert min(target.encode(text).tolist()) > target.unknown
    assert target.decode_tokens(target.encode(text).tolist()) == text


@pytest.mark.parametrize("unit", UNITS)
def test_order_of_the_texts_changes_nothing(unit: str) -> None:
    words = [f"{a}{b}{c}" for a in "abc" for b in "de" for c in "fgh"]
    texts = [" ".join(random.choices(words, k=5)) for _ in range(200)]
    first = TextTarget.fit(texts, unit=unit, vocab_size=50).config()
    random.shuffle(texts)
    assert TextTarget.fit(texts, unit=unit, vocab_size=50).config() == first


@pytest.mark.parametrize("unit", UNITS)
def test_half_an_emoji_is_a_sign_that_can_be_written(unit: str) -> None:
    target = TextTarget.fit(["a \ud83d b", "a\ud83d\ude00"], unit=unit)
    json.dumps(target.config(), ensure_ascii=False).encode()
    ids = target.encode("a \ude00").tolist()
    assert target.unknown not in ids
    assert target.decode_tokens(ids) == "a \ufffd"
    assert target.decode_tokens(target.encode("a\U0001f600").tolist()) == "a\U0001f600"


@pytest.mark.parametrize("unit", UNITS)
def test_config_round_trip(unit: str) -> None:
    target = TextTarget.fit(TEXTS, unit=unit)
    config = json.loads(json.dumps(target.config()))
    assert config["kind"] == "text"
    again = TextTarget.from_config(config)
    assert (again.config(), again.size, again.longest) == (config, target.size, target.longest)
    assert again.encode("the dog").tolist() == target.encode("the dog").tolist()


def test_wrong_input_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="unit: got 'word', expected one of character, piece"):
        TextTarget.fit(TEXTS, unit="word")
    with pytest.raises(ValueError, match="got only missing texts"):
        TextTarget.fit([None], unit="character")
    with pytest.raises(ValueError, match="vocab_size: got 10, expected 22 or more"):
        TextTarget.fit(TEXTS, unit="piece", vocab_size=10)
    with pytest.raises(ValueError, match="every character once"):
        TextTarget("character", ["a", "a"], 1)
    target = TextTarget.fit(TEXTS, unit="character")
    for value in (None, 3, ["a"]):
        with pytest.raises(ValueError, match="expected a string; leave items without"):
            target.batch(["a", value])


def test_real_translations(data_dir: Path) -> None:
    with gzip.open(data_dir / "text_mt/multi30k_task1_raw/val.de.gz", "rt", encoding="utf-8") as file:
        texts = file.read().splitlines()
    target = TextTarget.fit(texts, unit="piece", vocab_size=1000)
    assert target.size == 1000
    for text in texts:
        assert target.decode_tokens(target.encode(text).tolist()) == normalise(text)
