"""Plots in one style: curves of a training, confusion, reliability, predicted against measured, and more.

Every function takes plain values and returns a matplotlib ``Figure``, which a notebook shows. The colours can
be told apart by colour-blind people (Okabe and Ito, https://jfly.uni-koeln.de/color/) and on paper. `svg` and
`png` turn a figure into a file's content. Texts from data are drawn as they are: never as formulas, with
invisible characters made visible.

    from multiseq import plots
    plots.confusion(["a", "b", "b"], ["a", "b", "a"])
"""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any, Protocol, runtime_checkable

from multiseq.data.graphs.molecules import molecule_of
from multiseq.options import LOWER_IS_BETTER, MONITOR, PERCENT, TOTAL
from multiseq.requires import need

__all__ = [
    "COLOURS",
    "attention",
    "confusion",
    "curves",
    "histogram",
    "measured",
    "molecule",
    "molecules",
    "network",
    "png",
    "posteriors",
    "reliability",
    "spectrogram",
    "spread",
    "svg",
    "vectors",
    "visible",
    "words",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6FB0", "#7F7F7F")
"""Okabe and Ito's colours without yellow and black, which do not show on white and on black; two more."""

BLUE, ORANGE = COLOURS[:2]
INK, SHADE = "#24292f", "Blues"
STYLE = {
    "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": "medium", "font.size": 10.0,
    "grid.alpha": 0.15, "grid.color": INK, "legend.fontsize": "small", "legend.frameon": False,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip

MARKERS = ("o", "^", "D", "v", "P", "X", "p", "h", "s")
"""A shape for each class. There is one more than there are colours, so 72 classes look different."""

RING = {"marker": "o", "ls": "", "ms": 16, "mfc": "none", "mec": INK, "mew": 1.6, "zorder": 2}

LOSSES, SCORES, ERRORS = "loss in training", "dev split: more is better", "dev split: errors"
MOST_POINTS = 800
"""Points that `measured` draws. More would hide one another, and a page would become large."""

SPIKE = 0.2
"""The least probability of a token that `posteriors` draws."""

Log = Sequence[Mapping[str, str]]
Curve = list[tuple[int, float]]
Segments = Sequence[tuple[float, float, str]]


@runtime_checkable
class Bin(Protocol):
    """A point of a reliability diagram, like `multiseq.training.calibration.ReliabilityBin`."""

    @property
    def confidence(self) -> float:
        """The mean confidence of its predictions."""

    @property
    def accuracy(self) -> float:
        """The share of them that are right."""

    @property
    def count(self) -> int:
        """Their number."""


# --- texts and files ------------------------------------------------------------------------------


def visible(text: str, most: int = 10_000) -> str:
    r"""A text on one line that shows what is in it: control characters get a sign, long texts an end "…".

    Characters that turn the direction of writing would also turn what stands beside them. Half a character (a
    lone surrogate) and NUL cannot be written into a page at all.

    >>> visible("a\x00b\nc" + chr(0x202E) + "d" + chr(0xD800)), visible("a long text", 7)
    ('a␀b c⟨U+202E⟩d⟨U+D800⟩', 'a long…')
    """
    text = str(text)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text if text.isascii() and text.isprintable() else "".join(map(_sign, text))


def _sign(character: str) -> str:
    code, kind = ord(character), unicodedata.category(character)
    if character in "\t\n\r\x0b\x0c\x85\u2028\u2029":
        return " "
    if code < 0x20:
        return chr(0x2400 + code)
    joins = character in "\u200c\u200d"  # joiners: part of words in Persian and Hindi, and of emoji
    hidden = kind in ("Cc", "Cs", "Cf", "Cn") and not joins
    return f"⟨U+{code:04X}⟩" if hidden or code & 0xFFFE == 0xFFFE else character


def svg(figure: Any) -> str:
    """A figure as an ``<svg>`` element for an HTML page. It takes the colour of the text around it.

    The identifiers in it are unique to its content, so a page can have several.
    """
    with _style({"svg.fonttype": "none", "svg.hashsalt": "multiseq"}):
        saved = _saved(figure, "svg", transparent=True, metadata={"Date": None, "Creator": None})
    text: str = saved.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}", text)
    return text.replace(INK, "currentColor")


def png(figure: Any) -> bytes:
    """A figure as the content of a PNG file."""
    with _style({}):
        return _saved(figure, "png", dpi=120)


def _saved(figure: Any, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        # A browser has fonts for what ours lacks, and a layout that does not fit is better than none.
        warnings.filterwarnings("ignore", "(?s).*(missing from font|layout not applied|Tight layout)")
        figure.savefig(file, format=kind, **options)
    return file.getvalue()


def _style(more: Mapping[str, Any]) -> Any:
    return need("matplotlib").rc_context({**STYLE, **more})


def _figure(width: float | int, height: float | int, **margins: float) -> Any:
    """An empty figure. With margins in inches, no layout is computed, which takes as long as to draw."""
    # We use the object-oriented interface: pyplot would keep the figure and may need a display.
    figure = need("matplotlib.figure").Figure(
        figsize=(width, height), layout=None if margins else "constrained"
    )
    if margins:
        left, bottom = margins["left"] / width, margins["bottom"] / height
        figure.subplots_adjust(left=left, bottom=bottom, right=1 - 0.12 / width, top=1 - 0.08 / height)
    figure._repr_png_ = partial(png, figure)  # a notebook shows it, even before it has used pyplot
    return figure


def _ticks(axis: Any, names: Sequence[str], most: int = 24, **options: Any) -> None:
    """Name the places 0, 1, 2, … of an axis. ``$`` begins no formula."""
    axis.set_ticks(range(len(names)), [visible(name, most) for name in names], **options)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)


def _write(axes: Any, x: Any, y: Any, text: str, **options: Any) -> Any:
    return axes.text(x, y, text, parse_math=False, **options)


# --- training -------------------------------------------------------------------------------------


def curves(log: Log) -> Any:
    """The losses of every task, and the scores on the dev split. A task has the same colour in all panels.

    Losses are smoothed by a running mean over 1/50 of the run; ``total`` is not drawn. Scores (higher is
    better) and errors (lower is better) have separate panels. BLEU is divided by 100, like the other scores.

    Args:
        log: The lines of a ``metrics.csv``, from `multiseq.training.run_log.read_log`.
    """
    log = [row for row in log if row["task"] not in (TOTAL, MONITOR)]
    tasks = list(dict.fromkeys(row["task"] for row in log))
    panels = {title: curves for title, curves in _panels(log).items() if curves}
    with _style({}):
        figure = _figure(11 if len(panels) < 3 else 16, 4.5)
        for number, (title, curves) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), number)
            for (task, label), points in curves.items():
                _draw(axes, points, label, tasks.index(task), smooth=title == LOSSES)
            axes.set(xlabel="step", title=title)
            positive = any(value > 0 for points in curves.values() for _, value in points)
            if title != SCORES and positive:
                axes.set_yscale("log")  # losses and errors of tasks differ by orders of magnitude
            for text in axes.legend(frameon=True, edgecolor="none").get_texts():
                text.set_parse_math(False)
    return figure


