"""Recordings of more than a minute: cut at pauses, read piece by piece, and put together again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor
from typer.testing import CliRunner

from multiseq import (
    CTCHead,
    DecoderHead,
    Encoder,
    Model,
    Source,
    SpeechAdapter,
    Task,
    TextTarget,
    save,
    train,
)
from multiseq.adapters import speech
from multiseq.adapters._speech.log_mel import Stretches
from multiseq.adapters._speech.pauses import cut_at_pauses, quietest
from multiseq.adapters.speech import AudioSegment
from multiseq.cli import app
from multiseq.model import Whole
from multiseq.protocols import LongItem

RATE, DIM = 8000, 32
HERTZ = {"low": 300.0, "mid": 900.0, "top": 2500.0}
PAUSE, TONE = 0.3, 0.2
"""Seconds before each clip, and of each tone."""


def clip(*names: str) -> Tensor:
    """A pause, and tones one after another."""
    times = torch.arange(round(TONE * RATE)) / RATE
    tones = [0.3 * torch.sin(2 * math.pi * HERTZ[name] * times) for name in names]
    return torch.cat([torch.zeros(round(PAUSE * RATE)), *tones])


def clips(number: int, seed: int) -> list[tuple[str, ...]]:
    """The tones of some clips: three in each, and no two equal ones in a row."""
    generator, names, found = torch.Generator().manual_seed(seed), list(HERTZ), []
    for _ in range(number):
        numbers = [int(torch.randint(3, (), generator=generator))]
        while len(numbers) < 3:
            numbers.append((numbers[-1] + 1 + int(torch.randint(2, (), generator=generator))) % 3)
        found.append(tuple(names[n] for n in numbers))
    return found


def text_of(chosen: list[tuple[str, ...]]) -> str:
    return " ".join(" ".join(names) for names in chosen)


def samples_of(chosen: list[tuple[str, ...]]) -> Tensor:
    samples = torch.cat([*(clip(*names) for names in chosen), torch.zeros(round(PAUSE * RATE))])
    return samples + torch.randn(len(samples), generator=torch.Generator().manual_seed(1)) / 1000


@pytest.fixture(scope="module")
def model() -> Model:
    """It names tones, and is trained on recordings of one to four clips."""
    torch.manual_seed(0)
    chosen = [clips(1 + i % 4, seed=i) for i in range(24)]
    items = [(samples_of(one), RATE) for one in chosen]
    adapter = SpeechAdapter.fit(items, dim=DIM, n_mels=20, sample_rate=RATE, subsample=4, specaugment=False)
    head = CTCHead(DIM, TextTarget.fit(HERTZ, unit="piece"))
    model = Model({"speech": adapter}, Encoder(DIM, 1, 2, window=8), {"said": Task("speech", head)})
    train(
        model,
        [Source("speech", items, {"said": list(map(text_of, chosen))})],
        steps=150,
        lr=5e-3,
        progress=False,
    )
    return model.eval()


CHOSEN = clips(150, seed=99)
"""135 seconds."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(file, samples_of(CHOSEN).numpy(), RATE)
    return file


def pieces_of(adapter: Any, item: Any) -> list[Any]:
    pieces = adapter.in_pieces(item)
    assert isinstance(pieces, LongItem)
    return list(pieces)


# --- cutting ----------------------------------------------------------------------------------------


def test_the_quietest_place_by_hand() -> None:
    loud = torch.ones(40)
    loud[4:8] = loud[22:26] = 0.0  # the first half is not looked at
    assert quietest(loud, step=1, around=4) == 24
    loud[30:36] = 0.0  # two more places, and the last counts
    assert quietest(loud, step=1, around=4) == 34
    assert quietest(loud, step=2, around=2) == 34
    assert quietest(torch.ones(4), step=4, around=2) == 4  # never no progress


def test_pieces_are_the_whole_and_end_in_pauses() -> None:
    samples = samples_of(clips(40, seed=2))
    cut = [
        *cut_at_pauses(Stretches(samples.split(777)), len(samples), longest=80000, step=80, sample_rate=RATE)
    ]
    assert torch.cat([piece for _, piece in cut]).equal(samples)
    assert [first for first, _ in cut] == [0, *torch.tensor([len(p) for _, p in cut]).cumsum(0).tolist()][:-1]
    assert all(40000 <= len(piece) <= 80000 for _, piece in cut[:-1])
    for first, _ in cut[1:]:
        assert samples[first - 800 : first + 800].abs().max() < 0.02  # a tenth of a second on either side


def test_only_recordings_of_more_than_a_minute_are_cut() -> None:
    adapter: Any = SpeechAdapter([0.0] * 20, [1.0] * 20, 8, sample_rate=RATE)
    noise = torch.randn(61 * RATE, generator=torch.Generator().manual_seed(0)) / 10
    [whole] = adapter.in_pieces((noise[: 60 * RATE], RATE))
    assert whole.seconds == 60
    found = pieces_of(adapter, (noise, RATE))
    assert all(15 <= piece.seconds <= 30 for piece in found[:-1])
    assert sum(piece.seconds for piece in found) == pytest.approx(61)
    assert [piece.start for piece in found[1:]] == [adapter.num_vectors(a) + a.start for a in found[:-1]]
    assert {piece.total for piece in found} == {3050}
    short: Any = SpeechAdapter([0.0] * 20, [1.0] * 20, 8, sample_rate=RATE, chunk_seconds=5.0)
    assert max(piece.seconds for piece in pieces_of(short, (noise, RATE))) <= 5
    at_44100 = pieces_of(adapter, (torch.randn(61 * 44100) / 10, 44100))
    assert sum(piece.seconds for piece in at_44100) == pytest.approx(61)


