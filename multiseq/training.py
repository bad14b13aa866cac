"""Training: the step is ours and fits a screen; the loop, devices and resume files are Lightning's.

A step's loss is, over the tasks in its batch, the weighted sum of (sum of losses / count), both over all
processes; so two processes with halves of unequal size compute what one does with the whole.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiseq.batching import Batch, BatchPlan, Loader, PreparedSource, seed_of
from multiseq.checkpoint import check_savable, restore, save
from multiseq.digest import digest_of
from multiseq.files import recover_folder, remove_leftovers
from multiseq.item_cache import ItemCache
from multiseq.lock import hold
from multiseq.machine import deterministic_sums, explain_full_memory, is_first_process
from multiseq.metrics import Score, evaluate_all
from multiseq.model import Model
from multiseq.progress import Bar, Lines, has_bar
from multiseq.recipe_check import one_of
from multiseq.requires import needed
from multiseq.resume import (
    PREVIOUS,
    RESUME,
    ResumeError,
    ResumeFile,
    check_identity,
    read_resume,
    remove_resume,
)
from multiseq.runlog import RunLog
from multiseq.scoring import check_labels
from multiseq.settings import Settings, check
from multiseq.stopping import Stop, Terminated, terminable
from multiseq.tasks import Source

with needed("lightning"):
    import lightning
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging

__all__ = ["RESUME", "Settings", "make_optimizer", "train"]

MODEL = "model"
EVERY_DEVICE = ("auto", -1, "-1")
AGREED = 10
"""Steps after which several processes ask each other whether one of them is to stop."""


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
    **changes: Any,
) -> Model:
    """Train on labelled items, in place, and give the model back, ready to predict where it was trained.

    The same weights at the start, data and ``seed`` give the same weights at the end, on one machine.

    Args:
        model: Adapters, encoder and tasks.
        sources: Training items with their labels.
        dev: Items that choose the weights to keep and say when to stop.
        out: The run's folder: the best model in ``model``, ``metrics.csv``, and a resume file.
        settings: Where not given, made from ``changes``: ``train(…, steps=300, lr=2e-3)``.
        resume: Go on from the resume file in ``out``, exactly as if it had never stopped.
        devices: Handed to ``lightning.Trainer``, like the next three. Several GPUs share every batch; in a
            notebook, where no other process can be started, one is taken.
        num_nodes: Machines.
        strategy: How processes work together.
        accelerator: What they run on; ``auto`` takes a GPU where there is one.
        progress: Show a bar, or from time to time a line where the output is no terminal.
        cache: A folder in which prepared items are kept for other runs (`multiseq.item_cache`).
        **changes: Fields of `Settings`.

    Raises:
        ValueError: Settings that do not fit, bad items and labels, named by their number, a folder that
            another training writes to, or one whose run began with something else.
        FileNotFoundError: ``resume`` without a resume file.
        MemoryError: What to lower where memory is full.
        SystemExit: SIGTERM came; what was learned is saved, and the exit code is 143.

    Example:
        >>> from multiseq import ClassTarget, Encoder, Model, SetHead, Source, Task, TextAdapter
        >>> texts, labels = ["red lamp", "blue lamp", "so red"], ["red", "blue", "red"]
        >>> _ = torch.manual_seed(0)  # the parts draw their first weights when they are built
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
        raise ValueError(f"settings: got settings and {', '.join(changes)}, expected one or the other")
    for name in changes:
        one_of(name, [field.name for field in fields(Settings)], "settings")
    settings = settings or Settings(**changes)
    sources, dev = _listed("sources", sources), _listed("dev", dev)
    check(settings, model, dev)
    folder = Path(out) if out is not None else None
    if not isinstance(cache, ItemCache):
        cache = ItemCache(cache, workers=settings.workers)
    if strategy == "auto":
        devices = _startable(devices, accelerator)
    launch = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": _strategy(strategy, devices, num_nodes),
        "enable_progress_bar": progress and has_bar(),
    }
    shown = [] if not progress else [Bar() if has_bar() else Lines()]
    with _held(folder), _told() as stop:
        saved = check_savable(model, folder / MODEL) if folder is not None else None
        state = _resumed(folder) if resume else None
        for source in dev:
            check_labels(model, source, cache)
        prepared = [PreparedSource(s, model.adapter(s.adapter), model.tasks, cache) for s in sources]
        plan = BatchPlan(
            prepared, budget=settings.budget, seed=settings.seed, temperature=settings.temperature
        )
        identity = {} if saved is None else _identity(*saved, model, sources, dev, settings, cache)
        if state is not None:
            check_identity(identity, json.loads(state["multiseq"]["identity"]))
        module = _Module(model, _Data(plan, dev, cache), settings, folder, identity)
        with deterministic_sums(settings.deterministic):
            _fit(module, stop, state, launch, shown)
            module.finish()
        if folder is not None and is_first_process():
            (folder / PREVIOUS).unlink(missing_ok=True)  # its model is there, whole
    return model.eval()


