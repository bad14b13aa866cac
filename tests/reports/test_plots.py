"""Plots: the values that are drawn, and texts from data that must not become anything else."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from multiseq import plots
from multiseq.plots import structures, style, training
from multiseq.training.calibration import ReliabilityBin

HOSTILE = "<script>alert(1)</script> \"'&\x00" + chr(0xD800) + chr(0x202E) + " $\\frac$ 中文"


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def names(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


# --- training -------------------------------------------------------------------------------------


def test_losses_scores_and_errors_have_a_panel_each() -> None:
    rows = [("train", "a", "loss", 0.0), ("train", "total", "loss", 9.0), ("dev", "a", "bleu", 50.0)]
    rows += [("dev", "b", "word_error_rate", 0.5), ("train", "b", "loss", 2.0)]
    log = [{"step": "7", "split": p, "task": t, "metric": m, "value": str(v)} for p, t, m, v in rows]
    axes = plots.curves(log).axes
    assert [a.get_yscale() for a in axes] == ["log", "linear", "log"]
    found = {line.get_label(): (line.get_ydata()[0], line.get_color()) for a in axes for line in a.lines}
    first, second, *_ = plots.COLOURS
    assert found == {
        "a": (0.0, first), "b": (2.0, second), "a: bleu / 100": (0.5, first),
        "b: word error rate": (0.5, second),
    }  # fmt: skip
    assert [a.get_yscale() for a in plots.curves(log[:1]).axes] == ["linear"]  # zero has no logarithm
    assert plots.curves([]).axes == []


def test_curves_are_smoothed_in_linear_time() -> None:
    generator = torch.Generator().manual_seed(0)
    values = (torch.rand(101, generator=generator) * 1e6).tolist()
    for width in (1, 2, 7, 50, 101, 200):
        slow = [sum(v := values[max(0, i - width + 1) : i + 1]) / len(v) for i in range(len(values))]
        assert training._smooth(values, width) == pytest.approx(slow, rel=1e-12)
    assert training._smooth([], 3) == []
    after = training._smooth([1.0, math.inf, 1.0, 1.0, 1.0], 2)[3:]
    assert after == [1.0, 1.0]  # it is gone when its window is over
    assert training._smooth([2.0] * 1_000_003, 20_000)[-1] == 2.0  # hours, if each mean added its window up


# --- predictions beside labels --------------------------------------------------------------------


def test_a_confusion_matrix_counts_by_hand() -> None:
    axes = plots.confusion(["b", "a", "a", "a"], ["b", "a", "b", "b"]).axes[0]
    assert names(axes.yaxis) == names(axes.xaxis) == ["a", "b"]  # the most frequent first
    assert axes.images[0].get_array().tolist() == pytest.approx(np.array([[1 / 3, 2 / 3], [0, 1]]))
    found = {(t.get_position(), t.get_text()) for t in axes.texts}
    assert found == {((0, 0), "1"), ((1, 0), "2"), ((1, 1), "1")}  # (column, row); nothing where there is 0


def test_the_rarest_classes_are_taken_together() -> None:
    labels = [f"c{i:02}" for i in range(40) for _ in range(40 - i)]
    axes = plots.confusion(labels, labels, most=7).axes[0]
    assert names(axes.yaxis) == [*(f"c{i:02}" for i in range(6)), "34 other classes"]
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [*6 * [0.0], 60.0]
    assert texts(axes)[-1] == str(sum(range(1, 35)))


@pytest.mark.parametrize("labels", [[], ["only"]])
def test_a_confusion_of_no_class_or_one(labels: list[str]) -> None:
    figure = plots.confusion(labels, labels)
    assert names(figure.axes[0].yaxis) == labels
    assert plots.svg(figure).startswith("<svg")


def test_points_of_a_reliability_diagram() -> None:
    bins = [ReliabilityBin(0.6, 0.5, 100), ReliabilityBin(0.9, 1.0, 4)]
    axes = plots.reliability(bins).axes[0]
    diagonal, points = axes.lines[:2]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert points.get_xydata().tolist() == [[0.6, 0.5], [0.9, 1.0]]
    [spans] = [bars.get_segments() for bars in axes.collections]
    assert [round(float(y), 3) for _, y in spans[0]] == [0.404, 0.596]  # Wilson's interval
    assert [round(float(y), 2) for _, y in spans[1]] == [0.51, 1.0]
    assert plots.svg(plots.reliability([])).startswith("<svg")


def test_predicted_against_measured() -> None:
    figure = plots.measured([1.0, 2.0], [1.5, 1.0], intervals=[(0.5, 2.5), (0.0, 2.0)], unit="mol/l")
    [axes] = figure.axes
    points, diagonal = axes.lines
    assert points.get_xydata().tolist() == [[1.0, 1.5], [2.0, 1.0]]
    assert diagonal.get_xydata().tolist() == [[1.0, 1.0], [2.0, 2.0]]
    ends = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [[[1.0, 0.5], [1.0, 2.5]], [[2.0, 0.0], [2.0, 2.0]]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("measured (mol/l)", "predicted (mol/l)")
    assert axes.get_title() == ""


def test_of_many_points_some_are_drawn_and_the_title_says_so() -> None:
    values = [float(i) for i in range(4000)]
    [axes] = plots.measured(values, values).axes
    assert axes.get_title() == "800 of 4,000 points"
    assert axes.lines[0].get_xdata()[:3].tolist() == [0, 5, 10]
    assert plots.measured([], []).axes[0].lines[0].get_xydata().size == 0


def test_lengths_must_fit() -> None:
    with pytest.raises(ValueError, match="predictions: got 1 for 2 labels, expected as many"):
        plots.confusion(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="intervals: got 0 for 1 labels, expected as many"):
        plots.measured([1.0], [1.0], intervals=[])


def test_a_histogram_of_whole_numbers_has_a_bar_for_each() -> None:
    [axes] = plots.histogram([3, 4, 4, 6], "words").axes
    assert [bar.get_height() for bar in axes.patches] == [1, 2, 0, 1]
    assert axes.get_xlabel() == "words"
    assert len(plots.histogram([0.5, 1.25], "s").axes[0].patches) == 30


# --- single items ---------------------------------------------------------------------------------


def test_attention_has_a_panel_for_each_head() -> None:
    weights = torch.rand(3, 2, 2)
    *panels, bar = plots.attention(["the", "cat"], weights, what="word").axes
    assert [p.get_title() for p in panels] == ["head 1", "head 2", "head 3"]
    for panel, head in zip(panels, weights, strict=True):
        np.testing.assert_allclose(panel.images[0].get_array(), head)
        assert panel.images[0].get_clim() == (0, float(weights.max()))  # one scale
    assert names(panels[0].yaxis) == ["the", "cat"]
    assert bar.get_ylabel() == "attention weight"


def test_a_notebook_shows_a_plot_without_pyplot() -> None:
    code = """
