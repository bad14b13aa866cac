"""Splits made by the library: what is promised of every split, and of the runs that use them."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from multiseq import folds, split
from multiseq.cli import app
from multiseq.data import DataError
from multiseq.data.graphs.molecules import compared, scaffold
from multiseq.data.splits import first_equal, moment
from multiseq.runs.evaluate import evaluate_run
from multiseq.runs.facts import facts_of
from multiseq.runs.recipe import RecipeError, read
from multiseq.runs.run import check_run, train_run
from multiseq.runs.sources import draw_splits, read_split
from multiseq.runs.splits import Split, save_splits, saved_splits
from multiseq.tasks import Source

SHARES = [(0.2, 0.1), (0.2, 0.0), (0.0, 0.1), (0.5, 0.4), (1 / 3, 1 / 3)]
CLASSES = st.lists(st.integers(1, 60), min_size=1, max_size=12)
"""The sizes of classes."""

HAS = "has the model, the curves (curves.png), a page to look at (report.html)"


def mixed(sizes: list[int], seed: int = 0) -> list[str]:
    """Labels of classes of these sizes, in random order."""
    labels = [f"c{number}" for number, size in enumerate(sizes) for _ in range(size)]
    random.Random(seed).shuffle(labels)
    return labels


def counts(rows: list[int], values: Any) -> Counter[Any]:
    return Counter(values[i] for i in rows)


# --- what is promised of every split --------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(sizes=CLASSES, shares=st.sampled_from(SHARES), seed=st.integers(0, 5))
def test_every_class_is_in_every_part_in_proportion(
    sizes: list[int], shares: tuple[float, float], seed: int
) -> None:
    test, dev = shares
    labels = mixed([*sizes, 20], seed)
    rows = split(range(len(labels)), labels=labels, test=test, dev=dev, seed=seed)
    assert sorted(row for of_part in rows.values() for row in of_part) == list(range(len(labels)))
    assert all(of_part == sorted(of_part) for of_part in rows.values())
    assert list(rows) == ["train", *["test"] * bool(test), *["dev"] * bool(dev)]
    for part, share in {"train": 1 - test - dev, "test": test, "dev": dev}.items():
        of_part = counts(rows.get(part, []), labels)
        for name, num in Counter(labels).items():
            assert abs(of_part[name] - share * num) <= 1 + 1e-9
            assert of_part[name] or share * num < 1
    assert set(counts(rows["train"], labels)) == set(labels)  # no class that training lacks


def test_small_classes_come_first_where_a_part_can_take_one() -> None:
    labels = ["big"] * 90 + ["small"] * 3 + ["two"] * 2 + ["one"]
    rows = split(range(96), labels=labels, test=0.1, dev=0.1)
    assert counts(rows["test"], labels) == Counter(big=9, small=1)
    assert counts(rows["dev"], labels) == Counter(big=9, two=1)
    assert counts(rows["train"], labels) >= Counter(one=1, two=1, small=1)
    assert [len(rows[part]) for part in ("test", "dev")] == [10, 10]
    many = [f"c{i // 3}" for i in range(300)]  # a hundred classes of three do not make the test part larger
    assert [len(rows) for rows in split(range(300), labels=many, test=0.1, dev=0.1).values()] == [240, 30, 30]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=6, max_size=30),
    shares=st.sampled_from(SHARES),
    seed=st.integers(0, 5),
    with_labels=st.booleans(),
)
def test_groups_are_never_cut(
    sizes: list[int], shares: tuple[float, float], seed: int, with_labels: bool
) -> None:
    test, dev = shares
    group = mixed(sizes, seed)
    labels = ["x" if int(name[1:]) % 3 else "y" for name in group] if with_labels else None
    rows = split(range(len(group)), labels=labels, group=group, test=test, dev=dev, seed=seed)
    assert sorted(row for of_part in rows.values() for row in of_part) == list(range(len(group)))
    owners = Counter(name for of_part in rows.values() for name in {group[row] for row in of_part})
    assert set(owners.values()) == {1}
    assert all(rows.values())
    assert labels is None or set(counts(rows["train"], labels)) == set(labels)
    for part, share in (("test", test), ("dev", dev)):
        if (
            part in rows
        ):  # the last group that is put somewhere is too much, or too little, by less than itself
            assert abs(len(rows[part]) - share * len(group)) <= max(sizes)


def test_sizes_are_near_the_fractions_with_groups() -> None:
    sizes = [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]
    group = mixed(sizes)
    for seed in range(5):
        rows = split(range(550), group=group, test=0.2, dev=0.1, seed=seed)
        assert abs(len(rows["test"]) - 110) <= 10
        assert abs(len(rows["dev"]) - 55) <= 10
    accent = {f"c{i}": "north" if i < 2 else "south" for i in range(10)}  # of two speakers, one is tested
    labels = [accent[name] for name in group]
    rows = split(range(550), labels=labels, group=group, test=0.2, seed=1)
    assert set(counts(rows["test"], labels)) == set(counts(rows["train"], labels)) == {"north", "south"}


def test_no_part_is_empty_where_there_are_enough_items_or_groups() -> None:
    assert [len(rows) for rows in split(["a", "b", "c"], test=0.1, dev=0.1).values()] == [1, 1, 1]
    group, labels = [0, 0, 1, 1, 2, 2], ["x", "y"] * 3  # each group has both classes
    for seed in range(5):
        rows = split(range(6), labels=labels, group=group, test=0.1, dev=0.1, seed=seed)
        assert [len(of_part) for of_part in rows.values()] == [2, 2, 2]


def test_an_item_without_a_group_is_a_group_of_its_own() -> None:
    rows = split(range(10), group=[None, float("nan")] * 5, test=0.2, dev=0.2)
    assert [len(of_part) for of_part in rows.values()] == [6, 2, 2]


def test_training_and_checking_count_the_same_copies() -> None:
    """A graph with its keys in another order is the same graph; arrays and empty texts are no copies."""
    graphs = [{"nodes": 3, "edges": [[0, 1]]}, {"edges": [[0, 1]], "nodes": 3}, {"nodes": 4, "edges": []}]
    train = ["a b", "", ["a", "b"], graphs[0], (np.zeros(3), 8000)]
    test = ["", ["a", "b"], graphs[1], graphs[2], (np.zeros(3), 8000), "a b"]
    assert first_equal(test, train) == {1: 2, 2: 3, 5: 0}
    sources = {
        name: [Source("mine", items, {"task": ["x"] * len(items)})]
        for name, items in (("train", train), ("test", test))
    }
    odd = facts_of(sources, {"task": "class"}, {"task": "accuracy"}).odd
    assert any(line.startswith("task: test: 3 items also in train") for line in odd)
    assert split(graphs, test=0.5)["test"] in ([0, 1], [2])


def test_equal_items_stay_together_unless_a_group_says_otherwise() -> None:
    texts = ["good", "bad", "good", "fair", "good", "poor", "bad"]
    rows = split(texts, test=0.3)
    assert not first_equal((texts[i] for i in rows["test"]), (texts[i] for i in rows["train"]))
    rows = split([["a", 1], {"b": [2]}, ["a", 1], {"b": [2]}, "c"], test=0.4)
    assert rows["test"] in ([0, 2], [1, 3])
    rows = split(["same"] * 6, group=list("aabbcc"), test=1 / 3)
    assert [len(of_part) for of_part in rows.values()] == [4, 2]
    arrays = [(np.zeros(3), 8000)] * 4  # not compared
    assert [len(of_part) for of_part in split(arrays, test=0.5).values()] == [2, 2]
    with pytest.raises(ValueError, match=r"got 1 different items for train, test; expected at least 2"):
        split(["same"] * 6, test=0.5)


def test_a_split_is_the_same_everywhere() -> None:
    """These numbers are the same for every version of Python; to change them changes everyone's splits."""
    texts, labels = [f"text {i}" for i in range(12)], list("aabbaabbaabc")
    rows = split(texts, labels=labels, test=0.25, dev=0.25, seed=1)
    assert rows == {"train": [2, 3, 5, 8, 9, 11], "test": [0, 4, 7], "dev": [1, 6, 10]}
    assert split(texts, labels=labels, test=0.25, dev=0.25, seed=1) == rows
    assert split(texts, labels=labels, test=0.25, dev=0.25, seed=2) != rows


