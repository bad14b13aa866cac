from __future__ import annotations

from pathlib import Path

import pytest

from multiseq.requires import MissingLibraryError, need


def test_a_fitting_library_is_imported() -> None:
    import json.decoder

    assert need("json.decoder") is json.decoder


def test_a_missing_library_says_what_to_install() -> None:
    expected = (
        r"^multiseq needs nowhere for this, and importing it failed: "
        r"No module named 'nowhere'\. Run: pip install 'no-where>=1'$"
    )
    with pytest.raises(MissingLibraryError, match=expected) as caught:
        need("nowhere.inside", package="no-where>=1")
    assert caught.value.name == "nowhere.inside"


def test_a_library_that_does_not_fit_says_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchaudio.py").write_text("raise OSError('undefined symbol: x\\nsecond line')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "torchaudio", raising=False)
    expected = (
        r"^multiseq needs torchaudio for speech, and importing it failed: undefined symbol: x\. "
        r"Run: pip install 'torch>=2\.11,!=2\.13\.\*,<2\.15' 'torchaudio>=2\.11,<2\.12'$"
    )
    with pytest.raises(MissingLibraryError, match=expected):
        need("torchaudio")


def test_an_error_without_words_names_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wordless.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingLibraryError, match=r"failed: RuntimeError\. Run: pip install 'word"):
        need("wordless")
