"""The model, its batches and its folder, with the small adapter of docs/adapters.md."""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import (
    ClassTarget,
    Encoder,
    Model,
    NumberTarget,
    SetHead,
    SpeechAdapter,
    Task,
    TextAdapter,
    VectorHead,
    evaluate,
    load,
    train,
)
from multiseq.checkpoint import CheckpointError, save
from multiseq.heads.ctc import CTCHead
from multiseq.heads.decoder import DecoderHead
from multiseq.heads.text_target import TextTarget
from multiseq.model import combine
from multiseq.results import Label, LabelSet, Number, Text
from multiseq.system.memory import peak_memory
from multiseq.tasks import Source
from multiseq.training.batching import BatchPlan, Loader
from multiseq.training.prepared_source import PreparedSource

pytestmark = pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")

LENGTHS = (5, 3, 0, 7, 1, 4, 6, 2, 11, 13)


def clouds() -> list[list[list[float]]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 3, generator=generator).tolist() for n in LENGTHS]


def source() -> Source:
    items = clouds()
    half = [["up" if z > 0 else "down" for _, _, z in cloud] for cloud in items]
    extent = [max(abs(x) for x, _, _ in cloud) if cloud else None for cloud in items]
    return Source("points", items, {"half": half, "extent": extent})


def build(adapter: Any, **changes: Any) -> Model:
    torch.manual_seed(0)
    data = source()
    return Model(
        {"points": adapter(dim=16)},
        Encoder(dim=16, depth=2, heads=2, **changes),
        {
            "half": Task("points", VectorHead(16, ClassTarget(["down", "up"]))),
            "extent": Task(
                "points", SetHead(16, NumberTarget.fit(data.targets["extent"], unit="m"), pool="mean")
            ),
        },
    )


def plan_of(model: Model, **changes: Any) -> BatchPlan:
    return BatchPlan(
        [PreparedSource(source(), model.adapter("points"), model.tasks)], **{"max_vectors": 20, **changes}
    )


# --- predicting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["half", "extent"])
@pytest.mark.parametrize("max_vectors", [1, 9, 8192])
def test_predicting_together_is_predicting_one_by_one(
    point_adapter: Any, task: str, max_vectors: int
) -> None:
    model = build(point_adapter).eval()
    together = model.predict(task, clouds(), max_vectors=max_vectors)
    alone = [model.predict(task, [cloud])[0] for cloud in clouds()]
    for a, b in zip(together, alone, strict=True):
        if task == "half":
            assert [x.label for x in a] == [x.label for x in b]
            assert [x.probability for x in a] == pytest.approx([x.probability for x in b], abs=1e-5)
        else:
            assert a.value == pytest.approx(b.value, abs=1e-5)


def test_one_step_is_one_call_of_the_encoder(point_adapter: Any) -> None:
    model = build(point_adapter)
    calls: list[int] = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[attr-defined]
    plan = plan_of(model, max_vectors=1000)
    losses = model.loss(plan.collate(0, plan.epoch(0)[0]))
    assert len(calls) == 1
    assert set(losses) == {"half", "extent"}
    assert losses["half"][1] == sum(LENGTHS)
    assert losses["extent"][1] == len(LENGTHS) - 1  # the empty cloud has none


def test_embed_gives_vectors_and_their_mean(point_adapter: Any) -> None:
    model = build(point_adapter).eval()
    found = model.embed("points", clouds(), max_vectors=9)
    assert [tuple(e.vectors.shape) for e in found] == [(n, 16) for n in LENGTHS]
    torch.testing.assert_close(found[0].pooled, found[0].vectors.mean(0))
    assert found[1].names == ["point 0", "point 1", "point 2"]
    names, weights = model.attention("points", clouds()[0], layer=0)
    assert len(names) == 5
    assert weights[0].shape == (2, 5, 5)