def test_the_names_of_classes_and_groups_do_not_matter() -> None:
    labels, group = mixed([5, 5, 30, 20]), mixed([6] * 10, 1)
    renamed = {name: f"z{10 - int(name[1:])}" for name in set(labels) | set(group)}
    given = {"test": 0.2, "dev": 0.1}
    rows = split(range(60), labels=labels, **given)
    assert split(range(60), labels=[renamed[name] for name in labels], **given) == rows
    rows = split(range(60), labels=labels, group=group, **given)
    others = split(range(60), labels=[renamed[n] for n in labels], group=[renamed[n] for n in group], **given)
    assert others == rows


def test_numbers_are_in_proportion_by_size() -> None:
    numbers = [float(i**2) for i in range(200)]
    random.Random(0).shuffle(numbers)
    for seed in range(3):
        rows = split(range(200), labels=[*numbers], test=0.1, seed=seed)
        tenths = Counter(int(numbers[i] ** 0.5) // 20 for i in rows["test"])
        assert tenths == dict.fromkeys(range(10), 2)
    stars = [float(i % 3) for i in range(90)]  # few different numbers are classes
    rows = split(range(90), labels=stars, test=0.1)
    assert counts(rows["test"], stars) == {0.0: 3, 1.0: 3, 2.0: 3}
    few = split(range(12), labels=[i / 7 for i in range(12)], test=0.25)
    assert [len(of_part) for of_part in few.values()] == [9, 3]


def test_several_labels_of_an_item_are_in_proportion_each() -> None:
    rng = random.Random(0)
    labels = [
        [n for n, share in (("a", 0.5), ("b", 0.2), ("rare", 0.03)) if rng.random() < share]
        for _ in range(400)
    ]
    rows = split(range(400), labels=labels, test=0.2, dev=0.1)
    assert split(range(400), labels=[set(own) for own in labels], test=0.2, dev=0.1) == rows
    assert abs(len(rows["test"]) - 80) <= 4
    assert abs(len(rows["dev"]) - 40) <= 4
    for name in ("a", "b", "rare"):
        num = sum(name in own for own in labels)
        for part, share in (("test", 0.2), ("dev", 0.1)):
            assert abs(sum(name in labels[i] for i in rows[part]) - share * num) <= 2


# --- time -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.integers(0, 20), min_size=5), shares=st.sampled_from(SHARES))
def test_the_latest_are_test_and_those_before_dev(times: list[int], shares: tuple[float, float]) -> None:
    times = [*times, 0, 10, 20]  # at least three different ones
    test, dev = shares
    rows = split(range(len(times)), time=times, test=test, dev=dev)
    assert sorted(row for of_part in rows.values() for row in of_part) == list(range(len(times)))
    parts = [rows[part] for part in ("train", "dev", "test") if part in rows]
    for before, after in pairwise(parts):
        assert max(times[i] for i in before) < min(times[i] for i in after)


def test_time_without_ties_is_cut_at_the_fractions() -> None:
    times = [datetime(2024, 1, 1 + i) for i in range(30)]
    rows = split(range(30), time=times, test=0.2, dev=0.1)
    assert rows == {"train": [*range(21)], "test": [*range(24, 30)], "dev": [21, 22, 23]}
    with pytest.raises(ValueError, match=r"got 2 different times for train, dev, test; expected at least 3"):
        split(range(4), time=[1, 1, 2, 2], test=0.2, dev=0.1)


@pytest.mark.parametrize("text", ["x", "", "nan", "31.01.2024", "2024-13-01", None])
def test_what_is_no_time(text: Any) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected a number or an ISO date, as in 2024-01-31"):
        moment(text)


def test_times_are_ordered_whatever_their_zone() -> None:
    texts = ["2024-01-31T23:30:00-02:00", "2024-02-01", "2024-02-01T01:00:00Z", "2024-02"]
    assert sorted(texts[:3], key=moment) == [texts[1], texts[2], texts[0]]
    assert moment(texts[3]) == moment(texts[1])


# --- by scaffold ----------------------------------------------------------------------------------

BENZENES, PYRIDINES = ["c1ccccc1", "Cc1ccccc1", "CCc1ccccc1", "Oc1ccccc1"], ["c1ccncc1", "Cc1ccncc1"]


def test_the_rarest_scaffolds_are_test() -> None:
    smiles = [PYRIDINES[0], "C1CC1", *BENZENES, "CCO", "C1CCC1", PYRIDINES[1], "CCN"]
    drawn = split(smiles, test=0.2, dev=0.2, scaffold=True)
    # 4 benzenes; of the two pairs the later one, without a ring, first; of single ones also the later first
    assert drawn == {"train": [2, 3, 4, 5, 6, 9], "dev": [0, 8], "test": [1, 7]}
    assert drawn == split(smiles, test=0.2, dev=0.2, scaffold=True, seed=7, labels=range(10))
    assert split(smiles, test=0.3, scaffold=True)["test"] == [0, 1, 8]  # a small one still fits into train
    with pytest.raises(
        ValueError, match=r"no item for train from 1 scaffolds, .* has 4 of 4 items; expected"
    ):
        split(BENZENES, test=0.2, scaffold=True)


@pytest.mark.parametrize("file", ["ESOL/delaney.csv", "BBBP/bbbp.csv"])
def test_the_splits_of_deepchem_come_out(data_dir: Path, file: str) -> None:
    table = data_dir / "graph_mol" / file
    smiles = [row["smiles"] for row in csv.DictReader(table.read_text().splitlines())]
    given = json.loads((table.parent / "scaffold_split.json").read_text())
    drawn = split(smiles, test=0.1, dev=0.1, scaffold=True)
    assert drawn == {
        "train": sorted(given["train"]),
        "dev": sorted(given["valid"]),
        "test": sorted(given["test"]),
    }


# --- folds ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(sizes=CLASSES, num=st.sampled_from([2, 3, 5]), dev=st.sampled_from([0.0, 0.1]))
def test_each_item_is_tested_in_one_fold(sizes: list[int], num: int, dev: float) -> None:
    labels = mixed([*sizes, 20])
    found = folds(range(len(labels)), num, labels=labels, dev=dev)
    assert sorted(row for rows in found for row in rows["test"]) == list(range(len(labels)))
    for rows in found:
        assert sorted(row for of_part in rows.values() for row in of_part) == list(range(len(labels)))
        assert ("dev" in rows) == bool(dev)
        of_test = counts(rows["test"], labels)
        assert all(abs(of_test[name] - of_all / num) <= 1 for name, of_all in Counter(labels).items())


def test_folds_keep_groups_together_in_dev_too() -> None:
    group = mixed([7] * 15)
    for rows in folds(range(105), 5, group=group, dev=0.2):
        assert len(rows["test"]) == 21
        owners = Counter(name for of_part in rows.values() for name in {group[row] for row in of_part})
        assert set(owners.values()) == {1}
    with pytest.raises(ValueError, match=r"got 2 groups for fold 0, fold 1, fold 2; expected at least 3"):
        folds(range(4), 3, group=[0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"folds: got 1, expected at least 2, a whole number"):
        folds(range(4), 1)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("num", [2, 5, 9, 10])
def test_few_items_with_a_number_each_are_divided(num: int, repeats: int) -> None:
    items = [f"item {i}" for i in range(num)] * repeats
    numbers = [1.5 * i for i in range(num)] * repeats
    rows = split(items, labels=numbers, test=0.2)
    assert sorted(rows["train"] + rows["test"]) == list(range(num * repeats))
    assert len(rows["test"]) == repeats * max(1, round(0.2 * num))
    assert not {items[row] for row in rows["train"]} & {items[row] for row in rows["test"]}
    tests = [len(fold["test"]) for fold in folds(items, num, labels=numbers)]
    assert tests == [repeats] * num


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"test, dev: got 0 for both, expected a fraction for one of them, as in test=0.2"),
        ({"test": 0.5, "dev": 0.5}, r"test, dev: got 0.5 and 0.5, which leaves nothing for train"),
        ({"test": 1.2}, r"test: got 1.2, expected from 0 to 1, a number"),
        ({"dev": -0.1}, r"dev: got -0.1, expected from 0 to 1"),
        ({"test": 0.2, "labels": [1]}, r"labels: got 1 for 4 items, expected one for each"),
        ({"test": 0.2, "group": [1, 2]}, r"group: got 2 for 4 items"),
        ({"test": 0.2, "time": []}, r"time: got 0 for 4 items"),
        (
            {"test": 0.2, "group": [1] * 4, "time": [1] * 4},
            r"group, time, scaffold: got two of them, expected",
        ),
        ({"test": 0.2, "group": [1] * 4, "scaffold": True}, r"group, time, scaffold: got two of them"),
        ({"test": 0.2, "scaffold": True}, r"scaffold: got 'a', expected a SMILES that RDKit can read"),
        ({"test": 0.2, "group": [1] * 4}, r"got 1 groups for train, test; expected at least 2"),
        ({"test": 0.2, "seed": -1}, r"seed: got -1, expected at least 0"),
        ({"test": 0.2, "labels": "abcd"}, r"labels: got str, expected a list or a column of a table"),
        (
            {"test": 0.2, "labels": [*"abcd"]},
            r"got no item for test, because nearly every class has one of the 4 different items",
        ),
    ],
)
def test_what_cannot_be_split(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(["a", "b", "c", "d"], **given)


# --- recipes --------------------------------------------------------------------------------------


RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 6
max_vectors = 120
lr = 1e-2

[data.reviews]
adapter = "text"
format = "table"
input = "review"
file = "reviews.csv"
KEYS

[tasks.mood]
data = "reviews"
output = "set"
target = "class"
column = "mood"
"""


class Folder:
    """A folder with a table of reviews as people have it, and recipes for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        rng = random.Random(0)
        self.rows = []
        for i in range(80):
            mood = "bad" if i % 4 == 0 else "good"
            words = rng.choices(
                ["broke", "loud", "late"] if mood == "bad" else ["lovely", "quiet", "fine"], k=2
            )
            row = [f"{' '.join(words)} {i % 60}", mood, f"c{i % 9}", f"2024-{i % 12 + 1:02}-{i % 27 + 1:02}"]
            self.rows.append(row)
        self.write(self.rows)

    def write(self, rows: list[list[str]], name: str = "reviews.csv") -> None:
        with (self.path / name).open("w", newline="") as file:
            csv.writer(file).writerows([["review", "mood", "customer", "date"], *rows])

    def recipe(self, keys: str, text: str = RECIPE) -> Any:
        (self.path / "reviews.toml").write_text(text.replace("KEYS", keys))
        return read(self.path / "reviews.toml")

    def locations(self, keys: str, text: str = RECIPE) -> dict[str, list[int]]:
        """Split -> the lines of its items."""
        recipe = self.recipe(keys, text)
        return {
            part: [int(place.rpartition(":")[2]) for s in read_split(recipe, part) for place in s.locations]
            for part in ("train", "dev", "test")
        }


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_fractions_of_one_file(folder: Folder) -> None:
    lines = folder.locations("test = 0.2\ndev = 0.1")
    assert sorted(line for of_part in lines.values() for line in of_part) == list(range(2, 82))
    assert [len(lines[part]) for part in ("train", "dev", "test")] == [56, 8, 16]
    moods = {line: row[1] for line, row in enumerate(folder.rows, 2)}
    assert Counter(moods[line] for line in lines["test"]) == {"good": 12, "bad": 4}
    texts = [{folder.rows[line - 2][0] for line in of_part} for of_part in lines.values()]
    assert sum(map(len, texts)) == len(set.union(*texts))
    assert folder.locations("test = 0.2\ndev = 0.1\nsplit_seed = 1") != lines


def test_fractions_of_train_beside_a_file_of_test(folder: Folder) -> None:
    text = RECIPE.replace('file = "reviews.csv"', 'train = "reviews.csv"')
    folder.write(folder.rows[:3], "test.csv")
    lines = folder.locations('dev = 0.1\ntest = "test.csv"', text)
    assert [len(lines[part]) for part in ("train", "dev", "test")] == [72, 8, 3]
    lines = folder.locations("test = 0.25", text)
    assert [len(lines[part]) for part in ("train", "dev", "test")] == [60, 0, 20]


def test_groups_and_times_of_a_table(folder: Folder) -> None:
    lines = folder.locations('test = 0.2\ndev = 0.2\ngroup = "customer"')
    owners = [{folder.rows[line - 2][2] for line in of_part} for of_part in lines.values()]
    assert sum(map(len, owners)) == 9
    assert all(owners)
    lines = folder.locations('test = 0.2\ndev = 0.2\ntime = "date"')
    dates = {part: [folder.rows[line - 2][3] for line in of_part] for part, of_part in lines.items()}
    assert max(dates["train"]) < min(dates["dev"])
    assert max(dates["dev"]) < min(dates["test"])


def test_scaffolds_of_a_table(folder: Folder) -> None:
    text = RECIPE.replace('adapter = "text"', 'adapter = "graph"')
    smiles = [*BENZENES, "C1CC1", "C1CCC1", *PYRIDINES, "CCO", "CCN", "C1", "CCC"]
    folder.write([[one, "good", "", ""] for one in smiles])
    with pytest.raises(
        DataError, match=r"reviews\.csv:12: scaffold: got 'C1', expected a SMILES that RDKit can"
    ):
        folder.locations("test = 0.2\nscaffold = true", text)
    keys = 'on_error = "skip"\nscaffold = true\n'
    lines = folder.locations(f"{keys}test = 0.2", text)
    assert lines == {"train": [2, 3, 4, 5, 7, 10, 11, 13], "dev": [], "test": [6, 8, 9]}
    [split_] = draw_splits(folder.recipe(f"{keys}test = 0.2", text)).values()
    assert split_.content["how"] == "the rarest scaffolds are held out"
    assert 10 in split_.content["train"]  # the bad row, so that training lists it
    names = [{scaffold(smiles[line - 2]) for line in of_part} for of_part in folder.locations(
        f"{keys}folds = 2\nfold = 0", text
    ).values()]  # fmt: skip
    assert not names[0] & names[2]
    assert len(names[0] | names[2]) == 5


def test_a_molecule_is_the_same_however_it_is_written(folder: Folder) -> None:
    text = RECIPE.replace('adapter = "text"', 'adapter = "graph"')
    ways = [
        ("CCO", "OCC", "[H]OCC"),
        ("CN", "NC", "CN amine"),
        ("C=O", "O=C", "C=O |$a;b$|"),
        ("CCCl", "ClCC"),
    ]
    moods = [("good", "bad", ""), ("good", "good", ""), ("bad", "bad", "bad"), ("bad", "good")]
    rows = [[smiles, mood, "", ""] for pair in zip(ways, moods, strict=True)
            for smiles, mood in zip(*pair, strict=True)]  # fmt: skip
    folder.write(rows)
    lines = folder.locations("test = 0.3", text)
    written = {split: {rows[line - 2][0] for line in of_split} for split, of_split in lines.items()}
    assert all(set(way) <= written["train"] or set(way) <= written["test"] for way in ways)
    folder.write(rows, "new.csv")
    said: list[str] = []
    recipe = folder.recipe('test = "new.csv"', text.replace("file =", "train ="))
    check_run(recipe, say=said.append)
    odd = next(line for line in said if "an earlier one" in line)
    assert "train: 7 items the same as an earlier one, 2 of them with another label" in odd
    assert any("test: 11 items also in train" in line for line in said)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("soon", r"reviews\.csv:4: date: got 'soon', expected a number or an ISO date, as in 2024-01-31"),
        ("", r"reviews\.csv:4: date: got no time, expected one for each item; fill it in or remove the row"),
        ("7", r"reviews\.csv:4: date: got '7' after '2024-01-01', expected only numbers or only dates"),
    ],
)
def test_a_time_that_cannot_be_read(folder: Folder, cell: str, message: str) -> None:
    folder.rows[2][3] = cell
    folder.write(folder.rows)
    with pytest.raises(DataError, match=message):
        folder.locations('test = 0.2\ntime = "date"')


