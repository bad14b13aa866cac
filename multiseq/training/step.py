"""The step of a mixed batch, the evaluation on the dev split, and what is kept of both.

A step's loss is, over the tasks in its batch, the weighted sum of (sum of losses / count), both over all
processes; so two processes with halves of unequal size compute what one does with the whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiseq.batch import Batch
from multiseq.checkpoint import restore, save
from multiseq.model import Model
from multiseq.requires import needed
from multiseq.tasks import Source
from multiseq.training.batching import BatchPlan, Loader, seed_of
from multiseq.training.evaluation import Score, evaluate_all
from multiseq.training.item_cache import ItemCache
from multiseq.training.resume import (
    remove_resume,
)
from multiseq.training.run_log import RunLog
from multiseq.training.settings import Settings

with needed("lightning"):
    import lightning
from multiseq.training.optimizer import make_optimizer, rate_at

__all__ = ["MODEL", "Module", "TrainingData"]

MODEL = "model"


@dataclass(frozen=True)
class TrainingData:
    """What is learned from: shared, not copied, where the averaging of weights copies the module."""

    plan: BatchPlan
    dev: Sequence[Source]
    cache: ItemCache

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingData:
        return self


class Module(lightning.LightningModule):
    """The step of a mixed batch, the evaluation on the dev split, and what is kept of both."""

    def __init__(
        self,
        model: Model,
        data: TrainingData,
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
        """The batches of this process."""
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
        """One entry, which stands for the dev split."""
        return [0]  # evaluation reads the dev sources itself

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A batch on the device."""
        return batch.to(device, non_blocking=True) if isinstance(batch, Batch) else batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
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
        """Score the dev split."""
        self.log("monitor", self.judge(self.global_step), prog_bar=True, batch_size=1)

    def judge(self, step: int) -> float:
        """Score the dev split, and keep the weights where they are the best so far."""
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
        """Scale the gradient down to the largest norm that the settings allow."""
        # Lightning's own refuses fused optimisers under mixed precision, for the sake of a loss scaler that
        # bf16 does not have.
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_grad_norm)

    def on_train_start(self) -> None:
        """Open the log."""
        if self.trainer.is_global_zero:
            self.record.begin(self.global_step)
            if not self.global_step and self.folder is not None:
                remove_resume(self.folder)  # of another run, whose log is gone now

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a resume file has besides Lightning's."""
        checkpoint["multiseq"] = {"best": self.best, "identity": json.dumps(self.identity)}
        self.record.sync()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The inverse."""
        self.best = checkpoint["multiseq"]["best"]

    def finish(self) -> None:
        """Leave the best weights in the model; without a dev split those are the last."""
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
        """The optimiser, and its learning rate."""
        optimizer = make_optimizer(self.model, self.settings)
        # A plain function, of which the resume file keeps nothing.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, self.settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _monitored(scores: Mapping[str, Score], monitor: str) -> float:
    """A mean over the tasks that could be scored, or one task's; without any the worst there is."""
    chosen = scores.values() if monitor == "mean" else [scores[monitor]]
    known = [s.goodness for s in chosen if math.isfinite(s.goodness)]
    return sum(known) / len(known) if known else -math.inf
