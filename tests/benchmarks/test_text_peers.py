"""Other systems beside ours on data of text: each trains and is scored, on a few items."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.accuracy import beside, bilstm, hf_trainer, kim_cnn, linearised, marian, udpipe
from benchmarks.accuracy.beside import Figures, Plan, System, table
from tests.first_lines import first_lines
from tests.pretrained.tiny import write_folder

NUM_LINES = 600


@pytest.fixture(scope="module")
def treebank(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_lines(
        data_dir / "text_pos/UD_English-EWT", tmp_path_factory.mktemp("ewt") / "data", NUM_LINES
    )


def score(system: System, recipe: str, data: Path, *changes: str) -> float:
    plan = Plan(recipe, data, quick=True, changes=changes)
    return system(plan, {split: plan.items(split) for split in ("train", "dev", "test")})


def test_udpipe(treebank: Path) -> None:
    if find_spec("ufal") is None:
        pytest.skip("needs UDPipe: pip install ufal.udpipe")
    assert 0.5 < score(udpipe.udpipe, "english-pos", treebank) < 1


def test_the_trainer_of_transformers(treebank: Path, tmp_path: Path) -> None:
    if find_spec("accelerate") is None:
        pytest.skip("transformers' Trainer needs accelerate: pip install accelerate")
    start = f"encoder.start={write_folder(tmp_path / 'model', 'bert')}"
    for system in (hf_trainer.in_random_order, hf_trainer.grouped_by_length):
        assert 0 <= score(system, str(hf_trainer.RECIPE), treebank, start) < 1


def test_kims_cnn(data_dir: Path, tmp_path: Path) -> None:
    data = first_lines(data_dir / "text_class/qc", tmp_path / "qc", NUM_LINES)
    assert 0.2 < score(kim_cnn.kim_cnn, "trec", data) <= 1


def test_marian(data_dir: Path, tmp_path: Path) -> None:
    data = first_lines(data_dir / "text_mt/multi30k_task1_raw", tmp_path / "data", NUM_LINES)
    assert 0 <= score(marian.marian, "multi30k", data) < 100


def test_a_plain_transformer_on_facts(data_dir: Path) -> None:
    assert 0 <= score(linearised.transformer, "webnlg", data_dir / "graph_to_seq/WebNLG_v1.6_en") < 100


def test_one_command_prints_ours_beside_the_other(
    treebank: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(beside, "in_fresh_process", lambda function, *given: function(*given))
    monkeypatch.setattr(sys, "argv", ["bilstm", "--data", str(treebank), "--quick"])
    beside.compare("", "english-pos", {"BiLSTM": bilstm.bilstm})
    head, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert head == "| system | accuracy, test | seconds | of the processor | peak MiB |"
    assert [row.split("|")[1].strip() for row in rows] == ["multiseq", "BiLSTM"]


def test_the_table() -> None:
    row = table(
        {"a": Figures(0.95, 12.4, 20.0, 300.2), "b": Figures(41.02, 1.0, 1.0, 1.0)}, "x"
    ).splitlines()[2:]
    assert row == ["| a | 0.9500 | 12 | 20 | 300 |", "| b | 41.0 | 1 | 1 | 1 |"]
