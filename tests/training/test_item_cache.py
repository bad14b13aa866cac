"""Prepared items that are kept: found again bit for bit, and never stale."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors import safe_open
from torch import Tensor
from torch_geometric.data import Data

from multiseq.adapters import FusedAdapter, GraphAdapter, NeighborhoodAdapter, SpeechAdapter, TextAdapter
from multiseq.heads.per_set import SetHead
from multiseq.heads.targets import ClassTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.tasks import Source, Task
from multiseq.training import item_cache, item_cache_file, item_cache_folder
from multiseq.training.item_cache import ItemCache
from multiseq.training.item_cache_folder import delete, entries
from multiseq.training.loop import train

RATE = 8000
MELS = 20


def recordings(folder: Path, num: int = 3) -> list[Any]:
    folder.mkdir(exist_ok=True)
    for i in range(num):
        soundfile.write(folder / f"{i}.wav", torch.randn(400 * i + 300).numpy() / 10, RATE)
    return [str(folder / f"{i}.wav") for i in range(num)]


def speech(**options: Any) -> SpeechAdapter:
    return SpeechAdapter([-5.0] * MELS, [2.0] * MELS, 8, sample_rate=RATE, **options)


MOLECULES = ["CCO", "c1ccccc1", "C", "CCO"]
TRIPLES = [[("Ada", "job", "baker"), ("Ada", "home", "Rome")], [("Bo", "job", "cook")]]
CHAIN = {"nodes": {"age": [1, 2, 3, 4], "city": ["A", "B", "A", "B"]}, "edges": [(0, 1), (1, 2), (2, 3)]}
DATA = [Data(x=torch.randn(3, 2), edge_index=torch.tensor([[0, 1], [1, 2]]), text=["a", "b", "a"])]


def cases(folder: Path) -> dict[str, tuple[Any, list[Any]]]:
    files = recordings(folder)
    text = TextAdapter.fit(["a cat sat"], dim=8, vocab_size=260)
    molecules = GraphAdapter.fit(MOLECULES, dim=8)
    return {
        "files": (speech(), files),
        "samples": (speech(speeds=[0.9, 1.1]), [(torch.randn(900), RATE), (torch.zeros(0), RATE)]),
        "chunks": (speech(chunk_seconds=0.04), files),
        "molecules": (molecules, MOLECULES),
        "triples": (GraphAdapter.fit(TRIPLES, dim=8), TRIPLES),
        "data": (GraphAdapter.fit(DATA, dim=8), DATA),
        "node sets": (NeighborhoodAdapter.fit([CHAIN], dim=8, num_hops=2), [CHAIN]),
        "fused": (FusedAdapter({"text": text, "graph": molecules}), [{"text": "a cat", "graph": "CCO"}]),
    }


CASES = ("files", "samples", "chunks", "molecules", "triples", "data", "node sets", "fused")


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, in the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def count(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the adapter prepares from now on."""
    seen: list[Any] = []
    prepare = adapter.prepare
    monkeypatch.setattr(adapter, "prepare", lambda item: [seen.append(item), prepare(item)][1])
    return seen


def packs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


# --- found again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_hit_is_a_miss_to_the_last_bit(
    case: str, num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_cache, "ALONE", 0.0)
    adapter, items = cases(tmp_path / "audio")[case]
    expected = [adapter.prepare(item) for item in items]
    cold = ItemCache(tmp_path / "cache", num_workers=num_workers).examples(adapter, items)
    seen = count(adapter, monkeypatch)
    warm = ItemCache(tmp_path / "cache").examples(adapter, items)
    assert not seen
    assert same(cold, expected)
    assert same(warm, expected)
    inputs, again = (
        adapter.collate([e for examples in found for e in examples]) for found in (expected, warm)
    )
    assert all(torch.equal(inputs.tensors[name], again.tensors[name]) for name in inputs.tensors)


def test_nodes_share_their_network_as_before(tmp_path: Path) -> None:
    adapter, items = cases(tmp_path / "audio")["node sets"]
    [nodes] = ItemCache(tmp_path / "cache").examples(adapter, items)
    assert len({id(example.network) for example in nodes}) == 1


def test_in_one_run_items_are_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, seen = GraphAdapter.fit(MOLECULES, dim=8), []
    seen = count(adapter, monkeypatch)
    cache = ItemCache()
    assert cache.examples(adapter, MOLECULES) is cache.examples(adapter, MOLECULES)
    assert seen == MOLECULES


