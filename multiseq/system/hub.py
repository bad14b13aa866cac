"""Download from the Hugging Face Hub: what the config.json of a checkpoint lists, or files by name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from multiseq.requires import need

__all__ = ["download", "download_files", "is_hub_name"]


def is_hub_name(folder: str | Path) -> bool:
    """Whether ``folder`` is a name on the Hub, ``user/name``. What could be a local path is not one.

    A `Path` is always local, and so is a string whose first half is a folder here: ``runs/starter`` must not
    be looked up on the Hub only because it was mistyped.

    >>> is_hub_name("ada/reviews"), is_hub_name("ada/reviews/model"), is_hub_name(Path("ada/reviews"))
    (True, False, False)
    """
    if not isinstance(folder, str) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", folder, re.ASCII):
        return False
    return not Path(folder).exists() and not Path(folder).parent.exists()


def download(name: str) -> Path:
    """Download a checkpoint into the cache of `huggingface_hub`, and return its folder.

    Args:
        name: Its name on the Hub, ``user/name``.

    Raises:
        ValueError: It is not there, or the Hub cannot be reached and the cache does not have it.
    """
    hub = need("huggingface_hub")
    try:
        config = hub.hf_hub_download(name, "config.json", library_name="multiseq")
        content = json.loads(Path(config).read_text(encoding="utf-8"))
        # One call for all files, so that they are of one commit, also if somebody uploads meanwhile.
        commit = Path(config).parent.name
        patterns = ["config.json", *map(_literal, content.get("files", {}))]
        patterns += [f"{_literal(name)}/*" for name in content.get("members", {})]
        return Path(hub.snapshot_download(name, revision=commit, allow_patterns=patterns))
    except Exception as error:  # of the network, of the Hub, or of a file that is not ours
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"{name}: neither a folder here nor a multiseq model on the Hugging Face Hub: {said}"
        ) from error


def download_files(name: str, patterns: Sequence[str]) -> Path:
    """Download the files of a model of another library, into the same cache, and return its folder.

    Args:
        name: Its name on the Hub, ``user/name``; a few old models have no user.
        patterns: The names of the files, with ``*`` for any characters. No other file is downloaded.

    Raises:
        ValueError: As :func:`download` does.
    """
    advice = "neither a folder here nor a model on the Hugging Face Hub"
    if not re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name}: {advice}")
    hub = need("huggingface_hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # of the network or of the Hub
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"{name}: {advice}: {said}. Where the Hub cannot be reached, copy the model's folder to this "
            "machine and give its path"
        ) from error


def _literal(name: str) -> str:
    """A pattern that matches only this name."""
    return re.sub(r"([*?\[])", r"[\1]", name)