def test_what_the_data_cannot_be_split_by(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"reviews\.csv: no column 'speaker'; there are mood, customer, date"):
        folder.locations('test = 0.2\ngroup = "speaker"')
    folder.write([[f"text {i}", "x", "c0", "1"] for i in range(5)])
    with pytest.raises(DataError, match=r"reviews: \[data\.reviews\]: got 1 groups for train, test, dev"):
        folder.locations('test = 0.2\ndev = 0.1\ngroup = "customer"')
    folder.write([[f"text {i}", f"id {i}", "c0", "1"] for i in range(5)])
    with pytest.raises(DataError, match=r"reviews: \[data\.reviews\]: 'mood': got no item for test, because"):
        folder.locations("test = 0.2")
    folder.write([["same", "x", "c0", "1"]] * 5)
    with pytest.raises(
        DataError, match=r"\[data\.reviews\]: got 1 different items for train, test; expected"
    ):
        folder.locations("test = 0.2")


def test_a_fold_of_several(folder: Folder) -> None:
    found = [folder.locations(f"folds = 4\nfold = {fold}\ndev = 0.1") for fold in range(4)]
    assert sorted(line for lines in found for line in lines["test"]) == list(range(2, 82))
    for lines in found:
        assert [len(lines[part]) for part in ("train", "dev", "test")] == [54, 6, 20]