def test_texts_are_kept_in_memory_only(tmp_path: Path) -> None:
    adapter = TextAdapter.fit(["a cat sat"], dim=8, vocab_size=260)
    [[example]] = ItemCache(tmp_path / "cache").examples(adapter, ["a cat"])
    assert example.names == ("a", "cat")
    assert not (tmp_path / "cache").exists()


def test_equal_items_are_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    seen = count(adapter, monkeypatch)
    ItemCache(tmp_path).examples(adapter, MOLECULES)
    assert seen == MOLECULES[:3]


# --- never stale ----------------------------------------------------------------------------------


def test_a_changed_file_is_prepared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, items = speech(), recordings(tmp_path / "audio")
    ItemCache(tmp_path / "cache").examples(adapter, items)
    status = os.stat(items[1])
    samples, _ = soundfile.read(items[1])
    soundfile.write(items[1], samples[::-1], RATE)  # as long, and as old
    os.utime(items[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    expected = [adapter.prepare(item) for item in items]
    seen = count(adapter, monkeypatch)
    assert same(ItemCache(tmp_path / "cache").examples(adapter, items), expected)
    assert seen == [items[1]]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        (speech(subsample=4), True),
        (speech(chunk_seconds=0.1), True),
        (speech(speeds=[0.9]), True),
        (SpeechAdapter([-5.0] * 10, [2.0] * 10, 8, sample_rate=RATE), True),
        (SpeechAdapter([-5.0] * MELS, [2.0] * MELS, 8, sample_rate=16000), True),
        (SpeechAdapter([-4.0] * MELS, [3.0] * MELS, 16, sample_rate=RATE, dropout=0.5), False),
    ],
)
def test_another_setting_is_another_example(
    changed: SpeechAdapter, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = recordings(tmp_path / "audio")
    ItemCache(tmp_path / "cache").examples(speech(), items)
    expected = [changed.prepare(item) for item in items]
    seen = count(changed, monkeypatch)
    assert same(ItemCache(tmp_path / "cache").examples(changed, items), expected)
    assert bool(seen) == again


def test_another_vocabulary_is_another_example(tmp_path: Path) -> None:
    first, second = (GraphAdapter.fit(items, dim=8) for items in (["CCO", "N"], ["N", "CCO"]))
    for adapter in (first, second):
        found = ItemCache(tmp_path).examples(adapter, ["CCO"])
        assert same(found, [adapter.prepare("CCO")])
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "renamed"])
def test_a_damaged_pack_is_prepared_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    expected = ItemCache(tmp_path).examples(adapter, MOLECULES)
    expected = [adapter.prepare(item) for item in MOLECULES]
    [pack] = packs(tmp_path)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "renamed":
        pack.rename(pack.with_stem("0" * 16))
    else:
        pack.write_bytes({"cut": data[:-9], "flipped": data, "emptied": b""}[damage])
    seen = count(adapter, monkeypatch)
    assert same(ItemCache(tmp_path).examples(adapter, MOLECULES), expected)
    assert len(seen) == 3
    assert len(packs(tmp_path)) == 1
    assert packs(tmp_path)[0].stat().st_size == len(data)


def test_what_was_there_before_a_bad_item_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_cache, "ALONE", 0.0)
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    for num_workers in (0, 2):
        cache = ItemCache(tmp_path, num_workers=num_workers)
        with pytest.raises(ValueError, match=r"^b\.smi:2: molecule: got 'C\(', which RDKit cannot read"):
            cache.examples(adapter, ["CCO", "C("], ["b.smi:1", "b.smi:2"])
    assert [entry.items for entry in entries(tmp_path)] == [1]


def test_bad_items_are_named_as_without_a_folder(tmp_path: Path) -> None:
    fused, _ = cases(tmp_path / "audio")["fused"]
    for adapter, item in [(fused, "CCO"), (fused, {"sound": 1}), (speech(), "nowhere.wav"), (speech(), None)]:
        messages = []
        for cache in (ItemCache(), ItemCache(tmp_path / "cache")):
            with pytest.raises(ValueError, match=r"^item 0: ") as caught:
                cache.examples(adapter, [item])
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_what_cannot_be_read_stays(tmp_path: Path) -> None:
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    ItemCache(tmp_path).examples(adapter, ["CCO"])
    folder = packs(tmp_path)[0].parent / "folder.safetensors"
    folder.mkdir()
    assert same(ItemCache(tmp_path).examples(adapter, ["CCO"]), [adapter.prepare("CCO")])
    assert folder.is_dir()


