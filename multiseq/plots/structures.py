"""Structures of molecules, with a colour and a number for each atom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from multiseq.data.graphs.molecules import molecule_of
from multiseq.plots.style import BLUE, ORANGE, new_figure, shade_of, styled, visible
from multiseq.requires import need

__all__ = ["Drawing", "molecule", "molecules"]


class Drawing(str):
    """An ``<svg>`` element. A notebook shows the drawing; as a text it can be written to a file."""

    def _repr_svg_(self) -> str:
        return str(self)


def molecule(
    smiles: str,
    values: Sequence[float] = (),
    *,
    scale: float | None = None,
    legend: str = "",
    notes: Sequence[str] = (),
    ringed: Sequence[int] = (),
    bonds: bool = False,
) -> Drawing:
    """The structure of a molecule, with atoms in the colour of their values: orange above zero, blue below.

        [why] = model.contributions("logp", ["CCO"])
        plots.molecule("CCO", why.values, legend=str(why))

    Args:
        smiles: The molecule.
        values: One number for each atom, in the order of the SMILES, or none.
        scale: The value with the strongest colour. Give the same to compare molecules. Default: the largest.
        legend: A text under the molecule.
        notes: A text beside each atom, or none.
        ringed: The numbers of atoms to mark in red.
        bonds: Whether ``notes`` and ``ringed`` are of bonds, in RDKit's order, and not of atoms.

    Raises:
        ValueError: RDKit cannot read the SMILES, or there is not one value for each atom.
    """
    most = scale or max(map(abs, values), default=0.0) or 1.0
    painter = need("rdkit.Chem.Draw.rdMolDraw2D").MolDraw2DSVG(360, 260 if legend else 240)
    text = _structure(painter, smiles, values, most, legend, notes, ringed, bonds)
    return Drawing(text[text.index("<svg") :])


def molecules(
    smiles: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    titles: Sequence[str] = (),
    unit: str = "",
    scale: float | None = None,
) -> Any:
    """Molecules side by side, with the contribution of each atom as a colour and as a number beside it.

    All have the same colours, which a bar explains. Values that round to 0 have no number.

        whys = model.contributions("logp", ["CCO", "CCCl"])
        plots.molecules(["CCO", "CCCl"], [why.values for why in whys], unit=whys[0].unit)

    Args:
        smiles: The molecules.
        values: For each molecule one number for each atom, in the order of the SMILES.
        titles: A text above each molecule, or none.
        unit: The unit of all values.
        scale: The value with the strongest colour. Default: the largest.

    Raises:
        ValueError: RDKit cannot read a SMILES, or the numbers of molecules, values and titles do not fit.
    """
    for name, given in (("values", values), ("titles", titles)):
        if len(given) != len(smiles) and (given or name == "values"):
            raise ValueError(f"{name}: got {len(given)} for {len(smiles)} molecules, expected one for each")
    most = scale or max((abs(value) for of_one in values for value in of_one), default=0.0) or 1.0
    digits = max(0, 1 - math.floor(math.log10(most)))
    draw, read = need("rdkit.Chem.Draw.rdMolDraw2D"), need("matplotlib.image").imread
    with styled({"axes.grid": False}):
        columns = min(3, max(1, len(smiles)))
        rows = max(1, -(-len(smiles) // columns))
        figure = new_figure(3.5 * columns + 1, 3.1 * rows)
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        for axes, one, of_one, title in zip(
            panels.flat, smiles, values, titles or [""] * len(smiles), strict=False
        ):
            notes = [f"{value:+.{digits}f}" if round(value, digits) else "" for value in of_one]
            painter = draw.MolDraw2DCairo(840, 690)
            painter.drawOptions().useBWAtomPalette()  # a letter has no colour that could mean something
            painter.drawOptions().annotationFontScale = 0.7
            axes.imshow(read(BytesIO(_structure(painter, one, of_one, most, "", notes))))
            axes.set_title(visible(title, 60), parse_math=False)
        colours = need("matplotlib.colors").LinearSegmentedColormap.from_list("", [BLUE, "white", ORANGE])
        bar = need("matplotlib.cm").ScalarMappable(need("matplotlib.colors").Normalize(-most, most), colours)
        of = f" ({visible(unit, 40)})" if unit else ""
        beyond = any(abs(value) > most for of_one in values for value in of_one)
        options = {"ax": panels, "shrink": 0.8, "extend": "both" if beyond else "neither"}
        figure.colorbar(bar, **options).set_label(f"contribution{of}", parse_math=False)
    return figure


def _structure(
    painter: Any,
    smiles: str,
    values: Sequence[float],
    most: float,
    legend: str = "",
    notes: Sequence[str] = (),
    ringed: Sequence[int] = (),
    bonds: bool = False,
) -> Any:
    """What a painter of RDKit has drawn: the structure, with colours from -most to most."""
    draw, structure = need("rdkit.Chem.Draw.rdMolDraw2D"), molecule_of(smiles)
    if structure is None or len(values) not in (0, structure.GetNumAtoms()):
        num = "no" if structure is None else f"{structure.GetNumAtoms()}"
        raise ValueError(
            f"molecule: got {smiles!r} with {num} atoms, expected one for each of the {len(values)} values"
        )
    for part, note in zip(structure.GetBonds() if bonds else structure.GetAtoms(), notes, strict=False):
        if note:
            part.SetProp("bondNote" if bonds else "atomNote", visible(note, 20))
    colours = {i: shade_of(value / most) for i, value in enumerate(values)}
    marked = dict.fromkeys(ringed, (1.0, 0.5, 0.5))
    colours |= {} if bonds else marked
    painter.drawOptions().highlightRadius = 0.4
    draw.PrepareAndDrawMolecule(
        painter, structure, legend=visible(legend, 60), highlightAtoms=list(colours),
        highlightAtomColors=colours, highlightBonds=list(marked) if bonds else [],
        highlightBondColors=marked if bonds else {},
    )  # fmt: skip
    painter.FinishDrawing()
    return painter.GetDrawingText()
