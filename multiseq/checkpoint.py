"""Checkpoints: a folder with ``model.safetensors``, ``config.json`` and vocabularies. No pickle is read.

A checkpoint is written to a temporary folder and moved to its place when it is complete. ``config.json``
holds a digest (SHA-256) of every other file, so that damage is detected when the checkpoint is loaded.

The checkpoint of an ensemble has a folder for each member, which is a checkpoint, and its ``config.json`` has
the digest of theirs and the calibration of the combined predictions.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from multiseq._version import __version__
from multiseq.checks import one_of, under
from multiseq.ensemble import Ensemble
from multiseq.heads.ctc import CTCHead
from multiseq.heads.decoder import DecoderHead
from multiseq.heads.joint import JointHead
from multiseq.heads.per_set import SetHead
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import target_from_config
from multiseq.model import Model
from multiseq.nn.distance import TrainingDistance
from multiseq.nn.encoder import Encoder
from multiseq.options import PRECISIONS
from multiseq.pretrained.encoder import PretrainedEncoder
from multiseq.protocols import Adapter, EncoderLike, Head
from multiseq.system.files import put, replace_folder
from multiseq.system.hub import download, is_hub_name
from multiseq.system.lock import is_held
from multiseq.tasks import Task

__all__ = ["CheckpointError", "load", "save"]

WEIGHTS = "model.safetensors"
FORMAT = 1
"""Version of the layout; it increases when the layout changes. Older multiseq refuses newer checkpoints."""


class CheckpointError(ValueError):
    """A checkpoint cannot be saved or loaded; the message says why and what to do."""


def save(model: Model | Ensemble, folder: str | Path, *, extra: Mapping[str, Any] | None = None) -> Path:
    """Write the model to ``folder``, completely or not at all. Returns the absolute path.

    Args:
        model: The model, or an ensemble. The ``config`` of adapters and encoder must be plain JSON, and heads
            must be ours.
        folder: Where to write; it is created with its parents. An existing checkpoint is replaced.
        extra: Plain JSON values to store in ``config.json`` (the name of the recipe, for example).

    Raises:
        CheckpointError: ``folder`` exists and is not a checkpoint, or the model cannot be saved.
        WriteError: The files cannot be written.

    Example:
        `load` has one.
    """
    folder = Path(folder).resolve()
    if isinstance(model, Ensemble):
        config = _ensemble_config(model, folder, extra or {})
        replace_folder(folder, lambda fresh: _write_ensemble(fresh, model.models, config))
        return folder
    files = check_savable(model, folder, extra=extra)
    replace_folder(folder, lambda fresh: _write_into(fresh, _weights(model), *files))
    return folder


def _weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _ensemble_config(model: Ensemble, folder: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an ensemble, after a check that it and its members can be saved to ``folder``."""
    if not _may_replace(folder):
        raise CheckpointError(f"{folder}: exists and is not a checkpoint; choose another folder")
    for number, member in enumerate(model.models):
        check_savable(member, folder / f"member-{number}")
    config = {"format": FORMAT, "multiseq": __version__, "tasks": _calibration(model), "extra": dict(extra)}
    _check_json(config, "extra")
    return config


def _calibration(model: Ensemble) -> dict[str, Any]:
    """Task -> what `multiseq.calibrate` sets for the combined predictions."""
    targets = {name: vars(task.head.target) for name, task in model.tasks.items()}
    return {
        name: {key: target[key] for key in ("temperature", "threshold", "half_widths") if key in target}
        for name, target in targets.items()
    }


def _write_ensemble(folder: Path, members: Sequence[Model], config: Mapping[str, Any]) -> None:
    digests = {}
    for number, member in enumerate(members):
        inner = folder / f"member-{number}"
        inner.mkdir()
        _write_into(inner, _weights(member), *check_savable(member, inner))
        digests[inner.name] = _digest(inner / "config.json")
    put(folder / "config.json", json.dumps({**config, "members": digests, "files": {}}, indent=1))


