"""What a training keeps from step to step: the running average, the optimiser's moments, patience."""

from __future__ import annotations

import ast
import doctest
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import multiseq
from multiseq import (
    ClassTarget,
    DecoderHead,
    Encoder,
    Model,
    SetHead,
    Source,
    Task,
    TextAdapter,
    TextTarget,
    VectorHead,
    load,
    train,
)
from multiseq.checkpoint import CheckpointError
from multiseq.nn.bias import PairBias
from multiseq.nn.distance import TrainingDistance
from multiseq.nn.linear import Linear
from multiseq.options import NUMBER, OPTIONS
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run
from multiseq.training import loop
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.run_log import read_log
from multiseq.training.settings import Settings

ROOT = Path(__file__).parents[2]
QUIET: dict[str, Any] = {"progress": False, "accelerator": "cpu", "devices": 1}
CLOUDS = [[[float((i * k) % 5), float(i), float(k)] for k in range(1 + i % 4)] for i in range(11)]
SIDES = ["odd" if i % 2 else "even" for i in range(11)]


def build(adapter: Any, **changes: Any) -> Model:
    torch.manual_seed(0)
    return Model(
        {"points": adapter(dim=16)},
        Encoder(dim=16, depth=2, heads=2, dropout=0.0, **changes),
        {"side": Task("points", SetHead(16, ClassTarget(["even", "odd"])))},
    )


def fit(model: Model, **changes: Any) -> Model:
    settings = {"steps": 12, "max_vectors": 20, "lr": 5e-3, **QUIET}
    return train(model, [Source("points", CLOUDS, {"side": SIDES})], **{**settings, **changes})


def losses(folder: Path) -> list[float]:
    return [float(row["value"]) for row in read_log(folder / "metrics.csv") if row["task"] == "total"]


# --- the running average --------------------------------------------------------------------------


