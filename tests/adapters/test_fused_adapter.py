"""Inputs of several modalities, with words and molecules: one set of several parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import (
    ClassTarget,
    DecoderHead,
    Encoder,
    FusedAdapter,
    GraphAdapter,
    Model,
    NeighborhoodAdapter,
    SetHead,
    SpeechAdapter,
    Task,
    TextAdapter,
    TextTarget,
    VectorHead,
    load,
    save,
    train,
)
from multiseq.tasks import Source
from multiseq.vectors import VectorSets

pytestmark = pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")

DIM = 16
WORDS = ["it is soluble", "not at all", "a b c d e", "water"]
SMILES = ["CCO", "c1ccccc1", "O", "CC(=O)OC"]
BOTH: dict[str, Any] = {"words": "it is soluble", "molecule": "CCO"}
ITEMS: list[dict[str, Any]] = [
    BOTH,
    {"words": "water"},
    {"words": None, "molecule": "c1ccccc1"},
    {},
    {"molecule": "O", "words": "a b c d e"},
    {"words": "", "molecule": "CC(=O)OC"},
]
LENGTHS = [3 + 3, 1, 6, 0, 5 + 1, 0 + 5]


def words(dim: int = DIM, **options: Any) -> TextAdapter:
    return TextAdapter.fit(WORDS, dim=dim, vocab_size=270, min_count=1, **options)


def molecules(dim: int = DIM, **options: Any) -> GraphAdapter:
    return GraphAdapter.fit(SMILES, dim=dim, num_layers=2, walk_length=3, **options)


@pytest.fixture
def fused() -> FusedAdapter:
    return FusedAdapter({"words": words(), "molecule": molecules()}).eval()


def sets_of(adapter: FusedAdapter, items: list[Any]) -> VectorSets:
    examples = [example for item in items for example in adapter.prepare(item)]
    sets: VectorSets = adapter(adapter.collate(examples))
    assert list(sets.lengths) == [adapter.num_vectors(e) for e in examples]
    return sets


# --- one set of several parts -------------------------------------------------------------------------


def test_a_set_is_the_vectors_of_its_parts_and_their_sources(fused: FusedAdapter) -> None:
    text, graph = fused.parts["words"], fused.parts["molecule"]
    expected = torch.cat(
        [
            text(text.collate(text.prepare(BOTH["words"]))).values + fused.source[0],
            graph(graph.collate(graph.prepare(BOTH["molecule"]))).values + fused.source[1],
        ]
    )
    sets = sets_of(fused, [BOTH])
    torch.testing.assert_close(sets.values, expected)
    assert sets.positions is not None
    assert sets.positions.tolist() == [0, 1, 2, 0, 0, 0]
    assert fused.names(fused.prepare(BOTH)[0]) == [
        *("words: it", "words: is", "words: soluble"),
        *("molecule: C0", "molecule: C1", "molecule: O2"),
    ]


def test_packed_is_alone(fused: FusedAdapter) -> None:
    together = sets_of(fused, ITEMS)
    assert list(together.lengths) == LENGTHS
    for item, vectors, ordered in zip(ITEMS, together.unpack(), together.ordered, strict=True):
        alone = sets_of(fused, [item])
        torch.testing.assert_close(vectors, alone.values)
        # A decoder rotates by it: it must not follow from the neighbours either.
        assert alone.ordered == (ordered,)
    assert together.ordered == (True, True, False, False, True, True)


def test_a_missing_part_leaves_the_other_as_it_is(fused: FusedAdapter) -> None:
    both, only = sets_of(fused, [BOTH]), sets_of(fused, [{"molecule": "CCO"}])
    torch.testing.assert_close(both.values[3:], only.values)
    assert only.positions is None  # nodes alone have no order
    assert sets_of(fused, [{}, {"words": None}]).lengths == (0, 0)
    assert sets_of(fused, []).num_sets == 0


def test_codes_of_pairs_stay_with_their_part() -> None:
    adapter = FusedAdapter({"words": words(), "molecule": molecules(max_distance=2)}).eval()
    sets = sets_of(adapter, ITEMS)
    assert sets.pairs is not None
    assert sets.pairs.parts == (((3, 3),), (), ((0, 6),), (), ((5, 1),), ((0, 5),))
    assert sets.pairs.num_codes == adapter.pair_codes
    assert sets.joined == (True, False, False, False, True, False)
    encoder = Encoder(DIM, 1, 2, pair_codes=adapter.pair_codes, relative_bias=True, window=1).eval()
    for table in encoder.bias.parameters():
        torch.nn.init.normal_(table)
    for item, vectors in zip(ITEMS, encoder(sets).unpack(), strict=True):
        torch.testing.assert_close(encoder(sets_of(adapter, [item])).values, vectors)


def test_the_order_of_parts_changes_only_the_order_of_vectors(fused: FusedAdapter) -> None:
    turned = FusedAdapter(dict(reversed(fused.parts.items()))).eval()
    turned.source.data = fused.source.data.flip(0)
    encoder = Encoder(DIM, 2, 2).eval()
    there, back = encoder(sets_of(fused, [BOTH])), encoder(sets_of(turned, [BOTH]))
    torch.testing.assert_close(there.values, back.values.roll(3, 0))
    # The order of the keys of an item says nothing at all.
    assert torch.equal(sets_of(fused, [dict(reversed(BOTH.items()))]).values, sets_of(fused, [BOTH]).values)


def test_source_vectors_learn_and_tell_parts_apart() -> None:
    text = words()
    pair = FusedAdapter({"premise": text, "claim": text}).eval()
    there, back = (
        sets_of(pair, [{"premise": a, "claim": b}]) for a, b in (("water", "not"), ("not", "water"))
    )
    # The same two words: only who said which differs.
    difference = (pair.source[0] - pair.source[1]).abs().max()
    torch.testing.assert_close(there.values.flip(0) - back.values, pair.source.flip(0) - pair.source)
    assert difference > 0.01
    there.values[:1].square().sum().backward()
    assert pair.source.grad is not None
    assert pair.source.grad[0].abs().min() > 0
    assert pair.source.grad[1].tolist() == [0] * DIM


def test_stems_of_two_dtypes_join(fused: FusedAdapter) -> None:
    inputs = fused.collate([fused.prepare(item)[0] for item in ITEMS])
    fused.parts["words"].bfloat16()  # type: ignore[attr-defined]
    with torch.autocast("cpu", torch.bfloat16):
        assert fused(inputs).values.dtype == torch.float32


def test_augment_is_that_of_the_parts(fused: FusedAdapter) -> None:
    [example] = fused.prepare({"words": "a b c d e", "molecule": "CCO"})
    text = fused.parts["words"]
    changed = fused.augment(example, torch.Generator().manual_seed(3))
    expected = text.augment(example.parts["words"], torch.Generator().manual_seed(3))
    assert torch.equal(changed.parts["words"].rows, expected.rows)
    assert not torch.equal(changed.parts["words"].rows, example.parts["words"].rows)
    assert changed.parts["molecule"] is example.parts["molecule"]  # molecules never change


# --- labels per vector -----------------------------------------------------------------------------


def test_labels_are_one_list_or_a_mapping(fused: FusedAdapter) -> None:
    [example] = fused.prepare(BOTH)
    assert fused.align(list("abcdef"), example) == list("abcdef")
    assert fused.align({"molecule": [1, 2, 3]}, example) == [None, None, None, 1, 2, 3]
    assert fused.align({"molecule": None, "words": list("abc")}, example) == [*"abc", None, None, None]
    [single] = fused.prepare({"molecule": "CCO"})
    assert fused.align([1, 2, 3], single) == [1, 2, 3]
    assert fused.align({"words": None, "molecule": [1, 2, 3]}, single) == [1, 2, 3]


def test_one_list_fits_a_clip_at_another_speed() -> None:
    clip = (torch.randn(8000) / 10, 16000)
    speech = SpeechAdapter.fit([clip], dim=DIM, n_mels=20, speeds=(2.0,), specaugment=False)
    adapter = FusedAdapter({"clip": speech, "words": words()})
    [example] = adapter.prepare({"clip": clip, "words": "a b"})
    labels = [*range(adapter.num_vectors(example) - 2), "a", "b"]
    assert adapter.align(labels, example) == labels
    fast = adapter.augment(example, torch.Generator().manual_seed(0))
    aligned = adapter.align(labels, fast)
    assert len(aligned) == adapter.num_vectors(fast) < len(labels)
    assert aligned[-2:] == ["a", "b"]


# --- in a model ---------------------------------------------------------------------------------------


def model_of(adapter: FusedAdapter) -> Model:
    target = ClassTarget(["no", "yes"])
    tasks = {
        "fits": Task("pair", SetHead(DIM, target, pool="attention", dropout=0.0)),
        "kind": Task("pair", VectorHead(DIM, ClassTarget(["atom", "word"]), dropout=0.0)),
        "said": Task("pair", DecoderHead(DIM, TextTarget.fit(WORDS, unit="character"), depth=1, heads=2)),
    }
    return Model({"pair": adapter}, Encoder(DIM, 2, 2, dropout=0.0), tasks)


def test_what_needs_both_parts_is_learned_by_heart() -> None:
    parts = {"words": words(dropout=0.0, word_dropout=0.0), "molecule": molecules(dropout=0.0)}
    model = model_of(FusedAdapter(parts))
    del model.tasks["said"]
    said, drawn = ("it is soluble", "not at all"), ("CCO", "c1ccccc1")
    # Neither part alone tells: the answer is the exclusive or of the two.
    items = [{"words": said[i], "molecule": drawn[j]} for i in (0, 1) for j in (0, 1)]
    fits = ["yes" if i == j else "no" for i in (0, 1) for j in (0, 1)]
    atoms = {"CCO": 3, "c1ccccc1": 6}
    kind = [{"words": ["word"] * 3, "molecule": ["atom"] * atoms[x["molecule"]]} for x in items]
    source = Source("pair", items, {"fits": fits, "kind": kind})
    train(model, [source], steps=120, lr=5e-3, weight_decay=0.0, progress=False, accelerator="cpu")
    assert model.cell("fits") == "fused/set"
    assert [label.label for label in model.predict("fits", items)] == fits
    assert [[r.label for r in row] for row in model.predict("kind", items[:2])] == [
        ["word"] * 3 + ["atom"] * n for n in (3, 6)
    ]
    # An item without one of the parts is predicted all the same.
    assert len(model.predict("kind", [{"molecule": "CCO"}])[0]) == 3


def test_a_checkpoint_predicts_the_same_to_the_last_bit(fused: FusedAdapter, tmp_path: Path) -> None:
    model = model_of(fused).eval()
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert {"pair.words.tokenizer.json", "pair.molecule.columns.json"} <= {
        p.name for p in (tmp_path / "model").iterdir()
    }
    for task in model.tasks:
        assert again.predict(task, ITEMS) == model.predict(task, ITEMS)
    assert again.adapters["pair"].config() == fused.config()
    assert again.adapters["pair"].assets() == fused.assets()


def test_one_adapter_under_two_names_stays_one(tmp_path: Path) -> None:
    text = words()
    pair = FusedAdapter({"premise": text, "claim": text, "molecule": molecules()})
    model = model_of(pair).eval()
    loaded = load(save(model, tmp_path / "model"))
    again: Any = loaded.adapters["pair"]
    assert again.parts["claim"] is again.parts["premise"]
    item = {"premise": "water", "claim": "not at all", "molecule": "O"}
    assert loaded.predict("fits", [item]) == model.predict("fits", [item])
    assert len(list(loaded.parameters())) == len(list(model.parameters()))


def test_own_classes_are_passed_to_load(point_adapter: Any, tmp_path: Path) -> None:
    inner = FusedAdapter({"points": point_adapter(dim=DIM), "words": words()})
    model = model_of(FusedAdapter({"cloud": inner, "type": words()})).eval()
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"part 'points' is a PointAdapter.*\"NAME.points\": PointAdapter"):
        load(tmp_path / "model")
    again = load(tmp_path / "model", adapters={"pair.cloud.points": point_adapter})
    item = {"cloud": {"points": [[0, 1, 2], [3, 5, 7]]}, "type": "a b"}
    assert again.predict("fits", [item]) == model.predict("fits", [item])


# --- wrong input --------------------------------------------------------------------------------------


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="parts: got none"):
        FusedAdapter({})
    with pytest.raises(ValueError, match=r"dims \{'a': 16, 'b': 8\}, expected one"):
        FusedAdapter({"a": words(), "b": molecules(dim=8)})
    with pytest.raises(ValueError, match=r"name 'a\.b', expected a word"):
        FusedAdapter({"a.b": words()})


def test_a_network_in_node_sets_is_refused() -> None:
    network = {"nodes": {"x": [0.1, 0.2]}, "edges": [(0, 1)]}
    adapter = FusedAdapter({"net": NeighborhoodAdapter.fit([network], dim=DIM, num_hops=1)})
    with pytest.raises(ValueError, match=r"part 'net': got 2 sets of one item.*GraphAdapter for a network"):
        adapter.prepare({"net": network})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a text", "got str, expected a mapping from words, molecule"),
        ({"word": "a"}, r"item: got parts \['word'\], expected some of words, molecule"),
        ({"molecule": "C1"}, "part 'molecule': .*C1"),
        ({"words": 7}, "part 'words': .*int"),
    ],
)
def test_bad_items(fused: FusedAdapter, item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fused.prepare(item)


def test_a_part_in_windows_is_refused() -> None:
    adapter = FusedAdapter({"words": words(window=2)})
    assert len(adapter.prepare({"words": "a b"})) == 1
    with pytest.raises(ValueError, match=r"part 'words': got 3 sets of one item.*window=None"):
        adapter.prepare({"words": "a b c d e"})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2], r"labels: got 2 labels for 6 vectors, expected one for each vector \(words 3, molecule 3\)"),
        ("abcdef", "labels: got str, expected"),
        (7, "labels: got int, expected"),
        ({"atoms": [1]}, r"labels: got parts \['atoms'\]"),
        ({"words": [1]}, "part 'words': labels: got 1 labels for 3 words"),
    ],
)
def test_bad_labels(fused: FusedAdapter, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fused.align(labels, fused.prepare(BOTH)[0])


def test_labels_of_a_missing_part(fused: FusedAdapter) -> None:
    with pytest.raises(ValueError, match="labels: got some for part 'words', which this item lacks"):
        fused.align({"words": ["a"]}, fused.prepare({"molecule": "O"})[0])