from IPython.core.formatters import DisplayFormatter
from multiseq import plots
shown, _ = DisplayFormatter().format(plots.histogram([1, 2], "words"), include={"image/png"})
assert shown["image/png"].startswith(b"\\x89PNG")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_attention_of_a_text_to_an_item() -> None:
    panel, _ = plots.attention(["the", "cat", "sat"], torch.rand(1, 2, 3), tokens=["die", "(end)"]).axes
    assert (names(panel.xaxis), names(panel.yaxis)) == (["the", "cat", "sat"], ["die", "(end)"])
    assert (panel.get_title(), panel.get_ylabel()) == ("", "token that attends")


def test_long_names_beside_attention_do_not_overlap() -> None:
    names = ["Adirondack Regional Airport", "Lake Placid, New York", "2003.0", "city served"]
    figure = plots.attention(names, torch.rand(1, 24, 4), tokens=["Saranac Lake, New York"] * 24)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 24
    assert all(below.y1 <= above.y0 for above, below in pairwise(boxes))
    left, right = figure.axes[0].transData.transform([(0, 0), (1, 0)])[:, 0]
    assert right - left >= boxes[0].height  # the names below the columns are turned


def test_words_have_the_colour_of_their_values_and_notes_under_them() -> None:
    words, notes = ["It", "never", "broke"], ["PRON", "ADV", "VERB"]
    [axes] = plots.words(words, [-0.5, 1.0, 0.0], notes=notes).axes
    assert texts(axes) == ["It", "PRON", "never", "ADV", "broke", "VERB"]
    halfway = tuple((1 + int(style.BLUE[i : i + 2], 16) / 255) / 2 for i in (1, 3, 5))
    orange = tuple(int(style.ORANGE[i : i + 2], 16) / 255 for i in (1, 3, 5))
    colours = [box.get_facecolor()[:3] for box in axes.patches]
    np.testing.assert_allclose(colours, [halfway, orange, (1, 1, 1)], atol=1e-6)
    left, middle, right = axes.patches  # they do not overlap
    assert left.get_x() + left.get_width() < middle.get_x()
    assert middle.get_x() + middle.get_width() < right.get_x()
    [axes] = plots.words(words, [-0.5, 1.0, 0.0], scale=2.0).axes
    assert axes.patches[1].get_facecolor()[:3] == pytest.approx([(1 + part) / 2 for part in orange])


