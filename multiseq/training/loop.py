"""The function `train`. Lightning runs the loop; the training step is in `multiseq.training.step`."""

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from multiseq.checkpoint import check_savable
from multiseq.model import Model
from multiseq.nn.precision import Precision, choose_precision, device_for
from multiseq.requires import needed
from multiseq.system.denormals import flush_denormals
from multiseq.system.deterministic import deterministic_sums
from multiseq.system.files import recover_folder, remove_leftovers
from multiseq.system.lock import hold
from multiseq.system.memory import explain_full_memory
from multiseq.system.processes import is_first_process
from multiseq.system.stopping import Stop, Terminated, terminable
from multiseq.tasks import Source, listed
from multiseq.training.batching import BatchPlan
from multiseq.training.budget import (
    Fitted,
    chooses_weights,
    describe,
    fitted,
    hold_out,
    vectors_per_batch,
)
from multiseq.training.callbacks import Bar, BusyCores, Lines, callbacks_for, has_bar
from multiseq.training.confidence import forget_calibration
from multiseq.training.digest import digest_of
from multiseq.training.item_cache import ItemCache
from multiseq.training.label_check import check_labels, check_lengths
from multiseq.training.optimizer import fix_stems, frozen
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.resume import (
    PREVIOUS,
    RESUME,
    ResumeError,
    ResumeFile,
    check_identity,
    read_resume,
)
from multiseq.training.settings import Settings
from multiseq.training.step import MODEL, Module, TrainingData

with needed("lightning"):
    import lightning
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning.pytorch.callbacks import Callback, WeightAveraging
    from lightning.pytorch.loggers import Logger

__all__ = ["train"]

EVERY_DEVICE = ("auto", -1, "-1")


def train(
    model: Model,
    sources: Sequence[Source],
    *,
    dev: Sequence[Source] = (),
    out: str | Path | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    accelerator: str = "auto",
    progress: bool = True,
    cache: ItemCache | str | Path | None = None,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    **changes: Any,
) -> Model:
    """Train a model in place on labelled items, and return it, ready to predict on the same device.

    On one machine, the same initial weights, data and ``seed`` give the same final weights. torch's generator
    for the CPU is left as it was.

    Args:
        model: The model to train.
        sources: Training items with their labels.
        dev: Validation items. Their scores decide which weights are kept and when training stops early. If
            ``steps`` is not given, fewer than 200 items do not; and if there are none, a share of the
            training items is held out, if they are many (`multiseq.training.budget`).
        out: Folder of the run, for the best model (``model``), ``metrics.csv``, and a resume file.
        settings: All settings in one object. Default: made from ``changes``.
        resume: Continue from the resume file in ``out``, exactly as if the run had never stopped.
        devices: Passed to ``lightning.Trainer``, like the next three. Several GPUs share every batch. A
            notebook uses only one GPU, because it cannot start other processes.
        num_nodes: Number of machines.
        strategy: How the processes work together, for example ``ddp``.
        accelerator: Kind of device; ``auto`` uses a GPU if there is one.
        progress: Show a progress bar. If the output is not a terminal, print a line from time to time.
        cache: Folder that stores prepared items for other runs (`multiseq.training.item_cache`).
        loggers: Lightning's loggers, for example ``[TensorBoardLogger("logs")]``. They get the losses
            (``train/TASK/loss``), the learning rate (``lr``) and the scores on the dev split
            (``dev/TASK/METRIC``).
        callbacks: Further callbacks for Lightning's trainer.
        **changes: Single settings, for example ``train(…, steps=300, lr=2e-3)``; see `Settings`.

    Raises:
        ValueError: Settings do not fit; an item or a label is invalid (the message has its number); another
            training writes to ``out``; or the run in ``out`` began with other data or settings.
        FileNotFoundError: ``resume`` is set, but there is no resume file.
        MemoryError: The memory is full; the message says what to lower.
        SystemExit: The process got SIGTERM. The progress is saved, and the exit code is 143.
        KeyboardInterrupt: The user pressed Ctrl-C. The step is finished and the progress saved, except if
            Ctrl-C was pressed twice.

    Example:
        >>> from multiseq import ClassTarget, Encoder, Model, SetHead, Source, Task, TextAdapter
        >>> texts, labels = ["red lamp", "blue lamp", "so red"], ["red", "blue", "red"]
        >>> model = Model(
        ...     adapters={"text": TextAdapter.fit(texts, dim=16)},
        ...     encoder=Encoder(dim=16, depth=1, heads=2),
        ...     tasks={"colour": Task("text", SetHead(16, ClassTarget.fit(labels)))},
        ... )
        >>> model = train(model, [Source("text", texts, {"colour": labels})], steps=9, progress=False)
        >>> model.cell("colour")
        'text/set'
    """
    if settings is not None and changes:
        raise ValueError(f"settings: got settings and {', '.join(changes)}, expected only one of them")
    settings = settings or Settings(**changes)
    flush_denormals()
    sources, dev = listed("sources", sources), listed("dev", dev)
    if settings.follows_data and settings.evaluates and not dev:
        divided = [hold_out(source) for source in sources]
        sources, dev = [kept for kept, _ in divided], [held for _, held in divided if held is not None]
    if settings.follows_data and not chooses_weights(settings, dev):
        dev = []
    _check(settings, model, dev)
    folder = Path(out) if out is not None else None
    if not isinstance(cache, ItemCache):
        cache = ItemCache(cache, num_workers=settings.num_workers)
    if strategy == "auto":
        devices = _startable(devices, accelerator)
    launch = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": _strategy(strategy, devices, num_nodes),
        "enable_progress_bar": progress and has_bar(),
        "logger": list(loggers),
    }
    shown = [*callbacks, *([Bar() if has_bar() else Lines(), BusyCores()] if progress else [])]
    forget_calibration(model)
    with _held(folder), _told() as stop, torch.random.fork_rng(devices=[]):  # a step seeds torch
        saved = check_savable(model, folder / MODEL) if folder is not None else None
        state = _resumed(folder) if resume else None
        stems = fix_stems(
            model, settings.frozen_layers, device_for(accelerator), None if state is None else lambda: state
        )
        for source in dev:
            check_labels(model, source, cache)
            check_lengths(model, source, cache, training=False)
        for source in sources:
            check_lengths(model, source, cache, training=True)
        prepared = [PreparedSource(s, model.adapter(s.adapter_name), model.tasks, cache) for s in sources]
        plan = BatchPlan(
            prepared,
            max_vectors=vectors_per_batch(settings, prepared),
            seed=settings.seed,
            temperature=settings.temperature,
        )
        final = fitted(settings, plan, has_dev=bool(dev))
        precision = _precision(settings, state, accelerator, model)
        if progress and is_first_process():
            print(*stems, describe(final, plan), sep="\n", flush=True)
            if settings.precision == "auto":
                print(precision, flush=True)
        identity = {} if saved is None else _identity(*saved, model, sources, dev, final, cache)
        if state is not None:
            check_identity(identity, json.loads(state["multiseq"]["identity"]))
        if not model.training:  # it was trained or loaded; Lightning would train it without dropout
            model.train()
        module = Module(model, TrainingData(plan, dev, cache), final, folder, identity, precision.name)
        with deterministic_sums(settings.deterministic), frozen(model, settings.frozen_layers):
            _run_trainer(module, stop, state, launch, shown)
            module.finish()
        if folder is not None and is_first_process():
            (folder / PREVIOUS).unlink(missing_ok=True)  # the finished model is saved
    return model.eval()


