"""Training: the step is ours and fits a screen; the loop, devices and resume files are Lightning's.

A step's loss is, over the tasks in its batch, the weighted sum of (sum of losses / count), both over all
processes; so two processes with halves of unequal size compute what one does with the whole.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiseq.batching import Batch, BatchPlan, Loader, PreparedSource, seed_of
from multiseq.checkpoint import restore, save
from multiseq.item_cache import ItemCache
from multiseq.metrics import Score, evaluate_all
from multiseq.model import Model
from multiseq.requires import needed
from multiseq.runlog import RunLog
from multiseq.settings import Settings, check
from multiseq.tasks import Source

with needed("lightning"):
    import lightning
    from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, RichProgressBar

__all__ = ["Settings", "make_optimizer", "train"]

RESUME = "resume.ckpt"


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
    """Train on labelled items, in place, and give the model back ready to predict.

    Args:
        model: Adapters, encoder and tasks.
        sources: Training items with their labels.
        dev: Items that choose the weights to keep and say when to stop.
        out: The run's folder: the best model in ``model``, ``metrics.csv``, and a resume file.
        settings: Where not given, made from ``changes``: ``train(…, steps=300, lr=2e-3)``.
        resume: Go on from the resume file in ``out``, exactly as if it had never stopped.
        devices: Handed to ``lightning.Trainer``, like the next three.
        num_nodes: Machines.
        strategy: How processes work together.
        accelerator: What they run on; ``auto`` takes a GPU where there is one.
        progress: Show a bar.
        cache: A folder in which prepared items are kept for other runs (`multiseq.item_cache`).
        **changes: Fields of `Settings`.

    Raises:
        ValueError: Settings that do not fit, or bad items, named by their number.
        FileNotFoundError: ``resume`` without a resume file.
    """
    if settings is not None and changes:
        raise ValueError(f"settings: got settings and {', '.join(changes)}, expected one or the other")
    settings = settings or Settings(**changes)
    check(settings, model, dev)
    folder = Path(out) if out is not None else None
    if resume and (folder is None or not (folder / RESUME).is_file()):
        raise FileNotFoundError(f"resume: {folder}/{RESUME} does not exist; train without resume first")
    if not isinstance(cache, ItemCache):
        cache = ItemCache(cache, workers=settings.workers)
    prepared = [PreparedSource(s, model.adapter(s.adapter), model.tasks, cache) for s in sources]
    plan = BatchPlan(prepared, budget=settings.budget, seed=settings.seed, temperature=settings.temperature)
    module = _Module(model, _Data(plan, dev, cache), settings, folder)
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=_strategy(strategy, devices, num_nodes),
            precision="bf16-mixed" if _on_gpu(accelerator) else "32-true",
            max_steps=settings.steps,
            max_epochs=1,  # the loader's, which has every step of the run
            val_check_interval=settings.evaluate_every or None,
            check_val_every_n_epoch=None,
            limit_val_batches=1 if dev and settings.evaluate_every else 0,
            num_sanity_val_steps=0,
            callbacks=[*_callbacks(settings, folder, bool(dev)), *([_Bar()] if progress else [])],
            logger=False,
            enable_progress_bar=progress,
            enable_checkpointing=False,  # ours, see _Saver
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        checkpoint = str(folder / RESUME) if resume and folder is not None else None
        try:
            trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        except BaseException:
            module.record.close(failed=True)
            raise
        if not module.stepped:
            # A run that was stopped after its last step: Lightning skips what it does when training ends.
            for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it untyped
                if isinstance(callback, EMAWeightAveraging):
                    callback.on_train_end(trainer, module)
    module.finish()
    return model.eval()


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

    def __init__(self, model: Model, data: _Data, settings: Settings, folder: Path | None) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.settings, self.folder = settings, folder
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
                save(self.model, self.folder / "model")
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["multiseq"] = {"best": self.best, **self._identity()}
        self.record.flush()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["multiseq"]
        for name, value in self._identity().items():
            if kept[name] != value:
                raise ValueError(
                    f"resume: got {name} {value}, but the run began with {kept[name]}; "
                    "go on with what it began with, or train into another folder"
                )
        self.best = kept["best"]

    def _identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the one that was stopped."""
        sizes = [len(source) for source in self.data.plan.sources]
        return {"settings": asdict(self.settings), "examples of the sources": sizes}

    def finish(self) -> None:
        """Leave the best weights in the model; without a dev part those are the last."""
        every = self.settings.evaluate_every
        if self.data.dev and (not every or self.settings.steps % every):
            self.judge(self.global_step)
        if self.kept is not None:
            self.model.load_state_dict(self.kept)
        elif self.best > -math.inf and self.folder is not None:  # found before the run was stopped
            restore(self.model, self.folder / "model")
        elif self.folder is not None and self.global_rank == 0:
            save(self.model, self.folder / "model")
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


def _callbacks(settings: Settings, folder: Path | None, has_dev: bool) -> list[Callback]:
    callbacks: list[Callback] = []
    if settings.average:
        # A buffer is no weight (a table of buckets, a count): it is taken over as it is.
        callbacks.append(EMAWeightAveraging(decay=settings.average, use_buffers=False))
    if settings.patience:
        callbacks.append(EarlyStopping("monitor", mode="max", patience=settings.patience))
    if folder is not None:
        callbacks.append(_Saver(folder / RESUME, settings, has_dev))
    return callbacks


class _Bar(RichProgressBar):
    def _get_train_description(self, current_epoch: int) -> str:
        return "training"  # not "Epoch 0/0": for Lightning the run is one epoch


class _Saver(Callback):
    """Writes the resume file: after the evaluation of a step that has one, so that it is not lost."""

    def __init__(self, path: Path, settings: Settings, has_dev: bool) -> None:
        self.path, self.every = path, settings.save_every
        self.evaluates = settings.evaluate_every if has_dev else 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step % self.every == 0 and not (self.evaluates and step % self.evaluates == 0):
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.path)


def _strategy(strategy: str, devices: int | str, num_nodes: int) -> str:
    """A mixed batch need not hold every task on every process, so gradients may be missing on one."""
    num = torch.cuda.device_count() if devices in ("auto", -1, "-1") else devices
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
