"""A stream has the numbers and the text of the whole recording, whatever the blocks of samples are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from typer.testing import CliRunner

from multiseq import (
    ClassTarget,
    CTCHead,
    Encoder,
    Model,
    SetHead,
    SpeechAdapter,
    Stream,
    Task,
    TextTarget,
    load,
)
from multiseq.adapters._speech.log_mel import log_mel, resample
from multiseq.adapters._speech.stream import FrameStream, Resampler
from multiseq.cli import app
from multiseq.streaming.encoder import EncoderStream

DIM, RATE = 16, 8000
TEXTS = ["a cab", "bad"]

RECIPE = """
[encoder]
dim = 16
depth = 2
heads = 2
window = 5
chunk = 3

[training]
steps = 4
max_vectors = 200

[adapters.speech]
sample_rate = 8000
n_mels = 20

[data.clips]
adapter = "speech"
format = "recordings"
file = "manifest.csv"
input = "file"
audio = "."
dev = 0.25

[tasks.said]
data = "clips"
output = "sequence"
target = "text"
tokens = "character"
column = "text"
head = { kind = "ctc" }
"""


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> Tensor:
    """Noise whose loudness changes, as speech's does."""
    samples = torch.randn(round(seconds * rate), generator=torch.Generator().manual_seed(seed)) / 10
    return samples * (1 + torch.sin(torch.arange(len(samples)) / rate * 20))


def made(
    *, subsample: int = 2, unit: str = "character", chunk: int | None = 4, window: int = 7, **options: Any
) -> Model:
    """A model that is not trained, and says much of nothing."""
    torch.manual_seed(1)
    adapter = SpeechAdapter.fit(
        [(noise(2.0), RATE)], dim=DIM, sample_rate=RATE, n_mels=20, subsample=subsample
    )
    head = CTCHead(DIM, TextTarget.fit(TEXTS, unit=unit))
    encoder = Encoder(DIM, 3, 2, window=window, chunk=chunk, **options)
    for parameter in encoder.bias.parameters():
        torch.nn.init.normal_(parameter)
    speaker = SetHead(DIM, ClassTarget(["a", "b"]))
    model = Model(
        {"speech": adapter}, encoder, {"said": Task("speech", head), "who": Task("speech", speaker)}
    )
    with torch.no_grad():  # each vector emits another token than the mean of all
        weight = head.read[1].weight.mul_(20.0)
        head.read[1].bias.copy_(-weight @ model.embed("speech", [(noise(2.0), RATE)])[0].pooled)
    return model.eval()


def blocks_of(samples: Tensor, seed: int, most: int = 3000) -> list[Tensor]:
    """The samples in blocks of random sizes, empty ones among them."""
    draw, blocks, place = random.Random(seed), [], 0
    while place < len(samples):
        size = draw.choice([0, 1, draw.randrange(200), draw.randrange(most)])
        blocks.append(samples[place : place + size])
        place += size
    return blocks


def logits_of(model: Model, call: Any) -> tuple[Tensor, Any]:
    """The logits of the head during a call, and what it returned."""
    seen: list[Tensor] = []
    head: Any = model.task("said").head
    hook = getattr(head, "ctc", head).read.register_forward_hook(lambda *args: seen.append(args[2]))
    result = call()
    hook.remove()
    return torch.cat([torch.zeros(0, model.task("said").head.target.size), *seen]), result


def streamed(model: Model, blocks: Sequence[Any], rate: int = RATE) -> tuple[Tensor, Any, list[str]]:
    """The logits, the final text, and the partial texts of a stream."""
    stream = Stream(model, "said", rate)

    def call() -> tuple[Any, list[str]]:
        parts = [stream.feed(block) for block in blocks]
        return stream.finish(), parts

    logits, (text, parts) = logits_of(model, call)
    return logits, text, parts


