"""One style for all plots: colours, shapes, texts, and figures as the content of a file."""

from __future__ import annotations

import re
import unicodedata
import warnings
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

from multiseq.requires import need

__all__ = [
    "BLUE",
    "COLOURS",
    "INK",
    "MARKERS",
    "ORANGE",
    "RING",
    "SHADE",
    "mark_of",
    "name_ticks",
    "new_figure",
    "png",
    "shade_of",
    "styled",
    "svg",
    "visible",
    "write",
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
    with styled({"svg.fonttype": "none", "svg.hashsalt": "multiseq"}):
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
    with styled({}):
        return _saved(figure, "png", dpi=120)


def _saved(figure: Any, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        # A browser has fonts for what ours lacks, and a layout that does not fit is better than none.
        warnings.filterwarnings("ignore", "(?s).*(missing from font|layout not applied|Tight layout)")
        figure.savefig(file, format=kind, **options)
    return file.getvalue()


def styled(more: Mapping[str, Any]) -> Any:
    """A context in which matplotlib has our style, with more settings of its own."""
    return need("matplotlib").rc_context({**STYLE, **more})


def new_figure(width: float | int, height: float | int, **margins: float) -> Any:
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


def name_ticks(axis: Any, names: Sequence[str], most: int = 24, **options: Any) -> None:
    """Name the places 0, 1, 2, … of an axis. ``$`` begins no formula."""
    axis.set_ticks(range(len(names)), [visible(name, most) for name in names], **options)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)


def write(axes: Any, x: Any, y: Any, text: str, **options: Any) -> Any:
    """Write a text that is never a formula."""
    return axes.text(x, y, text, parse_math=False, **options)


def mark_of(number: int) -> tuple[str, str]:
    """The marker and the colour of a class."""
    return MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]


def shade_of(share: float) -> tuple[float, ...]:
    """From white at 0 to orange at 1 and blue at -1, as red, green and blue from 0 to 1."""
    colour = ORANGE if share > 0 else BLUE
    full = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(1 - min(abs(share), 1.0) * (1 - part) for part in full)
