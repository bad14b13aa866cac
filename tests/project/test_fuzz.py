"""A short run of the fuzzer, and every input that once failed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.run import new_input, run, stored
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.usefixtures("unchecked")

INPUTS = 120
"""Of each target: about a minute in all."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_valid_is_used(name: str) -> None:
    for content in TARGETS[name].seeds():
        outcome = run(name, content)
        assert outcome.kind == "used", outcome.text


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_used_refused_or_counted(name: str) -> None:
    random = Random(f"multiseq {name}")
    for _ in range(INPUTS):
        content = new_input(name, random)
        outcome = run(name, content)
        assert outcome.kind != "FAULT", f"{outcome.text}: {content[:200]!r}"


@pytest.mark.parametrize(("name", "file"), stored(), ids=[file.name for _, file in stored()])
def test_what_once_failed_fails_no_more(name: str, file: Path) -> None:
    outcome = run(name, file.read_bytes())
    assert outcome.kind != "FAULT", outcome.text