def test_what_a_text_attends_to_in_an_item(point_adapter: Any) -> None:
    head = DecoderHead(16, TextTarget.fit(["abba"], unit="character"), heads=2)
    model = build(point_adapter)
    model = Model(model.adapters, model.encoder, {**model.tasks, "said": Task("points", head)}).train()
    names, tokens, weights = model.cross_attention("said", clouds()[1], "ab", layer=0)
    assert (names, tokens) == (["point 0", "point 1", "point 2"], ["a", "b", "(end)"])
    assert weights.shape == (2, 3, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    [(_, sets)] = model.encoded("points", [model.adapter("points").prepare(clouds()[1])])
    [wanted] = head.eval().attention(sets, head.target.batch(["ab"]), 0)
    torch.testing.assert_close(weights, wanted)
    with pytest.raises(ValueError, match="got 'half' with a VectorHead, expected a DecoderHead"):
        model.cross_attention("half", clouds()[1], "ab")


@pytest.mark.parametrize(("unit", "longest"), [("word", "3 words"), ("piece", "3 pieces")])
def test_a_text_that_is_cut_has_no_cross_attention(unit: Any, longest: str) -> None:
    head = DecoderHead(16, TextTarget.fit(["abba"], unit="character"), heads=2)
    text = TextAdapter.fit(["a b c d"], dim=16, unit=unit, vocab_size=256, min_count=9, window=3)
    model = Model({"text": text}, Encoder(16, 1, 2), {"said": Task("text", head)})
    num = len(text.prepare("a b c d"))
    with pytest.raises(
        ValueError, match=f"got one that was cut into {num} windows; expected at most {longest}, "
    ):
        model.cross_attention("said", "a b c d", "ab")
    assert model.cross_attention("said", "a", "ab")[0]


def test_the_probability_of_each_token_at_each_vector() -> None:
    recording = torch.randn(1500, generator=torch.Generator().manual_seed(0)) / 10, 8000
    adapter = SpeechAdapter.fit([recording], dim=16, sample_rate=8000, n_mels=20, chunk_seconds=0.1)
    head = CTCHead(16, TextTarget.fit(["a ba"], unit="character"))
    parts = {"speech": adapter}, Encoder(16, 1, 2)
    tasks = {"said": Task("speech", head), "loud": Task("speech", SetHead(16, ClassTarget(["no", "yes"])))}
    model = Model(*parts, tasks).train()
    names, tokens, shares = model.posteriors("said", recording)  # two chunks of five vectors
    assert (names[0], names[9], len(names)) == ("0.01 s", "0.184 s", 10)
    assert tokens == ["(blank)", "(begin)", "(end)", "�", " ", "a", "b"]
    torch.testing.assert_close(shares.sum(1), torch.ones(10))
    [chunks] = [adapter.prepare(recording)]
    wanted = [head.eval()(sets).exp() for _, sets in model.encoded("speech", [[one] for one in chunks])]
    torch.testing.assert_close(shares, torch.cat(wanted))
    [text] = model.predict("said", [recording], times=True)
    assert len(text.tokens) > 0
    for token in text.tokens:
        first, last = round(token.start / 0.02), math.ceil(token.end / 0.02 - 1e-6)
        column = shares[first:last, tokens.index(token.text)]
        assert token.confidence == pytest.approx(column.mean().item())
    with pytest.raises(ValueError, match="got 'loud' with a SetHead, expected a CTCHead"):
        model.posteriors("loud", recording)


def test_training_mode_is_given_back(point_adapter: Any) -> None:
    model = build(point_adapter).train()
    model.predict("half", clouds())
    assert model.training


def test_results_of_an_items_sets_are_put_together() -> None:
    assert combine([[1, 2], [], [3]]) == [1, 2, 3]
    assert combine([Text("a b", -1.0), Text("", 0.0), Text("c", -2.0)]) == Text("a b c", -3.0)
    assert combine([Number({"v": 1.0}, "m"), Number({"v": 4.0}, "m")]) == Number({"v": 2.5}, "m")
    a, b = Label("x", 0.7, {"x": 0.7, "y": 0.3}), Label("y", 0.9, {"x": 0.1, "y": 0.9})
    assert combine([a, b]).label == "y"
    assert combine([a]) is a
    flags = combine([LabelSet(("x",), {"x": 0.9, "y": 0.4}), LabelSet((), {"x": 0.3, "y": 0.2})])
    assert flags.labels == ("x",)
    assert combine([]) == []  # an item of no sets has nothing per vector


def test_a_prediction_that_is_not_finite_names_the_item(point_adapter: Any) -> None:
    model, items = build(point_adapter), clouds()
    items[3] = [[3e38, 3e38, 3e38], [-3e38, -3e38, -3e38]]
    with torch.no_grad():
        model.adapter("points").stem[0].weight.fill_(1.0)  # type: ignore[attr-defined]  # sums are infinite
    with pytest.raises(ValueError, match="item 3: half: got a prediction that is NaN or infinite, expected"):
        model.predict("half", items)
    labelled = Source(
        "points", items, {"extent": [1.0] * len(items)}, locations=[f"f:{i}" for i in range(10)]
    )
    with pytest.raises(ValueError, match="f:3: extent: got a prediction that is NaN or infinite"):
        evaluate(model, [labelled], task="extent")
    with torch.no_grad():
        model.task("extent").head.read[0].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"item \d: extent: got a prediction that is NaN"):
        model.predict("extent", clouds())