WRONG = {
    "sum": ("test = 0.6\ndev = 0.4", r"got test = 0\.6 and dev = 0\.4; expected a sum below 1, as the"),
    "fraction": ("test = 1.0", r"test: got 1\.0, expected a fraction between 0 and 1"),
    "share of a split file": ('split_file = "s"\ntest = 0.2', r"got split_file and test = 0\.2; expected"),
    "seed": ("split_seed = 1\nsplit_column = 'mood'", r"got split_seed, which goes with test = 0\.2"),
    "group": ("group = 'a'\nsplit_column = 'mood'", r"got group, which goes with test = 0\.2, dev = 0\.1 or"),
    "both": ("test = 0.2\ngroup = 'a'\ntime = 'b'", r"got group and time, expected one of them"),
    "scaffold": ("test = 0.2\ngroup = 'a'\nscaffold = true", r"got group and scaffold, expected one of them"),
    "no fraction": ("scaffold = true\nsplit_column = 'mood'", r"got scaffold, which goes with test = 0\.2"),
    "negative": ("test = 0.2\nsplit_seed = -1", r"split_seed: got -1, expected 0 or more"),
    "one fold": ("folds = 1\nfold = 0", r"folds: got 1, expected 2 or more"),
    "sixth fold": ("folds = 5\nfold = 5", r"fold: got 5, expected 0 to 4, the number of the fold that is"),
    "no fold": ('split_file = "s"\nfold = "one"', r"fold: got 'one', expected 0 or more, or \"all\""),
    "folds and test": ("folds = 5\nfold = 0\ntest = 0.2", r"got folds and test; every fold has a test split"),
    "folds and time": ("folds = 5\nfold = 0\ntime = 'date'", r"got folds and time; every fold has a test"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_in_a_recipe(folder: Folder, case: str) -> None:
    keys, message = WRONG[case]
    with pytest.raises(RecipeError, match=rf"reviews: \[data\.reviews\]:? ?{message}"):
        folder.recipe(keys)


def test_labels_that_decide(folder: Folder) -> None:
    """Classes before numbers; several columns by their first number, or by the flags that are set."""
    rows = [[f"text {i}", str(i), str(int(i % 10 == 0)), str(int(i % 2))] for i in range(100)]
    folder.write(rows)
    number = RECIPE.replace('target = "class"', 'target = "number"')
    lines = folder.locations("test = 0.1", number)
    assert sorted((line - 2) // 10 for line in lines["test"]) == list(range(10))
    flags = RECIPE.replace(
        'target = "class"\ncolumn = "mood"', 'target = "multilabel"\ncolumns = ["customer", "date"]'
    )
    assert sum((line - 2) % 10 == 0 for line in folder.locations("test = 0.2", flags)["test"]) == 2
    both = number + '[tasks.rare]\ndata = "reviews"\noutput = "set"\ntarget = "class"\ncolumn = "customer"\n'
    assert sum((line - 2) % 10 == 0 for line in folder.locations("test = 0.2", both)["test"]) == 2
    how = draw_splits(folder.recipe("test = 0.2", both))["reviews"].content["how"]
    assert how == "drawn with split_seed = 0, in proportion to 'customer', equal items in one split"


NETWORK = """
[encoder]
dim = 16
depth = 1
heads = 2

[data.net]
adapter = "graph"
format = "networks"
file = "nodes.csv"
edges = "edges.csv"
features = ["age"]
KEYS

[tasks.buys]
data = "net"
output = "vector"
target = "class"
column = "buys"
"""


def test_the_nodes_of_one_network_are_divided(folder: Folder) -> None:
    rows = [f"A,{i},{i},{'yes' if i % 4 == 0 else 'no'},{i // 10},{2000 + i}\n" for i in range(40)]
    (folder.path / "nodes.csv").write_text("net,node,age,buys,team,year\n" + "".join(rows))
    (folder.path / "edges.csv").write_text("net,source,target\nA,0,1\n")

    def labels(keys: str, text: str = NETWORK) -> dict[str, list[Any]]:
        recipe = folder.recipe(keys, text)
        found = {part: read_split(recipe, part) for part in ("train", "dev", "test")}
        return {part: sources[0].targets["buys"][0] for part, sources in found.items() if sources}

    found = labels("test = 0.2\ndev = 0.1")
    assert [Counter(found[part])["yes"] for part in ("train", "dev", "test")] == [7, 1, 2]
    assert [Counter(found[part])["no"] for part in ("train", "dev", "test")] == [21, 3, 6]
    assert all(sum(of is not None for of in node) == 1 for node in zip(*found.values(), strict=True))
    teams = labels('test = 0.25\ngroup = "team"')["test"]
    assert [i // 10 for i, label in enumerate(teams) if label] in [[team] * 10 for team in range(4)]
    assert [i for i, label in enumerate(labels('test = 0.25\ntime = "year"')["test"]) if label] == [
        *range(30, 40)
    ]
    # What was drawn can be used as a split file.
    [drawn] = draw_splits(folder.recipe("test = 0.2\ndev = 0.1", NETWORK)).values()
    (folder.path / "split.json").write_text(json.dumps(drawn.content))
    assert labels('split_file = "split.json"') == found
    node = drawn.content["train"].pop()
    (folder.path / "split.json").write_text(json.dumps(drawn.content))
    without = labels('split_file = "split.json"')  # this node is only a neighbour
    assert [of[node] for of in without.values()] == [None] * 3
    assert sum(label is not None for of in without.values() for label in of) == 39
    # The same in a column: a node with an empty cell is in no split.
    (folder.path / "nodes.csv").write_text(
        "net,node,age,buys,split\nA,0,1,yes,train\nA,1,2,no,train\nA,2,3,no,\nA,3,4,yes,test\nA,4,5,no,train\n"
    )
    found = labels('split_column = "split"')
    assert found == {"train": ["yes", "no", None, None, "no"], "test": [None] * 3 + ["yes", None]}
    found = labels('split_column = "split"\ndev = 0.4')
    assert sum(label is not None for label in found["train"] + found["dev"]) == 3


def test_several_networks_stay_whole_and_a_column_may_say_more(folder: Folder) -> None:
    rows = [
        f"n{i // 4},{i % 4},{i},{'yes' if i % 2 else 'no'},{'test' if i < 6 else 'train'}\n"
        for i in range(40)
    ]
    (folder.path / "nodes.csv").write_text("net,node,age,buys,split\n" + "".join(rows))
    (folder.path / "edges.csv").write_text("net,source,target\nn0,0,1\n")
    recipe = folder.recipe("test = 0.2\ndev = 0.1", NETWORK)
    sizes = [len(read_split(recipe, part)[0].items) for part in ("train", "dev", "test")]
    assert sizes == [7, 1, 2]
    recipe = folder.recipe('split_column = "split"\ndev = 0.1', NETWORK)
    test, dev, train = (read_split(recipe, part)[0].targets["buys"] for part in ("test", "dev", "train"))
    assert test == [["no", "yes", "no", "yes"], ["no", "yes", None, None]]
    assert sum(label is not None for labels in dev for label in labels) in (2, 4)
    assert sum(label is not None for labels in [*dev, *train] for label in labels) == 34


# --- runs -----------------------------------------------------------------------------------------


def printed(*arguments: str | Path) -> list[str]:
    """The lines that a command prints."""
    result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="multiseq")
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, list[str]]:
    """A folder with a finished run with test = 0.2, and what the command line printed."""
    folder = Folder(tmp_path_factory.mktemp("tested"))
    folder.recipe("test = 0.2\ndev = 0.1\nsplit_seed = 3")
    return folder, printed("train", folder.path / "reviews.toml", "--out", folder.path / "run")


def test_a_run_says_and_keeps_its_splits(tested: tuple[Folder, list[str]]) -> None:
    folder, lines = tested
    how = "drawn with split_seed = 3, in proportion to 'mood', equal items in one split"
    assert lines[1] == f"[data.reviews] train 56, dev 8, test 16 items: {how}"
    assert any(line.startswith("Scores on the test split.") for line in lines)
    assert f"{folder.path / 'run'} {HAS} and this table (test.md)." in lines
    content = json.loads((folder.path / "run" / "splits" / "reviews.json").read_text())
    assert {key: len(value) for key, value in content.items() if isinstance(value, list)} == {
        "train": 56, "test": 16, "dev": 8,
    }  # fmt: skip
    assert content["rows"] == 80
    drawn = folder.locations("test = 0.2\ndev = 0.1\nsplit_seed = 3")
    assert folder.locations('split_file = "run/splits/reviews.json"') == drawn
    scores = json.loads((folder.path / "run" / "test.json").read_text())["tasks"]["mood"]
    assert (scores["split"], scores["num_items"]) == ("test", 16)
    assert "dev_chose_weights" not in scores
    assert "\n\nScores on the test split. " in (folder.path / "run" / "test.md").read_text()


def test_evaluate_uses_the_splits_of_the_run(tested: tuple[Folder, list[str]], tmp_path: Path) -> None:
    folder, _ = tested
    said: list[str] = []
    assert evaluate_run(folder.path / "run", say=said.append)["mood"]["num_items"] == 16
    assert evaluate_run(folder.path / "run", split="dev", say=said.append)["mood"]["split"] == "dev"
    assert not said
    moved = Folder(tmp_path)
    moved.write(folder.rows[::-1])
    evaluate_run(folder.path / "run", data=tmp_path, say=said.append)
    assert re.match(r"the data is not what this run was trained on, and .*splits goes by row", said[0])
    moved.write(folder.rows[:70])
    message = r"reviews\.json: divides 80 rows, but the data has 70; expected the data that it was made for"
    with pytest.raises(DataError, match=message):
        evaluate_run(folder.path / "run", data=tmp_path)


def test_a_run_without_its_splits_draws_them_again_and_compares(
    tested: tuple[Folder, list[str]], tmp_path: Path
) -> None:
    """As a run of an older version, which has drawn other rows and kept no list of them."""
    folder, _ = tested
    run = tmp_path / "run"
    shutil.copytree(folder.path / "run", run)
    shutil.rmtree(run / "splits")
    said: list[str] = []
    assert evaluate_run(run, split="dev", say=said.append)["mood"]["num_items"] == 8
    assert not said
    record = json.loads((run / "run.json").read_text())
    record["dev"][0]["digest"] = record["test"][0]["digest"]
    (run / "run.json").write_text(json.dumps(record))
    evaluate_run(run, split="dev", say=said.append)
    assert said[0].startswith("the data is not what this run was trained on")


def test_a_resumed_run_goes_on_with_its_splits(folder: Folder) -> None:
    run, keys = folder.path / "run", "test = 0.2\ndev = 0.1"
    recipe = folder.recipe(keys)
    recipe.tables["training"]["steps"] = 2
    train_run(recipe, run, progress=False, say=lambda line: None)
    path = run / "splits" / "reviews.json"
    saved = path.read_text()
    (run / "test.json").unlink()
    train_run(recipe, run, resume=True, progress=False, say=lambda line: None)
    assert path.read_text() == saved
    content = json.loads(saved)
    content["train"], content["test"] = content["test"], content["train"]
    path.write_text(json.dumps(content))
    (run / "test.json").unlink()
    with pytest.raises(ValueError, match=r"the data is not what this run began with \(training split"):
        train_run(recipe, run, resume=True, progress=False, say=lambda line: None)


def test_without_a_test_split_dev_is_scored_and_the_text_says_so(folder: Folder) -> None:
    run, optimistic = (
        folder.path / "run",
        "optimistic, because the weights are the ones with the best score on dev",
    )
    folder.recipe("dev = 0.2")
    few = ("--set", "training.steps=4", "--set", "training.evaluate_every=2")
    lines = printed("train", folder.path / "reviews.toml", "--out", run, *few)
    assert any(line.startswith(f"Scores on the dev split. Those on dev are {optimistic}") for line in lines)
    assert f"{run} {HAS} and this table (dev.md)." in lines
    report = json.loads((run / "dev.json").read_text())["tasks"]
    assert (report["mood"]["split"], report["mood"]["dev_chose_weights"]) == ("dev", True)
    assert report["mood"]["baseline"] is not None
    assert not (run / "test.json").exists()
    assert optimistic in (run / "dev.md").read_text()
    assert printed("train", "--resume", "--out", run)[0] == f"{run}: this run is finished"
    again = json.loads("\n".join(printed("evaluate", run, "--json")))["tasks"]
    assert {**again["mood"], "seconds": 0} == {**report["mood"], "seconds": 0}


def test_any_name_of_data_is_kept(tmp_path: Path) -> None:
    names = ["reviews", ".hidden", "..", "../up", "a/b", "50 %", "v1.2", "ß"]
    save_splits(
        {name: Split("", {"train": [i]}) for i, name in enumerate(names)}, tmp_path / "run" / "splits"
    )
    assert len(list((tmp_path / "run" / "splits").iterdir())) == len(names)
    found = saved_splits(tmp_path / "run" / "splits")
    assert {name: split.content["train"] for name, split in found.items()} == {
        name: [i] for i, name in enumerate(names)
    }


def test_a_split_left_by_another_recipe_is_not_used(folder: Folder) -> None:
    recipe = folder.recipe("", RECIPE.replace('file = "reviews.csv"', 'train = "reviews.csv"'))
    [source] = read_split(recipe, "train", splits={"reviews": Split("old.json", {"train": [0]})})
    assert len(source.items) == 80


def test_each_task_is_scored_on_the_best_split_of_its_data(folder: Folder) -> None:
    table = (
        RECIPE.partition("[data.reviews]")[2].replace("reviews]", "others]").replace('"reviews"', '"others"')
    )
    text = (
        RECIPE + "[data.others]" + table.replace("[tasks.mood]", "[tasks.tone]").replace("KEYS", "test = 0.2")
    )
    recipe = folder.recipe("dev = 0.2", text)
    recipe.tables["training"]["steps"] = 2
    report = train_run(recipe, folder.path / "run", progress=False, say=lambda line: None)
    assert {task: entry["split"] for task, entry in report.items()} == {"mood": "dev", "tone": "test"}
    assert not any("dev_chose_weights" in entry for entry in report.values())  # no evaluation chose weights
    below = "\n\nScores on the dev split: mood. Scores on the test split: tone."
    assert below in (folder.path / "run" / "test.md").read_text()


def test_equal_items_in_two_files_are_counted(folder: Folder) -> None:
    folder.write(folder.rows[:5], "test.csv")
    text = RECIPE.replace('file = "reviews.csv"', 'train = "reviews.csv"')
    recipe, lines = folder.recipe('test = "test.csv"', text), list[str]()
    recipe.tables["training"]["steps"] = 2
    train_run(recipe, folder.path / "run", progress=False, say=lines.append)
    assert lines[1:3] == [
        "[data.reviews] train 80, test 5 items: each from its file",
        "[data.reviews] 5 items of test are also in train: they make its score too good",
    ]
    assert not (folder.path / "run" / "splits").exists()


def test_molecules_in_canonical_form_stay_together_however_they_are_written() -> None:
    smiles = ["CCO", "OCC", "C(C)O ethanol", "c1ccccc1", "C1=CC=CC=C1", "CCN", "NCC", "CC"]
    molecule = [0, 0, 0, 1, 1, 2, 2, 3]

    def torn(rows: dict[str, list[int]]) -> set[int]:
        return {molecule[i] for i in rows["train"]} & {molecule[i] for i in rows["test"]}

    assert any(torn(split(smiles, test=0.4, seed=seed)) for seed in range(10))  # they are texts
    for seed in range(10):
        assert not torn(split(compared(smiles), test=0.4, seed=seed))
        assert not any(map(torn, folds(compared(smiles), 3, seed=seed)))
    assert not torn(split(compared([{"smiles": one, "pH": 7} for one in smiles]), test=0.4))
