"""Draw the picture of the front page: what goes in, what happens, and what comes out.

python tools/draw_overview.py [FOLDER]      (the default is docs/pictures)

It writes overview.svg and overview.png for light pages, overview-dark.svg and overview-dark.png for dark
ones. The same matplotlib gives the same bytes each time.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 900, 500  # of the page, in pixels; the origin is at the top left
ROWS = (148, 284, 420)  # the middle of each modality's row
NAMES = ("text", "speech", "graph")
SETS, ENCODER = 292, 421  # the middles of two columns


@dataclass(frozen=True)
class Theme:
    ink: str
    faint: str
    card: str
    edge: str
    encoder: str
    colours: tuple[str, str, str]  # text, speech, graph


THEMES = {
    "": Theme("#1f2328", "#59636e", "#f6f8fa", "#c4ccd5", "#e6ebf1", ("#0969da", "#b35900", "#1a7f37")),
    "-dark": Theme("#f0f6fc", "#a3adb8", "#161b22", "#3d444d", "#21262d", ("#58a6ff", "#f0a04b", "#4cc764")),
}

CELLS = {
    "text": [
        ("part of speech", "PRON VERB DET NOUN"),
        ("sentiment", "positive"),
        ("translation", "“ich sah eine Säge”"),
    ],
    "speech": [
        ("phonemes", "θ θ r r iː iː iː"),
        ("speaker", "Anna"),
        ("recognition", "“three”"),
    ],
    "graph": [
        ("who will buy?", "yes no no yes no"),
        ("a property, logP", "1.31"),
        ("a text about it", "“Ada bakes in Rome.”"),
    ],
}
HEADS = [
    (569, "label per vector", "token or node\nclassification"),
    (699, "label per set", "sequence classification,\nregression"),
    (829, "sequence", "sequence to\nsequence"),
]


def write(axes: Axes, x: float, y: float, text: str, size: float, **options: object) -> None:
    """Text whose size is given in pixels of the page."""
    options = {"ha": "center", "va": "center", "linespacing": 1.15, **options}
    axes.text(x, y, text, fontsize=size * 0.72, **options)


def box(axes: Axes, x: float, y: float, width: float, height: float, **options: object) -> None:
    """A box with round corners around its middle."""
    style = "round,pad=0,rounding_size=7"
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, style, **options))


def arrow(axes: Axes, x: float, to_x: float, y: float, colour: str) -> None:
    axes.add_patch(
        FancyArrowPatch((x, y), (to_x, y), arrowstyle="-|>", mutation_scale=9, lw=1.4, color=colour)
    )


def draw_words(axes: Axes, y: float, colour: str, theme: Theme) -> None:
    left = 12.0
    for word in ("I", "saw", "a", "saw"):
        width = 12 + 7.6 * len(word)
        box(axes, left + width / 2, y, width, 27, fc=theme.card, ec=colour, lw=1.1)
        write(axes, left + width / 2, y, word, 13, color=theme.ink)
        left += width + 4


def draw_wave(axes: Axes, y: float, colour: str) -> None:
    times = [i / 150 for i in range(151)]
    loud = [math.exp(-(((t - 0.3) / 0.13) ** 2)) + 0.7 * math.exp(-(((t - 0.72) / 0.1) ** 2)) for t in times]
    wave = [
        30 * a * math.sin(95 * t) * (0.75 + 0.25 * math.sin(31 * t)) for a, t in zip(loud, times, strict=True)
    ]
    axes.plot([12 + 128 * t for t in times], [y + w for w in wave], color=colour, lw=1.2)


def draw_graph(axes: Axes, y: float, colour: str, theme: Theme) -> None:
    nodes = [(30, -20), (76, -30), (58, 14), (104, 4), (128, -26)]
    for a, b in ((0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (1, 3)):
        (x, dy), (to_x, to_dy) = nodes[a], nodes[b]
        axes.plot([x, to_x], [y + 6 + dy, y + 6 + to_dy], color=theme.faint, lw=1.3, zorder=1)
    for x, dy in nodes:
        axes.add_patch(Circle((x, y + 6 + dy), 8, fc=colour, ec="none", zorder=2))


def draw_vectors(axes: Axes, middle: float, y: float, count: int, row: int, theme: Theme) -> None:
    """A set: one column of squares for each vector. Their shades are only to look at."""
    step, side = 12, 9
    for i in range(count):
        x = middle + (i - (count - 1) / 2) * step
        for j in range(5):
            shade = 0.25 + 0.75 * ((7 * i + 5 * j + 3 * i * j + 2 * row) % 11) / 10
            box_y = y + (j - 2) * 10
            axes.add_patch(
                FancyBboxPatch(
                    (x - side / 2, box_y - side / 2),
                    side,
                    side,
                    "round,pad=0,rounding_size=2",
                    fc=theme.colours[row],
                    ec="none",
                    alpha=shade,
                )
            )


def draw(theme: Theme) -> Figure:
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")

    bold = {"weight": "bold", "color": theme.ink, "va": "baseline"}
    for x, title in (
        (76, "items"),
        (189, "adapters"),
        (SETS, "sets of vectors"),
        (ENCODER, "shared encoder"),
    ):
        write(axes, x, 31, title, 13, **bold)
    for x, title, _ in HEADS:
        write(axes, x, 31, title, 13, **bold)
    below = [
        (76, "what you have"),
        (189, "one for each\nmodality"),
        (SETS, "any number\nof vectors"),
        (ENCODER, "self-attention\nwithin each set"),
        *((x, field) for x, _, field in HEADS),
    ]
    for x, words in below:
        write(axes, x, 44, words, 11, color=theme.faint, va="top")

    box(axes, ENCODER, ROWS[1], 82, 392, fc=theme.encoder, ec=theme.edge, lw=1.2)
    for layer in range(4):
        box(axes, ENCODER, 134 + 100 * layer, 58, 66, fc=theme.card, ec=theme.edge, lw=1.1)
        write(axes, ENCODER, 134 + 100 * layer, "attention\n+\nfeed-\nforward", 10.5, color=theme.faint)

    draw_words(axes, ROWS[0], theme.colours[0], theme)
    draw_wave(axes, ROWS[1], theme.colours[1])
    draw_graph(axes, ROWS[2], theme.colours[2], theme)
    items = ("a sentence", "a recording", "a molecule, a network,\nfacts")
    for row, (name, y, count) in enumerate(zip(NAMES, ROWS, (4, 7, 5), strict=True)):
        colour = theme.colours[row]
        write(axes, 76, y + (44 if row < 2 else 52), items[row], 11.5, color=theme.faint)
        box(axes, 189, y, 62, 46, fc=theme.card, ec=colour, lw=1.6)
        write(axes, 189, y, name, 14, color=colour, weight="bold")
        draw_vectors(axes, SETS, y, count, row, theme)
        half = 6 * count
        arrow(axes, 144, 156, y, theme.faint)
        arrow(axes, 222, SETS - 2 - half, y, theme.faint)
        arrow(axes, SETS + 2 + half, ENCODER - 43, y, theme.faint)
        arrow(axes, ENCODER + 43, 506, y, theme.faint)
        write(axes, ENCODER + 62, y - 11, "heads", 11, color=theme.faint)
        for (x, *_), (task, answer) in zip(HEADS, CELLS[name], strict=True):
            box(axes, x, y, 122, 92, fc=theme.card, ec=theme.edge, lw=1.1)
            write(axes, x, y - 25, task, 12, color=theme.faint)
            write(axes, x, y + 12, wrapped(answer), 13, color=colour, weight="bold", linespacing=1.3)
    return figure


def wrapped(answer: str) -> str:
    """In two lines of about one length, where one is too long for a cell."""
    words = answer.split(" ")
    if len(answer) < 15:
        return answer
    cut = min(range(1, len(words)), key=lambda i: abs(len(" ".join(words[:i])) - len(" ".join(words[i:]))))
    return " ".join(words[:cut]) + "\n" + " ".join(words[cut:])


def main(folder: Path) -> None:
    # Letters as outlines: the picture is the same where a font is missing.
    settings = {"svg.fonttype": "path", "svg.hashsalt": "multiseq", "font.family": "DejaVu Sans"}
    with matplotlib.rc_context(settings):
        for name, theme in THEMES.items():
            figure = draw(theme)
            figure.savefig(folder / f"overview{name}.svg", transparent=True, metadata={"Date": None})
            figure.savefig(
                folder / f"overview{name}.png", transparent=True, dpi=200, metadata={"Software": None}
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