def test_texts_that_are_too_short_for_ctc_are_named_before_training(point_adapter: Any) -> None:
    head = CTCHead(16, TextTarget.fit(["abba", "c"], unit="character"))
    model = Model({"points": point_adapter(dim=16)}, Encoder(16, 1, 2), {"say": Task("points", head)})
    items = [cloud for cloud in clouds() if len(cloud) in (5, 3, 7)]
    texts = Source("points", items, {"say": ["abba", "abba", "c"]}, locations=["f:1", "f:2", "f:3"])
    with pytest.warns(UserWarning, match=r"'say': 1 of 3 items .* \(f:2: 3 vectors, 4 tokens, 1 rep"):
        prepared = PreparedSource(texts, model.adapter("points"), model.tasks)
    assert len(prepared) == 2
    assert texts.targets["say"] == ["abba", "abba", "c"]  # of the source nothing is taken


def test_wrong_input_says_what_to_do(point_adapter: Any) -> None:
    model = build(point_adapter)
    with pytest.raises(ValueError, match="expected one of half, extent"):
        model.predict("colour", clouds())
    with pytest.raises(ValueError, match="expected one of points"):
        model.embed("text", [])
    with pytest.raises(ValueError, match="item 1: point 0: got"):
        model.predict("half", [[[0, 0, 0]], [[0, float("nan"), 0]]])
    with pytest.raises(ValueError, match="expected a list of items"):
        model.predict("half", "cloud")
    with pytest.raises(ValueError, match="items: got set, expected a list or a column of a table"):
        model.predict("half", {"cloud"})
    with pytest.raises(ValueError, match="expected the encoder's 16"):
        Model({"points": point_adapter(dim=8)}, Encoder(16, 1, 2), {})
    with pytest.raises(ValueError, match="expected one of"):
        Model({}, Encoder(16, 1, 2), {"half": Task("points", VectorHead(16, ClassTarget(["a"])))})
    shared = VectorHead(16, ClassTarget(["a"]))
    with pytest.raises(ValueError, match="shares weights with another part"):
        Model(
            {"points": point_adapter(dim=16)},
            Encoder(16, 1, 2),
            {"a": Task("points", shared), "b": Task("points", shared)},
        )
    with pytest.raises(ValueError, match=r"got 'a\.b', expected letters"):
        Model({"a.b": point_adapter(dim=16)}, Encoder(16, 1, 2), {})
    with pytest.raises(ValueError, match=r"got 'total', .*names of files and of lines in metrics\.csv"):
        Model({"points": point_adapter(dim=16)}, Encoder(16, 1, 2), {"total": Task("points", shared)})
    with pytest.raises(ValueError, match="expected one of accuracy"):
        Task("points", shared, metric="rmse")
    with pytest.raises(ValueError, match=r"expected one of \['half', 'extent'\]"):
        train(model, [Source("points", clouds(), {"hlaf": [None] * 10})], steps=1)
    where = ["points.txt:1", "points.txt:2"]
    uneven = Source("points", clouds()[:2], {"half": [["up"] * 5, ["up"]]}, locations=where)
    with pytest.raises(ValueError, match=r"points\.txt:2: labels: got 1 for 3 points"):
        train(model, [uneven], steps=1)
    with pytest.raises(ValueError, match="item 0: label: got 'sideways'"):
        train(model, [Source("points", clouds()[:1], {"half": [["sideways"] * 5]})], steps=1)
    with pytest.raises(ValueError, match="got 1 labels for 2 items"):
        Source("points", [1, 2], {"half": ["a"]})


