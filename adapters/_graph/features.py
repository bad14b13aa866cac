"""Numbers about a whole molecule, beside its atoms: columns of a table, and descriptors of RDKit.

Axes: columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from multiseq.data.graphs.molecules import SMILES, molecule_of, smiles_of
from multiseq.labels import number
from multiseq.requires import need

__all__ = ["Features", "describe", "features_of"]

FURTHEST = 5.0
"""Standard deviations from the mean, beyond which a value counts as this far: some descriptors explode."""

KEPT = 16_384
"""Molecules whose descriptors stay in memory, 2 KiB each: training learns scales, then prepares them."""

Row = Mapping[str, float]
"""Name of a column -> its number; NaN for a blank."""


def features_of(item: Any, names: Iterable[str] | None = None) -> dict[str, float]:
    """The numbers that an item has beside its SMILES; NaN for a blank (None or an empty text).

    Args:
        item: The item.
        names: Which of its columns. Default: all.

    Raises:
        ValueError: A value is no number.
    """
    if not isinstance(item, Mapping):
        return {}
    numbers = {}
    for name, value in item.items():
        if name != SMILES and (names is None or name in names):
            try:
                numbers[str(name)] = number(None if isinstance(value, str) and not value.strip() else value)
            except ValueError as error:
                raise ValueError(f"molecule: {name}: {str(error).removeprefix('number: ')}") from None
    return numbers


def describe(smiles: str, names: Iterable[str] | None = None) -> dict[str, float]:
    """Descriptors of a molecule by RDKit; NaN for one that cannot be computed.

    Args:
        smiles: The molecule.
        names: Which of them. Default: all that this version of RDKit has.

    Raises:
        ValueError: This version of RDKit lacks a descriptor.
    """
    known = _descriptors()
    names = list(known if names is None else names)
    if missing := [name for name in names if name not in known]:
        raise ValueError(
            f"descriptors: this RDKit has no {', '.join(missing[:3])}, with which the model was trained; "
            "install the version in its run.json"
        )
    return dict(zip(names, _described(smiles, tuple(names)).tolist(), strict=True))


@lru_cache(maxsize=KEPT)
def _described(smiles: str, names: tuple[str, ...]) -> Any:
    known = _descriptors()
    molecule = molecule_of(smiles)
    with need("rdkit.rdBase").BlockLogs():
        return np.array([_computed(known[name], molecule) for name in names])


@lru_cache(maxsize=1)
def _descriptors() -> dict[str, Any]:
    return dict(need("rdkit.Chem.Descriptors").descList)


def _computed(function: Any, molecule: Any) -> float:
    try:
        value = float(function(molecule))
    except Exception:  # for some elements there are no parameters
        return math.nan
    return value if math.isfinite(value) else math.nan


class Features:
    """Columns of numbers about a whole molecule, standardised with the training molecules.

    A blank counts as the mean, and a flag beside each number says so.

    Args:
        scales: Name of a column -> mean and standard deviation in the training data.
        descriptors: Names of those columns that RDKit computes. The others come with the item.
    """

    def __init__(self, scales: Mapping[str, tuple[float, float]], descriptors: Iterable[str] = ()) -> None:
        self.scales = dict(scales)
        self.descriptors = list(descriptors)
        self.columns = [name for name in self.scales if name not in set(self.descriptors)]

    @classmethod
    def learn(cls, given: Sequence[Row], described: Sequence[Row]) -> Features | None:
        """Features with the scales of the training molecules; None if there are no columns.

        Args:
            given: For each molecule the numbers that came with it.
            described: For each molecule its descriptors.

        Raises:
            ValueError: An item has other columns than the first one, or a column is a descriptor's.
        """
        for i, row in enumerate(given):
            if set(row) != set(given[0]):
                raise ValueError(f"item {i}: molecule: got {_listed(row)}, expected {_listed(given[0])}")
        rows = [{**a, **b} for a, b in zip(given, described, strict=True)]
        if both := set(given[0]) & set(described[0]):
            raise ValueError(
                f"molecule: got the column {min(both)}, which is a descriptor; give it another name"
            )
        table = np.array([[row[name] for name in rows[0]] for row in rows]).reshape(len(rows), -1)
        scales = {name: _scale(column) for name, column in zip(rows[0], table.T, strict=True)}
        return cls(scales, described[0]) if scales else None

    @property
    def width(self) -> int:
        """The length of what :meth:`encode` returns: a number and a flag for each column."""
        return 2 * len(self.scales)

    def encode(self, item: Any) -> Float[Tensor, " columns"]:
        """The standardised numbers of an item, then for each of them whether it is blank.

        Raises:
            ValueError: The item lacks a column, or a value is no number.
        """
        given = features_of(item, self.columns)
        if missing := [name for name in self.columns if name not in given]:
            form = json.dumps({SMILES: "CCO", **dict.fromkeys(self.columns, 1.5)}, ensure_ascii=False)
            raise ValueError(f"molecule: got no {missing[0]}, expected {form}; null is a blank")
        row = {**given, **(describe(smiles_of(item), self.descriptors) if self.descriptors else {})}
        values = np.array([(row[name] - mean) / std for name, (mean, std) in self.scales.items()])
        blank = np.isnan(values)
        near = np.where(blank, 0.0, values).clip(-FURTHEST, FURTHEST)
        return torch.from_numpy(np.concatenate([near, blank]).astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        """Scales and names as plain JSON values."""
        return {"scales": {name: list(s) for name, s in self.scales.items()}, "descriptors": self.descriptors}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Features:
        """Rebuild the features from :meth:`to_json`."""
        scales = {name: (float(mean), float(std)) for name, (mean, std) in values["scales"].items()}
        return cls(scales, values["descriptors"])


def _scale(column: Any) -> tuple[float, float]:
    """Mean and standard deviation of the numbers that are there; 1 for the deviation of a constant."""
    known = column[~np.isnan(column)]
    if not len(known):
        return 0.0, 1.0
    largest = max(np.abs(known).max(), 1.0)  # the square of a huge number is infinite
    std = float((known / largest).std() * largest)
    return float((known / largest).mean() * largest), std if std > 1e-9 * largest else float(largest)


def _listed(row: Row) -> str:
    return f"the columns {', '.join(row)}" if row else "no columns beside the SMILES"
