"""A folder with a sub-folder for each class: texts or recordings. A file for each class: lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from multiseq.cli import app
from multiseq.data import DataError
from multiseq.data.bad_rows import BadRows
from multiseq.data.readers import read_files, read_folders
from multiseq.runs.recipe import read
from multiseq.runs.recipe_check import RecipeError
from multiseq.runs.run import train_run
from multiseq.runs.sources import read_split

RECIPE = """
[encoder]
dim = 8
depth = 1
heads = 1

[training]
steps = 2
max_vectors = 60

[tasks.{column}]
data = "mine"
output = "set"
target = "class"
column = "label"

[data.mine]
format = "{format}"
train = "train"
"""


def files(folder: Path, **contents: str | bytes) -> None:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def recipe(folder: Path, more: str, without: str = "", format_: str = "folders") -> Any:
    text = RECIPE.replace("{column}", "mood").replace("{format}", format_).replace(without, "")
    (folder / "mine.toml").write_text(text + more)
    return read(folder / "mine.toml")


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Reviews as in aclImdb: train and test, with neg and pos in each."""
    for split in ("train", "test"):
        files(
            tmp_path / split,
            **{
                "pos/10_9.txt": "Very good.\nSee it!\n",
                "pos/1_10.txt": "\ufeffGreat caf\u00e9",
                "pos/more/2_8.txt": "Fine",
                "neg/0_2": f"Bad {split}\r\n",
                "neg/.DS_Store": b"\x00\x01",
                ".hidden/a.txt": "not read",
            },
        )
    return tmp_path


def test_the_folder_of_a_text_is_its_label(reviews: Path) -> None:
    records = read_folders(reviews / "train")
    assert records.items == ["Bad train", "Very good.\nSee it!", "Great caf\u00e9", "Fine"]
    assert records.columns == {
        "label": ["neg", "pos", "pos", "pos"],
        "file": ["neg/0_2", "pos/10_9.txt", "pos/1_10.txt", "pos/more/2_8.txt"],
    }
    assert records.locations[0] == str(reviews / "train" / "neg" / "0_2")
    assert read_folders(reviews / "train", classes=["neg"]).items == ["Bad train"]


def test_other_files_are_named(reviews: Path) -> None:
    files(reviews / "train", **{"labeledBow.feat": "1 2", "urls.txt": "http://"})
    with pytest.warns(UserWarning, match=r"train: 2 other files are left out: labeledBow.feat, urls.txt"):
        assert len(read_folders(reviews / "train").items) == 4


def test_training_on_folders_of_texts(reviews: Path) -> None:
    found = recipe(reviews, 'test = "test"\nadapter = "text"\n')
    report = train_run(found, reviews / "run", progress=False, say=lambda _: None)
    assert report["mood"]["num_items"] == 4


def test_recordings_by_speaker_are_paths(tmp_path: Path) -> None:
    for name in ("ann/b.WAV", "ann/a.wav", "bo/session 1/c.flac"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "train" / name, np.zeros(160), 16000)
    files(tmp_path / "train", **{"ann/a.TextGrid": "File type"})
    with pytest.warns(UserWarning, match=r"1 other file is left out: ann/a.TextGrid"):
        [source] = read_split(recipe(tmp_path, 'adapter = "speech"\n'), "train")
    paths = [Path(item).relative_to(tmp_path / "train").as_posix() for item in source.items]
    assert dict(zip(paths, source.targets["mood"], strict=True)) == {
        "ann/a.wav": "ann",
        "ann/b.WAV": "ann",
        "bo/session 1/c.flac": "bo",
    }


def test_mistakes(reviews: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder, expected one with a sub-folder for each"):
        read_folders(reviews / "nowhere")
    with pytest.raises(DataError, match=r"neg: got no file in a sub-folder, expected a sub-folder for each"):
        read_folders(reviews / "train" / "neg")
    with pytest.raises(DataError, match=r"train: no sub-folder 'positive' .*there are neg, pos"):
        read_folders(reviews / "train", classes=["positive"])
    files(reviews / "train", **{"neg/latin.txt": b"caf\xe9\n"})
    with pytest.raises(DataError, match=r'latin\.txt:1: not utf-8 .* encoding = "latin-1"'):
        read_folders(reviews / "train")
    bad = BadRows("train")
    assert len(read_folders(reviews / "train", reject=bad.add).items) == 4
    assert [(Path(row.location).name, row.reason[:14]) for row in bad.rows] == [
        ("latin.txt:1", "not utf-8 (byt")
    ]


# --- a file for each class --------------------------------------------------------------------------


def test_the_file_of_a_line_is_its_label(tmp_path: Path) -> None:
    files(tmp_path, **{"a.neg": "broke \n\nlate\n", "a.pos": "fine caf\u00e9\r\n"})
    records = read_files(tmp_path / "a.neg", others=[tmp_path / "a.pos"], classes=["bad", "good"])
    assert records.items == ["broke", "late", "fine caf\u00e9"]
    assert records.columns == {"label": ["bad", "bad", "good"]}
    assert [Path(place).name for place in records.locations] == ["a.neg:1", "a.neg:3", "a.pos:1"]
    with pytest.raises(DataError, match=r"a\.neg: got 1 files, expected one for each class: bad, good"):
        read_files(tmp_path / "a.neg", others=[], classes=["bad", "good"])


def test_training_on_files_by_class_and_predicting_lines(tmp_path: Path) -> None:
    files(tmp_path, **{f"a.{c}": "".join(f"{c} {i}\n" for i in range(12)) for c in ("neg", "pos", "odd")})
    more = (
        'adapter = "text"\nfile = ["a.neg", "a.pos", "a.odd"]\nclasses = ["neg", "pos", "odd"]\ntest = 0.25\n'
    )
    made = recipe(tmp_path, more, 'train = "train"', "files")
    report = train_run(made, tmp_path / "run", progress=False, say=lambda _: None)
    assert report["mood"]["num_items"] == 9
    files(tmp_path, **{"new.txt": "neg 1\npos 2\n"})
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), "--input", str(tmp_path / "new.txt")])
    assert len(result.stdout.strip().splitlines()) == 2, result.output


@pytest.mark.parametrize(
    ("files_and_classes", "message"),
    [
        (
            'train = "a.neg"\nclasses = ["neg"]',
            r"train: got 'a\.neg', expected a list of files, one for each",
        ),
        (
            'train = ["a.neg"]\nclasses = ["neg", "pos"]',
            r"train: got \['a\.neg'\], expected a list of files, one",
        ),
        ('train = ["a.neg", "a.pos"]', r"classes is missing"),
        ('train = ["a.neg"]\nclasses = []', r"classes: got \[\], expected a list of names of classes"),
    ],
)
def test_files_and_classes_agree(tmp_path: Path, files_and_classes: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, f'adapter = "text"\n{files_and_classes}\n', 'train = "train"', "files")
