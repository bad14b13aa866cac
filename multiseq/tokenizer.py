"""Vocabularies of sub-word pieces (byte-pair encoding): trained and read in one place.

Training and encoding take time that grows with the square of the longest word, in compiled code that
nothing can interrupt. Words are therefore cut before they reach it; one below `LONGEST_WORD` is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from multiseq.requires import need
from multiseq.system.processes import tokenizers_on_one_thread

__all__ = ["LONGEST_WORD", "read_tokenizer", "train_tokenizer"]

LONGEST_WORD = 1000
"""Characters (bytes, where pieces are made of bytes) up to which a word is left whole."""


def train_tokenizer(texts: Iterable[str], words: Any, **options: Any) -> Any:
    """A tokenizer with the pieces of some texts; the same texts in the same order give the same one.

    Args:
        texts: Training texts.
        words: Cuts a text into words: one of ``tokenizers.pre_tokenizers``.
        options: Of ``tokenizers.trainers.BpeTrainer``, and ``unk_token``, the piece of unknown characters.
    """
    library = need("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=options.pop("unk_token", None)))
    tokenizer.pre_tokenizer = _cut(words)
    with tokenizers_on_one_thread():
        # A lone surrogate is no character and has no bytes.
        sound = (re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts)
        tokenizer.train_from_iterator(sound, library.trainers.BpeTrainer(**options, show_progress=False))
    return tokenizer


def read_tokenizer(text: str, name: str, words: Any) -> Any:
    """A tokenizer from its JSON, of which only pieces and merges are taken: no step that texts go through.

    Args:
        text: What ``Tokenizer.to_str`` made of a tokenizer of :func:`train_tokenizer`.
        name: Of the file, for messages.
        words: As in :func:`train_tokenizer`.

    Raises:
        ValueError: Anything else.
    """
    library = need("tokenizers")
    with _refused(name):
        given = json.loads(text)["model"]
        vocabulary, merges, unknown = given["vocab"], given["merges"], given.get("unk_token")
        _check_vocabulary(vocabulary)
        model = {"type": "BPE", "unk_token": unknown, "vocab": vocabulary, "merges": merges}
        if unknown is not None and unknown not in vocabulary:
            raise ValueError(f"its piece for unknown characters, {unknown!r}, is none of its pieces")
        tokenizer = library.Tokenizer.from_str(json.dumps({"version": "1.0", "model": model}))
    tokenizer.pre_tokenizer = _cut(words)
    return tokenizer


def _cut(words: Any) -> Any:
    library = need("tokenizers")
    stretches = library.pre_tokenizers.Split(library.Regex(f"(?m:.){{1,{LONGEST_WORD}}}"), "isolated")
    return library.pre_tokenizers.Sequence([words, stretches])


def _check_vocabulary(vocabulary: Any) -> None:
    if not isinstance(vocabulary, Mapping) or not all(type(i) is int for i in vocabulary.values()):
        raise ValueError("its pieces are no mapping to numbers")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"its {len(vocabulary)} pieces do not have the numbers from 0 on")


@contextmanager
def _refused(name: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # The library raises plain Exceptions, and Rust's panics are not even those.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(
            f"{name}: got no tokenizer of this library ({type(error).__name__}: {error}), "
            "expected the file as it was saved; save the model anew, or copy it anew"
        ) from error
