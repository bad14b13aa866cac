"""The training step for a batch of several tasks, and the evaluation on the dev split.

    loss = sum over the tasks in the batch of  weight * (sum of the task's losses) / (number of its labels)

Losses and labels are summed over all processes first. So processes with shares of unequal size compute the
same gradient as one process with the whole batch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiseq.batch import Batch
from multiseq.checkpoint import restore, save
from multiseq.model import Model
from multiseq.nn.precision import computing_in
from multiseq.options import TOTAL
from multiseq.requires import needed
from multiseq.tasks import Source
from multiseq.training.batching import BatchPlan, Loader, seed_of
from multiseq.training.budget import Fitted
from multiseq.training.evaluation import Score, evaluate_all
from multiseq.training.item_cache import ItemCache
from multiseq.training.optimizer import make_optimizer, rate_at
from multiseq.training.resume import remove_resume
from multiseq.training.run_log import RunLog

with needed("lightning"):
    import lightning

__all__ = ["MODEL", "Module", "TrainingData"]

MODEL = "model"


@dataclass(frozen=True)
class TrainingData:
    """The data of a training. It is never copied, also not when weight averaging (EMA) copies the module."""

    plan: BatchPlan
    dev: Sequence[Source]
    cache: ItemCache

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingData:
        return self


class Module(lightning.LightningModule):
    """The training step for a batch of several tasks, and the evaluation on the dev split."""

    def __init__(
        self,
        model: Model,
        data: TrainingData,
        settings: Fitted,
        folder: Path | None,
        identity: Mapping[str, Any],
        precision: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.settings, self.folder, self.identity = settings, folder, identity
        self.precision = precision
        self.record = RunLog(folder)
        self.best = -math.inf
        self.kept: dict[str, Tensor] | None = None  # the best weights so far
        self.judged = ("", -math.inf, False)  # the last monitored score: name, value, whether it is the best
        self.stepped = False

    def train_dataloader(self) -> Loader:
        """Load the batches of this process."""
        rank, world = self.trainer.global_rank, self.trainer.world_size
        pin = self.device.type == "cuda"
        return Loader(
            self.data.plan,
            steps=self.settings.steps,
            num_workers=self.settings.num_workers,
            rank=rank,
            world=world,
            pin_memory=pin,
        )

    def val_dataloader(self) -> list[int]:
        """A single entry that stands for the whole dev split."""
        return [0]  # the evaluation reads the dev sources itself

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device."""
        return batch.to(device, non_blocking=True) if isinstance(batch, Batch) else batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch."""
        step, self.stepped = self.global_step, True
        torch.manual_seed(seed_of(self.settings.seed, "dropout", step, self.global_rank))
        with self._computing():
            losses = self.model.loss(batch) if batch.parts else {}
        sums, counts = self._over_processes(losses)
        # A process whose shard is empty still takes part in the backward pass.
        total = next(weight for weight in self.parameters() if weight.requires_grad).sum() * 0.0
        for name, (loss, _) in losses.items():
            # Data-parallel training averages gradients over processes. This factor turns the mean into a sum.
            weight = self.model.tasks[name].weight * self.trainer.world_size
            total = total + weight * loss / counts[name].clamp(min=1)
        means = {name: sums[name] / count for name, count in counts.items() if count}
        whole = sum(self.model.tasks[name].weight * mean for name, mean in means.items())
        self.record.losses(step, {**means, TOTAL: torch.as_tensor(whole)}, self._lr())
        return total

    def _over_processes(
        self, losses: Mapping[str, tuple[Tensor, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """For each task, the sum of its losses and its number of labels in this step, over all processes."""
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

    def _computing(self) -> AbstractContextManager[None]:
        """On a CPU the precision of the products. On a GPU Lightning sets it."""
        return computing_in(self.precision if self.device.type == "cpu" else "fp32", self.device)

    def _lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score the dev split."""
        self.log("monitor", self.judge(self.global_step), prog_bar=True, batch_size=1)

    def judge(self, step: int) -> float:
        """Score the dev split, and keep the weights if they are the best so far."""
        with self._computing():
            scores = evaluate_all(self.model, self.data.dev, self.data.cache)
        goodness = _monitored(scores, self.settings.monitor)
        self.judged = monitored_name(scores, self.settings.monitor), goodness, goodness > self.best
        self.record.scores(step, scores, monitor=self.judged[:2])
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
        """Clip the gradient: scale it down if its norm is above ``max_grad_norm``."""
        # Lightning's own clipping rejects fused optimisers under mixed precision, because of a loss scaler.
        # But bf16 uses no loss scaler.
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_grad_norm)

    def on_train_start(self) -> None:
        """Open the log. All processes take the precision of the first: each has looked at its own clock."""
        self.precision = self.trainer.strategy.broadcast(self.precision)
        self.record.loggers = self.trainer.loggers
        if self.trainer.is_global_zero:
            self.record.begin(self.global_step)
            if not self.global_step and self.folder is not None:
                remove_resume(self.folder)  # it belongs to an older run, whose log is overwritten now

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add our own entries to Lightning's checkpoint."""
        identity = json.dumps(self.identity)
        checkpoint["multiseq"] = {"best": self.best, "identity": identity, "precision": self.precision}
        self.record.sync()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read our own entries from the checkpoint."""
        self.best = checkpoint["multiseq"]["best"]

    def finish(self) -> None:
        """Load the best weights into the model. Without a dev split, keep the last weights."""
        every = self.settings.evaluate_every
        if self.data.dev and (not every or self.settings.steps % every):
            with self.trainer.precision_plugin.val_step_context():  # like the evaluations during training
                self.judge(self.global_step)
        if self.kept is not None:
            self.model.load_state_dict(self.kept)
        elif self.best > -math.inf and self.folder is not None:  # from before the run was stopped
            restore(self.model, self.folder / MODEL)
        elif self.folder is not None and self.global_rank == 0:
            save(self.model, self.folder / MODEL)
        self.record.close()

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its learning rate schedule."""
        optimizer = make_optimizer(self.model, self.settings)
        # A plain function, because the resume file stores nothing of functions.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, self.settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def monitored_name(scores: Mapping[str, Score], monitor: str) -> str:
    """What the monitored score is, in words: ``mood: accuracy``, or the mean of several such scores."""
    chosen = scores if monitor == "mean" else {monitor: scores[monitor]}
    names = [f"{task}: {score.goodness_name}" for task, score in chosen.items()]
    return names[0] if len(names) == 1 else f"mean of {len(names)} scores ({'; '.join(names)})"


def _monitored(scores: Mapping[str, Score], monitor: str) -> float:
    """The monitored score: one task's, or the mean of all finite scores. Without any, minus infinity."""
    chosen = scores.values() if monitor == "mean" else [scores[monitor]]
    known = [s.goodness for s in chosen if math.isfinite(s.goodness)]
    return sum(known) / len(known) if known else -math.inf
