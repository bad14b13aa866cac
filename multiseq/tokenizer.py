"""Sub-word tokenizers (byte-pair encoding): training them, and reading them from JSON.

The time for training and encoding grows with the square of the longest word, and the compiled code cannot be
interrupted. Therefore words longer than `LONGEST_WORD` are cut before they reach it.
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
"""The longest word that is not cut, in characters (in bytes if pieces consist of bytes)."""


def train_tokenizer(texts: Iterable[str], words: Any, **options: Any) -> Any:
    """Train a tokenizer. The same texts in the same order give the same tokenizer.

    Args:
        texts: Training texts.
        words: Splits a text into words: one of ``tokenizers.pre_tokenizers``.
        options: Arguments of ``tokenizers.trainers.BpeTrainer``, and ``unk_token``, the piece for unknown
            characters.
    """
    library = need("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=options.pop("unk_token", None)))
    tokenizer.pre_tokenizer = _cut(words)
    with tokenizers_on_one_thread():
        # A lone surrogate is not a character and cannot be encoded in UTF-8.
        sound = (re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts)
        tokenizer.train_from_iterator(sound, library.trainers.BpeTrainer(**options, show_progress=False))
    return tokenizer


def read_tokenizer(text: str, name: str, words: Any) -> Any:
    """Read a tokenizer from JSON. Only its pieces and merges are used; its processing steps are ignored.

    Args:
        text: The JSON (``Tokenizer.to_str``) of a tokenizer from :func:`train_tokenizer`.
        name: The file's name, for error messages.
        words: As in :func:`train_tokenizer`.

    Raises:
        ValueError: ``text`` is not such a JSON.
    """
    library = need("tokenizers")
    with _refused(name):
        given = json.loads(text)["model"]
        vocabulary, merges, unknown = given["vocab"], given["merges"], given.get("unk_token")
        _check_vocabulary(vocabulary)
        model = {"type": "BPE", "unk_token": unknown, "vocab": vocabulary, "merges": merges}
        if unknown is not None and unknown not in vocabulary:
            raise ValueError(f"its piece for unknown characters, {unknown!r}, is not in its vocabulary")
        tokenizer = library.Tokenizer.from_str(json.dumps({"version": "1.0", "model": model}))
    tokenizer.pre_tokenizer = _cut(words)
    return tokenizer


def _cut(words: Any) -> Any:
    library = need("tokenizers")
    stretches = library.pre_tokenizers.Split(library.Regex(f"(?m:.){{1,{LONGEST_WORD}}}"), "isolated")
    return library.pre_tokenizers.Sequence([words, stretches])


def _check_vocabulary(vocabulary: Any) -> None:
    if not isinstance(vocabulary, Mapping) or not all(type(i) is int for i in vocabulary.values()):
        raise ValueError("its vocabulary is not a mapping from pieces to numbers")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"its {len(vocabulary)} pieces are not numbered from 0 to {len(vocabulary) - 1}")


@contextmanager
def _refused(name: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # The library raises plain Exceptions; a panic in Rust is only a BaseException.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(
            f"{name}: got no tokenizer of this library ({type(error).__name__}: {error}), "
            "expected the file as it was saved; save the model again, or copy it again"
        ) from error