def check_savable(
    model: Model, folder: str | Path, *, extra: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Check that the model can be saved to ``folder``; return the config and the vocabularies to write.

    Raises:
        CheckpointError: The same errors as in :func:`save`, before anything is written.
    """
    folder = Path(folder).resolve()
    if not _may_replace(folder):
        raise CheckpointError(f"{folder}: exists and is not a checkpoint; choose another folder")
    foreign = [type(t.head) for t in model.tasks.values() if type(t.head) not in HEADS.values()]
    if foreign:
        raise CheckpointError(
            f"{folder}: got a head of class {foreign[0].__name__}, expected {', '.join(HEADS)}"
        )
    config = {**_config(model), "extra": dict(extra or {})}
    parts = {"encoder": config["encoder"], "extra": config["extra"]}
    for kind in ("adapters", "tasks"):
        parts |= {f"{kind}[{name!r}]": part for name, part in config[kind].items()}
    for place, part in parts.items():
        _check_json(part, place)
    assets = {
        f"{name}.{file}": text
        for name, adapter in model.adapters.items()
        for file, text in adapter.assets().items()
    }
    for file, text in assets.items():
        if not _is_plain(file):
            raise CheckpointError(f"{file!r}: got this name among an adapter's assets, expected a file name")
        _check_encodable(text, file)
    return config, assets


def _check_json(value: Any, place: str) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{place}: its config is not plain JSON: {error}") from error
    _check_encodable(text, place)


def _check_encodable(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.end + 20]
        raise CheckpointError(
            f"{place}: got {around!r}, which has half a character (a lone surrogate) and cannot be saved; "
            "correct the text that it comes from"
        ) from None


def _write_into(
    folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], assets: Mapping[str, str]
) -> None:
    from safetensors.torch import save as to_bytes

    put(folder / WEIGHTS, to_bytes(dict(weights)))
    for file, text in assets.items():
        put(folder / file, text)
    files = {p.name: _digest(p) for p in sorted(folder.iterdir())}
    put(folder / "config.json", json.dumps({**config, "files": files}, ensure_ascii=False, indent=1))


def load(
    folder: str | Path,
    *,
    adapters: Mapping[str, type] | None = None,
    encoder: type | None = None,
    precision: str = "fp32",
) -> Model | Ensemble:
    """Load a model or an ensemble on the CPU, in evaluation mode, ready to predict.

    Args:
        folder: A checkpoint, or the folder of a run (it holds a checkpoint in its folder ``model``). A string
            ``user/name`` is a model on the Hugging Face Hub, if there is no folder ``user`` here.
        adapters: Your own adapter classes: adapter's name in the model -> class. For safety, a class or path
            named in a config is never imported.
        encoder: Your own encoder class; it is built by ``encoder.from_config(config)``.
        precision: Precision of the products in predictions: ``fp32``, ``bf16`` (the third digit of a
            probability may differ), or ``auto``: bf16 where that is faster (`multiseq.nn.precision`).

    Raises:
        CheckpointError: The folder is not a checkpoint, is damaged, or was written by a newer version.
        ValueError: The precision is unknown, the model is not on the Hub, or the Hub cannot be reached.

    Example:
        >>> import tempfile
        >>> from multiseq import ClassTarget, Encoder, SetHead, Task, TextAdapter
        >>> adapter = TextAdapter.fit(["red lamp"], dim=16)
        >>> task = Task("text", SetHead(16, ClassTarget(["red"])))
        >>> model = Model({"text": adapter}, Encoder(dim=16, depth=1, heads=2), {"colour": task})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loaded = load(save(model, f"{folder}/model"))
        >>> [label] = loaded.predict("colour", ["a red lamp"])
        >>> label.label
        'red'
    """
    one_of(precision, PRECISIONS, "precision")
    folder = _find(download(str(folder)) if is_hub_name(folder) else Path(folder))
    config = _read(folder)
    load_one = _load_ensemble if "members" in config else _load_model
    model = load_one(folder, config, adapters, encoder)
    model.precision = precision
    return model


def _load_ensemble(
    folder: Path, config: Mapping[str, Any], adapters: Mapping[str, type] | None, encoder: type | None
) -> Ensemble:
    places = [folder / name for name in config["members"]]
    members = [_load_model(place, _read(place), adapters, encoder) for place in places]
    with _errors_of(folder):
        model = Ensemble(members)
        for name, task in model.tasks.items():
            calibration = config["tasks"][name]
            target: Any = task.head.target
            known = {key: value for key, value in calibration.items() if key in vars(target)}
            checked = target_from_config({**target.config(), **known})  # its constructor checks the numbers
            vars(target).update({key: vars(checked)[key] for key in known})
    return model


def _load_model(
    folder: Path, config: Mapping[str, Any], adapters: Mapping[str, type] | None, encoder: type | None
) -> Model:
    with _errors_of(folder):
        # Only our own classes are limited: a user's class may allocate what it needs.
        limited = nullcontext() if adapters or encoder else _NoMoreThan(_shapes(folder))
        with limited:
            model = _build(folder, config, adapters or {}, encoder)
        _load_weights(model, folder)
    return model.eval()


def restore(model: Model, folder: str | Path) -> None:
    """Load the weights that :func:`save` wrote for this model back into it, without a calibration."""
    folder = _find(Path(folder))
    _read(folder)
    with _errors_of(folder):
        _load_weights(model, folder, calibrated=False)


def _load_weights(model: Model, folder: Path, *, calibrated: bool = True) -> None:
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    kept = {name: w for name, w in weights.items() if calibrated or not name.startswith("distances.")}
    model.load_state_dict(kept)


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    """Turn any error that a damaged or forged checkpoint causes into a `CheckpointError`."""
    from multiseq.requires import MissingLibraryError

    try:
        yield
    except (CheckpointError, MissingLibraryError):
        raise
    except BaseException as error:
        # A panic in a Rust library is a BaseException, not an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # Our own errors explain themselves. For other errors, show their type too.
        said = " ".join((str(error) if type(error) is ValueError else repr(error)).split())[:500]
        raise CheckpointError(f"{folder}: its config.json does not fit its files: {said}") from error


def _shapes(folder: Path) -> list[tuple[int, ...]]:
    """The shapes of all weights in the file, read from its header."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118 - no dict


class _NoMoreThan(TorchDispatchMode):
    """Inside this context, tensors cannot become much larger than the weights in the file.

    A forged config could otherwise make us allocate all memory.

    Args:
        shapes: The shapes of the weights in the file. Three times as many numbers, plus a constant, may be
            allocated, because constructors also make tensors that are not weights.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        # A small tensor counts as 1024 numbers, which limits the number of small tensors too.
        self.left = 2**22 + 3 * sum(max(1024, math.prod(shape)) for shape in shapes)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler for it, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if args and func.overloadpacket.__name__ in MAKES:
            # The first argument is the shape; for arange, the largest of the first two is its end.
            num = math.prod(args[0]) if isinstance(args[0], list | tuple) else abs(max(args[:2]))
            self.left -= max(1024, num)
            if self.left < 0:
                raise ValueError("the config asks for more weights than the file has")
        return func(*args, **(kwargs or {}))


MAKES = ("arange", "empty", "empty_strided", "full", "ones", "rand", "randn", "zeros")


def _build(
    folder: Path, config: Mapping[str, Any], adapters: Mapping[str, type], encoder: type | None
) -> Model:
    parts = {name: _load_adapter(folder, name, config, adapters) for name in config["adapters"]}
    tasks = {
        name: Task(t["adapter"], _head(t["head"]), t["metric"], t["weight"])
        for name, t in config["tasks"].items()
    }
    spec = config["encoder"]
    if encoder is None and spec["class"] not in ENCODERS:
        raise CheckpointError(
            f"{folder}: its encoder is a {spec['class']}, which is not a class of multiseq; pass your class "
            f"as load(…, encoder={spec['class']})"
        )
    kind: Any = encoder or ENCODERS[spec["class"]]
    built: EncoderLike = kind.from_config(spec["config"])
    model = Model(parts, built, tasks)
    for name, task in config["tasks"].items():
        if task.get("distance"):  # older checkpoints have none
            model.set_distance(name, TrainingDistance.from_config(task["distance"]))
    return model


ENCODERS: dict[str, Any] = {"Encoder": Encoder, "PretrainedEncoder": PretrainedEncoder}
HEADS: dict[str, Any] = {
    "vector": VectorHead,
    "set": SetHead,
    "ctc": CTCHead,
    "decoder": DecoderHead,
    "joint": JointHead,
}


def _config(model: Model) -> dict[str, Any]:
    encoder: Any = model.encoder
    return {
        "format": FORMAT,
        "multiseq": __version__,
        "adapters": {
            name: {"class": type(adapter).__name__, "config": adapter.config()}
            for name, adapter in model.adapters.items()
        },
        "encoder": {"class": type(encoder).__name__, "config": encoder.config()},
        "tasks": {
            name: {
                "adapter": t.adapter_name,
                "metric": t.metric,
                "weight": t.weight,
                "head": t.head.config(),
                "distance": None if (distance := model.distance(name)) is None else distance.config(),
            }
            for name, t in model.tasks.items()
        },
    }


def _load_adapter(folder: Path, name: str, config: Mapping[str, Any], classes: Mapping[str, type]) -> Adapter:
    import multiseq.adapters

    spec = config["adapters"][name]
    if name in classes:
        adapter_class: Any = classes[name]
    elif spec["class"] in multiseq.adapters.__all__:
        adapter_class = getattr(multiseq.adapters, spec["class"])
    else:
        raise CheckpointError(
            f"{folder}: adapter {name!r} is a {spec['class']}, which is not a class of multiseq; "
            f"pass your class as load(…, adapters={{{name!r}: {spec['class']}}})"
        )
    prefix = f"{name}."
    files = under(prefix, {f: folder / f for f in config["files"] if f != WEIGHTS})
    assets = {file: path.read_text(encoding="utf-8") for file, path in files.items()}
    # User's classes for parts of a fused adapter are given as load(…, adapters={"NAME.PART": YourAdapter}).
    deeper = under(prefix, classes)
    options = {"adapters": deeper} if deeper else {}
    loaded: Adapter = adapter_class.from_config(spec["config"], assets, **options)
    return loaded


def _head(config: Mapping[str, Any]) -> Head:
    one_of(config["kind"], HEADS, "head: kind")
    head: Head = HEADS[config["kind"]].from_config(config)
    return head


def _find(folder: Path) -> Path:
    folder = folder.resolve()
    for place in (folder, folder / "model", folder.with_name(f".{folder.name}.old"), folder / ".model.old"):
        if (place / "config.json").is_file():
            return place
    run = folder.parent if folder.name == "model" else folder
    if (run / "run.json").is_file() or is_held(run):
        raise CheckpointError(
            f"{run}: its training has not saved a model yet; wait for it, or if it has stopped, go on with: "
            f"multiseq train --resume --out {run}"
        )
    if not folder.exists():
        raise CheckpointError(f"{folder}: no such folder")
    raise CheckpointError(
        f"{folder}: not a checkpoint (it has no config.json, nor a folder `model` that has one)"
    )


def _read(folder: Path) -> dict[str, Any]:
    """The config, after a check that the files have not changed since they were saved."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: damaged: {error}") from error
    if not isinstance(config, dict) or "format" not in config or "files" not in config:
        raise CheckpointError(f"{folder}: its config.json was not written by multiseq")
    lists = config["files"], config.get("members", {})
    if not isinstance(config["format"], int) or not all(isinstance(one, dict) for one in lists):
        raise CheckpointError(f"{folder / 'config.json'}: damaged: no valid format or list of files")
    if config["format"] > FORMAT:
        raise CheckpointError(
            f"{folder}: written by multiseq {config.get('multiseq')} (format {config['format']}), this is "
            f"{__version__} (format {FORMAT}); upgrade with: pip install -U multiseq"
        )
    named = [(name, folder / name, digest) for name, digest in lists[0].items()]
    named += [(name, folder / name / "config.json", digest) for name, digest in lists[1].items()]
    for name, file, digest in named:
        if not _is_plain(name):
            raise CheckpointError(
                f"{folder / 'config.json'}: got {name!r} among its files, expected names in this folder"
            )
        if not os.path.isfile(file):  # not pathlib, which raises an error for some invalid names
            raise CheckpointError(f"{file}: missing; the folder is incomplete, copy it again")
        if _digest(file) != digest:
            raise CheckpointError(f"{file}: damaged (its content is not what was saved); copy it again")
    return config


def _may_replace(folder: Path) -> bool:
    """Whether replacing the folder loses at most a checkpoint."""
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    if not names:
        return not folder.is_file()
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return names <= {*config["files"], *config.get("members", ()), "config.json"} and "format" in config
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_plain(name: str) -> bool:
    """Whether ``name`` can only mean a file directly inside a folder."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
