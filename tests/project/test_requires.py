from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


@pytest.mark.parametrize("stolen", ["2.6.2", "2.6.3"])
def test_a_stolen_release_is_never_imported(
    stolen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lightning.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / f"lightning-{stolen}.dist-info").mkdir()
    about = f"Metadata-Version: 2.1\nName: lightning\nVersion: {stolen}\n"
    (tmp_path / f"lightning-{stolen}.dist-info" / "METADATA").write_text(about)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lightning"]:
        monkeypatch.delitem(sys.modules, name)
    expected = (
        rf"^lightning {re.escape(stolen)} is installed, a stolen release that reads credentials, so multiseq "
        r"does not import it\. Run: pip install 'lightning>=2\.6,!=2\.6\.2,!=2\.6\.3,<3'; if it was ever"
    )
    with pytest.raises(MissingLibraryError, match=expected):
        need("lightning.pytorch")
    assert not (tmp_path / "ran").exists()


def test_pip_does_not_install_a_stolen_release() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [lightning] = [line for line in project["dependencies"] if line.startswith("lightning")]
    assert not {"2.6.2", "2.6.3"} & set(Requirement(lightning).specifier.filter(["2.6.2", "2.6.3", "2.6.6"]))
    assert "2.6.6" in Requirement(lightning).specifier


def test_an_error_without_words_names_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wordless.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingLibraryError, match=r"failed: RuntimeError\. Run: pip install 'word"):
        need("wordless")
