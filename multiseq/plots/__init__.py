"""Plots in one style: curves of a training, confusion, reliability, predicted against measured, and more.

Every function takes plain values and returns a matplotlib ``Figure``, which a notebook shows. The colours can
be told apart by colour-blind people (Okabe and Ito, https://jfly.uni-koeln.de/color/) and on paper. `svg` and
`png` turn a figure into a file's content. Texts from data are drawn as they are: never as formulas, with
invisible characters made visible.

    from multiseq import plots
    plots.confusion(["a", "b", "b"], ["a", "b", "a"])
"""

from multiseq.plots.items import attention, network, vectors, words
from multiseq.plots.scores import confusion, histogram, measured, reliability, spread
from multiseq.plots.speech import posteriors, spectrogram
from multiseq.plots.structures import molecule, molecules
from multiseq.plots.style import COLOURS, MARKERS, png, svg, visible
from multiseq.plots.training import curves

__all__ = [
    "COLOURS",
    "MARKERS",
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