def test_many_words_become_several_lines() -> None:
    figure = plots.words(["word"] * 40, width=5.0)
    [axes] = figure.axes
    lines = {text.get_position()[1] for text in axes.texts}
    assert len(lines) == 5
    assert max(x for text in axes.texts for x in [text.get_position()[0]]) < 5
    assert figure.get_figheight() == pytest.approx(5 * 0.36 + 0.1)
    assert texts(plots.words([]).axes[0]) == []
    with pytest.raises(ValueError, match="notes: got 1 for 2 words, expected one for each"):
        plots.words(["a", "b"], notes=["NOUN"])


def test_a_spectrogram_and_the_labels_under_it() -> None:
    frames = np.random.rand(100, 20)
    rows = {"true": [(0.0, 0.4, "aa"), (0.4, 1.0, "t")], "predicted": []}
    top, true, predicted = plots.spectrogram(frames, 1.0, rows).axes
    np.testing.assert_allclose(top.images[0].get_array(), frames.T)
    assert list(top.images[0].get_extent()) == [0, 1.0, 0, 20]
    assert [(t.get_position()[0], t.get_text()) for t in true.texts] == [(0.2, "aa"), (0.7, "t")]
    assert texts(predicted) == []
    assert plots.svg(plots.spectrogram(np.zeros((0, 20)), 0.0)).startswith("<svg")


def test_spikes_have_their_tokens_above_them() -> None:
    shares = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.85, 0.0, 0.15]]
    wave = [0.0, 0.5, -0.5, 0.25] * 1000
    rows = {"words": [(0.02, 0.08, "a")]}
    top, spikes, words = plots.posteriors(
        torch.tensor(shares), ["(blank)", " ", "b"], 0.02, rows, waveform=(wave, 40_000)
    ).axes
    blank, token = spikes.lines  # "b" is never probable enough
    assert blank.get_xdata().tolist() == pytest.approx([0.01, 0.03, 0.05, 0.07, 0.09])
    assert token.get_ydata().tolist() == pytest.approx([0.1, 0.8, 0.1, 1.0, 0.0])
    assert texts(spikes) == ["blank", "␣", "␣"]
    places = [t.get_position() for t in spikes.texts]
    assert places == pytest.approx(np.array([[0.01, 0.93], [0.03, 0.83], [0.07, 1.03]]))
    assert top.get_xlim() == spikes.get_xlim() == (0, 0.1)
    [[outline]] = [area.get_paths() for area in top.collections]
    assert len(outline.vertices) < 2100  # of 4,000 samples
    assert (outline.vertices[:, 1].min(), outline.vertices[:, 1].max()) == (-0.5, 0.5)
    assert texts(words) == ["a"]
    assert len(plots.posteriors(np.zeros((0, 2)), ["(blank)", "a"], 0.02).axes) == 1