def _panels(log: Log) -> dict[str, dict[tuple[str, str], Curve]]:
    """Title of the panel -> (task, label) -> list of (step, value)."""
    panels: dict[str, dict[tuple[str, str], Curve]] = {LOSSES: {}, SCORES: {}, ERRORS: {}}
    for row in log:
        task, metric, value = row["task"], row["metric"], float(row["value"])
        title, label = LOSSES, visible(task, 40)
        if row["split"] == "dev":
            title = ERRORS if metric in LOWER_IS_BETTER else SCORES
            label = f"{label}: {metric.replace('_', ' ')}"
        if metric in PERCENT:
            label, value = f"{label} / 100", value / 100
        panels[title].setdefault((task, label), []).append((int(row["step"]), value))
    return panels


def _draw(axes: Any, points: Curve, label: str, number: int, *, smooth: bool) -> None:
    steps, values = [step for step, _ in points], [value for _, value in points]
    if smooth:
        values = _smooth(values, max(1, len(points) // 50))
    line = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(steps, values, line, color=colour, label=label, marker="" if smooth else "o", ms=4)


def _smooth(values: Sequence[float], width: int) -> list[float]:
    """Running mean: the mean of each value and up to ``width - 1`` values before it.

    >>> _smooth([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    import numpy as np

    num = len(values)
    # Cut the values into blocks. Sum each block from its start on, and back from its end. A window is the end
    # of one block plus the start of the next. Nothing is subtracted, so rounding errors do not add up, and an
    # infinite value or NaN affects only the windows that contain it.
    blocks = np.zeros((-(-num // width), width))
    blocks.flat[:num] = values
    sums = blocks.cumsum(1).ravel()[:num]
    ends = blocks[:, ::-1].cumsum(1)[:, ::-1].ravel()
    starts = np.arange(num) - width + 1
    several = (starts > 0) & (starts % width > 0)
    sums[several] += ends[starts[several]]
    return list((sums / np.minimum(np.arange(1, num + 1), width)).tolist())


# --- predictions beside labels --------------------------------------------------------------------


def confusion(labels: Sequence[str], predictions: Sequence[str], *, most: int = 25) -> Any:
    """The confusion matrix: a row for each true class, which says what its items were taken for.

    The colour is the share of the row; the numbers are counts. The classes are sorted by frequency.

    Args:
        labels: The true class of each item.
        predictions: The predicted class of each item.
        most: If there are more classes than this, the rarest ones are taken together as one.

    Raises:
        ValueError: The lengths differ.
    """
    import numpy as np

    if len(labels) != len(predictions):
        raise ValueError(f"predictions: got {len(predictions)} for {len(labels)} labels, expected as many")
    counted = Counter(labels)
    counted.update(dict.fromkeys(predictions, 0))
    names = [name for name, _ in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))]
    kept = names if len(names) <= most else names[: most - 1]
    numbers = {name: number for number, name in enumerate(kept)}
    shown = kept if len(kept) == len(names) else [*kept, f"{len(names) - len(kept)} other classes"]
    table = np.zeros((len(shown), len(shown)), dtype=int)
    for pair, count in Counter(zip(labels, predictions, strict=True)).items():
        row, column = (numbers.get(name, len(kept)) for name in pair)
        table[row, column] += count
    shares = table / table.sum(1, keepdims=True).clip(1)
    with _style({"axes.grid": False}):
        side = min(9.0, max(3.4, 2.2 + 0.36 * len(shown)))
        figure = _figure(side + 0.9, side)
        axes = figure.add_subplot()
        if not shown:
            axes.set(xlabel="predicted", ylabel="true", xticks=[], yticks=[])
            return figure
        picture = axes.imshow(shares, cmap=SHADE, vmin=0, vmax=1, interpolation="nearest")
        size = min(9.0, 150 / max(len(shown), 1))
        _ticks(axes.xaxis, shown, rotation=60, ha="right", rotation_mode="anchor", fontsize=max(size, 6.5))
        if all(len(name) <= 3 for name in kept):  # phonemes
            for label in axes.get_xticklabels()[: len(kept)]:
                label.set(rotation=0, ha="center")
        _ticks(axes.yaxis, shown, fontsize=max(size, 6.5))
        for row, column in zip(*(ends.tolist() for ends in table.nonzero()), strict=True):
            colour = "white" if shares[row, column] > 0.6 else "#111111"
            text = f"{table[row, column]}" if table[row, column] < 10_000 else f"{table[row, column]:.0e}"
            width = size * min(1.0, 3.5 / len(text))
            _write(axes, column, row, text, ha="center", va="center", color=colour, fontsize=width)
        axes.set(xlabel="predicted", ylabel="true")
        figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.7)
    return figure


def reliability(bins: Sequence[Bin]) -> Any:
    """The reliability diagram: of the predictions with 80 % confidence, are 80 % right?

    Points below the diagonal: the model is too sure. The lines are 95 % intervals (Wilson) of the accuracy,
    wide where a bin has few predictions.

    Args:
        bins: Predictions of similar confidence, from `multiseq.training.calibration.reliability_bins`.
    """
    with _style({}):
        figure = _figure(4.4, 4.3, left=0.6, bottom=0.5)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], "--", color=INK, lw=1, alpha=0.7, label="perfectly calibrated")
        spans = [_wilson(one.accuracy, one.count) for one in bins]
        x, y = [one.confidence for one in bins], [one.accuracy for one in bins]
        below = [max(0.0, a - low) for a, (low, _) in zip(y, spans, strict=True)]
        above = [max(0.0, high - a) for a, (_, high) in zip(y, spans, strict=True)]
        axes.errorbar(
            x, y, (below, above), fmt="o-", color=BLUE, lw=1, ms=4, elinewidth=1, label="this model"
        )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="share that is right")
        axes.set_aspect("equal")
        axes.legend(loc="upper left")
    return figure


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share. Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.

    >>> [round(end, 3) for end in _wilson(0.5, 100)]
    [0.404, 0.596]
    """
    z = 1.96
    middle, wide = (
        share + z * z / (2 * count),
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)),
    )
    return (middle - wide) / (1 + z * z / count), (middle + wide) / (1 + z * z / count)