def classes_with_buffers() -> set[str]:
    """Of the library, by the text of its files."""
    found = set()
    for file in [*(ROOT / "multiseq").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and "register_buffer" in ast.unparse(node):
                found.add(node.name)
    return found


class Counting(nn.Module):
    """A part of a user's own with buffers of every kind, two of which change at each step."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.dim = inner.dim
        self.norm = nn.BatchNorm1d(16)
        self.register_buffer("table", torch.arange(7))
        self.register_buffer("flags", torch.tensor([True, False, True]), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, sets: Any) -> Any:
        self.steps += self.training
        encoded = self.inner(sets)
        return encoded.with_values(self.norm(encoded.values))


def test_no_buffer_is_averaged(point_adapter: Any) -> None:
    # A training has no TrainingDistance: it is computed afterwards, and forgotten when training begins.
    known = {PairBias.__name__, TrainingDistance.__name__}
    assert classes_with_buffers() == known, "another module has buffers: put it into this test"
    model = build(point_adapter, relative_bias=True, pair_codes=3)
    model.encoder = Counting(model.encoder)  # type: ignore[assignment]
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert {"encoder.inner.bias.buckets", "encoder.table", "encoder.flags"} <= set(before)
    fit(model, ema_decay=0.9, steps=7)
    after = dict(model.named_buffers())
    for name in ("inner.bias.buckets", "table", "flags"):
        assert torch.equal(after[f"encoder.{name}"], before[f"encoder.{name}"]), name
    assert after["encoder.steps"] == after["encoder.norm.num_batches_tracked"] == 7


def test_the_model_that_is_saved_is_the_one_that_was_judged(point_adapter: Any, tmp_path: Path) -> None:
    dev = [Source("points", CLOUDS, {"side": SIDES})]
    model = build(point_adapter, relative_bias=True)
    fit(model, ema_decay=0.5, dev=dev, evaluate_every=4, out=tmp_path / "run")
    again = load(tmp_path / "run", adapters={"points": point_adapter})
    for (name, ours), theirs in zip(model.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert again.predict("side", CLOUDS) == model.predict("side", CLOUDS)


def test_a_model_that_was_trained_is_trained_with_dropout_again(point_adapter: Any) -> None:
    def weights(begin: Any) -> Any:
        torch.manual_seed(0)
        model = fit(begin(build(point_adapter)))
        return torch.cat([weight.flatten() for weight in model.parameters()])

    assert torch.equal(weights(lambda model: model.eval()), weights(lambda model: model.train()))


# --- layout in memory -----------------------------------------------------------------------------


def force_layout(monkeypatch: pytest.MonkeyPatch, column_by_column: bool) -> None:
    monkeypatch.setattr(multiseq.nn.linear, "_is_faster", lambda: column_by_column)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_where_weights_are_laid_out_otherwise(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, ema_decay: float
) -> None:
    changes: dict[str, Any] = {"steps": 12, "save_every": 5, "ema_decay": ema_decay}
    force_layout(monkeypatch, first)
    fit(build(point_adapter), out=tmp_path / "whole", **changes)
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(stopped_at(build(point_adapter), 7), out=tmp_path / "stopped", **changes)
    force_layout(monkeypatch, not first)
    fit(build(point_adapter), out=tmp_path / "stopped", resume=True, **changes)
    whole, resumed = losses(tmp_path / "whole"), losses(tmp_path / "stopped")
    assert len(resumed) == 12
    assert resumed == pytest.approx(whole, rel=1e-4)
    a, b = (load(tmp_path / name, adapters={"points": point_adapter}) for name in ("whole", "stopped"))
    torch.testing.assert_close(a.state_dict(), b.state_dict(), atol=1e-4, rtol=1e-3)


def stopped_at(model: Model, step: int) -> Model:
    """The same model, whose training fails at that step."""
    steps, loss = [0], model.loss

    def failing(batch: Any) -> Any:
        steps[0] += 1
        if steps[0] > step:
            raise RuntimeError("stopped here")
        return loss(batch)

    model.loss = failing  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("first", [False, True])
def test_a_saved_model_has_no_layout(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    force_layout(monkeypatch, first)
    model = build(point_adapter).eval()
    multiseq.save(model, tmp_path / "model")
    force_layout(monkeypatch, not first)
    again = load(tmp_path / "model", adapters={"points": point_adapter})
    wide = [m.weight for m in again.modules() if isinstance(m, Linear) and m.out_features > m.in_features]
    assert wide
    assert all(weight.is_contiguous() == first for weight in wide)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


# --- patience -------------------------------------------------------------------------------------


def test_patience_does_not_count_an_evaluation_without_a_score(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multiseq.training import step

    goodness = iter([float("-inf"), 0.5, float("nan"), 0.4, float("nan"), 0.3, 0.2, 0.1])
    monkeypatch.setattr(step, "_monitored", lambda scores, monitor: next(goodness))
    dev = [Source("points", CLOUDS, {"side": SIDES})]
    fit(build(point_adapter), dev=dev, evaluate_every=1, patience=2, out=tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 6  # two known scores after the best one


def test_a_run_that_was_killed_after_it_had_stopped_early_stays_stopped(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multiseq.training import step

    dev = [Source("points", CLOUDS, {"side": SIDES})]
    changes: dict[str, Any] = {
        "dev": dev,
        "evaluate_every": 2,
        "save_every": 2,
        "patience": 1,
        "ema_decay": 0.5,
    }
    changes |= {"monitor": "side", "lr": 0.0, "out": tmp_path / "run"}

    def killed(module: Any) -> None:
        module.record.close()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step.Module, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(build(point_adapter), **changes)
    assert len(losses(tmp_path / "run")) == 4
    fit(build(point_adapter), resume=True, **changes)
    assert len(losses(tmp_path / "run")) == 4


# --- seeds ----------------------------------------------------------------------------------------


def test_a_script_that_seeds_torch_makes_the_same_model_again(tmp_path: Path) -> None:
    """The example of `train`, in two fresh processes."""
    example = doctest.DocTestParser().get_examples(str(train.__doc__))
    lines = ["import torch", "from multiseq import train", *(e.source for e in example)]
    lines += ["import sys, multiseq", "multiseq.save(model, sys.argv[1])"]
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    weights = []
    for name in ("one", "two"):
        command = [sys.executable, "-W", "ignore", str(script), str(tmp_path / name)]
        subprocess.run(command, check=True, env=environment, timeout=240)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


# --- devices and clusters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notebook", "options", "expected"),
    [
        (True, {}, (1, "auto")),
        (True, {"devices": -1}, (1, "auto")),
        (True, {"accelerator": "cpu"}, (1, "auto")),
        (False, {}, ("auto", "ddp_find_unused_parameters_true")),
        (False, {"devices": 1}, (1, "auto")),
    ],
)
def test_a_notebook_trains_on_one_of_two_gpus(
    point_adapter: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    notebook: bool,
    options: dict[str, Any],
    expected: tuple[Any, str],
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(sys, "ps1", "In [1]: ", raising=False)
    if not notebook:
        monkeypatch.delattr(sys, "ps1")
    chosen: list[Any] = []

    def seen(**launch: Any) -> None:
        chosen.append((launch["devices"], launch["strategy"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.lightning, "Trainer", seen)
    source = Source("points", CLOUDS, {"side": SIDES})
    with pytest.raises(KeyboardInterrupt):
        train(build(point_adapter), [source], steps=1, progress=False, **options)
    assert chosen == [expected]
    said = "multiseq: training on 1 of 2 GPUs: a notebook cannot start a process for each, a script can\n"
    assert capsys.readouterr().err == (said if notebook and "accelerator" not in options else "")


def test_slurm_does_not_go_on_with_files_of_lightning(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning answers SIGUSR1 with a file of its own and hands the job in again, if we let it."""
    job = {"NTASKS": 1, "NTASKS_PER_NODE": 1, "JOB_NAME": "job", "JOB_ID": 7, "PROCID": 0, "LOCALID": 0}
    for name, value in {**job, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    handlers: list[Any] = []
    loss = Model.loss

    def seen(self: Model, batch: Any) -> Any:
        handlers.append(signal.getsignal(signal.SIGUSR1))
        return loss(self, batch)

    monkeypatch.setattr(Model, "loss", seen)
    fit(build(point_adapter), steps=2, out=tmp_path / "run")
    assert handlers == [signal.SIG_DFL, signal.SIG_DFL]


# --- what is refused before the first step --------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 5}, r"settings: got 'step' \(did you mean 'steps'\?\); expected one of steps, max_vectors"),
        ({"steps": 2.5}, r"steps: got 2\.5, expected a whole number"),
        ({"steps": True}, r"steps: got True, expected a whole number"),
        ({"lr": "fast"}, r"lr: got 'fast', expected a number"),
        ({"lr": float("nan")}, r"lr: got nan, expected a finite number"),
        ({"lr": float("inf")}, r"lr: got inf, expected a finite number"),
        ({"warmup": float("-inf")}, r"warmup: got -inf, expected a finite number"),
        ({"warmup": 1.5}, r"warmup: got 1\.5, expected 0 up to 1$"),
        ({"ema_decay": 1.0}, r"ema_decay: got 1\.0, expected 0 up to below 1"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm: got 0\.0, expected a number above 0"),
        ({"num_workers": -1}, r"num_workers: got -1, expected 0 or more"),
        ({"patience": -1}, r"patience: got -1, expected 0 or more"),
        ({"weight_decay": -0.1}, r"weight_decay: got -0\.1, expected 0 or more"),
        ({"temperature": float("nan")}, r"temperature: got nan, expected a finite number"),
        ({"seed": 2**70}, r"seed: got \d+, expected -\d+ up to below 18446744073709551616"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_that_cannot_be(point_adapter: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(build(point_adapter), **changes)


def test_a_setting_has_one_range_in_python_and_in_a_recipe() -> None:
    """One table says which numbers may be; the class has no second one."""
    numbers = [f.name for f in fields(Settings) if OPTIONS[f.name].type in (int, NUMBER)]
    assert len(numbers) > 10
    for name in numbers:
        span = OPTIONS[name].range
        assert span is not None
        below = {name: (int if OPTIONS[name].type is int else float)(span.least - 1)}
        with pytest.raises(ValueError, match=rf"^{name}: got .*, expected "):
            Settings(**below)


@pytest.mark.parametrize(
    ("labels", "metric", "message"),
    [
        (
            ["even", "odd", "new"],
            "roc_auc",
            r"dev\.csv:3: label: got 'new', expected even or odd for roc_auc",
        ),
        (["even", "odd", None], "", None),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_labels_of_dev_are_checked_before_the_first_step(
    point_adapter: Any, labels: list[Any], metric: str, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    loss = Model.loss
    monkeypatch.setattr(Model, "loss", lambda self, batch: steps.append(1) or loss(self, batch))
    model = build(point_adapter)
    if metric:
        model.tasks["side"] = Task("points", model.tasks["side"].head, metric=metric)
    dev = Source("points", CLOUDS[:3], {"side": labels}, locations=[f"dev.csv:{i}" for i in (1, 2, 3)])
    if message is None:
        fit(model, dev=[dev], steps=1)
        assert steps == [1]
        return
    with pytest.raises(ValueError, match=message):
        fit(model, dev=[dev], steps=1)
    assert not steps


def test_a_metric_that_cannot_judge_the_classes_is_found_before_the_first_step(point_adapter: Any) -> None:
    torch.manual_seed(0)
    head = SetHead(16, ClassTarget(["a", "b", "c"]))
    model = Model(
        {"points": point_adapter(dim=16)},
        Encoder(dim=16, depth=1, heads=2),
        {"side": Task("points", head, metric="roc_auc")},
    )
    source = Source("points", CLOUDS[:3], {"side": ["a", "b", "c"]})
    with pytest.raises(
        ValueError, match=r"tasks\['side'\] metric: got 'roc_auc' for 3 classes, expected two"
    ):
        train(model, [source], dev=[source], steps=1, **QUIET)


@pytest.mark.parametrize(
    ("classes", "dev", "message"),
    [
        (
            ["O", "NOUN"],
            ["O", "O"],
            r"tasks\['tags'\] metric: got 'span_f1' for the classes NOUN, O, expected",
        ),
        (
            ["O", "B-PER"],
            ["O", "PER"],
            r"label: got 'PER', expected one such as B-PER, I-PER or O for span_f1",
        ),
        (["O", "B-PER"], ["O", "B-LOC"], None),
    ],
)
def test_labels_that_mark_no_spans_are_found_before_the_first_step(
    classes: list[str], dev: list[str], message: str | None
) -> None:
    head = VectorHead(16, ClassTarget.fit(classes))
    model = Model(
        {"text": TextAdapter.fit(["a b"], dim=16)},
        Encoder(dim=16, depth=1, heads=2),
        {"tags": Task("text", head, metric="span_f1")},
    )
    sources = [Source("text", ["a b"], {"tags": [labels]}) for labels in (classes, dev)]
    if message is None:
        train(model, sources[:1], dev=sources[1:], steps=1, **QUIET)
        return
    with pytest.raises(ValueError, match=message):
        train(model, sources[:1], dev=sources[1:], steps=1, **QUIET)


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_numpy_are_settings() -> None:
    settings = Settings(steps=np.int64(7), lr=np.float32(0.5), max_vectors=11)
    assert [type(v) for v in (settings.steps, settings.lr)] == [int, float]


@pytest.mark.usefixtures("unchecked")
def test_sources_that_cannot_be(point_adapter: Any) -> None:
    model, source = build(point_adapter), Source("points", CLOUDS, {"side": SIDES})
    with pytest.raises(ValueError, match=r"sources: got one Source, expected a list of them; use \[source\]"):
        train(model, source, **QUIET)
    with pytest.raises(ValueError, match=r"dev: got one Source"):
        train(model, [source], dev=source, **QUIET)
    with pytest.raises(ValueError, match=r"sources: got a str in it, expected Source"):
        train(model, "points", **QUIET)
    for weight in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match=rf"weight: got {weight} for a source of 'points'"):
            train(model, [Source("points", CLOUDS, {"side": SIDES}, weight)], **QUIET)
    for weight in (float("nan"), float("inf"), -1.0):
        task = Task("points", SetHead(16, ClassTarget(["even", "odd"])), weight=weight)
        with pytest.raises(ValueError, match=rf"tasks\['side'\]: got weight {weight}, expected 0 or more"):
            Model({"points": point_adapter(dim=16)}, Encoder(dim=16, depth=1, heads=2), {"side": task})


def test_a_folder_for_the_model_that_holds_something_else(point_adapter: Any, tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "thesis.txt").write_text("all of it")
    model = failing(build(point_adapter), AssertionError("a step was made"))
    with pytest.raises(CheckpointError, match=r"run/model: exists and is not a checkpoint; choose another"):
        fit(model, out=tmp_path / "run")


def test_half_a_character_is_refused_before_the_first_step(point_adapter: Any, tmp_path: Path) -> None:
    sides = ["odd\ud83d" if side == "odd" else side for side in SIDES]
    model = failing(build(point_adapter), AssertionError("a step was made"))
    object.__setattr__(model.tasks["side"].head.target, "labels", ("even", "odd\ud83d"))
    with pytest.raises(ValueError, match=r"half a character|surrogate|label: got"):
        train(model, [Source("points", CLOUDS, {"side": sides})], out=tmp_path / "run", steps=2, **QUIET)
    assert not (tmp_path / "run").exists()


def failing(model: Model, error: Exception) -> Model:
    def fail(batch: Any) -> Any:
        raise error

    model.loss = fail  # type: ignore[method-assign]
    return model


def test_full_memory_says_what_to_lower(point_adapter: Any) -> None:
    torchs = RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: …")
    with pytest.raises(
        MemoryError, match=r"memory is full; lower max_vectors, which is 20, or cut long items"
    ):
        fit(failing(build(point_adapter), torchs))
    model = build(point_adapter)
    model.encode = lambda parts: torch.empty(2**60)  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(MemoryError, match=r"memory is full; lower max_vectors, or predict on shorter items"):
        model.predict("side", CLOUDS)
    with pytest.raises(RuntimeError, match="another"):
        fit(failing(build(point_adapter), RuntimeError("another")))


# --- sizes ----------------------------------------------------------------------------------------


def test_what_no_machine_holds_is_refused_at_once() -> None:
    message = r"dim: got 65536 with depth 1000 .* take [\d,]+ GiB; this machine has"
    with pytest.raises(ValueError, match=message):
        Encoder(dim=65_536, depth=1000, heads=2)


def test_a_decoder_that_no_machine_holds() -> None:
    target = TextTarget.fit(["a lamp"], unit="character")
    with pytest.raises(ValueError, match=r"depth: got 2000000000 with dim 16, whose weights take"):
        DecoderHead(16, target, depth=2_000_000_000)


def test_a_recipe_that_no_machine_holds(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\tkind\na lamp\tgood\nno lamp\tbad\n")
    (tmp_path / "tiny.toml").write_text(
        '[encoder]\ndim = 65536\ndepth = 1000\nheads = 2\n[data.a]\nadapter = "text"\nformat = "table"\n'
        'input = "text"\ntrain = "a.tsv"\n[tasks.a]\ndata = "a"\noutput = "set"\ntarget = "class"\n'
        'column = "kind"\n'
    )
    with pytest.raises(ValueError, match=r"tiny: \[encoder\]: dim: got 65536 .* this machine has"):
        train_run(read(tmp_path / "tiny.toml"), tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists()


# --- prediction in threads ------------------------------------------------------------------------


def test_a_model_in_training_mode_predicts_in_threads(point_adapter: Any) -> None:
    torch.manual_seed(0)
    head = SetHead(16, ClassTarget(["even", "odd"]))
    encoder = Encoder(dim=16, depth=2, heads=2, dropout=0.5)
    model = Model({"points": point_adapter(dim=16)}, encoder, {"side": Task("points", head)})
    expected = model.eval().predict("side", CLOUDS)
    model.train()
    head.eval()  # frozen by its user
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model.predict("side", CLOUDS, max_vectors=5), range(40)))
    for results in found:
        for a, b in zip(results, expected, strict=True):
            assert a.probability == pytest.approx(b.probability, abs=1e-5)
    assert (model.training, encoder.training, head.training) == (True, True, False)


def test_texts_that_are_longer_than_a_decoder_may_write() -> None:
    adapter = TextAdapter.fit(["a b"], dim=16)
    target = TextTarget.fit(["xyz"], unit="character")
    texts = {"said": [["x", "xy"], "xyz", "zxyz", None]}
    source = Source("text", ["a", "b", "a b", "b a"], texts, locations=["t:1", "t:2", "t:3", "t:4"])
    for limit, num in ((2, 2), (3, 1), (4, 0)):
        head = DecoderHead(16, target, depth=1, heads=2, max_length=limit)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            PreparedSource(source, adapter, {"said": Task("text", head)})
        assert [str(warning.message) for warning in caught] == [
            f"task 'said': {num} of 4 texts to learn are longer than the {limit} tokens of its head's "
            "max_length, where the model stops writing. The longest has 4 (t:3): set max_length "
            "to this or more, or leave it out"
        ] * (num > 0)


def test_a_text_that_is_copied_is_one_token_of_the_length() -> None:
    adapter = TextAdapter.fit(["a b"], dim=16)
    target = TextTarget.fit(["a b c"], unit="character", copy=True)
    head = DecoderHead(16, target, depth=1, heads=2, max_length=3)
    source = Source("text", ["Sokrates b"], {"said": ["a Sokrates"]})
    assert len(PreparedSource(source, adapter, {"said": Task("text", head)})) == 1  # "a", " ", the name


@pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")
def test_a_text_to_learn_from_an_item_of_several_sets() -> None:
    adapter = TextAdapter.fit(["a b"], dim=16, window=2)
    task = Task("text", DecoderHead(16, TextTarget.fit(["x"], unit="character"), depth=1, heads=2))
    places = ["t:1", "t:2", "t:3"]
    source = Source("text", ["a b a b a", "a", "a b a"], {"said": ["x", "x", "x"]}, locations=places)
    message = (
        r"t:1: makes 3 sets, but task 'said' .* \(2 of 3 items make several\); cut the item and its text"
    )
    with pytest.raises(ValueError, match=message):
        PreparedSource(source, adapter, {"said": task})
    one = replace(source, items=["a b a b a", "a", "b"])
    with pytest.raises(ValueError, match="learns a sequence from one; cut the item and its text, or let"):
        PreparedSource(one, adapter, {"said": task})


def test_of_several_texts_one_is_drawn_and_an_empty_list_is_no_label() -> None:
    adapter = TextAdapter.fit(["a b"], dim=16)
    task = Task("text", DecoderHead(16, TextTarget.fit(["x", "y"], unit="character"), depth=1, heads=2))
    source = Source("text", ["a", "b", "a b"], {"said": [["x", "y"], [], "y"]})
    prepared = PreparedSource(source, adapter, {"said": task})
    assert len(prepared) == 2
    drawn = [prepared.example(0, torch.Generator().manual_seed(i))[1]["said"] for i in range(20)]
    assert set(drawn) == {"x", "y"}
    assert drawn[0] == prepared.example(0, torch.Generator().manual_seed(0))[1]["said"]
    assert prepared.example(1, torch.Generator())[1]["said"] == "y"
    train(Model({"text": adapter}, Encoder(16, depth=1, heads=2), {"said": task}), [source], steps=2, **QUIET)
