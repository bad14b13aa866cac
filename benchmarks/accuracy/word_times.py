"""How far the times of words are from marks by hand: ours, and torchaudio's aligner on the same model.

    python -m benchmarks.accuracy.word_times RUN --data FOLDER_OF_TIMIT

RUN is a run of ``timit-words.toml``. The texts of its test recordings are known; `multiseq.Model.align` says
when each word begins and ends, and so does ``torchaudio.functional.forced_align`` from the probabilities of
the same model, one recording at a time. TIMIT's ``.wrd`` files have the times that people marked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchaudio

import multiseq
from benchmarks.timing import median
from multiseq import Model
from multiseq.data.readers import read_timit
from multiseq.results import Text, timed
from multiseq.runs.recipe import Recipe, read

TASK = "said"


def marked(recipe: Recipe, data: Path) -> tuple[list[Any], list[list[tuple[float, float, str]]]]:
    """The recordings of the test split, and the words of each with start and end in seconds."""
    spec = recipe.tables["data"]["recordings"]
    records = read_timit(data, sa=spec["sa"], test_of=spec["test_of"], dev_of=spec["dev_of"])
    test = [i for i, split in enumerate(records.columns["split"]) if split == "test"]
    return [records.items[i] for i in test], [records.columns["words"][i] for i in test]


def by_torchaudio(model: Model, items: Sequence[Any], texts: Sequence[str]) -> list[Text]:
    """What `multiseq.Model.align` gives, with the paths of torchaudio's aligner."""
    head: Any = model.task(TASK).head
    adapter: Any = model.adapter("speech")
    found = []
    for item, text in zip(items, texts, strict=True):
        [example] = adapter.prepare(item)
        [(_, sets)] = model.encoded("speech", [[example]])
        with torch.inference_mode():
            log_probs = head(sets)
        tokens = head.target.encode(text)
        path, scores = torchaudio.functional.forced_align(
            log_probs[None], tokens[None], blank=head.target.blank
        )
        spoken = head.timed(Text(text, 0.0), path[0], scores[0].exp())
        found.append(timed(spoken, adapter.edges(example)))
    return found


def distances(
    found: Sequence[Text], words: Sequence[Sequence[tuple[float, float, str]]]
) -> tuple[list[float], list[float]]:
    """How far the start and the end of each word are from the marks, in seconds."""
    starts, ends = [], []
    for text, of_text in zip(found, words, strict=True):
        for word, (start, end, _) in zip(text.words, of_text, strict=True):
            starts.append(abs(word.start - start))
            ends.append(abs(word.end - end))
    return starts, ends


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run of timit-words.toml")
    parser.add_argument("--data", type=Path, required=True, help="the folder of TIMIT")
    given = parser.parse_args()
    model: Any = multiseq.load(given.run)
    items, words = marked(read(given.run / "recipe.toml"), given.data)
    texts = [" ".join(word for _, _, word in of_text) for of_text in words]
    print(f"{len(items)} recordings, {sum(map(len, words)):,} words")
    print("| aligner | start, mean ms | median | end, mean ms | median | within 50 ms | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, align in (
        ("multiseq, all at once", lambda: model.align(TASK, items, texts)),
        ("torchaudio, one at a time", lambda: by_torchaudio(model, items, texts)),
    ):
        align()
        began = time.perf_counter()
        found = align()
        seconds = time.perf_counter() - began
        starts, ends = distances(found, words)
        near = sum(x <= 0.05 for x in starts) / len(starts)
        means = [f"{1000 * sum(x) / len(x):.0f} | {1000 * median(x):.0f}" for x in (starts, ends)]
        print(f"| {name} | {' | '.join(means)} | {near:.0%} of starts | {seconds:.1f} |")


if __name__ == "__main__":
    main()
