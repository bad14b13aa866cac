"""Molecules from a file inside the RDKit package: real structures of the NCI collection."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from multiseq.data.records import DataError, Places, Records
from multiseq.data.text_files import lines_of
from multiseq.requires import need

__all__ = ["read_molecules"]


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