# --- prediction -------------------------------------------------------------------------------------


def test_a_long_recording_is_its_clips(model: Model, long: Path) -> None:
    single = [(samples_of([names]), RATE) for names in CHOSEN]
    assert [text.text for text in model.predict("said", single)] == [text_of([names]) for names in CHOSEN]
    [text] = model.predict("said", [long], times=True)
    assert text.text == text_of(CHOSEN)
    assert [word.text for word in text.words] == text.text.split()
    for number, word in enumerate(text.words):  # CTC emits within, or a little beside, the sound
        begin = number // 3 * (PAUSE + 3 * TONE) + PAUSE + number % 3 * TONE
        assert begin - 0.1 <= word.start < word.end <= begin + TONE + 0.1


def test_a_known_text_is_aligned_as_the_text_that_is_found(model: Model) -> None:
    single = [(samples_of([names]), RATE) for names in CHOSEN]
    found = model.predict("said", single, times=True)
    aligned = model.align("said", single, [text.text for text in found])
    for a, b in zip(aligned, found, strict=True):
        assert (a.text, a.words, a.score) == (b.text, b.words, pytest.approx(b.score, abs=1e-3))
    with pytest.raises(ValueError, match=f"texts: got 1 for {len(single)} items, expected one for each"):
        model.align("said", single, ["one"])
    with pytest.raises(ValueError, match=r"text 'abc.*: got .* vectors, .* tokens"):
        model.align("said", single[:1], ["abc" * 999])


def test_it_equals_its_pieces(model: Model, long: Path) -> None:
    pieces = pieces_of(model.adapter("speech"), long)
    starts = [piece.start * 0.04 for piece in pieces]
    assert len(pieces) > 4
    assert all(15 <= b - a <= 30 for a, b in pairwise(starts))
    items = [AudioSegment(long, a, b) for a, b in zip(starts, [*starts[1:], None], strict=True)]
    parts = model.predict("said", items, times=True)
    [text] = model.predict("said", [long], times=True)
    assert text.text == " ".join(part.text for part in parts)
    assert text.score == pytest.approx(sum(part.score for part in parts), abs=1e-3)
    words = [(w.text, w.start + a) for part, a in zip(parts, starts, strict=True) for w in part.words]
    assert [word.text for word in text.words] == [word for word, _ in words]
    assert [word.start for word in text.words] == pytest.approx([start for _, start in words])
    [best] = model.predict("said", [long], num_beams=4, n_best=2)
    assert [len(best.n_best), best.n_best[0].text] == [2, best.text]


def test_no_batch_holds_more_than_it_may(model: Model, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, run = [], Model.run_prepared

    def watched(self: Model, name: str, pieces: Any, *more: Any, **options: Any) -> Any:
        seen.append([self.adapter(name).num_vectors(example) for examples in pieces for example in examples])
        return run(self, name, pieces, *more, **options)

    monkeypatch.setattr(Model, "run_prepared", watched)
    [[(whole, _)]] = model.run("said", [long], max_vectors=1000)
    assert isinstance(whole, Whole)
    assert whole.seconds == pytest.approx(150 * 0.9 + 0.3)
    assert sum(map(sum, seen)) == 3383
    assert max(map(sum, seen)) < 1000 + 750  # a piece of half a minute has 750


@pytest.fixture
def run(model: Model, long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    save(model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["predict", str(tmp_path / "model"), *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return call


def test_the_command_line(run: Callable[..., str], long: Path, tmp_path: Path) -> None:
    [found] = json.loads(run(str(long), "--json"))
    assert found["text"] == text_of(CHOSEN)
    assert len(found["words"]) == 450
    assert run(str(long)).startswith(found["text"])
    (tmp_path / "list.csv").write_text(f"file\n{long}\n{long}\n")
    run("--input", "list.csv", "--output", "out.jsonl", "--set", "format=table", "--column", "file")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in rows] == [found["text"]] * 2
    run("--input", str(long), "--output", "out.TextGrid")
    assert "xmax = 135.3" in Path("out.TextGrid").read_text()


def test_an_error_far_into_a_recording_names_it(
    model: Model, run: Callable[..., str], tmp_path: Path
) -> None:
    samples = samples_of(CHOSEN)
    samples[110 * RATE] = math.nan
    soundfile.write(tmp_path / "bad.wav", samples.numpy(), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "good.wav", samples_of(CHOSEN[:2]).numpy(), RATE)
    with pytest.raises(ValueError, match=r"bad\.wav: got samples up to nan"):
        model.predict("said", [tmp_path / "bad.wav"])
    assert "bad.wav: got samples up to nan" in run("bad.wav", code=1)
    lines = run("bad.wav", "good.wav", "--on-error", "skip")
    assert "bad.wav: error: got samples up to nan" in lines
    assert text_of(CHOSEN[:2]) in lines


def test_a_decoder_reads_pieces_too(long: Path) -> None:
    adapter = SpeechAdapter([0.0] * 20, [1.0] * 20, 8, sample_rate=RATE, subsample=4)
    head = DecoderHead(8, TextTarget.fit(["ab"], unit="character"), depth=1, heads=2, max_length=3)
    decoder = Model({"speech": adapter}, Encoder(8, 1, 2), {"said": Task("speech", head)})
    [[(whole, text)]] = decoder.run("said", [long])
    assert isinstance(whole, Whole)
    parts = [decoder.run_task("said", [[piece]])[0][0][1] for piece in pieces_of(adapter, long)]
    assert text.text == " ".join(part.text for part in parts if part.text)


def test_the_constants_are_those_of_the_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "speech.md"
    assert "more than a minute" in page.read_text(encoding="utf-8")
    assert (speech.LONG, speech.PIECE) == (60, 30)
