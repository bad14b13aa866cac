"""Single items and what a model makes of them: attention, words, networks, a map of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from multiseq.plots.style import (
    BLUE,
    INK,
    ORANGE,
    RING,
    SHADE,
    mark_of,
    name_ticks,
    new_figure,
    shade_of,
    styled,
    visible,
    write,
)
from multiseq.requires import need

__all__ = ["attention", "network", "vectors", "words"]


def vectors(vectors: Any, classes: Sequence[str], *, hollow: Sequence[bool] = ()) -> Any:
    """A map of vectors: the two directions in which they differ most (principal components).

        embeddings = model.embed("speech", recordings)
        plots.vectors([one.pooled.tolist() for one in embeddings], speakers)

    Each class has a colour and a shape. The axes say what share of the variance they show.

    Args:
        vectors: ``(items, dim)``, a tensor, an array or a list.
        classes: The class of each vector.
        hollow: Whether each is drawn hollow, for example because training has not seen it; or none.

    Raises:
        ValueError: There is not one class, or one value of ``hollow``, for each vector.
    """
    import numpy as np

    for name, given in (("classes", classes), ("hollow", hollow or [False] * len(vectors))):
        if len(given) != len(vectors):
            raise ValueError(f"{name}: got {len(given)} for {len(vectors)} vectors, expected one for each")
    points = np.asarray(vectors, dtype=float).reshape(len(vectors), -1 if len(vectors) else 2)
    points = points - points.mean(0) if len(points) else points
    _, spread, directions = np.linalg.svd(points, full_matrices=False)
    places = np.pad(points @ directions[:2].T, ((0, 0), (0, max(0, 2 - len(directions)))))
    shares = [*(spread**2 / max(float((spread**2).sum()), 1e-30)), 0.0, 0.0]
    known, empty = np.array(classes, dtype=object), np.array(hollow or [False] * len(points), dtype=bool)
    with styled({}):
        figure = new_figure(7.5, 4.6)
        axes, named = figure.add_subplot(), []
        for number, name in enumerate(sorted(set(classes))):
            shape, colour = mark_of(number)
            for inside, chosen in ((colour, ~empty), ("none", empty)):
                of_class = places[(known == name) & chosen]
                if len(of_class):
                    style = {"marker": shape, "s": 22, "lw": 0.9, "edgecolors": colour, "alpha": 0.75}
                    axes.scatter(*of_class.T, facecolors=inside, **style)
            named.append(axes.scatter([], [], marker=shape, color=colour, label=visible(name, 24)))
        for axis, share, which in ((axes.xaxis, shares[0], "first"), (axes.yaxis, shares[1], "second")):
            axis.set_label_text(f"{which} component ({share:.0%} of the variance)")
            axis.set_ticks([])
        columns = -(-len(named) // 18) or 1
        legend = figure.legend(handles=named, loc="outside right upper", ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def attention(
    names: Sequence[str], weights: Any, *, what: str = "vector", tokens: Sequence[str] | None = None
) -> Any:
    """Attention weights, a panel for each head: row *i* says how vector *i* spreads its attention.

    Args:
        names: What each vector stands for.
        weights: ``(heads, length, length)``, a tensor or an array, from `Model.attention`; or with tokens
            ``(heads, tokens, length)``, from `DecoderHead.attention`.
        what: What a vector is: a word, a piece, an atom.
        tokens: The tokens of the text that attends to the vectors. Without it, the vectors do.
    """
    rows, looking = (names, what) if tokens is None else (tokens, "token")
    with styled({"axes.grid": False}):
        size = (3.4 * len(weights) + 0.6, 4.2)
        small: dict[str, Any] = {}
        if tokens is not None:  # squares as wide as a line of text is high, and room for the longest names
            across, down = (max([len(name) for name in some] + [8]) for some in (rows, names))
            width = 1.6 + 0.07 * min(across, 24) + 0.19 * max(8, len(names)) * len(weights)
            size = (width, 0.8 + 0.06 * min(down, 24) + 0.19 * len(tokens))
            small = {"fontsize": 8.5}
        figure = new_figure(*size)
        panels = figure.subplots(1, len(weights), sharey=True, squeeze=False)[0]
        # One scale for all heads, so that they can be compared.
        highest = float(weights.max()) if len(names) else 1.0
        for number, (axes, head) in enumerate(zip(panels, weights, strict=True), 1):
            picture = axes.imshow(head.tolist(), cmap=SHADE, vmin=0, vmax=highest)
            name_ticks(axes.xaxis, names, rotation=60, ha="right", rotation_mode="anchor", **small)
            name_ticks(axes.yaxis, rows, **small)
            axes.set_title(f"head {number}" if len(weights) > 1 else "")
        panels[0].set_ylabel(f"{looking} that attends")
        if len(panels) == 1:
            panels[0].set_xlabel(f"{what} that is attended to")
        else:
            figure.supxlabel(f"{what} that is attended to", fontsize="medium")
        figure.colorbar(picture, ax=panels, label="attention weight", shrink=0.8)
    return figure


def words(
    words: Sequence[str],
    values: Sequence[float] = (),
    *,
    notes: Sequence[str] = (),
    scale: float | None = None,
    width: float = 9.0,
) -> Any:
    """The words of a text, in the colour of their values: orange above zero, blue below.

        words = "It may be cheap".split()
        plots.words(words, [-0.1, 0.0, 0.0, 0.7], notes=["PRON", "AUX", "AUX", "ADJ"])

    Args:
        words: The words.
        values: One number for each word, or none.
        notes: A text under each word, or none.
        scale: The value with the strongest colour. Give the same to compare texts. Default: the largest.
        width: The width of the figure in inches.

    Raises:
        ValueError: There is not one value or one note for each word.
    """
    for name, given in (("values", values), ("notes", notes)):
        if len(given) not in (0, len(words)):
            raise ValueError(f"{name}: got {len(given)} for {len(words)} words, expected one for each")
    most = scale or max(map(abs, values), default=0.0) or 1.0
    shown, under = [visible(word, 40) for word in words], [visible(note, 40) for note in notes]
    letter, line = 0.095, 0.55 if notes else 0.36  # inches: a letter of a font in which all are as wide
    places, x, y = [], 0.0, 0
    for number, word in enumerate(shown):
        wide = letter * (max(len(word), 0.8 * len(under[number]) if under else 0) + 1.5)
        if x > 0 and x + wide > width:
            x, y = 0.0, y + 1
        places.append((x, y, wide))
        x += wide
    with styled({"axes.grid": False}):
        figure = new_figure(width, line * (y + 1) + 0.1, left=0.05, bottom=0.04)
        axes = figure.add_subplot()
        axes.set(xlim=(0, width), ylim=(line * (y + 1), 0))
        axes.set_axis_off()
        for number, (x, y, wide) in enumerate(places):
            style: dict[str, Any] = {"ha": "center", "family": "monospace"}
            colour = INK
            if values:
                share = values[number] / most
                box = (x + 0.02, line * y + 0.03), wide - 0.04, 0.28
                axes.add_patch(need("matplotlib.patches").Rectangle(*box, color=shade_of(share), lw=0))
                colour = "white" if abs(share) > 0.6 else "black"  # on the box, whatever the page's colour
            write(axes, x + wide / 2, line * y + 0.24, shown[number], fontsize=11, color=colour, **style)
            if under:
                write(axes, x + wide / 2, line * y + 0.45, under[number], fontsize=8.5, **style)
    return figure


def network(
    names: Sequence[str],
    edges: Sequence[tuple[int, int]],
    *,
    labels: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    wrong: Sequence[bool] | None = None,
    focus: int | None = None,
) -> Any:
    """A small network. Connected nodes are near each other (Fruchterman and Reingold 1991).

        jobs, wrong = ["baker", "baker", "smith"], [False, False, True]
        plots.network(["Ada", "Bo", "Cy"], [(0, 1), (1, 2)], classes=jobs, wrong=wrong)

    Args:
        names: The name of each node; "" for a node without one.
        edges: Pairs of node numbers.
        labels: A text under each node's name.
        classes: The class of each node: each class has a shape and a colour, and a legend says which.
        wrong: Nodes to mark: with a ring around them if there are classes, otherwise by a square.
        focus: A node with a thick ring.

    Raises:
        ValueError: There is not one name, label, class or mark for each node.
    """
    for what, given in (("labels", labels), ("classes", classes), ("wrong", wrong)):
        if given is not None and len(given) != len(names):
            raise ValueError(f"{what}: got {len(given)} for {len(names)} nodes, expected one for each")
    kinds = sorted(set(classes or ()))
    networkx = need("networkx")
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(names)))
    graph.add_edges_from(edges)
    with styled({"axes.grid": False}):
        side = min(7.0, 3.0 + 0.12 * len(names))
        figure = new_figure(side + 1, side)
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.margins(x=0.2, y=0.12)  # names are wide
        place = networkx.kamada_kawai_layout(graph) if len(names) > 1 else {0: (0.0, 0.0)}
        # Nodes with the same neighbours lie on one another until they push each other away.
        place = networkx.spring_layout(graph, pos=place, k=1.6 / max(1, len(names)) ** 0.5, seed=0)
        gap = (math.nan, math.nan)  # between two edges, so that all edges are one line
        ends = [point for a, b in graph.edges for point in (place[a], place[b], gap)]
        if ends:
            axes.plot(*zip(*ends, strict=True), color=INK, alpha=0.35, lw=1, zorder=1)
        for node, name in enumerate(names):
            bad = bool(wrong and wrong[node])
            marker, colour = "s" if bad else "o", ORANGE if bad else BLUE
            if classes:
                marker, colour = mark_of(kinds.index(classes[node]))
            if classes and bad:
                axes.plot(*place[node], **RING)
            axes.plot(
                *place[node], marker, color=colour, ms=9, zorder=2, mec=INK, mew=2.5 if node == focus else 0.0
            )
            text = visible(name, 22) + (f"\n{visible(labels[node], 26)}" if labels and labels[node] else "")
            options = {
                "textcoords": "offset points",
                "ha": "center",
                "va": "top",
                "fontsize": 7.5,
                "zorder": 3,
            }
            below = -11 if classes and bad else -7
            axes.annotate(text, place[node], (0, below), parse_math=False, **options)
        if kinds:
            _legend(figure, axes, kinds, ring=any(wrong or ()))
    return figure


def _legend(figure: Any, axes: Any, kinds: Sequence[str], *, ring: bool) -> None:
    """The mark of each class, below the drawing; and what a ring means."""
    for number, kind in enumerate(kinds):
        marker, colour = mark_of(number)
        axes.plot([], [], marker, color=colour, ms=8, label=visible(kind, 30))
    if ring:
        axes.plot([], [], **RING, label="wrongly predicted")
    for text in figure.legend(loc="outside lower center", ncols=3).get_texts():
        text.set_parse_math(False)
