"""Files of pretrained models in the format of Hugging Face: found, fetched and read. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

from torch import Tensor

from multiseq.system.files import write_whole
from multiseq.system.hub import download_files, is_hub_name

__all__ = [
    "EXPECTED",
    "check_fetched",
    "check_weights",
    "digests_of",
    "find_folder",
    "keep_files",
    "read_config",
    "read_json",
    "read_weights",
]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
LFS_POINTER = b"version https://git-lfs"
"""With this begins the text that stands for a file in a clone made without git-lfs."""
EXPECTED = ("a model of its family has", "check that all files are of one model, or download it again")
"""For `reading`: what a file of somebody else's model should hold, and what to do."""


def find_folder(start: str | Path, files: Sequence[str]) -> Path:
    """The folder of a model; downloaded, if ``start`` is a name on the Hub and no folder.

    Args:
        start: A folder, or a name on the Hub.
        files: The files to download beside the weights.

    Raises:
        ValueError: There is no such folder.
    """
    folder = Path(start)
    if not folder.is_dir():
        if isinstance(start, Path) or ("/" in start and not is_hub_name(start)):
            raise ValueError(f"{start}: no such folder")
        folder = download_files(start, [WEIGHTS, INDEX, "model-*.safetensors", *files])
    return folder


def check_weights(folder: Path, start: str, beside: str) -> None:
    """Raise ValueError if a folder has no weights that can be read. The message says what to do.

    Args:
        folder: The folder.
        start: What the user gave: the folder, or its name on the Hub.
        beside: The class of `transformers` that reads what must be saved beside the weights.
    """
    if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        raise ValueError(_without_weights(folder, start, beside))


def keep_files(folder: Path, names: Sequence[str], target: Path) -> None:
    """Copy those of these files that there are into another folder."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).is_file():
            write_whole(target / name, (folder / name).read_bytes())


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of weights, by the file's name."""
    names = [name for name in _weight_files(folder) if (folder / name).is_file()]
    return {name: _sha256(folder / name) for name in names}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights, by their names. Raises ValueError if a file is missing or damaged."""
    files = _weight_files(folder)
    return {key: tensor for name in files for key, tensor in _tensors(folder / name).items()}


def read_json(folder: Path, name: str) -> Mapping[str, Any]:
    """A file that holds an object in JSON. Raises ValueError if it does not."""
    if not (folder / name).is_file():
        raise ValueError(f"{folder}: has no {name}, expected the folder of a Hugging Face model")
    try:
        table = json.loads((folder / name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / name}: damaged: {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{folder / name}: got {type(table).__name__}, expected a table")
    return table


def read_config(folder: Path, families: Collection[str], what: str) -> tuple[Mapping[str, Any], str]:
    """The ``config.json`` of a model, and its family (``model_type``).

    Args:
        folder: Where it is.
        families: The families that can be read.
        what: What begins as such a model, for the error message.

    Raises:
        ValueError: There is no such file, or the model is of another family.
    """
    config = read_json(folder, "config.json")
    family = config.get("model_type")
    if not isinstance(family, str) or family not in families:
        raise ValueError(
            f"{folder / 'config.json'}: got model_type {family!r}, expected one of {', '.join(families)}: "
            f"{what} can begin as a model of these families only"
        )
    return config, family


def _weight_files(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    names = sorted(set(read_json(folder, INDEX)["weight_map"].values()))
    if any(Path(name).name != name for name in names):
        raise ValueError(f"{INDEX}: got {names}, expected names of files in this folder")
    return names


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file. Raises ValueError if it is not whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_fetched(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: not a whole safetensors file ({error}); download it again") from error


def check_fetched(path: Path) -> None:
    """Raise ValueError if a file is missing, or is only the text that stands for it without git-lfs."""
    if not path.is_file():
        raise ValueError(f"{path.name}: no such file; copy the whole folder")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{path.name}: only a pointer of git-lfs; fetch the file with `git lfs pull`")


def _without_weights(folder: Path, start: str, beside: str) -> str:
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if Path(start).is_dir() and not pickles:
        return f"{folder}: has no {WEIGHTS}; copy the whole folder"
    has = f"has {pickles[0]} but no {WEIGHTS}" if pickles else f"has no {WEIGHTS} on the Hub"
    target = start if pickles else "FOLDER"
    more = "" if pickles else f', and {beside} likewise; then start = "{target}"'
    return (
        f"{start}: {has}. Older models have a pickle, which can run any program, so multiseq reads none. "
        f'Convert it with transformers: AutoModel.from_pretrained("{start}").save_pretrained("{target}")'
        + more
    )
