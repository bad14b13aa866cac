"""`multiseq predict` of a recognition of speech: words with times, in every format, and how to search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

import multiseq
from multiseq.adapters import SpeechAdapter
from multiseq.checkpoint import save
from multiseq.cli import app
from multiseq.data.textgrids import tiers_of
from multiseq.heads.ctc import CTCHead
from multiseq.heads.joint import JointHead
from multiseq.heads.per_set import SetHead
from multiseq.heads.targets import ClassTarget
from multiseq.heads.text_target import TextTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.results import Spoken
from multiseq.runs.writers import srt, vtt
from multiseq.tasks import Task

DIM, RATE = 8, 8000


def noise(path: Path, seconds: float, seed: int = 0) -> Path:
    samples = torch.randn(int(seconds * RATE), generator=torch.Generator().manual_seed(seed)) / 10
    soundfile.write(path, samples.numpy(), RATE)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not trained, and says much of nothing."""
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("saved")
    item = str(noise(where / "noise.wav", 0.6))
    adapter = SpeechAdapter.fit([item], dim=DIM, sample_rate=RATE, n_mels=20, chunk_seconds=1.0)
    head = CTCHead(DIM, TextTarget.fit(["ab ba"], unit="character"))
    tasks = {"heard": Task("speech", head), "speaker": Task("speech", SetHead(DIM, ClassTarget(["a", "b"])))}
    model = Model({"speech": adapter}, Encoder(DIM, 1, 2), tasks)
    with torch.no_grad():  # each vector emits another token than the mean of all
        weight = head.read[1].weight.mul_(20.0)
        head.read[1].bias.copy_(-weight @ model.embed("speech", [item])[0].pooled)
    save(model, where / "model")
    return where / "model"


@pytest.fixture(scope="module")
def model(saved: Path) -> Model:
    return multiseq.load(saved)


