"""Import a library where it is needed; if that fails, say in one line what to install.

    torchaudio = need("torchaudio")

A plain `pip install multiseq` installs all libraries. In practice an import fails if torch was replaced later
by another version: the compiled code of `torchaudio` does not fit it, and its import raises `OSError` or
`RuntimeError`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

__all__ = ["MissingLibraryError", "need", "needed"]

# Import name -> (what it is for, what to install with pip ...). The same requirements as in pyproject.toml.
_LIBRARIES = {
    "huggingface_hub": ("models on the Hugging Face Hub", "huggingface_hub"),
    "jinja2": ("reports", "jinja2"),
    "lightning": ("training", "lightning>=2.6,!=2.6.2,!=2.6.3,<3"),
    "markupsafe": ("reports", "jinja2"),
    "matplotlib": ("plots", "matplotlib"),
    "networkx": ("drawings of networks, and GraphML", "networkx"),
    "rdkit": ("molecules", "rdkit"),
    "sacrebleu": ("BLEU", "sacrebleu"),
    "scipy": ("sparse matrices", "scipy"),
    "sklearn": ("classical baselines", "scikit-learn"),
    "soundfile": ("reading audio files", "soundfile"),
    "tokenizers": ("text", "tokenizers"),
    "torch_geometric": ("graphs", "torch-geometric>=2.8,<3"),
    "torchaudio": ("speech", "torch>=2.11,!=2.13.*,<2.15", "torchaudio>=2.11,<2.12"),
    "torchmetrics": ("metrics", "torchmetrics>=1.9"),
}

_STOLEN = {"lightning": ("2.6.2", "2.6.3")}
"""Malicious releases on PyPI. Importing them steals the credentials of the machine."""


class MissingLibraryError(ImportError):
    """A library is not installed, does not fit the installed torch, or must not be imported."""


def need(module: str, *, package: str | None = None) -> ModuleType:
    """Import and return `module`.

    Args:
        module: The module to import; it can be a submodule, as in `need("torch_geometric.nn")`.
        package: What to install with pip, if it is not a library that multiseq depends on.

    Raises:
        MissingLibraryError: The import fails. The message names the library, the cause and the pip command.

    Example:
        >>> need("json").dumps([1])
        '[1]'
    """
    _check_release(module.partition(".")[0])
    if (loaded := sys.modules.get(module)) is not None:
        return loaded
    try:
        with warnings.catch_warnings():
            # torch-geometric causes this warning at its import, and users cannot prevent it.
            warnings.filterwarnings("ignore", ".*torch.jit.*deprecated", FutureWarning)
            return import_module(module)
    except Exception as cause:  # a library that does not fit can raise any error
        raise MissingLibraryError(_advice(module, package, cause), name=module) from cause


@contextmanager
def needed(library: str) -> Iterator[None]:
    """For a block of imports from one library: if the library is missing, fail like :func:`need`."""
    need(library)
    yield


def _check_release(library: str) -> None:
    """Raise MissingLibraryError if a malicious release is installed. The library itself is not imported."""
    if library not in _STOLEN:
        return
    try:
        installed = version(library)
    except PackageNotFoundError:
        return
    if installed in _STOLEN[library]:
        raise MissingLibraryError(
            f"{library} {installed} is installed, a stolen release that reads credentials, so multiseq does "
            f"not import it. Run: {_install(_LIBRARIES[library][1:])}; if it was ever imported here, change "
            "the passwords and keys of this machine",
            name=library,
        )


def _install(requirements: Sequence[str]) -> str:
    return "pip install " + " ".join(f"'{requirement}'" for requirement in requirements)


def _advice(module: str, package: str | None, cause: Exception) -> str:
    library = module.partition(".")[0]
    purpose, *requirements = _LIBRARIES.get(library, ("this", library))
    if package is not None:
        requirements = [package]
    install = _install(requirements)
    reason = next(iter(str(cause).splitlines()), "") or type(cause).__name__
    return f"multiseq needs {library} for {purpose}, and importing it failed: {reason}. Run: {install}"
