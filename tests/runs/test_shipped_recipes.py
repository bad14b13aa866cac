"""The recipes of the package for texts and speech, on a part of the data that they were written for."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import multiseq
from benchmarks.accuracy import digit_strings
from multiseq.adapters._speech.audio import read_audio
from multiseq.data.readers import read_recordings
from multiseq.runs.recipe import read
from multiseq.runs.reports import page
from multiseq.runs.run import train_run
from multiseq.runs.sources import draw_splits, read_split
from tests.first_lines import first_lines, some_rows

NUM_LINES = 120
SMALL = [
    *("training.steps=2", "training.evaluate_every=0", "training.max_vectors=300"),
    *("encoder.dim=8", "encoder.depth=1", "encoder.heads=2"),
]
SHORT = [
    *("tasks.translation.vocab_size=300", "adapters.text.vocab_size=300", "tasks.translation.decode={}"),
    "tasks.translation.head={ depth = 1, heads = 2, max_length = 4 }",
]
TO_ENGLISH = [
    f'data.captions.{split}=["{name}.de.gz", "{name}.en.gz"]'
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test_2016_flickr"))
]
TRANSLATION = "text_mt/multi30k_task1_raw"

CASES: dict[str, tuple[str, list[str], str, int]] = {
    # recipe -> folder in the data, changes, metric, number of labels in test
    "english-pos": ("text_pos/UD_English-EWT", [], "accuracy", 95),
    "chinese-pos": ("text_pos/UD_Chinese-GSD-r1.3", [], "accuracy", 89),
    "sst2": ("text_class/SST", [], "accuracy", NUM_LINES),
    "sst5": ("text_class/SST", [], "spearman", NUM_LINES),
    "trec": ("text_class/qc", [], "accuracy", NUM_LINES),
    "mr": ("text_class/sentence_polarity", ["data.sentences.fold=3"], "accuracy", 2 * NUM_LINES // 10),
    "multi30k": (TRANSLATION, SHORT, "bleu_lowercase", NUM_LINES),
}


@pytest.mark.filterwarnings("ignore:task '.*'. .* texts to learn are longer:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_recipe_runs_on_the_files_of_its_data(
    name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "write_report", lambda *_: None)  # it takes as long as all else
    folder, changes, metric, num = CASES[name]
    data = first_lines(data_dir / folder, tmp_path / "data", NUM_LINES)
    recipe = read(name, [*SMALL, *changes])
    train_run(recipe, tmp_path / "run", data=data, progress=False, say=lambda _: None)
    [entry] = json.loads((tmp_path / "run" / "test.json").read_text())["tasks"].values()
    assert (entry["metric"], entry["split"], entry["num_items"]) == (metric, "test", num)
    check(name, entry)


def check(name: str, entry: dict[str, Any]) -> None:
    """The figures beside the metric of the recipe."""
    if name == "sst5":
        assert min(entry["value_rmse"], entry["baseline_rmse"]) > 0
    if name == "multi30k":
        assert entry["signature"].startswith("nrefs:1|case:lc|eff:no|tok:13a|")
        assert entry["baseline_bleu"] <= entry["baseline"]


def test_the_other_direction_of_a_translation(data_dir: Path) -> None:
    [test] = read_split(read("multi30k", TO_ENGLISH), "test", data_dir / TRANSLATION)
    assert test.items[0].startswith("Ein Mann")
    assert test.targets["translation"][0].startswith("A man")


SPEECH: dict[str, tuple[str, int, str, list[int]]] = {
    # recipe -> folder in the data, one row of so many, metric, items of train, dev and test
    "yesno": ("speech_asr/yesno", 4, "word_error_rate", [8, 0, 7]),
    "ljspeech-phones": ("speech_asr/LJSpeech_part1", 9, "frame_accuracy", [34, 4, 5]),
    "mboshi": ("speech_asr/mboshi", 60, "character_error_rate", [73, 4, 9]),
    "speechocean-speakers": ("speech_speaker/speechocean762", 101, "accuracy", [40, 4, 6]),
    "speechocean": ("speech_speaker/speechocean762", 101, "mae", [22, 3, 25]),
    "digit-strings": ("speech_speaker/free-spoken-digit-dataset", 1, "word_error_rate", [18, 6, 12]),
}


@pytest.mark.parametrize("name", SPEECH)
def test_a_recipe_for_speech_runs_on_its_data(
    name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "write_report", lambda *_: None)
    folder, every, metric, sizes = SPEECH[name]
    data = tmp_path / "data"
    if name == "digit-strings":
        digit_strings.write(data_dir / folder, data, {"train": 3, "dev": 1, "test": 2})
    else:
        some_rows(data_dir / folder, data, every)
    recipe = read(name, SMALL)
    splits = draw_splits(recipe, data)
    read_of = [read_split(recipe, split, data, splits=splits) for split in ("train", "dev", "test")]
    assert [sum(len(source.items) for source in sources) for sources in read_of] == sizes
    train_run(recipe, tmp_path / "run", data=data, progress=False, say=lambda _: None)
    [entry] = json.loads((tmp_path / "run" / "test.json").read_text())["tasks"].values()
    assert (entry["metric"], entry["split"]) == (metric, "test")


def test_the_sounds_of_ljspeech_without_stress(data_dir: Path) -> None:
    [train] = read_split(read("ljspeech-phones"), "train", data_dir / "speech_asr/LJSpeech_part1")
    labels = {label for segments in train.targets["phones"] for _, _, label in segments}
    assert len(labels - {"sil", "sp", "spn", None}) == 39
    assert {"AH", "ZH", "sil", "sp", "spn"} < labels


def test_strings_of_digits_are_joined_clips(tmp_path: Path) -> None:
    """The samples of clip number n of a digit are all 100 * digit + n."""
    with tarfile.open(tmp_path / "recordings_flac.tar", "w") as archive:
        for digit, speaker, index in product(range(10), "ab", (0, 4, 5, 9, 10, 49)):
            file = tmp_path / f"{digit}_{speaker}_{index}.flac"
            soundfile.write(file, np.full(5 + digit, 100 * digit + index, dtype=np.int16), 8000)
            archive.add(file, file.name)
    digit_strings.write(tmp_path, tmp_path / "out", {"train": 20})
    recordings = read_recordings(tmp_path / "out" / "manifest.tsv", audio=tmp_path / "out" / "strings.tar")
    splits, texts, clips = (recordings.column(name) for name in ("split", "text", "clips"))
    assert Counter(splits) == {"train": 40, "dev": 100, "test": 100}
    assert {len(text.split()) for text in texts} == set(range(1, 8))
    used: dict[str, set[int]] = {}
    for item, split, text, names in zip(recordings.items, splits, texts, clips, strict=True):
        parts = [name.split("_") for name in names.split()]
        assert text == " ".join(digit for digit, _, _ in parts)
        assert len({speaker for _, speaker, _ in parts}) == 1
        used.setdefault(split, set()).update(int(index) for _, _, index in parts)
        joined = [100 * int(d) + int(i) for d, _, i in parts for _ in range(5 + int(d))]
        samples, rate = read_audio(item)
        assert (rate, (samples * 32768).tolist()) == (8000, joined)
    assert used == {"train": {10, 49}, "dev": {5, 9}, "test": {0, 4}}


@pytest.mark.filterwarnings("ignore:task '.*'. .* texts to learn are longer:UserWarning")
def test_the_recipe_of_facts_copies_names_and_compares_with_all_texts(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "write_report", lambda *_: None)
    wanted = [f"{split}/1triples/Food.xml" for split in ("train", "dev", "test")]
    with tarfile.open(data_dir / "graph_to_seq/WebNLG_v1.6_en/webnlg_v1.6_en.tar.xz") as archive:
        archive.extractall(tmp_path / "webnlg", [archive.getmember(name) for name in wanted], filter="data")
    short = ["tasks.text.vocab_size=300", "tasks.text.decode={}", "data.facts.file=webnlg"]
    recipe = read("webnlg", [*SMALL, *short, "tasks.text.head={ depth = 1, heads = 2, max_length = 4 }"])
    train_run(recipe, tmp_path / "run", data=tmp_path, progress=False, say=lambda _: None)
    [entry] = json.loads((tmp_path / "run" / "test.json").read_text())["tasks"].values()
    assert (entry["metric"], entry["split"]) == ("bleu", "test")
    assert {"value_chrf", "baseline_chrf", "value_bleu_lowercase"} < set(entry)
    assert entry["signature"].startswith("nrefs:3|case:mixed|")
    assert multiseq.load(tmp_path / "run").task("text").head.needs_names