def assert_same(model: Model, samples: Tensor, blocks: Sequence[Any], rate: int = RATE) -> None:
    """The stream and the whole recording have the same logits, text and times."""
    wanted, [whole] = logits_of(model, lambda: model.predict("said", [(samples, rate)], times=True))
    logits, text, parts = streamed(model, blocks, rate)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=0)
    assert text.text == whole.text
    assert text.text.startswith("".join(parts))
    for ours, theirs in ((text.words, whole.words), (text.tokens, whole.tokens)):
        assert [word.text for word in ours] == [word.text for word in theirs]
        for word, other in zip(ours, theirs, strict=True):
            assert (word.start, word.end) == pytest.approx((other.start, other.end))
            assert word.confidence == pytest.approx(other.confidence, abs=1e-4)
    assert text.score <= whole.score + 1e-3  # of one path, and of all


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        {"subsample": 1},
        {"subsample": 2, "relative_bias": True},
        {"subsample": 4, "unit": "piece"},
        {"chunk": 1, "window": 1},
        {"chunk": 30, "window": 3},
        {"chunk": 5, "window": 100, "gated": False},
    ],
)
def test_a_stream_is_the_whole_recording(options: dict[str, Any], seed: int) -> None:
    model, samples = made(**options), noise(1.7 + 0.113 * seed, seed=seed)
    assert_same(model, samples, blocks_of(samples, seed))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 11025, 6000])
def test_other_sample_rates(rate: int) -> None:
    model, samples = made(), noise(1.3, rate)
    assert_same(model, samples, blocks_of(samples, 0), rate)


@pytest.mark.parametrize("length", [0, 1, 79, 80, 81, 159, 161, 640, 641, 960])
def test_short_recordings(length: int) -> None:
    """From no sample to a chunk and a half; a chunk has 640 samples."""
    model, samples = made(), noise(1.0)[:length]
    assert_same(model, samples, [samples])
    assert_same(model, samples, list(samples.split(100)))


def test_a_recording_that_ends_with_a_chunk_or_within_one() -> None:
    model = made()
    for vectors in (8, 11, 12):
        samples = noise(1.0)[: vectors * 160]
        logits, _, _ = streamed(model, list(samples.split(333)))
        assert len(logits) == vectors
        assert_same(model, samples, list(samples.split(333)))


def test_the_delay_is_what_it_says() -> None:
    """The first chunk is there after so many seconds, and not a sample before."""
    for subsample, rate in ((1, RATE), (2, RATE), (4, RATE)):
        model = made(subsample=subsample)
        stream, samples = Stream(model, "said", rate), noise(1.0, rate)
        needed = round(stream.delay * rate)
        assert needed / rate == pytest.approx(stream.delay)
        before, _ = logits_of(model, lambda: stream.feed(samples[: needed - 1]))  # noqa: B023
        after, _ = logits_of(model, lambda: stream.feed(samples[needed - 1 : needed]))  # noqa: B023
        assert (len(before), len(after)) == (0, 4)
    # 4 vectors of 20 ms, 2 more that the convolutions see, and one frame that the window sees.
    assert Stream(made(), "said", RATE).delay == pytest.approx(0.08 + 0.04 + 0.01)
    at_44100 = Stream(made(), "said", 44100)
    logits, _ = logits_of(at_44100._model, lambda: at_44100.feed(noise(at_44100.delay, 44100)))
    assert len(logits) == 4
    assert 0.13 < at_44100.delay < 0.2


def test_integers_lists_and_arrays_are_samples() -> None:
    model = made()
    integers = (noise(0.5) * 32767).round().to(torch.int16)
    floats = integers.float() / 32768
    wanted = streamed(model, [floats])[1]
    for block in (integers, integers.numpy(), floats.tolist(), floats.double().numpy(), floats[:, None]):
        assert streamed(model, [block])[1] == wanted
    assert wanted.text