def test_a_full_disk_is_said_and_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    monkeypatch.setattr(item_cache_folder, "RESERVE", 2**60)
    with pytest.warns(UserWarning, match="prepared items are not kept: less than .* left on the disk"):
        found = ItemCache(tmp_path).examples(adapter, MOLECULES)
    assert same(found, [adapter.prepare(item) for item in MOLECULES])
    assert not packs(tmp_path)


def test_packs_are_closed_when_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_cache, "PACK", 1)
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    expected = [adapter.prepare(item) for item in MOLECULES]
    assert same(ItemCache(tmp_path).examples(adapter, MOLECULES), expected)
    assert len(packs(tmp_path)) == 3


# --- to see and to delete -------------------------------------------------------------------------


def test_what_is_there_can_be_seen_and_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    ItemCache(folder).examples(speech(), recordings(tmp_path / "audio"))
    [entry] = entries(folder)
    assert (entry.items, entry.bytes) == (3, sum(p.stat().st_size for p in entry.folder.iterdir()))
    assert entry.about() == "sample_rate 8000, n_mels 20, subsample 2, samples False"
    (entry.folder / ".left.new").write_text("by a run that was killed")
    assert delete(folder) == entry.bytes + len("by a run that was killed")
    assert not folder.exists()


def test_nothing_else_is_deleted(tmp_path: Path) -> None:
    ItemCache(tmp_path).examples(GraphAdapter.fit(MOLECULES, dim=8), MOLECULES)
    (tmp_path / "thesis.txt").write_text("…")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_text("…")
    delete(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "other"}
    with pytest.raises(ValueError, match="holds no prepared items"):
        delete(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        entries(tmp_path / "nowhere")


def test_packs_are_numbers_and_json(tmp_path: Path) -> None:
    adapter = GraphAdapter.fit(MOLECULES, dim=8)
    ItemCache(tmp_path).examples(adapter, ["CCO"])
    [pack] = packs(tmp_path)
    with safe_open(pack, framework="pt") as opened:
        text = bytes(opened.get_tensor("text").numpy())
    assert json.loads(text)[0]["made"][1] == ["C0", "C1", "O2"]  # its names


def test_a_class_that_a_file_names_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        item_cache_file.decoded({"made": [1, "echo"]}, (str,), {}, [])
    pack = item_cache_file.Pack((SpeechAdapter,))
    with pytest.raises(TypeError, match="got a set in an example, which its adapter's `kept` does not name"):
        pack.add(b"", [{1}])


# --- in training ----------------------------------------------------------------------------------


def trained(items: Sequence[Any], **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    adapter = speech()
    head = SetHead(8, ClassTarget(["a", "b"]))
    model = Model({"speech": adapter}, Encoder(8, 1, 2), {"kind": Task("speech", head)})
    source = Source("speech", items, {"kind": ["a", "b", "a"]})
    train(model, [source], dev=[source], steps=4, max_vectors=20, lr=1e-2, progress=False, **options)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    items = recordings(tmp_path / "audio")
    plain = trained(items)
    cold, warm = (trained(items, cache=tmp_path / "cache") for _ in range(2))
    for found in (cold, warm):
        assert all(torch.equal(plain[name], found[name]) for name in plain)
    shutil.rmtree(tmp_path / "cache")


def test_the_splits_of_a_network_share_its_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, cache = NeighborhoodAdapter.fit([CHAIN], dim=8, num_hops=2), ItemCache()
    prepared = []
    prepare = adapter.prepare
    monkeypatch.setattr(adapter, "prepare", lambda item: prepared.append(item) or prepare(item))
    splits = [[CHAIN], [CHAIN], [CHAIN]]
    first, *others = [cache.examples(adapter, items) for items in splits]
    assert all(other is first for other in others)
    assert cache.num_vectors(adapter, Source("net", splits[2]), [0]) == [
        sum(map(adapter.num_vectors, first[0]))
    ]
    assert len(prepared) == 1
    cache.examples(adapter, [dict(CHAIN)])
    assert len(prepared) == 2