def measured(
    labels: Sequence[float],
    predictions: Sequence[float],
    *,
    intervals: Sequence[tuple[float, float]] | None = None,
    unit: str = "",
) -> Any:
    """Predicted against measured numbers. Perfect predictions lie on the diagonal.

    Of many points, some are drawn, evenly spaced in the given order; the title says how many.

    Args:
        labels: The measured numbers.
        predictions: The predicted numbers.
        intervals: The lower and the upper end of each prediction's interval.
        unit: The unit of all numbers.

    Raises:
        ValueError: The lengths differ.
    """
    for name, given in (("predictions", predictions), ("intervals", intervals)):
        if given is not None and len(given) != len(labels):
            raise ValueError(f"{name}: got {len(given)} for {len(labels)} labels, expected as many")
    chosen = spread(len(labels), MOST_POINTS)
    x, y = [labels[i] for i in chosen], [predictions[i] for i in chosen]
    with _style({}):
        figure = _figure(4.6, 4.4)
        axes = figure.add_subplot()
        if intervals is not None:
            ends = [intervals[i] for i in chosen]
            axes.vlines(
                x, [low for low, _ in ends], [high for _, high in ends], color=BLUE, lw=0.8, alpha=0.3
            )
        axes.plot(x, y, "o", color=BLUE, ms=4, alpha=0.6, mec="none")
        if x:
            low, high = min(*x, *y), max(*x, *y)
            room = 0.05 * (high - low) or 1.0
            axes.plot([low, high], [low, high], "--", color=INK, lw=1, alpha=0.7)
            axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room), aspect="equal")
        of = f" ({visible(unit, 40)})" if unit else ""
        for put, text in ((axes.set_xlabel, f"measured{of}"), (axes.set_ylabel, f"predicted{of}")):
            put(text, parse_math=False)
        if len(chosen) < len(labels):
            axes.set_title(f"{len(chosen):,} of {len(labels):,} points")
    return figure


