"""Labels of sounds in IPA, and where predictions show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import multiseq
from multiseq.adapters import SpeechAdapter
from multiseq.data.timit import FOLDED
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.runs.ipa import ipa_of
from multiseq.runs.items import line_of, record_of
from multiseq.tasks import Task

STARTER = Path(multiseq.__file__).parent / "starter" / "clips" / "phones.tsv"
ARPABET = "sil spn AA1 AE0 AH0 AH1 B CH DH ER0 ER1 IH2 NG OW1 SH ZH"


def test_known_sets() -> None:
    arpabet = ipa_of(ARPABET.split())
    assert [arpabet[x] for x in ("AA1", "AH0", "AH1", "ER0", "ER1", "CH", "NG")] == [
        "ɑ",
        "ə",
        "ʌ",
        "ɚ",
        "ɝ",
        "tʃ",
        "ŋ",
    ]
    assert "sil" not in arpabet
    assert ipa_of([x.rstrip("012").lower() for x in ARPABET.split()])["ah"] == "ʌ"  # without stress
    for num, folded in FOLDED.items():
        labels = {label for label in folded.values() if label}
        sounds = ipa_of(labels)
        assert set(sounds) == labels - {"sil", "cl", "vcl", "epi", "h#", "pau"}, num
    assert ipa_of(FOLDED[61])["ax-h"] == "ə\u0325"
    lines = STARTER.read_text(encoding="utf-8").splitlines()[1:]
    starter = ipa_of({line.split("\t")[3] for line in lines})
    assert [starter[x] for x in ("3r", "@", "Q", "oU", "T")] == ["ɝ", "ə", "ɒ", "oʊ", "θ"]


def test_other_labels_stay() -> None:
    assert ipa_of(["NOUN", "VERB"]) == {}
    assert ipa_of(["b", "d", "f", "g", "k"]) == {}  # too few to tell
    assert ipa_of([*ARPABET.split(), "laughter"]) == {}
    assert ipa_of([]) == {}


def test_predictions_show_them() -> None:
    item = (torch.randn(4000, generator=torch.Generator().manual_seed(0)) / 10, 8000)
    adapter = SpeechAdapter.fit([item], dim=8, sample_rate=8000, n_mels=20)
    heads = {"phones": ARPABET.split(), "tags": ["a", "b"]}
    tasks = {name: Task("speech", VectorHead(8, ClassTarget(labels))) for name, labels in heads.items()}
    model = Model({"speech": adapter}, Encoder(8, 1, 2), tasks)
    [pieces] = model.run("phones", [item])
    segments = record_of(model, "phones", item, pieces)["segments"]
    sounds = ipa_of(ARPABET.split())
    assert [s["ipa"] for s in segments] == [sounds.get(s["label"], "") for s in segments]
    for line, s in zip(line_of(model, "phones", pieces).splitlines(), segments, strict=True):
        shown = f"{s['label']} [{s['ipa']}]" if s["ipa"] else s["label"]
        assert line == f"{s['start']:.2f}-{s['end']:.2f} s  {shown}  ({s['probability']:.0%})"
    [pieces] = model.run("tags", [item])
    assert "ipa" not in record_of(model, "tags", item, pieces)["segments"][0]


@pytest.mark.skipif("MULTISEQ_DATA" not in os.environ, reason="MULTISEQ_DATA is not set")
def test_the_labels_of_ljspeech_are_known() -> None:
    import gzip

    path = Path(os.environ["MULTISEQ_DATA"]) / "speech_asr" / "LJSpeech_part1" / "phones_mfa.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        labels = {line.rstrip("\n").split("\t")[-1] for line in lines} - {"phone", "label"}
    assert len(ipa_of(labels)) > 60