def _check(settings: Settings, model: Model, dev: Sequence[Source]) -> None:
    """Raise ValueError if a setting does not fit the model or the dev split."""
    if settings.monitor != "mean" and settings.monitor not in model.tasks:
        raise ValueError(
            f"monitor: got {settings.monitor!r}, expected mean or one of {', '.join(model.tasks)}"
        )
    labelled = {task for source in dev for task in source.targets}
    if dev and settings.monitor != "mean" and settings.monitor not in labelled:
        raise ValueError(f"monitor: got {settings.monitor!r}, but no dev source has labels for it")
    if settings.patience and not (dev and settings.evaluates):
        raise ValueError("patience: needs a dev split and evaluate_every above 0")


def _run_trainer(
    module: Module,
    stop: Stop,
    state: dict[str, Any] | None,
    launch: Mapping[str, Any],
    shown: Sequence[Callback],
) -> None:
    """Run Lightning's loop over the remaining steps."""
    settings, folder, has_dev = module.settings, module.folder, bool(module.data.dev)
    on_gpu = device_for(launch["accelerator"]) == "cuda"
    callbacks = callbacks_for(settings, folder, has_dev, stop)
    with _quiet():
        trainer = lightning.Trainer(
            **launch,
            # On a CPU the module itself decides what is in bf16 (`multiseq.nn.precision`).
            precision="bf16-mixed" if module.precision == "bf16" and on_gpu else "32-true",
            max_steps=settings.steps,
            max_epochs=1,  # one pass over the loader, which has all steps of the run
            val_check_interval=settings.evaluate_every or None,
            check_val_every_n_epoch=None,
            limit_val_batches=1 if has_dev and settings.evaluate_every else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            callbacks=[*callbacks, *shown],
            plugins=[ResumeFile(state), *_cluster()],
            enable_checkpointing=False,  # we write our own, see `multiseq.training.callbacks`
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        checkpoint = None if state is None or folder is None else str(folder / RESUME)
        advice = (
            f"lower max_vectors, which is {settings.max_vectors}, or cut long items; then go on with resume"
        )
        try:
            with explain_full_memory(advice), _interruptible():
                trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        except BaseException:
            module.record.close(failed=True)
            raise
        if not module.stepped:
            # The run was stopped after its last step. Then Lightning skips its work at the end of training.
            for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it untyped
                if isinstance(callback, WeightAveraging):
                    callback.on_train_end(trainer, module)
        # Lightning moves the model to the CPU. Move it back for the last evaluation and for predictions.
        module.model.to(trainer.strategy.root_device)


@contextmanager
def _told() -> Iterator[Stop]:
    """Handle SIGTERM and Ctrl-C, and print a message if they end the training."""
    with terminable() as stop:
        try:
            yield stop
        except Terminated as end:
            if is_first_process():
                print(f"multiseq: {end.message}", file=sys.stderr)
            if end.number == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C. Lightning would exit, and ignore the signal from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from None


@contextmanager
def _held(folder: Path | None) -> Iterator[None]:
    """Lock the run's folder in the process that writes to it, and repair what a killed run left there."""
    if folder is None or not is_first_process():
        yield
        return
    with hold(folder):
        recover_folder(folder / MODEL)
        remove_leftovers(folder)
        yield


def _resumed(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        raise ValueError("resume: got no folder, expected out, the folder of the run")
    state = read_resume(folder)
    if "identity" not in state["multiseq"]:
        raise ResumeError(f"{folder / RESUME}: written by an older multiseq; train into another folder")
    return state


def _identity(
    config: Mapping[str, Any],
    assets: Mapping[str, str],
    model: Model,
    sources: Sequence[Source],
    dev: Sequence[Source],
    settings: Fitted,
    cache: ItemCache,
) -> dict[str, Any]:
    """Everything that must be equal when a run is resumed, as plain JSON values."""
    parts = {name: config[name] for name in ("encoder", "adapters", "tasks")}
    data = {
        name: [
            {
                "adapter": source.adapter_name,
                "tasks": list(source.targets),
                "items": len(source.items),
                "weight": source.weight,
                "digest of items and labels": cache.digest(model.adapter(source.adapter_name), source),
            }
            for source in group
        ]
        for name, group in (("sources", sources), ("dev", dev))
    }
    vocabularies = {name: digest_of([text]) for name, text in assets.items()}
    identity = {"settings": asdict(settings), **data, "model": parts, "vocabularies": vocabularies}
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def _precision(settings: Settings, state: dict[str, Any] | None, accelerator: str, model: Model) -> Precision:
    """The precision of this training. A resumed one keeps its own, whatever a clock would say now."""
    if state is not None:
        return Precision(state["multiseq"]["precision"], "as the run began")
    return choose_precision(settings.precision, device_for(accelerator), model.encoder.dim)


def _startable(devices: int | str, accelerator: str) -> int | str:
    """The devices to use: one GPU in a notebook or at Python's prompt, which cannot start processes."""
    if devices == "auto" and accelerator == "cpu":
        return 1  # as Lightning does, even if there are GPUs
    num = torch.cuda.device_count()
    if devices not in EVERY_DEVICE or num < 2 or not hasattr(sys, "ps1"):
        return devices
    print(
        f"multiseq: training on 1 of {num} GPUs: a notebook cannot start a process for each, a script can",
        file=sys.stderr,
    )
    return 1


def _cluster() -> list[SLURMEnvironment]:
    """Under SLURM: Lightning's SLURM plugin, without its automatic requeue.

    With requeue, Lightning would write its own ``hpc_ckpt_1.ckpt`` at SIGUSR1 and submit the job again. It
    would not use our resume file.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]


def _strategy(strategy: str, devices: int | str, num_nodes: int) -> str:
    """Lightning's strategy. It must allow missing gradients: some tasks may be absent on one process."""
    num = torch.cuda.device_count() if devices in EVERY_DEVICE else devices
    several = num_nodes > 1 or str(num) not in ("0", "1")
    if strategy.startswith(("fsdp", "deepspeed")):
        raise ValueError(
            f"strategy: got {strategy!r}, which shards the weights; expected auto, ddp or one like it"
        )
    if strategy == "ddp" or (strategy == "auto" and several):
        return "ddp_find_unused_parameters_true"
    return strategy


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's hints, which are for people who write training loops. Errors are still shown."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            hints = (
                "does not have many workers",
                "`val_dataloader`",
                "exists and is not empty",
                "treespec, LeafSpec",
                "`__len__` could be inaccurate",
                "in eval mode at the start of training",  # a frozen stem
            )
            for hint in hints:
                warnings.filterwarnings("ignore", f".*{hint}.*")
            yield
    finally:
        logger.setLevel(level)
