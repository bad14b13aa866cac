"""Molecules: reading a SMILES, what is equal for equal molecules, scaffolds, and a file inside RDKit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError, Places, Records
from multiseq.data.text_files import lines_of
from multiseq.requires import need

__all__ = [
    "SMILES",
    "canonical",
    "compared",
    "molecule_of",
    "named_molecules",
    "read_molecules",
    "scaffold",
    "smiles_of",
    "with_features",
]

SMILES = "smiles"
"""The key of the molecule in an item with features: ``{"smiles": "CCO", "pH": 7.4}``."""

_WRITTEN = re.compile(r"\s*\S+(\s+\|[^|]*\|?)?")
"""A SMILES, and CXSMILES between bars. A name may follow."""


def with_features(smiles: Any, cells: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A molecule with some cells of its row, which the model sees too."""
    return {SMILES: smiles, **{name: cells[name] for name in names}}


def smiles_of(item: Any) -> Any:
    """The SMILES of an item, with or without features."""
    return item[SMILES] if isinstance(item, Mapping) and SMILES in item else item


def molecule_of(smiles: Any) -> Any:
    """The molecule of RDKit that a SMILES describes, however it is written; None for what RDKit cannot read.

    CXSMILES behind it counts, a name does not. Hydrogens become a number of their neighbour, unless they are
    isotopes or show the stereo of a double bond. If only the stereo of some centres relative to each other
    is known (a racemate), it is the one of their descriptions that RDKit chooses.
    """
    written = _WRITTEN.match(smiles) if isinstance(smiles, str) else None
    if written is None or not written[0].isascii():
        return None
    chem = need("rdkit.Chem")
    with need("rdkit.rdBase").BlockLogs():
        molecule = chem.MolFromSmiles(written[0])
        if molecule is None:
            return None
        if "[H]" in written[0]:  # RDKit has kept those with a direction, also where it means nothing
            molecule = chem.RemoveHs(molecule)
        if "|" in written[0] and molecule.GetStereoGroups():
            chem.CanonicalizeEnhancedStereo(molecule)
            chem.AssignStereochemistry(molecule, force=True, cleanIt=True)
    return molecule


@lru_cache(maxsize=100_000)  # data is looked through more often than it is read
def canonical(smiles: str) -> str:
    """A SMILES that is the same for all ways to write a molecule; what RDKit cannot read stays as it is.

    >>> canonical("OCC ethanol"), canonical("no molecule")
    ('CCO', 'no molecule')
    """
    if (molecule := molecule_of(smiles)) is None:
        return smiles
    chem = need("rdkit.Chem")
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(0)
    options, fields = chem.SmilesWriteParams(), chem.CXSmilesFields.CX_ENHANCEDSTEREO
    return str(chem.MolToCXSmiles(molecule, options, int(fields)))


def compared(items: Iterable[Any]) -> list[Any]:
    """Items of a graph adapter with each molecule in its canonical form, so that equal ones are found.

    >>> compared(["OCC", {"smiles": "C(O)C", "pH": 7}, [("Ada", "is", "here")]])
    ['CCO', {'smiles': 'CCO', 'pH': 7}, [('Ada', 'is', 'here')]]
    """
    forms = []
    for item in items:
        smiles = smiles_of(item)
        form = canonical(smiles) if isinstance(smiles, str) else smiles
        forms.append({**item, SMILES: form} if smiles is not item else form)
    return forms


def named_molecules(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """The molecules in the lines of a ``.smi`` file: number of the line, SMILES with CXSMILES, and name.

    The name is all that follows, and may be empty. Empty lines and comments are left out, as RDKit does, and
    so is the header that RDKit writes.

    >>> list(named_molecules(["SMILES Name", "CCO ethyl alcohol", "# acids", "C[CH2] |^1:1| ethyl", "C"]))
    [(2, 'CCO', 'ethyl alcohol'), (4, 'C[CH2] |^1:1|', 'ethyl'), (5, 'C', '')]
    """
    for number, line in enumerate(lines, 1):
        written = _WRITTEN.match(line)
        smiles = written[0].strip() if written else ""
        is_header = number == 1 and smiles.lower() == SMILES
        if written and not smiles.startswith("#") and not is_header:
            yield number, smiles, line[written.end() :].strip()


@lru_cache(maxsize=1)  # train, dev and test come from one file
def read_molecules(path: Path) -> Records:
    """Read the different valid molecules of a file, with the columns ``logp`` and ``split``.

    ``logp`` is the logarithm of the octanol-water partition coefficient, computed by RDKit (Wildman and
    Crippen 1999, https://doi.org/10.1021/ci990307l). ``split`` is train, dev or test (8 : 1 : 1), chosen by a
    hash of the canonical SMILES. So the split of a molecule never changes, and no molecule is in two splits.

    Args:
        path: Relative to RDKit's data folder, for example ``NCI/first_5K.smi``.

    Raises:
        DataError: RDKit has no such file.
    """
    chem, config = need("rdkit.Chem"), need("rdkit.RDConfig")
    crippen, log = need("rdkit.Chem.Crippen"), need("rdkit.RDLogger")
    file = Path(config.RDDataDir) / path
    if not file.is_file():
        raise DataError(f"{file}: no such file in this RDKit; reinstall it with: pip install rdkit")
    log.DisableLog("rdApp.*")  # no warnings about invalid lines, which are left out
    try:
        places = Places(file)
        records, seen = Records([], {"logp": [], "split": []}, places), set()
        for number, line in enumerate(lines_of(file), 1):
            molecule = chem.MolFromSmiles(line.split()[0]) if line.split() else None
            smiles = chem.MolToSmiles(molecule) if molecule is not None else ""
            if smiles and smiles not in seen:
                seen.add(smiles)
                records.items.append(smiles)
                records.columns["logp"].append(crippen.MolLogP(molecule))
                records.columns["split"].append(_split(smiles))
                places.lines.append(number)
        return records
    finally:
        log.EnableLog("rdApp.*")


def _split(smiles: str) -> str:
    share = blake2b(smiles.encode(), digest_size=4).digest()[0] % 10
    return {8: "dev", 9: "test"}.get(share, "train")


@lru_cache(maxsize=100_000)  # data is divided more often than it is read
def scaffold(smiles: Any) -> str:
    """The scaffold of a molecule: its rings and what links them (Bemis and Murcko 1996).

    The SMILES of the scaffold, without stereo, by RDKit. It is empty for a molecule without a ring. Source:
    https://doi.org/10.1021/jm9602928.

    Raises:
        ValueError: RDKit cannot read the SMILES.

    >>> scaffold("CC(=O)Nc1ccccc1C2CC2"), scaffold("CCO")
    ('c1ccc(C2CC2)cc1', '')
    """
    murcko, molecule = need("rdkit.Chem.Scaffolds.MurckoScaffold"), molecule_of(smiles)
    with need("rdkit.rdBase").BlockLogs():
        try:
            return str(murcko.MurckoScaffoldSmiles(mol=molecule))
        except Exception:
            raise ValueError(f"scaffold: got {smiles!r}, expected a SMILES that RDKit can read") from None
