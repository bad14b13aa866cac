"""How adapters show an item to people: the texts, drawings and sounds of a report."""

from __future__ import annotations

from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch
from torch_geometric.data import Data

from multiseq import FusedAdapter, GraphAdapter, NeighborhoodAdapter, SpeechAdapter, TextAdapter
from multiseq.protocols import Mark, Picture, Sound

NETWORK = {"nodes": {"age": [float(i) for i in range(40)], "job": ["<b>baker</b>"] * 40},
           "edges": [(i, i + 1) for i in range(38)]}  # fmt: skip


def words(picture: Picture) -> str:
    """The texts in a drawing, which is XML."""
    root = ElementTree.fromstring(picture.svg)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    return " ".join("".join(root.itertext()).split())


def marks(*pairs: tuple[str, str, str]) -> list[Mark]:
    return [
        Mark(name, label, predicted, bool(label) and label != predicted) for name, label, predicted in pairs
    ]


def test_a_mark_says_both_where_they_differ() -> None:
    texts = [mark.text for mark in marks(("saw", "NOUN", "VERB"), ("a", "DET", "DET"), ("x", "", "X"))]
    assert texts == ["NOUN → VERB", "DET", "X"]


def test_a_text_is_itself() -> None:
    adapter = TextAdapter.fit(["a cat", "a dog"], dim=8, vocab_size=270)
    assert adapter.show("a <cat>", adapter.prepare("a <cat>"), [], None) == ["a <cat>"]
    assert adapter.show(["a", "cat"], adapter.prepare(["a", "cat"]), [], None) == ["a cat"]
    assert adapter.show("a cat", adapter.prepare("a cat"), marks(("a", "X", "X")), None) == []


def test_a_recording_is_seen_and_heard() -> None:
    adapter = SpeechAdapter.fit([(torch.randn(8000) / 10, 8000)], dim=8, n_mels=20, sample_rate=8000)
    item = (np.sin(np.arange(16000) / 5), 16000)
    labels = marks(*[("", "aa", "aa")] * 20, *[("", "t", "<d>")] * 30)
    picture, sound = adapter.show(item, adapter.prepare(item), labels, None)
    assert isinstance(picture, Picture)
    assert picture.text == "Log-mel spectrogram of samples. True: aa t. Predicted: aa <d>"
    assert "true" in words(picture)
    assert "<d>" in words(picture)
    assert isinstance(sound, Sound)
    heard, rate = soundfile.read(BytesIO(sound.data))
    assert (rate, len(heard)) == (8000, 8000)


def test_six_seconds_of_a_long_recording_are_shown() -> None:
    adapter = SpeechAdapter.fit([(torch.randn(8000) / 10, 8000)], dim=8, n_mels=20, sample_rate=8000)
    item = (np.repeat(np.linspace(-0.5, 0.5, 20), 8000), 8000)  # 20 seconds, each louder by 1/19
    seconds, _, sound = adapter.show(item, adapter.prepare(item), [], 600)  # vector 600 is at 12 s
    assert seconds == "9.0 to 15.0 s of 20.0 s"
    assert isinstance(sound, Sound)
    heard, _ = soundfile.read(BytesIO(sound.data))
    assert len(heard) == 48000
    assert heard[100] == pytest.approx(-0.5 + 9 / 19, abs=1e-3)
    empty = (np.zeros(0), 8000)
    assert len(adapter.show(empty, adapter.prepare(empty), [], None)) == 2


def test_a_molecule_is_drawn_with_its_wrong_atoms_marked() -> None:
    adapter = GraphAdapter.fit(["CCO", "CC"], dim=8)
    examples = adapter.prepare("CCO")
    smiles, plain = adapter.show("CCO", examples, [], None)
    assert smiles == "CCO"
    assert isinstance(plain, Picture)
    assert plain.text == "Structure of the molecule CCO"
    _, marked = adapter.show(
        "CCO", examples, marks(("C0", "a", "a"), ("C1", "a", "b"), ("O2", "a", "a")), None
    )
    assert isinstance(marked, Picture)
    assert "atom-1" in marked.svg
    assert marked.svg.count("<ellipse") == 1  # the highlight of the wrong atom
    assert plain.svg.count("<ellipse") == 0


def test_facts_are_lines() -> None:
    facts = [(f"Ada {i}", "is", "<b>") for i in range(32)]
    adapter = GraphAdapter.fit([facts], dim=8)
    shown = adapter.show(facts, adapter.prepare(facts), [], None)
    assert shown[:2] == ["Ada 0 — is — <b>", "Ada 1 — is — <b>"]
    assert (len(shown), shown[-1]) == (31, "… and 2 more facts")


@pytest.mark.parametrize("kind", [GraphAdapter, NeighborhoodAdapter])
def test_of_a_network_the_neighbours_of_a_node_are_drawn(kind: type) -> None:
    adapter = kind.fit([NETWORK], dim=8)
    every = marks(*((str(i), "yes", "no" if i == 20 else "yes") for i in range(40)))
    features, picture, note = adapter.show(NETWORK, adapter.prepare(NETWORK), every, 20)
    assert features == "node 20: job <b>baker</b>, age 20"
    assert note == "24 of 40 nodes: those nearest to node 20"
    assert "20 yes → no" in words(picture)
    assert " 39 " not in words(picture)  # an island
    [_, alone, _] = adapter.show(NETWORK, adapter.prepare(NETWORK), every, 39)
    assert " 38 " not in words(alone)
    [first, _, _] = adapter.show(NETWORK, adapter.prepare(NETWORK), every, None)
    assert first == features  # the first wrong node


def test_a_network_of_nothing_is_no_drawing() -> None:
    data = Data(x=torch.randn(3, 2), edge_index=torch.tensor([[0], [1]]))
    adapter = GraphAdapter.fit([data], dim=8)
    picture, note = adapter.show(data, adapter.prepare(data), [], None)
    assert note == "2 of 3 nodes: those nearest to node 0"
    assert "Connections: 0–1" in picture.text
    empty = Data(x=torch.zeros(0, 2), edge_index=torch.zeros(2, 0, dtype=torch.long))
    assert adapter.show(empty, adapter.prepare(empty), [], None) == []


def test_parts_are_shown_one_after_another() -> None:
    text = TextAdapter.fit(["a cat", "a dog"], dim=8, vocab_size=270)
    adapter = FusedAdapter({"left": text, "right": text})
    item = {"left": "a cat", "right": "a dog"}
    examples = adapter.prepare(item)
    assert adapter.show(item, examples, [], None) == ["left:", "a cat", "right:", "a dog"]
    labels = marks(
        ("left: a", "X", "X"), ("left: cat", "X", "Y"), ("right: a", "", "X"), ("right: dog", "", "Z")
    )
    assert adapter.show(item, examples, labels, None) == [
        "left:", "left: a (X) left: cat (X → Y)", "right:", "right: a (X) right: dog (Z)"
    ]  # fmt: skip
