"""Molecules: read a SMILES string as a graph of atoms and bonds, with features for property prediction.

The features are those of D-MPNN (https://arxiv.org/abs/1904.01561), and also ring sizes. Chirality is given
by CIP labels (R, S; r, s for cis and trans on a ring) and not by chiral tags, because tags depend on how the
SMILES is written. Hydrogens are not nodes: each atom has the number of its hydrogens as a feature. What CIP
labels of atoms and double bonds cannot say is not seen: axes of chirality, and the geometry around a metal.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from multiseq.adapters._graph.items import Graph, Rows
from multiseq.data.graphs.molecules import molecule_of, smiles_of
from multiseq.requires import need

__all__ = ["read_molecule"]

LARGEST_RING = 8
"""Number of atoms. All rings of at least this size are one category."""

MOST_STEPS = 100_000
"""Steps of the search for the CIP labels of a molecule: about 0.1 s."""


def read_molecule(item: str | Mapping[str, Any]) -> Graph:
    """Read a molecule, with or without numbers about the whole.

    Atoms are nodes with the names `C0`, `O5` …; a bond is two edges, one per direction.

    Raises:
        ValueError: RDKit cannot read the string, or the molecule has no atom.
    """
    smiles = smiles_of(item)
    molecule = molecule_of(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise ValueError(
            f"molecule: got {smiles!r}, which RDKit cannot read; expected a valid SMILES of one atom or more"
        )
    # Access by number is faster, because RDKit's iterators are written in Python.
    atoms = [molecule.GetAtomWithIdx(i) for i in range(molecule.GetNumAtoms())]
    bonds = [molecule.GetBondWithIdx(i) for i in range(molecule.GetNumBonds())]
    rings, chirality = _smallest_rings(molecule), [""] * len(atoms)
    if "@" in smiles or "|" in smiles:
        chirality = _chirality(molecule, atoms)
    ends = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds]
    # Convert lists with numpy, as everywhere in this folder: torch takes several times as long.
    pairs = torch.from_numpy(np.array([*ends, *((b, a) for a, b in ends)], dtype=np.int64)).view(-1, 2)
    return Graph(
        _atoms(atoms, rings, chirality),
        _bonds(bonds),
        pairs.t().contiguous(),
        [f"{atom.GetSymbol()}{i}" for i, atom in enumerate(atoms)],
        both_ways=True,
    )


def _atoms(atoms: list[Any], rings: list[int], chirality: list[str]) -> Rows:
    categories: dict[str, list[Any]] = {
        "element": [a.GetAtomicNum() for a in atoms],
        "degree": [a.GetDegree() for a in atoms],
        "hydrogens": [a.GetTotalNumHs() for a in atoms],
        "charge": [a.GetFormalCharge() for a in atoms],
        "radicals": [a.GetNumRadicalElectrons() for a in atoms],
        "hybridisation": [str(a.GetHybridization()) for a in atoms],
        "aromatic": [int(a.GetIsAromatic()) for a in atoms],
        "ring": rings,
        "chirality": chirality,
    }
    # A dummy atom has no mass, but a number that tells it from others: [1*], [2*].
    mass = torch.from_numpy(np.array([[a.GetMass() or a.GetIsotope()] for a in atoms], dtype=np.float32))
    return Rows(len(atoms), categories, {"mass": mass})


def _chirality(molecule: Any, atoms: list[Any]) -> list[str]:
    """For each atom its CIP label; "" without one. For what is known of a group only, `R and` or `R or`.

    RDKit labels the usual centres while it reads. The others, such as the two of cis-1,4-dimethylcyclohexane,
    take its slower algorithm (https://doi.org/10.1021/acs.jcim.8b00324).
    """
    if others := [i for i, a in enumerate(atoms) if a.GetChiralTag() and not a.HasProp("_CIPCode")]:
        labeler = need("rdkit.Chem.rdCIPLabeler")
        with suppress(RuntimeError):  # too symmetric for so many steps
            labeler.AssignCIPLabels(molecule, others, [], MOST_STEPS)
    labels = [a.GetProp("_CIPCode") if a.HasProp("_CIPCode") else "" for a in atoms]
    for group in molecule.GetStereoGroups():
        kind = str(group.GetGroupType()).removeprefix("STEREO_").lower()
        for atom in group.GetAtoms() if kind in ("and", "or") else ():
            labels[atom.GetIdx()] += f" {kind}"
    return labels


def _bonds(bonds: list[Any]) -> Rows:
    categories: dict[str, list[Any]] = {
        "type": [str(b.GetBondType()) for b in bonds] * 2,
        "conjugated": [int(b.GetIsConjugated()) for b in bonds] * 2,
        "ring": [int(b.IsInRing()) for b in bonds] * 2,
        "stereo": [str(b.GetStereo()) for b in bonds] * 2,
    }
    return Rows(2 * len(bonds), categories)


def _smallest_rings(molecule: Any) -> list[int]:
    """For each atom the size of its smallest ring; 0 if it is in no ring."""
    sizes = [0] * molecule.GetNumAtoms()
    for ring in sorted(molecule.GetRingInfo().AtomRings(), key=len, reverse=True):
        for atom in ring:
            sizes[atom] = min(len(ring), LARGEST_RING)
    return sizes