# --- batches --------------------------------------------------------------------------------------------


def test_an_epoch_shows_everything_once_within_the_budget(point_adapter: Any) -> None:
    plan = plan_of(build(point_adapter))
    batches = plan.epoch(0)
    sizes = plan.sources[0].sizes
    assert sorted(i for batch in batches for _, i in batch) == list(
        range(len(LENGTHS) - 1)
    )  # the empty one teaches nothing
    assert all(sum(sizes[i] for _, i in batch) <= 20 for batch in batches)
    assert plan.epoch(1) != batches
    assert plan_of(build(point_adapter)).epoch(0) == batches


def test_temperature_shows_small_sources_more_often(point_adapter: Any) -> None:
    model, data = build(point_adapter), source()
    small = Source("points", data.items[:2], {"half": data.targets["half"][:2]})
    prepared = [PreparedSource(s, model.adapter("points"), model.tasks) for s in (data, small)]
    shares = {}
    for temperature in (1.0, 100.0):
        flat = [
            s for b in BatchPlan(prepared, max_vectors=20, temperature=temperature).epoch(0) for s, _ in b
        ]
        shares[temperature] = flat.count(1) / len(flat)
    assert shares[1.0] == pytest.approx(2 / 11)
    assert shares[100.0] > 0.4


def test_any_step_is_the_same_from_wherever_one_starts(point_adapter: Any) -> None:
    plan = plan_of(build(point_adapter))
    whole = list(Loader(plan, steps=9))
    rest = Loader(plan, steps=9)
    rest.load_state_dict({"consumed": 5})
    for a, b in zip(whole[5:], list(rest), strict=True):
        assert torch.equal(a.parts[0].inputs.tensors["points"], b.parts[0].inputs.tensors["points"])
    assert rest.state_dict() == {"consumed": 9}


def test_workers_change_nothing(point_adapter: Any) -> None:
    plan = plan_of(build(point_adapter))
    alone, helped = list(Loader(plan, steps=5)), list(Loader(plan, steps=5, num_workers=2))
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.parts[0].inputs.tensors["points"], b.parts[0].inputs.tensors["points"])


def test_processes_share_a_batch(point_adapter: Any) -> None:
    plan = plan_of(build(point_adapter))
    whole = next(iter(Loader(plan, steps=1)))
    parts = [next(iter(Loader(plan, steps=1, rank=rank, world=2))) for rank in (0, 1)]
    assert sum(p.num_vectors for p in parts) == whole.num_vectors


def test_nothing_to_learn_from_is_an_error(point_adapter: Any) -> None:
    model = build(point_adapter)
    empty = PreparedSource(
        Source("points", clouds(), {"extent": [None] * 10}), model.adapter("points"), model.tasks
    )
    with pytest.raises(ValueError, match="at least one labelled item"):
        BatchPlan([empty], max_vectors=10)


# --- training -------------------------------------------------------------------------------------------


def fit(model: Model, **changes: Any) -> Model:
    settings = {
        "steps": 30,
        "max_vectors": 20,
        "lr": 5e-3,
        "progress": False,
        "accelerator": "cpu",
        "devices": 1,
    }
    return train(model, [source()], **{**settings, **changes})


def losses(folder: Path) -> list[tuple[int, str, float]]:
    from multiseq.training.run_log import read_log

    rows = read_log(folder / "metrics.csv")
    return [(int(r["step"]), r["task"], float(r["value"])) for r in rows if r["split"] == "train"]


def test_ten_items_are_learned_by_heart(point_adapter: Any) -> None:
    model = fit(build(point_adapter, dropout=0.0), steps=200, max_vectors=100, lr=1e-2)
    results = model.predict("half", clouds())
    labels = source().targets["half"]
    right = [
        r.label == v for rs, vs in zip(results, labels, strict=True) for r, v in zip(rs, vs, strict=True)
    ]
    assert sum(right) / len(right) >= 0.95
    extents = [r.value for r in model.predict("extent", clouds())]
    known = [(r, v) for r, v in zip(extents, source().targets["extent"], strict=True) if v is not None]
    assert max(abs(r - v) for r, v in known) < 0.4


