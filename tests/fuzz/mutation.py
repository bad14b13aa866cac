"""Random changes of bytes and of JSON values; the same generator gives the same changes."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

__all__ = ["changed_bytes", "changed_json"]

ODD = [b"", b"\0", b"\r", b"\r\n", b"\n\n", b"\t", b'"', b'""', b",", b";", b"\\", b"\x1a", b"../", b"/etc"]
NUMBERS = [b"1e999", b"NaN", b"-1", b"0", b"9" * 40, b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]
UNICODE = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xff", b"\xc3", b"e\xcc\x81", b"\xe2\x80\xa8"]
WORDS = [b"true", b"null", b"\\ud800", b"__label__", b"RIFF", b"OggS", b"fLaC"]
LONG = [b"[" * 3000, b"{" * 50, b"(" * 500, b"A" * 5000, b"C" * 3000]
TOKENS = [*ODD, *NUMBERS, *UNICODE, *WORDS, *LONG]

SCALARS: list[Any] = [None, True, False, 0, -1, 1, 2**63, 10**30, 0.5, 1e30, 1e308, math.inf, math.nan]
STRINGS: list[Any] = ["", "a", "\ud800", "\0", "A" * 3000, "1e999"]
NESTED: list[Any] = [[], {}, [[]], [None], {"a": 1}, [1, 2, 3], [["a", "b", "c"]], {"nodes": {"age": [1]}}]
VALUES = [*SCALARS, *STRINGS, *NESTED]


def changed_bytes(random: Random, content: bytes) -> bytes:
    """One to four places cut out, doubled, overwritten or filled with something odd."""
    for _ in range(random.randint(1, 4)):
        first = random.randint(0, len(content))
        last = min(first + random.choice((0, 1, 1, 2, 4, 16, 100)), len(content))
        kind = random.randrange(6)
        if kind == 0:
            content = content[:first] + content[last:]
        elif kind == 1:
            content = content[:first] + random.choice(TOKENS) + content[last:]
        elif kind == 2:
            content = (
                content[:first] + bytes(random.randrange(256) for _ in range(last - first)) + content[last:]
            )
        elif kind == 3:
            content = content[:last] + content[first:last] * random.choice((1, 2, 20)) + content[last:]
        elif kind == 4:
            content = content[:first] + content[first:last][::-1] + content[last:]
        elif random.random() < 0.3:
            content = content[:first]
    return content


def changed_json(random: Random, content: bytes) -> bytes:
    """Some values of a JSON text exchanged for others, or left out."""
    value = json.loads(content)
    for _ in range(random.randint(1, 3)):
        value = _changed(random, value)
    return json.dumps(value).encode()


def _changed(random: Random, value: Any) -> Any:
    if not isinstance(value, list | dict) or not value or random.random() < 0.15:
        return random.choice(VALUES)
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = random.choice(keys)
    copy: Any = value.copy()
    if random.random() < 0.1:
        del copy[key]
    elif isinstance(copy, list) and random.random() < 0.1:
        copy.insert(key, random.choice(VALUES))
    else:
        copy[key] = _changed(random, value[key])
    return copy