def test_a_map_of_vectors_shows_where_they_differ_most() -> None:
    values = [[3.0, 0.0, 7.0], [-3.0, 0.0, 7.0], [0.0, 1.0, 7.0], [0.0, -1.0, 7.0]]
    [axes] = plots.vectors(
        torch.tensor(values), ["b", "b", "a", "a"], hollow=[False, True, False, False]
    ).axes
    a, _, b, hollow, _ = [points.get_offsets().tolist() for points in axes.collections]
    assert [abs(x) for x, _ in a] == pytest.approx([0, 0])
    assert sorted(y for _, y in a) == pytest.approx([-1, 1])
    assert [abs(b[0][0]), b[0][0] + hollow[0][0]] == pytest.approx([3, 0])
    assert axes.get_xlabel() == "first component (90% of the variance)"
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["a", "b"]
    assert axes.collections[0].get_paths() != axes.collections[2].get_paths()  # their shapes differ, too
    assert len(axes.collections[3].get_facecolor()) == 0
    assert plots.vectors([[2.0]], ["a"]).axes[0].collections[0].get_offsets().tolist() == [[0.0, 0.0]]
    assert plots.svg(plots.vectors([], [])).startswith("<svg")
    with pytest.raises(ValueError, match="classes: got 1 for 2 vectors, expected one for each"):
        plots.vectors([[1.0], [2.0]], ["a"])
    with pytest.raises(ValueError, match="hollow: got 1 for 2 vectors, expected one for each"):
        plots.vectors([[1.0], [2.0]], ["a", "b"], hollow=[True])


def test_a_network_is_nodes_and_edges() -> None:
    labels, wrong = ["x → y", "x", ""], [True, False, False]
    figure = plots.network(["Ada", "Bo", "Cy"], [(0, 1), (1, 0)], labels=labels, wrong=wrong, focus=0)
    [axes] = figure.axes
    edges, *nodes = axes.lines
    assert edges.get_xydata().shape == (3, 2)  # one edge, whatever its direction, and the gap after it
    assert [node.get_marker() for node in nodes] == ["s", "o", "o"]
    assert [node.get_markeredgewidth() > 0 for node in nodes] == [True, False, False]
    assert texts(axes) == ["Ada\nx → y", "Bo\nx", "Cy"]
    place = [node.get_xydata()[0] for node in nodes]
    assert np.linalg.norm(place[0] - place[1]) < np.linalg.norm(place[0] - place[2])
    assert len(plots.network(["alone"], []).axes[0].lines) == 1