def test_the_same_seed_gives_the_same_weights(point_adapter: Any) -> None:
    a, b, c = (fit(build(point_adapter), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_the_best_weights_on_dev_are_kept(point_adapter: Any, tmp_path: Path) -> None:
    model = fit(build(point_adapter), dev=[source()], out=tmp_path / "run", evaluate_every=10, ema_decay=0.9)
    kept = load(tmp_path / "run", adapters={"points": point_adapter})
    assert all(torch.equal(v, kept.state_dict()[k]) for k, v in model.state_dict().items())
    assert {task for _, task, _ in scores(tmp_path / "run")} == {"half", "extent"}
    assert {step for step, _, _ in scores(tmp_path / "run")} == {9, 19, 29}
    late = fit(
        build(point_adapter), dev=[source(), source()], out=tmp_path / "late"
    )  # at the end in any case
    assert [step for step, _, _ in scores(tmp_path / "late")] == [29, 29]
    assert evaluate(late, [source(), source()], task="half").num_items == 2 * sum(LENGTHS)


def test_patience_stops_early(point_adapter: Any, tmp_path: Path) -> None:
    changes = {"dev": [source()], "evaluate_every": 5, "patience": 1, "monitor": "half", "lr": 0.0}
    fit(build(point_adapter), out=tmp_path / "run", **changes)
    assert max(step for step, _, _ in losses(tmp_path / "run")) == 9


def scores(folder: Path) -> list[tuple[int, str, float]]:
    from multiseq.training.run_log import read_log

    rows = read_log(folder / "metrics.csv")
    dev = [row for row in rows if row["split"] == "dev" and row["task"] != "monitor"]
    return [(int(r["step"]), r["task"], float(r["value"])) for r in dev]


SCRIPT = """
    import sys, torch
    torch.set_num_threads(1)
    sys.path.insert(0, {root!r})
    from tests import processor, test_model as t
    processor.force()
    from pathlib import Path
    import types
    module = types.ModuleType("points"); sys.modules["points"] = module
    page = Path({root!r}, "docs/adapters.md").read_text()
    exec(page.split("```python\\n")[1].split("```")[0], module.__dict__)
    if __name__ == "__main__":
        model = t.build(module.PointAdapter, dropout={dropout})
        for task in model.tasks.values():
            task.head.read.eval() if {dropout} == 0.0 else None
        {before}
        t.fit(model, out={out!r}, steps=40, save_every=10, ema_decay=0.9, {options})
"""


def script(
    tmp_path: Path, out: Path, *, options: str = "", before: str = "pass", dropout: float = 0.1
) -> Path:
    root = str(Path(__file__).parents[1])
    text = textwrap.dedent(SCRIPT).format(
        root=root, out=str(out), options=options, before=before, dropout=dropout
    )
    path = tmp_path / f"{out.name}.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("evaluates", [False, True])
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(
    point_adapter: Any, tmp_path: Path, evaluates: bool
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # With an evaluation, it falls on the steps that are saved.
    more: dict[str, Any] = {"dev": [source()], "evaluate_every": 10} if evaluates else {}
    options = "dev=[t.source()], evaluate_every=10" if evaluates else ""
    fit(build(point_adapter), out=whole, steps=40, save_every=10, ema_decay=0.9, **more)
    # The process kills itself with SIGKILL in step 27, in the middle of an epoch and 7 steps after it saved.
    before = (
        "import os, signal; step = [0]; old = model.loss\n"
        "    def loss(batch):\n"
        "        step[0] += 1\n"
        "        if step[0] == 28: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return old(batch)\n"
        "    model.loss = loss"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", script(tmp_path, killed, before=before, options=options)]
    )
    assert ended.returncode == -signal.SIGKILL
    assert max(step for step, _, _ in losses(killed)) < 28
    with pytest.raises(ValueError, match="but the run began with"):
        fit(build(point_adapter), out=killed, steps=41, save_every=10, ema_decay=0.9, resume=True, **more)
    fit(build(point_adapter), out=killed, steps=40, save_every=10, ema_decay=0.9, resume=True, **more)
    assert losses(killed) == losses(whole)
    assert scores(killed) == scores(whole)
    assert len(scores(whole)) == (8 if evaluates else 0)
    a, b = (load(f, adapters={"points": point_adapter}).state_dict() for f in (whole, killed))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_two_processes_train_to_the_losses_of_one(point_adapter: Any, tmp_path: Path) -> None:
    """Two CPU processes (gloo) with shards of unequal size, no dropout: the same global batch."""
    one, two = tmp_path / "one", tmp_path / "two"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for out, options in ((one, ""), (two, "devices=2, strategy='ddp_find_unused_parameters_true'")):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script(tmp_path, out, options=options, dropout=0.0)],
            env=env, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    a, b = (load(f, adapters={"points": point_adapter}).state_dict() for f in (one, two))
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 1e-5
    total = [{s: v for s, t, v in losses(f) if t == "total"} for f in (one, two)]
    assert total[0].keys() == total[1].keys()
    assert max(abs(total[0][s] - total[1][s]) for s in total[0]) < 1e-5


def test_wrong_settings_say_what_to_do(point_adapter: Any, tmp_path: Path) -> None:
    model = build(point_adapter)
    with pytest.raises(ValueError, match="steps: got 0"):
        fit(model, steps=0)
    with pytest.raises(ValueError, match="expected mean or one of half, extent"):
        fit(model, monitor="colour")
    with pytest.raises(ValueError, match="but no dev source has labels for it"):
        fit(model, dev=[Source("points", clouds(), {"extent": [1.0] * 10})], monitor="half")
    with pytest.raises(ValueError, match="expected a number above 0"):
        fit(model, temperature=0.0)
    with pytest.raises(ValueError, match="which shards the weights"):
        fit(model, strategy="fsdp")
    with pytest.raises(ValueError, match="the loss of half is nan"):
        fit(model, lr=1e30, steps=25)
    with pytest.raises(ValueError, match="needs a dev split"):
        fit(model, patience=2)
    with pytest.raises(FileNotFoundError, match="train without resume first"):
        fit(model, out=tmp_path, resume=True)


# --- saving ---------------------------------------------------------------------------------------------


def test_save_and_load_predict_the_same_to_the_last_bit(point_adapter: Any, tmp_path: Path) -> None:
    model = build(point_adapter).eval()
    save(model, tmp_path / "model")
    again = load(tmp_path / "model", adapters={"points": point_adapter})
    for task in model.tasks:
        assert again.predict(task, clouds()) == model.predict(task, clouds())
    save(model, tmp_path / "model")  # replaces
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    os.umask(mask := os.umask(0o022))
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "model").iterdir()} == {0o666 & ~mask}


