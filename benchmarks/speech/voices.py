"""The same person? Equal error rate of a run, on speakers that training has never heard.

    python -m benchmarks.speech.voices split FOLDER/manifest.tsv voices.json
    python -m benchmarks.speech.voices measure RUN --data FOLDER

``split`` divides a table of recordings: 25 speakers for test and 25 others for dev are kept out of training
(seed 0), and of each other speaker two recordings each go to dev and test. So dev has speakers to choose the
weights by and new ones to calibrate on, and test has both too.

``measure`` compares all pairs of one new speaker of test with as many pairs of two (seed 0). It also says how
well new speakers are told from known ones: by the distance from the training data, by the probability of the
predicted speaker, and by the cosine to the nearest mean of a known speaker's embeddings.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from multiseq import load
from multiseq.data.readers import read_table
from multiseq.heads.verification import equal_error_rate, pairs_of
from multiseq.labels import class_name
from multiseq.runs.folder import read_run
from multiseq.runs.sources import read_split

app = typer.Typer(pretty_exceptions_enable=False)


def split_of(speakers: Sequence[str], *, kept: int = 25, each: int = 2) -> dict[str, Any]:
    """The row numbers of train, dev and test.

    Args:
        speakers: The speaker of each row.
        kept: So many speakers are only in test, and as many only in dev.
        each: So many recordings of each other speaker are in dev, and in test.
    """
    rows: dict[str, list[int]] = {}
    for row, speaker in enumerate(speakers):
        rows.setdefault(speaker, []).append(row)
    draw = random.Random(0)
    names = draw.sample(sorted(rows), len(rows))
    splits: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for number, name in enumerate(names):
        of_speaker = draw.sample(rows[name], len(rows[name]))
        if number < 2 * kept:
            splits["test" if number < kept else "dev"] += of_speaker
            continue
        splits["dev"] += of_speaker[:each]
        splits["test"] += of_speaker[each : 2 * each]
        splits["train"] += of_speaker[2 * each :]
    how = f"{kept} speakers are only in dev, {kept} only in test, {each} recordings of each other one in both"
    return {**{name: sorted(numbers) for name, numbers in splits.items()}, "rows": len(speakers), "how": how}


def told_apart(known: Tensor, new: Tensor) -> float:
    """How often a known item has a larger score than a new one (the area under the ROC curve)."""
    more = (known[:, None] > new).double() + 0.5 * (known[:, None] == new).double()
    return float(more.mean())


def pairs_of_new(target: Any, vectors: Tensor, speakers: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Pairs of recordings of unknown speakers: their cosines, and which are of one speaker.

    Args:
        target: The target of a task. It knows the speakers of training.
        vectors: The embedding of each recording, of length 1.
        speakers: The speaker of each.
    """
    new = [number for number, name in enumerate(speakers) if not target.knows(name)]
    first, second, same = pairs_of([speakers[number] for number in new])
    return (vectors[new][first] * vectors[new][second]).sum(-1), same


@app.command()
def split(
    manifest: Path,
    out: Path,
    column: str = "speaker",
    kept: Annotated[int, typer.Option(help="So many speakers are kept out for dev, and for test.")] = 25,
) -> None:
    """Write a split file: row numbers of train, dev and test."""
    speakers = list(map(str, read_table(manifest, input=column).items))
    out.write_text(json.dumps(split_of(speakers, kept=kept)))


@app.command()
def measure(
    run: Path,
    data: Annotated[Path | None, typer.Option(help="The folder of the data set.")] = None,
    task: str = "speaker",
) -> None:
    """Print the figures of a run on its test split."""
    model: Any = load(run)
    recipe = read_run(run)
    target = model.task(task).head.target
    of_split = {}
    for name in ("train", "test"):
        [source] = read_split(recipe, name, data, model)
        of_split[name] = source.items, [str(class_name(label)) for label in source.targets[task]]
    items, speakers = of_split["test"]
    vectors = model.task_embeddings(task, items)
    is_new = torch.tensor([not target.knows(name) for name in speakers])
    new = is_new.nonzero()[:, 0]
    cosines, same = pairs_of_new(target, vectors, speakers)
    rate, threshold = equal_error_rate(cosines, same)
    num_new = len({speakers[i] for i in new.tolist()})
    print(f"{num_new} new speakers, {len(new)} recordings, {len(same):,} pairs")
    print(f"equal error rate {rate:.2%}, at a cosine of {threshold:.3f}")
    if (known := target.verification) is not None:
        accepted = cosines >= known.threshold
        misses, alarms = 1 - accepted[same].double().mean(), accepted[~same].double().mean()
        shares = f"rejects {misses:.2%} of the same pairs, accepts {alarms:.2%} of the others"
        print(f"threshold of dev {known.threshold:.3f}: {shares}")
        loss = F.binary_cross_entropy_with_logits(
            known.slope * cosines.double() + known.intercept, same.double()
        )
        print(f"log loss of the probability {loss:.3f}; 0.693 if it were always one half")
    if bool(is_new.all()):
        return
    results = model.predict(task, items)
    right = [result.label == name for result, name in zip(results, speakers, strict=True)]
    of_known = [there for there, fresh in zip(right, is_new.tolist(), strict=True) if not fresh]
    print(f"known speakers: accuracy {sum(of_known) / len(of_known):.3f} of {len(of_known)}")
    heard, names = of_split["train"]
    owners = target.batch(names)
    of_heard = model.task_embeddings(task, heard)
    sums = torch.zeros(target.size, vectors.shape[1]).index_add_(0, owners, of_heard)
    scores = {
        "probability": torch.tensor([result.probability for result in results]),
        "cosine to the nearest speaker": (vectors @ F.normalize(sums, dim=-1).T).amax(1),
    }
    if results[0].distance is not None:
        scores["distance"] = -torch.tensor([result.distance for result in results])
        unlike = torch.tensor([result.unlike_training for result in results]).double()
        shares = f"{unlike[is_new].mean():.1%} of the new, {unlike[~is_new].mean():.1%} of the known"
        print(f"unlike the training data: {shares}")
    for name, score in scores.items():
        print(f"new told from known by {name}: AUROC {told_apart(score[~is_new], score[is_new]):.3f}")


if __name__ == "__main__":
    app()
