"""Recognition of recordings: real-time factor of files and of streams, and memory of a file of hours.

The model has the size of the recipe `mboshi`. Its weights are random, which changes no time: only the bias of
the blank is set, so that one vector in three emits a token, about as in speech. The sound is noise with
pauses. A real-time factor is the seconds of computing for each second of sound, with everything from the file
to the words and their times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.process import in_fresh_process, peak_of, resident
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import median
from multiseq import CTCHead, Encoder, Model, SpeechAdapter, Stream, Task, TextTarget
from multiseq.requires import need

__all__ = ["measure"]

QUICK = bool(os.environ.get("MULTISEQ_QUICK"))
"""Short recordings, to see that it runs."""

CLIP, FILE, HOURS = (1.0, 2.0, 62.0) if QUICK else (10.0, 300.0, 3 * 3600.0)
"""Seconds of a clip, of a longer file, and of the file whose memory is measured."""
ROUNDS = 1 if QUICK else 3
RATE, BLOCK = 16000, 1600
"""Hz; and samples that a stream gets at a time, a tenth of a second."""
DIM, DEPTH, HEADS, WINDOW, CHUNK = 160, 4, 4, 32, 16
TALK, PAUSE = 2.3, 0.4
"""Seconds."""
EMITTED = 1 / 3
"""The share of vectors that emit a token."""


def measure(setting: Setting) -> list[Table]:
    """A table of times, and one of memory. Each is measured in a process of its own."""
    threads = torch.get_num_threads()
    times = in_fresh_process(_times, threads)
    memory = in_fresh_process(_memory, threads)
    size = f"dim {DIM}, depth {DEPTH}, a vector each 40 ms, {threads} threads"
    return [
        Table(
            "recordings",
            f"Recognition by CTC, {size}: seconds for each second of sound",
            times,
            "'not the encoder': the share of the time outside of the encoder's blocks: reading, features, "
            "the stem, the head, words and their times. 'of one core': seconds of the processor for each "
            "second of sound, which other programs hardly change. 'delay': seconds from what is said to its "
            "text, without the time of computing.",
        ),
        Table(
            "recordings_memory",
            f"Recognition of a file of {HOURS / 3600:.3g} hours, {size}",
            memory,
            "'MiB above the model': beyond what the process had after loading the model. 'MiB in all': with "
            "Python and torch.",
        ),
    ]


def _model(chunk: int | None) -> Model:
    """A model that is not trained."""
    torch.manual_seed(0)
    adapter = SpeechAdapter.fit([(_sound(0, 10 * RATE), RATE)], dim=DIM, subsample=4)
    head: Any = CTCHead(DIM, TextTarget.fit(["abcdefghijklmnopqrstuvwxyz '"], unit="character"))
    encoder = Encoder(DIM, DEPTH, HEADS, window=WINDOW, chunk=chunk)
    model = Model({"speech": adapter}, encoder, {"said": Task("speech", head)}).eval()
    layer = head.read[1]
    with torch.no_grad():
        logits = layer(model.embed("speech", [(_sound(0, 10 * RATE), RATE)])[0].vectors)
        others = logits[:, 4:].amax(1) - logits[:, head.target.blank]
        layer.bias[head.target.blank] += others.quantile(1 - EMITTED)
    return model


def _sound(first: int, last: int) -> Tensor:
    """Samples from one number to another: noise, which pauses."""
    generator = torch.Generator().manual_seed(first)
    samples = torch.randn(last - first, generator=generator) / 10
    places = torch.arange(first, last) % round((TALK + PAUSE) * RATE)
    return (samples * (places < TALK * RATE).float().clamp(min=0.01)).clamp(-1, 1)


def _write(path: Path, seconds: float) -> Path:
    """A wav file, written block by block."""
    with need("soundfile").SoundFile(path, "w", RATE, 1) as file:
        for first in range(0, round(seconds * RATE), RATE * 60):
            file.write(_sound(first, min(first + RATE * 60, round(seconds * RATE))).numpy())
    return path


# --- times ------------------------------------------------------------------------------------------------


def _times(threads: int) -> list[dict[str, Cell]]:
    torch.set_num_threads(threads)
    whole, chunked = _model(None), _model(CHUNK)
    with TemporaryDirectory() as folder:
        clip, file = (_write(Path(folder, f"{s}.wav"), s) for s in (CLIP, FILE))
        samples = _sound(0, round(min(FILE, 60.0) * RATE))
        return [
            _row(f"a file of {CLIP:g} s", whole, CLIP, partial(_predict, whole, clip)),
            _row(f"a file of {FILE:g} s", whole, FILE, partial(_predict, whole, file)),
            _row(f"a file of {FILE:g} s, in chunks", chunked, FILE, partial(_predict, chunked, file)),
            _row(
                f"a stream, {BLOCK / RATE:g} s at a time",
                chunked,
                len(samples) / RATE,
                partial(_stream, chunked, samples),
                delay=Stream(chunked, "said", RATE).delay,
            ),
        ]


def _row(
    name: str, model: Model, seconds: float, run: Callable[[], object], delay: float | None = None
) -> dict[str, Cell]:
    run()
    factors, cores, shares = [], [], []
    for _ in range(ROUNDS):
        with _timed_encoder(model) as inside:
            begin, begin_cores = time.perf_counter(), time.process_time()
            run()
            taken = time.perf_counter() - begin
        factors.append(taken / seconds)
        cores.append((time.process_time() - begin_cores) / seconds)
        shares.append(1 - sum(inside) / taken)
    shown = "" if delay is None else f"{delay:.2f}"
    return {
        "recording": name,
        "real-time factor": round(median(factors), 4),
        "times as fast as speech": round(1 / median(factors)),
        "of one core": round(median(cores), 4),
        "not the encoder": f"{median(shares):.0%}",
        "delay": shown,
    }


@contextmanager
def _timed_encoder(model: Model) -> Iterator[list[float]]:
    """A list that gets the seconds of each pass through the blocks of the encoder."""
    taken: list[float] = []
    begun: list[float] = []
    encoder: Any = model.encoder
    hooks = [
        encoder.blocks[0].attention_norm.register_forward_pre_hook(
            lambda *_: begun.append(time.perf_counter())
        ),
        encoder.norm.register_forward_hook(lambda *_: taken.append(time.perf_counter() - begun.pop())),
    ]
    yield taken
    for hook in hooks:
        hook.remove()


def _predict(model: Model, file: Path) -> None:
    model.predict("said", [file], times=True)


def _stream(model: Model, samples: Tensor) -> None:
    stream = Stream(model, "said", RATE)
    for block in samples.split(BLOCK):
        stream.feed(block)
    stream.finish()


# --- memory -----------------------------------------------------------------------------------------------


def _memory(threads: int) -> list[dict[str, Cell]]:
    torch.set_num_threads(threads)
    model = _model(None)
    with TemporaryDirectory() as folder:
        _predict(model, _write(Path(folder, "clip.wav"), CLIP))  # loads the libraries that it needs
        file = _write(Path(folder, "long.wav"), HOURS)
        before, begin = resident(), time.perf_counter()
        mib = peak_of(lambda: _predict(model, file), torch.device("cpu"))
        taken = time.perf_counter() - begin
    return [
        {
            "hours": round(HOURS / 3600, 2),
            "MiB above the model": round(mib),
            "MiB in all": round(before + mib),
            "seconds": round(taken),
            "real-time factor": round(taken / HOURS, 4),
        }
    ]