@pytest.fixture
def predict(
    saved: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`multiseq predict` in an empty folder with the recordings a.wav and b.wav."""
    monkeypatch.setattr("multiseq.checkpoint.load", lambda run: model)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new").mkdir()
    noise(tmp_path / "new" / "a.wav", 0.613, seed=1)
    noise(tmp_path / "new" / "b.wav", 1.5, seed=2)  # two chunks

    def call(*arguments: str, task: str = "heard", code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["predict", str(saved), "--task", task, *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return call


def test_words_have_seconds(model: Model, predict: Callable[..., Result]) -> None:
    item = "new/b.wav"
    [text] = model.predict("heard", [item], times=True)
    assert [word.text for word in text.words] == text.text.split()
    times = [time for token in text.tokens for time in (token.start, token.end)]
    assert times == sorted(times)
    assert 1.2 < times[-1] <= 1.5  # of the second chunk too
    assert all(abs(time / 0.02 - round(time / 0.02)) < 1e-6 for time in times)
    first, second = model.adapter("speech").prepare(item)
    assert (first.seconds, second.start) == (0.76, 38)
    edges = model.adapter("speech").edges(second)  # type: ignore[attr-defined]
    assert edges[0] == pytest.approx(0.76)
    assert edges[-1] == pytest.approx(1.5)
    assert model.predict("heard", [item])[0].words == ()


def test_printed_words(model: Model, predict: Callable[..., Result]) -> None:
    [text] = model.predict("heard", ["new/a.wav"], times=True)
    lines = predict("new/a.wav").stdout.splitlines()
    assert lines[0] == f"{text.text}  (log-probability {text.score:.1f})"
    shown = [f"{w.start:.2f}-{w.end:.2f} s  {w.text}  ({w.confidence:.0%})" for w in text.words]
    assert lines[1:] == shown
    assert shown
    [found] = json.loads(predict("new/a.wav", "--json", "--decode", "n_best=3").stdout)
    assert [word["text"] for word in found["words"]] == found["text"].split()
    assert len(found["n_best"]) == 3
    assert found["n_best"][0] == {"text": found["text"], "score": found["score"]}
    assert predict("new/a.wav", "--decode", "n_best=2").stdout.splitlines()[1].startswith("or  ")
    assert len(predict("new/a.wav", "--decode", "times=false").stdout.splitlines()) == 1


def test_tables_have_words_and_other_texts(predict: Callable[..., Result]) -> None:
    predict("--input", "new", "--output", "out.jsonl", "--n-best", "2")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["file", "prediction", "confidence", "n_best", "words"]] * 2
    assert [" ".join(w["text"] for w in row["words"]) for row in rows] == [
        " ".join(row["prediction"].split()) for row in rows
    ]
    assert [len(row["n_best"]) for row in rows] == [2, 2]


def test_files_of_words(predict: Callable[..., Result]) -> None:
    found = json.loads(predict("new/a.wav", "new/b.wav", "--json").stdout)
    words = found[0]["words"]
    predict("--input", "new/a.wav", "--output", "a.TextGrid")
    tiers = tiers_of(Path("a.TextGrid").read_text())
    assert [tier.name for tier in tiers] == ["heard", "confidence"]
    intervals = tiers[0].intervals or []
    assert [(i.start, i.end, i.text) for i in intervals if i.text] == [
        (w["start"], w["end"], w["text"]) for w in words
    ]
    assert intervals[0].start == 0
    assert intervals[-1].end == pytest.approx(0.613)  # intervals fill the recording
    predict("--input", "new", "--output", "all.ctm")
    lines = Path("all.ctm").read_text().splitlines()
    assert len(lines) == sum(len(one["words"]) for one in found)
    name, channel, start, seconds, word, _ = lines[0].split()
    assert (name, channel, word) == ("a", "1", words[0]["text"])
    assert float(start) == words[0]["start"]
    assert float(seconds) == pytest.approx(words[0]["end"] - words[0]["start"], abs=1e-6)
    predict("--input", "new", "--output", "subtitles/*.srt")
    assert sorted(p.name for p in Path("subtitles").iterdir()) == ["a.srt", "b.srt"]
    assert Path("subtitles/a.srt").read_text().startswith("1\n00:00:00,")
    predict("--input", "new/a.wav", "--output", "a.vtt")
    assert Path("a.vtt").read_text().startswith("WEBVTT\n\n00:00:00.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--output", "all.srt"],
            "got 2 recordings, expected one; give a folder for several: --output 'all/*",
        ),
        (["--output", "all/*.csv"], "a folder has a TextGrid or subtitles for each recording; name a file"),
        (
            ["--output", "all.ctm", "--decode", "beams=3"],
            "--decode: no key 'beams' (did you mean 'num_beams'?)",
        ),
        (["--output", "all.ctm", "--decode", "beams"], "--decode beams: expected key=value"),
        (["--output", "all.ctm", "--decode", "num_beams=0"], "--decode num_beams: got 0, expected"),
        (["--output", "-.srt"], ".srt is not written to standard output; name a file"),
    ],
)
def test_what_is_refused(predict: Callable[..., Result], arguments: list[str], message: str) -> None:
    assert message in predict("--input", "new", *arguments, code=1).stderr


def test_a_task_without_times(predict: Callable[..., Result]) -> None:
    message = predict("--input", "new", "--output", "all.ctm", task="speaker", code=1).stderr
    assert ".ctm needs a task with a label for each span of a recording, or a text by CTC" in message


RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 4

[adapters.speech]
sample_rate = 8000
n_mels = 20

[data.clips]
adapter = "speech"
format = "recordings"
file = "manifest.csv"
input = "file"
audio = "."
split_column = "split"

[tasks.said]
data = "clips"
output = "sequence"
target = "text"
tokens = "character"
column = "text"
head = { kind = "joint", ctc_weight = 0.4, depth = 1, heads = 2 }
decode = { num_beams = 3 }
metric = "character_error_rate"
"""


def test_a_recipe_of_ctc_and_a_decoder_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the recipe to words with times. A recording that is too short for its text in CTC is named."""
    rows = [f"{i},{split},ab ba" for i, split in enumerate(["train"] * 4 + ["dev"] * 2)]
    rows = ["file,split,text", *rows, "6,train,ab ab ab ab ab ab ab ab"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    for i in range(7):
        noise(tmp_path / f"{i}.wav", 0.4, seed=i)
    (tmp_path / "joint.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    with pytest.warns(UserWarning, match="manifest.csv:8"):
        call("train", "joint.toml", "--out", "run")
    model = multiseq.load(tmp_path / "run")
    head = model.task("said").head
    assert isinstance(head, JointHead)
    assert (head.ctc_weight, head.decoder.depth) == (0.4, 1)
    assert "character error rate" in call("evaluate", "run", "--split", "dev").output
    [found] = json.loads(call("predict", "run", "0.wav", "--json", "--decode", "n_best=2").stdout)
    assert [word["text"] for word in found["words"]] == found["text"].split()
    assert len(found["n_best"]) == 2
    [text] = model.align("said", ["0.wav"], ["ab ba"])
    assert [word.text for word in text.words] == ["ab", "ba"]
    assert text.words[1].end <= 0.4
    assert model.posteriors("said", "0.wav")[2].shape == (20, head.target.size)
    assert model.cross_attention("said", "0.wav", "ab")[2].shape == (2, 3, 20)


def test_subtitles_by_hand() -> None:
    """A pause, and a line that gets too long, begin a new subtitle."""
    words = [Spoken("so", 0.5, 0.7, 1.0), Spoken("<good>", 0.75, 1.0, 1.0), Spoken("day", 3.25, 3700.5, 1.0)]
    assert vtt(words, 0.0) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.000\nso &lt;good&gt;\n\n00:00:03.250 --> 01:01:40.500\nday\n\n"
    )
    many: list[Any] = [Spoken("ten-letter", i * 0.1, i * 0.1 + 0.1, 1.0) for i in range(8)]
    assert srt(many, 0.0).count("-->") == 2
    assert srt([], 1.0) == ""