def test_classes_of_a_network_have_marks_and_mistakes_have_rings() -> None:
    figure = plots.network(
        ["Ada", "Bo", ""], [(0, 1)], classes=["smith", "baker", "smith"], wrong=[True, False, False], focus=1
    )
    [axes] = figure.axes
    _, ring, ada, bo, cy, *_ = axes.lines
    assert ring.get_xydata().tolist() == ada.get_xydata().tolist()
    assert ring.get_markersize() > ada.get_markersize()
    assert [node.get_marker() for node in (ada, bo, cy)] == ["^", "o", "^"]  # baker, smith
    assert [node.get_color() for node in (ada, bo, cy)] == [style.ORANGE, style.BLUE, style.ORANGE]
    assert [node.get_markeredgewidth() > 0 for node in (ada, bo, cy)] == [False, True, False]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "baker",
        "smith",
        "wrongly predicted",
    ]
    [legend] = plots.network(["Ada"], [], classes=["smith"], wrong=[False]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["smith"]
    with pytest.raises(ValueError, match="classes: got 1 for 2 nodes, expected one for each"):
        plots.network(["Ada", "Bo"], [], classes=["smith"])


def test_molecules_share_one_scale_with_a_number_beside_each_atom(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, ...]] = []
    structure = structures._structure
    monkeypatch.setattr(structures, "_structure", lambda *given: drawn.append(given) or structure(*given))
    figure = plots.molecules(
        ["CO", "C", "N", "O"], [[-0.02, 0.5], [0.25], [-0.5], [0.0]], titles=list("abcd")
    )
    *panels, bar = figure.axes
    assert [panel.get_title() for panel in panels] == ["a", "b", "c", "d", "", ""]
    assert bar.get_ylabel() == "contribution"
    assert bar.get_ylim() == (-0.5, 0.5)
    assert [most for _, _, _, most, _, _ in drawn] == [0.5] * 4
    assert [notes for *_, notes in drawn] == [["-0.02", "+0.50"], ["+0.25"], ["-0.50"], [""]]
    # Methanol's oxygen has the full orange, in a picture that is otherwise white, black and nearly white.
    picture = np.asarray(panels[0].images[0].get_array())[..., :3]
    orange = [int(style.ORANGE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert (np.abs(picture - orange).max(-1) < 0.01).mean() > 0.005
    unit = plots.molecules(["C"], [[1.0]], unit="log mol/l", scale=2.0).axes[-1]
    assert (unit.get_ylabel(), unit.get_ylim()) == ("contribution (log mol/l)", (-2.0, 2.0))


def test_molecules_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="values: got 1 for 2 molecules, expected one for each"):
        plots.molecules(["C", "CC"], [[1.0]])
    with pytest.raises(ValueError, match="titles: got 1 for 2 molecules, expected one for each"):
        plots.molecules(["C", "CC"], [[1.0], [1.0, 2.0]], titles=["methane"])
    with pytest.raises(ValueError, match="got 'CC' with 2 atoms, expected one for each of the 1 values"):
        plots.molecules(["CC"], [[1.0]])
    assert plots.png(plots.molecules([], [])).startswith(b"\x89PNG")


# --- texts and files ------------------------------------------------------------------------------


def test_texts_from_data_stay_texts() -> None:
    bins = [SimpleNamespace(confidence=0.5, accuracy=0.5, count=3)]
    log = [{"step": "1", "split": "train", "task": HOSTILE, "metric": "loss", "value": "1.0"}]
    figures = [
        plots.confusion([HOSTILE, "b"], [HOSTILE, HOSTILE]),
        plots.measured([1.0], [2.0], unit=HOSTILE),
        plots.histogram([1.0], HOSTILE),
        plots.network([HOSTILE], [], labels=[HOSTILE]),
        plots.network([HOSTILE], [], classes=[HOSTILE], wrong=[True]),
        plots.molecules(["C"], [[1.0]], titles=[HOSTILE], unit=HOSTILE),
        plots.attention([HOSTILE], torch.ones(1, 1, 1)),
        plots.words([HOSTILE], [1.0], notes=[HOSTILE]),
        plots.spectrogram(np.zeros((9, 8)), 1.0, {HOSTILE: [(0.0, 1.0, HOSTILE)]}),
        plots.curves(log),
        plots.reliability(bins),
        plots.posteriors(np.ones((3, 2)), ["", HOSTILE], 0.1, {HOSTILE: [(0.0, 0.3, HOSTILE)]}),
        plots.vectors([[1.0, 2.0], [2.0, 1.0]], [HOSTILE, "b"]),
    ]
    for figure in figures:
        root = ElementTree.fromstring(plots.svg(figure))  # NUL and surrogates are no XML
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        assert plots.png(figure).startswith(b"\x89PNG")
    drawn = "".join(ElementTree.fromstring(plots.svg(figures[0])).itertext())
    assert "<script>alert(1)</scrip…" in drawn
    formula = plots.svg(plots.measured([1.0], [2.0], unit="$\\frac$ 中文"))
    assert "measured ($\\frac$ 中文)" in "".join(ElementTree.fromstring(formula).itertext())


def test_several_drawings_fit_on_one_page() -> None:
    first, second = (plots.svg(plots.histogram([number], "x")) for number in (1.0, 5.0))
    ids = [set(re.findall(r'\bid="([^"]+)"', drawing)) for drawing in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', first)) <= ids[0]
    assert "currentColor" in first
    assert first == plots.svg(plots.histogram([1.0], "x"))  # nothing random, no date