def test_partial_texts_are_parts_of_the_text() -> None:
    model, samples = made(), noise(3.0, seed=5)
    _, text, parts = streamed(model, list(samples.split(800)))
    assert sum(map(bool, parts)) > 5
    assert text.text.startswith("".join(parts))
    assert all(word.end <= 3.0 for word in text.words)


def test_a_long_stream_keeps_little() -> None:
    """Keys and values of 7 vectors, and less samples and frames than two chunks need."""
    stream = Stream(made(), "said", RATE)
    for _ in range(20):
        stream.feed(noise(1.0))
    assert [len(keys) for keys, _ in stream._encoder._kept] == [7, 7, 7]
    assert len(stream._vectors._held) < 20
    assert len(stream._vectors._frames._held) < 400


@pytest.mark.parametrize("head", ['{ kind = "ctc" }', '{ kind = "joint", depth = 1, heads = 2 }'])
def test_a_recipe_trains_a_model_for_streams(tmp_path: Path, head: str) -> None:
    """From a recipe with two more options to the text of a stream."""
    for i, text in enumerate(TEXTS * 4):
        soundfile.write(tmp_path / f"{i}.wav", noise(0.6, seed=i).numpy(), RATE)
        with (tmp_path / "manifest.csv").open("a") as file:
            file.write(f"{i},{text}\n" if i else f"file,text\n{i},{text}\n")
    (tmp_path / "recipe.toml").write_text(RECIPE.replace('{ kind = "ctc" }', head))
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.toml"), "--out", str(out)])
    assert done.exit_code == 0, (done.output, done.exception)
    model = load(out)
    assert isinstance(model, Model)
    assert (model.encoder.chunk, model.encoder.window) == (3, 5)
    samples = noise(1.1, seed=3)
    options = {"ctc_weight": 1.0} if "joint" in head else {}
    logits, text, _ = streamed(model, blocks_of(samples, 0))
    wanted, [whole] = logits_of(model, lambda: model.predict("said", [(samples, RATE)], **options))
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=0)
    assert text.text == whole.text


@pytest.mark.parametrize("rate", [16000, 44100, 7000])
def test_blocks_are_resampled_as_the_whole(rate: int) -> None:
    from fractions import Fraction

    ratio, samples = Fraction(rate, 8000), noise(0.6, rate)
    resampler = Resampler(ratio)
    parts = [resampler(block) for block in blocks_of(samples, 1)]
    parts.append(resampler(samples[:0], last=True))
    torch.testing.assert_close(torch.cat(parts), resample(samples, ratio), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 16000])
def test_frames_of_blocks_are_those_of_the_whole(rate: int) -> None:
    samples, frames = noise(0.6, rate), FrameStream(rate, rate, 8)
    parts = [frames(block) for block in blocks_of(samples, 2, 500)]
    parts.append(frames(samples[:0], last=True))
    torch.testing.assert_close(torch.cat(parts), log_mel(samples, rate, 8), atol=1e-4, rtol=0)


def test_wrong_use_says_what_to_do() -> None:
    model = made()
    with pytest.raises(ValueError, match=r"expected one with chunks; train it with window and chunk"):
        Stream(made(chunk=None), "said", RATE)
    with pytest.raises(ValueError, match="got 'who' with a SetHead on a SpeechAdapter"):
        Stream(model, "who", RATE)
    with pytest.raises(ValueError, match="got 'x', expected one of said, who"):
        Stream(model, "x", RATE)
    with pytest.raises(ValueError, match="got a rate of 16, expected samples per second"):
        Stream(model, "said", 16)
    stream = Stream(model, "said", RATE)
    with pytest.raises(ValueError, match="got samples up to nan"):
        stream.feed(np.array([0.1, np.nan]))
    assert stream.finish().text == ""
    with pytest.raises(ValueError, match="it is finished; begin a new Stream"):
        stream.feed([0.0])
    with pytest.raises(ValueError, match="expected one with chunks"):
        EncoderStream(Encoder(8, 1, 2, window=3))