def _fit(
    module: _Module,
    stop: Stop,
    state: dict[str, Any] | None,
    launch: Mapping[str, Any],
    shown: Sequence[Callback],
) -> None:
    """Lightning's loop over the steps that are left."""
    settings, folder, has_dev = module.settings, module.folder, bool(module.data.dev)
    callbacks = _callbacks(settings, folder, has_dev, stop)
    with _quiet():
        trainer = lightning.Trainer(
            **launch,
            precision="bf16-mixed" if _on_gpu(launch["accelerator"]) else "32-true",
            max_steps=settings.steps,
            max_epochs=1,  # the loader's, which has every step of the run
            val_check_interval=settings.evaluate_every or None,
            check_val_every_n_epoch=None,
            limit_val_batches=1 if has_dev and settings.evaluate_every else 0,
            num_sanity_val_steps=0,
            callbacks=[*callbacks, *shown],
            plugins=[ResumeFile(state), *_cluster()],
            logger=False,
            enable_checkpointing=False,  # ours, see _Saver
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        checkpoint = None if state is None or folder is None else str(folder / RESUME)
        advice = f"lower budget, which is {settings.budget}, or cut long items; then go on with resume"
        try:
            with explain_full_memory(advice):
                trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        except BaseException:
            module.record.close(failed=True)
            raise
        if not module.stepped:
            # A run that was stopped after its last step: Lightning skips what it does when training ends.
            for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it untyped
                if isinstance(callback, EMAWeightAveraging):
                    callback.on_train_end(trainer, module)
        # Lightning leaves the model on the CPU; the last evaluation and what comes after go on where it was.
        module.model.to(trainer.strategy.root_device)


def _listed(name: str, sources: Any) -> list[Source]:
    if isinstance(sources, Source):
        raise ValueError(f"{name}: got one Source, expected a list of them; use [source]")
    listed = list(sources)
    for source in listed:
        if not isinstance(source, Source):
            raise ValueError(f"{name}: got a {type(source).__name__} in it, expected Source(adapter, …)")
    return listed


@contextmanager
def _told() -> Iterator[Stop]:
    """What SIGTERM sets; a training that it ends says so."""
    with terminable() as stop:
        try:
            yield stop
        except Terminated as end:
            if is_first_process():
                print(f"multiseq: {end.message}", file=sys.stderr)
            raise


@contextmanager
def _held(folder: Path | None) -> Iterator[None]:
    """Hold the run's folder, in the process that writes to it, and clear what a kill left there."""
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
    settings: Settings,
    cache: ItemCache,
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was stopped, as plain JSON values."""
    parts = {name: config[name] for name in ("encoder", "adapters", "tasks")}
    data = {
        name: [
            {
                "adapter": source.adapter,
                "tasks": list(source.targets),
                "items": len(source.items),
                "weight": source.weight,
                "digest of items and labels": cache.digest(model.adapter(source.adapter), source),
            }
            for source in group
        ]
        for name, group in (("sources", sources), ("dev", dev))
    }
    vocabularies = {name: digest_of([text]) for name, text in assets.items()}
    identity = {"settings": asdict(settings), **data, "model": parts, "vocabularies": vocabularies}
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


@dataclass(frozen=True)
class _Data:
    """What is learned from: shared, not copied, where the averaging of weights copies the module."""

    plan: BatchPlan
    dev: Sequence[Source]
    cache: ItemCache

    def __deepcopy__(self, memo: dict[int, Any]) -> _Data:
        return self


class _Module(lightning.LightningModule):
    """The step of a mixed batch, the evaluation on the dev part, and what is kept of both."""

    def __init__(
        self,
        model: Model,
        data: _Data,
        settings: Settings,
        folder: Path | None,
        identity: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.settings, self.folder, self.identity = settings, folder, identity
        self.record = RunLog(folder)
        self.best = -math.inf
        self.kept: dict[str, Tensor] | None = None  # the weights that were the best
        self.stepped = False

    def train_dataloader(self) -> Loader:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        pin = self.device.type == "cuda"
        return Loader(
            self.data.plan,
            steps=self.settings.steps,
            workers=self.settings.workers,
            rank=rank,
            world=world,
            pin_memory=pin,
        )

    def val_dataloader(self) -> list[int]:
        return [0]  # evaluation reads the dev sources itself

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device, non_blocking=True) if isinstance(batch, Batch) else batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        step, self.stepped = self.global_step, True
        torch.manual_seed(seed_of(self.settings.seed, "dropout", step, self.global_rank))
        losses = self.model.loss(batch) if batch.parts else {}
        sums, counts = self._over_processes(losses)
        # A process whose shard is empty still takes part in the backward pass.
        total = next(iter(self.parameters())).sum() * 0.0
        for name, (loss, _) in losses.items():
            # Data-parallel training averages gradients over processes, hence the factor.
            weight = self.model.tasks[name].weight * self.trainer.world_size
            total = total + weight * loss / counts[name].clamp(min=1)
        means = {name: sums[name] / count for name, count in counts.items() if count}
        whole = sum(self.model.tasks[name].weight * mean for name, mean in means.items())
        self.record.losses(step, {**means, "total": torch.as_tensor(whole)}, self._lr())
        return total

    def _over_processes(
        self, losses: Mapping[str, tuple[Tensor, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Each task's sum of losses and count of labels in this step, over all processes."""
        zero = torch.zeros((), device=self.device)
        table = torch.stack(
            [
                torch.stack(
                    [losses[t][i].detach().float() if t in losses else zero for t in self.model.tasks]
                )
                for i in (0, 1)
            ]
        )
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(table)
        sums, counts = (dict(zip(self.model.tasks, row, strict=True)) for row in table)
        return sums, counts

    def _lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("monitor", self.judge(self.global_step), prog_bar=True, batch_size=1)

    def judge(self, step: int) -> float:
        """Score the dev part, and keep the weights where they are the best so far."""
        scores = evaluate_all(self.model, self.data.dev, self.data.cache)
        goodness = _monitored(scores, self.settings.monitor)
        self.record.scores(step, scores)
        if goodness > self.best:
            self.best = goodness
            if self.trainer.is_global_zero and self.folder is not None:
                save(self.model, self.folder / MODEL)
            self.kept = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        return goodness

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own refuses fused optimisers under mixed precision, for the sake of a loss scaler that
        # bf16 does not have.
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.clip)

    def on_train_start(self) -> None:
        if self.trainer.is_global_zero:
            self.record.begin(self.global_step)
            if not self.global_step and self.folder is not None:
                remove_resume(self.folder)  # of another run, whose log is gone now

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["multiseq"] = {"best": self.best, "identity": json.dumps(self.identity)}
        self.record.sync()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = checkpoint["multiseq"]["best"]

    def finish(self) -> None:
        """Leave the best weights in the model; without a dev part those are the last."""
        every = self.settings.evaluate_every
        if self.data.dev and (not every or self.settings.steps % every):
            with self.trainer.precision_plugin.val_step_context():  # as the evaluations during training
                self.judge(self.global_step)
        if self.kept is not None:
            self.model.load_state_dict(self.kept)
        elif self.best > -math.inf and self.folder is not None:  # found before the run was stopped
            restore(self.model, self.folder / MODEL)
        elif self.folder is not None and self.global_rank == 0:
            save(self.model, self.folder / MODEL)
        self.record.close()

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.model, self.settings)
        # A plain function, of which the resume file keeps nothing.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, self.settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(model: Model, settings: Settings) -> torch.optim.AdamW:
    """AdamW in which matrices decay; biases, norms and single vectors do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)
    optimizer.register_load_state_dict_post_hook(_lay_out_moments)
    return optimizer


def _lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the layout in memory of their weights, which `Linear` chooses for the processor.

    The fused kernel goes through weights and moments entry by entry and ignores strides, so moments that were
    saved beside weights of another layout would be applied to the wrong entries.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _rate(step: int, settings: Settings) -> float:
    """Up in a straight line, down along a cosine to zero (https://arxiv.org/abs/1608.03983)."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, settings.steps - warm))))


def _monitored(scores: Mapping[str, Score], monitor: str) -> float:
    """A mean over the tasks that could be scored, or one task's; without any the worst there is."""
    chosen = scores.values() if monitor == "mean" else [scores[monitor]]
    known = [s.goodness for s in chosen if math.isfinite(s.goodness)]
    return sum(known) / len(known) if known else -math.inf


def _callbacks(settings: Settings, folder: Path | None, has_dev: bool, stop: Stop) -> list[Callback]:
    callbacks: list[Callback] = []
    if settings.average:
        # A buffer is no weight (a table of buckets, a count): it is taken over as it is.
        callbacks.append(EMAWeightAveraging(decay=settings.average, use_buffers=False))
    if settings.patience:
        callbacks.append(_Patience("monitor", mode="max", patience=settings.patience))
    return [*callbacks, _Saver(folder, settings, has_dev, stop)]


class _Patience(EarlyStopping):
    """Stops after evaluations without a better score; one without any score is not counted."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if math.isfinite(trainer.callback_metrics[self.monitor]):
            super().on_validation_end(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # A run that was killed after it had stopped early, before its end.
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class _Saver(Callback):
    """Writes the resume file, and ends a run that SIGTERM stopped.

    After the evaluation of a step that has one, so that it is not lost.
    """

    def __init__(self, folder: Path | None, settings: Settings, has_dev: bool, stop: Stop) -> None:
        self.folder, self.every, self.stop = folder, settings.save_every, stop
        self.evaluates = settings.evaluate_every if has_dev else 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.stop.waits = True
        self.stop.install()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not (self.evaluates and trainer.global_step % self.evaluates == 0):
            self._save(trainer)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self._save(trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.stop.waits = False

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.stop.waits = False

    def _save(self, trainer: Any) -> None:
        stopped = self._stopped(trainer)
        if self.folder is not None and (stopped or trainer.global_step % self.every == 0):
            trainer.save_checkpoint(self.folder / RESUME)
        if stopped:
            saved = "nothing is saved" if self.folder is None else f"saved to {self.folder / RESUME}"
            raise Terminated(f"stopped by SIGTERM after step {trainer.global_step}; {saved}")

    def _stopped(self, trainer: Any) -> bool:
        """Whether SIGTERM came, to any of the processes, which stop after the same step."""
        if trainer.world_size == 1:
            return self.stop.asked
        if trainer.global_step % AGREED:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(self.stop.asked, all=False))


def _startable(devices: int | str, accelerator: str) -> int | str:
    """Of all GPUs one in a notebook or at Python's prompt, where Lightning can start no other process."""
    if devices == "auto" and accelerator == "cpu":
        return 1  # for Lightning too, however many GPUs there are
    num = torch.cuda.device_count()
    if devices not in EVERY_DEVICE or num < 2 or not hasattr(sys, "ps1"):
        return devices
    print(
        f"multiseq: training on 1 of {num} GPUs: a notebook cannot start a process for each, a script can",
        file=sys.stderr,
    )
    return 1


def _cluster() -> list[SLURMEnvironment]:
    """Under SLURM its environment without Lightning's own way to go on, whose files are not ours.

    At SIGUSR1 it would write ``hpc_ckpt_1.ckpt`` beside our resume file, and hand the job in again.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]


def _strategy(strategy: str, devices: int | str, num_nodes: int) -> str:
    """A mixed batch need not hold every task on every process, so gradients may be missing on one."""
    num = torch.cuda.device_count() if devices in EVERY_DEVICE else devices
    several = num_nodes > 1 or str(num) not in ("0", "1")
    if strategy.startswith(("fsdp", "deepspeed")):
        raise ValueError(
            f"strategy: got {strategy!r}, which shards the weights; expected auto, ddp or one like it"
        )
    if strategy == "ddp" or (strategy == "auto" and several):
        return "ddp_find_unused_parameters_true"
    return strategy


def _on_gpu(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's hints are for people who write loops; errors still come through."""
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
            )
            for hint in hints:
                warnings.filterwarnings("ignore", f".*{hint}.*")
            yield
    finally:
        logger.setLevel(level)