def test_the_folder_one_stands_in(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(build(point_adapter), tmp_path / "run" / "model")
    for place in (tmp_path / "run", tmp_path / "run" / "model"):
        monkeypatch.chdir(place)
        assert load(".", adapters={"points": point_adapter}).cell("half") == "points/vector"


def test_a_bad_folder_is_a_clear_error(point_adapter: Any, tmp_path: Path) -> None:
    adapters = {"points": point_adapter}
    folder = save(build(point_adapter), tmp_path / "model")
    with pytest.raises(CheckpointError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load(tmp_path.parent)
    with pytest.raises(CheckpointError, match="pass your class as load"):
        load(folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        load(folder, adapters=adapters)
    weights.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load(folder, adapters=adapters)
    weights.write_bytes(whole)
    config = folder / "config.json"
    text = config.read_text()
    config.write_text(json.dumps({**json.loads(text), "format": 99}))
    with pytest.raises(CheckpointError, match="upgrade with: pip install -U multiseq"):
        load(folder, adapters=adapters)
    config.write_text('{"a": 1}')
    with pytest.raises(CheckpointError, match="not written by multiseq"):
        load(folder, adapters=adapters)
    config.write_text(text[:50])
    with pytest.raises(CheckpointError, match="damaged"):
        load(folder, adapters=adapters)
    config.write_text('{"format": 1, "files": {}}')
    with pytest.raises(CheckpointError, match=r"does not fit its files: KeyError"):
        load(folder, adapters=adapters)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(CheckpointError, match="is not a checkpoint; choose another folder"):
        save(build(point_adapter), tmp_path / "mine")


def test_another_encoder_can_stand_in(point_adapter: Any, tmp_path: Path) -> None:
    class Identity(torch.nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim

        def forward(self, sets: Any) -> Any:
            return sets

        def config(self) -> dict[str, Any]:
            return {"dim": self.dim}

        @classmethod
        def from_config(cls, config: Any) -> Any:
            return cls(**config)

    model = Model({"points": point_adapter(16)}, Identity(16), build(point_adapter).tasks)
    folder = save(model, tmp_path / "model")
    with pytest.raises(CheckpointError, match="its encoder is a Identity"):
        load(folder, adapters={"points": point_adapter})
    again = load(folder, adapters={"points": point_adapter}, encoder=Identity)
    assert again.predict("extent", clouds()) == model.eval().predict("extent", clouds())
    with pytest.raises(ValueError, match="this encoder has no method"):
        model.attention("points", clouds()[0])


# --- folders that someone forged ------------------------------------------------------------------------


def forge(folder: Path, change: Any) -> None:
    """Change config.json as one who wants it to be loaded would."""
    config = json.loads((folder / "config.json").read_text())
    config = change(config) or config
    (folder / "config.json").write_text(json.dumps(config))


def put_in(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and its digest with it."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    forge(folder, lambda config: config["files"].update({name: digest}))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.txt", "a/b", "", ".", "..", "a\\b", "C:x", "a\0b"]
)
def test_a_config_names_files_of_its_folder_alone(point_adapter: Any, tmp_path: Path, name: str) -> None:
    folder = save(build(point_adapter), tmp_path / "model")
    (tmp_path / "secret.txt").write_text("secret")
    forge(folder, lambda config: config["files"].update({name: "0" * 64}))
    with pytest.raises(CheckpointError, match=r"among its files, expected names in this folder"):
        load(folder, adapters={"points": point_adapter})


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, b"\x08" + b"\0" * 7 + b"{}garbag", b"\2\0\0\0\0\0\0\0{}"]
)
def test_weights_that_are_none(point_adapter: Any, tmp_path: Path, content: bytes) -> None:
    folder = save(build(point_adapter), tmp_path / "model")
    put_in(folder, "model.safetensors", content)
    with pytest.raises(CheckpointError, match=r"its config\.json does not fit its files: \w+Error\("):
        load(folder, adapters={"points": point_adapter})


@pytest.mark.parametrize(
    "sizes",
    [
        {"dim": 1_000_000, "ff_dim": 4},
        {"depth": 2_000_000_000},
        {"depth": 100_000},
        {"dim": 4096, "ff_dim": 4096},
        {"depth": -1},
        {"depth": "many"},
        {"heads": 0},
        {"surprise": 1},
        {"ff_dim": 10**30},
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_sizes_that_its_weights_have_not(tmp_path: Path, sizes: dict[str, Any]) -> None:
    head = SetHead(16, ClassTarget(["no", "yes"]))
    text = TextAdapter.fit(["a lamp"], dim=16)
    model = Model({"text": text}, Encoder(16, 1, 2), {"lamp": Task("text", head)})
    folder = save(model, tmp_path / "model")
    forge(folder, lambda config: config["encoder"]["config"].update(sizes))
    if "dim" in sizes:  # of all parts, so that they fit together
        forge(folder, lambda config: config["adapters"]["text"]["config"].update(dim=sizes["dim"]))
    before = peak_memory()
    with pytest.raises(CheckpointError, match=r"model: its config\.json does not fit its files: "):
        load(folder)
    assert peak_memory() - before < 200  # MiB


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(adapters=[]),
        lambda config: config.update(tasks={"half": None}),
        lambda config: config.update(encoder="large"),
        lambda config: config["tasks"]["half"].update(weight="heavy"),
        lambda config: config["tasks"]["half"].update(weight=float("nan")),
        lambda config: config["tasks"]["half"]["head"].update(target=7),
        lambda config: config["tasks"]["half"]["head"].update(kind=["vector"]),
        lambda config: config["tasks"]["half"].update(adapter={}),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_config_of_other_types(point_adapter: Any, tmp_path: Path, change: Any) -> None:
    folder = save(build(point_adapter), tmp_path / "model")
    forge(folder, change)
    with pytest.raises(CheckpointError):
        load(folder, adapters={"points": point_adapter})


def test_a_config_nested_without_end(point_adapter: Any, tmp_path: Path) -> None:
    folder = save(build(point_adapter), tmp_path / "model")
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"config\.json: damaged"):
        load(folder, adapters={"points": point_adapter})
