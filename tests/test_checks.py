"""Arguments, training items and files that cannot be: the same table for every adapter and the encoder."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from multiseq import Encoder, FusedAdapter, GraphAdapter, NeighborhoodAdapter, SpeechAdapter, TextAdapter
from multiseq.protocols import Adapter

CLIP = (torch.zeros(1601), 16000)
TRIPLES = [("Ada", "wrote", "notes")]
NETWORK = {"nodes": {"age": [1, 2]}, "edges": [(0, 1)]}
ITEMS: dict[Any, Any] = {
    TextAdapter: ["a cat sat", "it sat"],
    SpeechAdapter: [CLIP],
    GraphAdapter: [TRIPLES],
    NeighborhoodAdapter: [NETWORK],
}
NAN, INF = math.nan, math.inf

WHOLE = ["7", 2.5, NAN, INF, None, True, [3], -1]
"""What is no whole number from 0 on."""
SHARE = ["0.1", NAN, INF, None, True, [0.1], -0.1, 1.5]
"""What is no probability."""

ARGUMENTS: list[tuple[Any, str, list[Any]]] = [
    (TextAdapter, "dim", [*WHOLE, 0, 1_000_000]),
    (TextAdapter, "window", [w for w in WHOLE if w is not None] + [0]),
    (TextAdapter, "vocab_size", [*WHOLE, 255]),
    (TextAdapter, "min_count", [*WHOLE, 0]),
    (TextAdapter, "dropout", SHARE),
    (TextAdapter, "word_dropout", SHARE),
    (TextAdapter, "unit", ["letter", None, 3, ["word"]]),
    (SpeechAdapter, "dim", [*WHOLE, 0, 1_000_000]),
    (SpeechAdapter, "n_mels", [*WHOLE, 0, 100_000]),
    (SpeechAdapter, "sample_rate", [*WHOLE, 0, 16, 10_000_019]),
    (SpeechAdapter, "subsample", [*WHOLE[:5], [1], 3]),
    (SpeechAdapter, "chunk_seconds", ["7", NAN, INF, True, [3], -1, 0]),
    (SpeechAdapter, "max_seconds", ["7", NAN, INF, True, [3], -1]),
    (SpeechAdapter, "speeds", ["1", None, 1.0, [], [NAN], [INF], ["1.0"], [True], [0.1]]),
    (SpeechAdapter, "gain", ["7", NAN, INF, None, True, -1]),
    (SpeechAdapter, "dropout", SHARE),
    (GraphAdapter, "dim", [*WHOLE, 0, 1_000_000]),
    (GraphAdapter, "num_layers", [*WHOLE, 2_000_000_000]),
    (GraphAdapter, "walk_length", [*WHOLE, 2_000_000_000]),
    (GraphAdapter, "max_distance", [*WHOLE, 2_000_000_000]),
    (GraphAdapter, "dropout", SHARE),
    (GraphAdapter, "edge_dropout", SHARE),
    (NeighborhoodAdapter, "dim", [*WHOLE, 0, 1_000_000]),
    (NeighborhoodAdapter, "num_hops", [*WHOLE, 2_000_000_000]),
    (NeighborhoodAdapter, "num_neighbors", [*WHOLE, 2_000_000_000]),
    (NeighborhoodAdapter, "dropout", SHARE),
]
EACH = [(adapter, name, value) for adapter, name, values in ARGUMENTS for value in values]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("adapter", "name", "value"), EACH, ids=[f"{a.__name__}-{n}-{v}" for a, n, v in EACH]
)
def test_an_argument_that_cannot_be_says_what_is_expected(adapter: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*, expected "):
        adapter.fit(ITEMS[adapter], **{"dim": 8, name: value})


@pytest.mark.parametrize("adapter", ITEMS, ids=lambda a: a.__name__)
def test_whole_numbers_of_numpy_are_whole_numbers(adapter: Any) -> None:
    dim: Any = np.int64(8)
    assert adapter.fit(ITEMS[adapter], dim=int(dim)).dim == dim


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("adapter", ITEMS, ids=lambda a: a.__name__)
@pytest.mark.parametrize("items", ["a string", b"bytes", {"a": 1}, 3, None], ids=str)
def test_one_item_is_no_list_of_items(adapter: Any, items: Any) -> None:
    with pytest.raises(
        ValueError, match=r"items: got \w+, expected a list of training items; put .* into a list"
    ):
        adapter.fit(items, dim=8)


@pytest.mark.parametrize("adapter", ITEMS, ids=lambda a: a.__name__)
def test_no_items_are_nothing_to_learn_from(adapter: Any) -> None:
    with pytest.raises(ValueError, match=r"items: got .* to learn"):
        adapter.fit([], dim=8)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "parts", ["text", None, [], {}, {"a": "text"}, {3: TextAdapter}, {"a": None}], ids=str
)
def test_parts_that_cannot_be(parts: Any) -> None:
    with pytest.raises(ValueError, match=r"^parts?\b.*: got .*, expected "):
        FusedAdapter(parts)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dim", [*WHOLE, 0, 1_000_000]),
        ("depth", [*WHOLE, 2_000_000_000]),
        ("heads", [*WHOLE, 0]),
        ("ff_dim", [w for w in WHOLE if w is not None] + [2**40]),
        ("window", [w for w in WHOLE if w is not None] + [0]),
        ("pair_codes", [*WHOLE, 2_000_000_000]),
        ("dropout", SHARE),
    ],
)
def test_the_encoder_says_what_is_expected(name: str, values: list[Any]) -> None:
    for value in values:
        options: dict[str, Any] = {"dim": 8, "depth": 1, "heads": 2, name: value}
        with pytest.raises(ValueError, match=rf"^{name}: got .*, expected "):
            Encoder(**options)


# --- checkpoints ----------------------------------------------------------------------------------


def saved() -> dict[str, Adapter]:
    text = TextAdapter.fit(ITEMS[TextAdapter], dim=8, vocab_size=270)
    table = {"nodes": {"job": ["a", "b"], "age": [1, 2]}, "edges": [[0, 1]]}
    return {
        "words": text,
        "pieces": TextAdapter.fit(ITEMS[TextAdapter], dim=8, vocab_size=270, unit="piece"),
        "speech": SpeechAdapter.fit([CLIP], dim=8, n_mels=5),
        "table": GraphAdapter.fit([table], dim=8),
        "triples": GraphAdapter.fit([TRIPLES], dim=8),
        "neighborhood": NeighborhoodAdapter.fit([NETWORK], dim=8),
        "fused": FusedAdapter({"a": text, "b": SpeechAdapter.fit([CLIP], dim=8, n_mels=5)}),
    }


SAVED = saved()
JSON: list[Any] = [
    None,
    3,
    "x",
    [],
    {},
    [1],
    {"mean": 1},
    {"nodes": 1, "edges": 2},
    {"mean": ["x"], "std": [1]},
]
TEXTS = [
    "",
    "{",
    "[" * 100_000,
    '{"mean": [NaN], "std": [1]}',
    '{"mean": [1], "std": [0]}',
    *map(json.dumps, JSON),
]


def lists_of_words(name: str) -> bool:
    """Every text is a list of words."""
    return name.endswith((".txt", "text-words.txt"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", SAVED)
def test_damaged_files_are_refused_by_name(name: str) -> None:
    adapter: Any = SAVED[name]
    for file in adapter.assets():
        last = file.removeprefix("text-").removeprefix("a.").removeprefix("b.")
        for text in (TEXTS if not lists_of_words(file) else []) + [None]:
            assets = {**adapter.assets(), file: text}
            if text is None:
                del assets[file]
            with pytest.raises(ValueError, match=rf"{last}: "):
                type(adapter).from_config(adapter.config(), assets)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", SAVED)
def test_damaged_configs_are_refused(name: str) -> None:
    adapter: Any = SAVED[name]
    config = adapter.config()
    wrong: list[Any] = [None, 3, "x", [], {}, {**config, "__class__": 1}]
    wrong += [{**config, key: value} for key in config for value in ("x", -1, NAN, [[]], {"a": {}})]
    for given in wrong:
        if name == "fused" or given != config:
            _refused_or_the_same(adapter, given)


def _refused_or_the_same(adapter: Any, config: Any) -> None:
    try:
        type(adapter).from_config(config, adapter.assets())
    except ValueError:
        return
    # What has no wrong values: flags, texts of graphs that have none, and paths (of another machine, maybe).
    paths = {key for key in ("noise", "rooms") if isinstance(config.get(key), str)}
    changed = {key for key in config if config[key] != adapter.config().get(key)}
    assert changed <= {"specaugment", "directed"} | paths


def test_files_as_they_were_saved_are_read() -> None:
    for adapter in SAVED.values():
        again = type(adapter).from_config(adapter.config(), adapter.assets())
        assert again.config() == adapter.config()
        assert again.assets() == adapter.assets()