def spread(count: int, most: int) -> Sequence[int]:
    """At most ``most`` numbers from 0 to ``count - 1``, evenly spaced.

    >>> list(spread(3, 5)), list(spread(10, 4))
    ([0, 1, 2], [0, 2, 5, 7])
    """
    return range(count) if count <= most else [number * count // most for number in range(most)]


def histogram(values: Sequence[float] | Sequence[int], label: str) -> Any:
    """How often values occur.

    Args:
        values: The values.
        label: What they are, for the axis.
    """
    with _style({}):
        figure = _figure(4.6, 2.4, left=0.7, bottom=0.5)
        axes = figure.add_subplot()
        whole = all(float(value).is_integer() for value in values)
        low, high = (min(values), max(values)) if values else (0, 0)
        edges: Any = 30
        if whole and high - low < 30:  # a bar for each whole number
            edges = [low - 0.5 + i for i in range(int(high - low) + 2)]
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.hist(values, bins=edges, color=BLUE)
        axes.set_xlabel(visible(label, 60), parse_math=False)
        axes.set_ylabel("count")
    return figure


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
    with _style({}):
        figure = _figure(7.5, 4.6)
        axes, named = figure.add_subplot(), []
        for number, name in enumerate(sorted(set(classes))):
            shape, colour = _mark(number)
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


# --- single items ---------------------------------------------------------------------------------


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
    with _style({"axes.grid": False}):
        size = (3.4 * len(weights) + 0.6, 4.2)
        small: dict[str, Any] = {}
        if tokens is not None:  # squares as wide as a line of text is high, and room for the longest names
            across, down = (max([len(name) for name in some] + [8]) for some in (rows, names))
            width = 1.6 + 0.07 * min(across, 24) + 0.19 * max(8, len(names)) * len(weights)
            size = (width, 0.8 + 0.06 * min(down, 24) + 0.19 * len(tokens))
            small = {"fontsize": 8.5}
        figure = _figure(*size)
        panels = figure.subplots(1, len(weights), sharey=True, squeeze=False)[0]
        # One scale for all heads, so that they can be compared.
        highest = float(weights.max()) if len(names) else 1.0
        for number, (axes, head) in enumerate(zip(panels, weights, strict=True), 1):
            picture = axes.imshow(head.tolist(), cmap=SHADE, vmin=0, vmax=highest)
            _ticks(axes.xaxis, names, rotation=60, ha="right", rotation_mode="anchor", **small)
            _ticks(axes.yaxis, rows, **small)
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
    with _style({"axes.grid": False}):
        figure = _figure(width, line * (y + 1) + 0.1, left=0.05, bottom=0.04)
        axes = figure.add_subplot()
        axes.set(xlim=(0, width), ylim=(line * (y + 1), 0))
        axes.set_axis_off()
        for number, (x, y, wide) in enumerate(places):
            style: dict[str, Any] = {"ha": "center", "family": "monospace"}
            colour = INK
            if values:
                share = values[number] / most
                box = (x + 0.02, line * y + 0.03), wide - 0.04, 0.28
                axes.add_patch(need("matplotlib.patches").Rectangle(*box, color=_shade(share), lw=0))
                colour = "white" if abs(share) > 0.6 else "black"  # on the box, whatever the page's colour
            _write(axes, x + wide / 2, line * y + 0.24, shown[number], fontsize=11, color=colour, **style)
            if under:
                _write(axes, x + wide / 2, line * y + 0.45, under[number], fontsize=8.5, **style)
    return figure


def spectrogram(log_mel: Any, seconds: float, rows: Mapping[str, Segments] | None = None) -> Any:
    """A log-mel spectrogram, with rows of segments under it.

    Args:
        log_mel: Log power ``(frames, mels)``.
        seconds: The duration that the frames show.
        rows: Name of a row -> its segments ``(start, end, label)`` in seconds.
    """
    rows = rows or {}
    with _style({"axes.grid": False}):
        height = 2.2 + 0.3 * len(rows)
        figure = _figure(8.0, height, left=0.9, bottom=0.48)
        figure.subplots_adjust(hspace=0.12)
        heights = [1.7, *(0.3 for _ in rows)]
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        top, *strips = panels
        # Few colours and one pixel a frame: a page with many spectrograms stays small.
        colours = need("matplotlib").colormaps["magma"].resampled(48)
        if len(log_mel):
            extent = (0, seconds, 0, log_mel.shape[1])
            top.imshow(
                log_mel.T, origin="lower", aspect="auto", cmap=colours, extent=extent, interpolation="none"
            )
        top.set(ylabel="mel band", xlim=(0, max(seconds, 1e-3)))
        for axes, (name, segments) in zip(strips, rows.items(), strict=True):
            _strip(axes, name, segments, max(seconds, 1e-3))
        panels[-1].set_xlabel("time (s)")
    return figure


def _strip(axes: Any, name: str, segments: Segments, seconds: float) -> None:
    for number, (start, end, label) in enumerate(segments):
        shade = (BLUE, "#56B4E9")[number % 2]
        axes.axvspan(start, min(end, seconds), color=shade, alpha=0.25, lw=0)
        most = max(1, int((min(end, seconds) - start) / seconds * 100))  # characters that fit
        if start < seconds:
            middle = (start + min(end, seconds)) / 2
            _write(
                axes, middle, 0.5, visible(label, most), ha="center", va="center", fontsize=7, clip_on=True
            )
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [visible(name, 12)], fontsize=8)
    axes.tick_params(left=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def posteriors(
    probabilities: Any,
    tokens: Sequence[str],
    vector_seconds: float,
    rows: Mapping[str, Segments] | None = None,
    *,
    waveform: tuple[Any, int] | None = None,
) -> Any:
    """The probability of each token over time, as a CTC head gives it, under the waveform of a recording.

        _, tokens, shares = model.posteriors("text", "a.wav")
        plots.posteriors(shares, tokens, model.adapter("speech").vector_seconds)

    The blank is dotted. A token is written above its spikes; one that nowhere reaches 0.2 is not drawn.

    Args:
        probabilities: ``(vectors, tokens)``, a tensor or an array, from `Model.posteriors`.
        tokens: What each column stands for; the first is the blank.
        vector_seconds: Seconds from one vector to the next (`SpeechAdapter.vector_seconds`).
        rows: Name of a row under the plot -> its segments ``(start, end, label)`` in seconds.
        waveform: The samples of one channel, and their rate in Hz; None: no waveform.
    """
    import numpy as np

    rows = rows or {}
    shares = np.asarray(probabilities, dtype=float).reshape(-1, len(tokens))
    seconds = max(len(shares) * vector_seconds, 1e-3)
    heights = [*([0.8] if waveform else []), 1.5, *(0.3 for _ in rows)]
    with _style({"axes.grid": False}):
        figure = _figure(8.0, sum(heights) + 0.6, left=0.9, bottom=0.48)
        figure.subplots_adjust(hspace=0.12)
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        panels[-1].set_xlabel("time (s)")
        if waveform:
            top, *panels = panels
            _waveform(top, *waveform)
        spikes, *strips = panels
        _spikes(spikes, shares, tokens, vector_seconds)
        spikes.set_xlim(0, seconds)
        for axes, (name, segments) in zip(strips, rows.items(), strict=True):
            _strip(axes, name, segments, seconds)
    return figure


def _spikes(axes: Any, shares: Any, tokens: Sequence[str], vector_seconds: float) -> None:
    import numpy as np

    times = (np.arange(len(shares)) + 0.5) * vector_seconds
    axes.plot(times, shares[:, 0], ":", color="#7F7F7F", lw=1)
    for first in shares[:1, 0].tolist():
        _write(axes, times[0], first + 0.03, "blank", ha="left", fontsize=8, color="#7F7F7F")
    drawn = [token for token in range(1, len(tokens)) if (shares[:, token] >= SPIKE).any()]
    for number, token in enumerate(sorted(drawn, key=lambda token: int(shares[:, token].argmax()))):
        of_token = shares[:, token]
        axes.plot(times, of_token, color=COLOURS[number % len(COLOURS)], lw=1.2)
        before, after = np.r_[0.0, of_token[:-1]], np.r_[of_token[1:], 0.0]
        text = visible(tokens[token].lstrip(" ▁") or "␣", 12)
        for top in ((of_token >= SPIKE) & (of_token > before) & (of_token >= after)).nonzero()[0].tolist():
            _write(axes, times[top], of_token[top] + 0.03, text, ha="center", fontsize=8, clip_on=True)
    axes.set(ylim=(0, 1.2), yticks=[0, 0.5, 1], ylabel="probability")


def _waveform(axes: Any, samples: Any, rate: int) -> None:
    """The lowest and the highest sample of each of at most 1,000 stretches: a page stays small."""
    import numpy as np

    known = np.asarray(samples, dtype=float)
    starts = np.arange(0, len(known), -(-len(known) // 1000) or 1)
    if len(known):
        low, high = np.minimum.reduceat(known, starts), np.maximum.reduceat(known, starts)
        axes.fill_between(starts / rate, low, high, color=INK, lw=0.5)
    axes.set(ylabel="amplitude", yticks=[0])


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
    with _style({"axes.grid": False}):
        side = min(7.0, 3.0 + 0.12 * len(names))
        figure = _figure(side + 1, side)
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
                marker, colour = _mark(kinds.index(classes[node]))
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


def _mark(number: int) -> tuple[str, str]:
    """The marker and the colour of a class."""
    return MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]


def _legend(figure: Any, axes: Any, kinds: Sequence[str], *, ring: bool) -> None:
    """The mark of each class, below the drawing; and what a ring means."""
    for number, kind in enumerate(kinds):
        marker, colour = _mark(number)
        axes.plot([], [], marker, color=colour, ms=8, label=visible(kind, 30))
    if ring:
        axes.plot([], [], **RING, label="wrongly predicted")
    for text in figure.legend(loc="outside lower center", ncols=3).get_texts():
        text.set_parse_math(False)


# --- molecules ------------------------------------------------------------------------------------


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
    with _style({"axes.grid": False}):
        columns = min(3, max(1, len(smiles)))
        rows = max(1, -(-len(smiles) // columns))
        figure = _figure(3.5 * columns + 1, 3.1 * rows)
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
    colours = {i: _shade(value / most) for i, value in enumerate(values)}
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


def _shade(share: float) -> tuple[float, ...]:
    """From white at 0 to orange at 1 and blue at -1, as red, green and blue from 0 to 1."""
    colour = ORANGE if share > 0 else BLUE
    full = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(1 - min(abs(share), 1.0) * (1 - part) for part in full)
