"""The report of a run: one HTML page with its scores, plots, and the items that say most about it.

The page needs nothing beside it: no network, no script, no other file. `multiseq.runs.reports.findings` finds
what it shows, `multiseq.plots` draws, adapters show their items (`multiseq.protocols.Extras.show`), and
`page.html.jinja` is the page, which escapes every text. A block that fails becomes a line on the page.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path, PurePath
from statistics import median
from typing import TYPE_CHECKING, Any

from multiseq import plots
from multiseq.data.archives import AudioFile
from multiseq.data.formats import SPLITS
from multiseq.labels import class_name
from multiseq.plots import spread, visible
from multiseq.protocols import Mark, Picture, Sound
from multiseq.requires import need
from multiseq.results import Contributions, Label, LabelSet, Number, Text, digits, mean_distance
from multiseq.runs.reports.findings import (
    MOST,
    Unit,
    badness,
    by_class,
    doubt,
    flags,
    is_wrong,
    label_text,
    numbers,
    suspects,
    units,
)
from multiseq.runs.scoring import HEADER, Report, Scored, table_rows
from multiseq.system.files import write_whole

if TYPE_CHECKING:
    from multiseq.model import Predictor
    from multiseq.runs.recipe import Recipe
    from multiseq.tasks import Source
    from multiseq.training.evaluation import Judged
    from multiseq.training.item_cache import ItemCache

__all__ = ["REPORT", "Run", "page", "write_report"]

REPORT = "report.html"

WORST, UNSURE = 6, 4
"""Items that are shown for a task."""
SAME = 1e-3
"""Intervals are equally wide if they differ by this share only (rounding errors)."""
STRONG = 0.9
"""A model with a lower accuracy disagrees with labels mostly because it is wrong."""
SUSPECTS = 15
"""Suspected labels that are listed for a task."""
RANKED = 2000
"""Items that are ranked; of more, these are spread evenly over the data."""
MEASURED = 300
"""Items of a split whose lengths are measured."""
CLASSES = 40
"""Rows of a table of classes."""
WORDS = 60
"""Words with labels that are shown of an item."""
EXPLAINED = 200
"""Nodes of a graph whose prediction is explained, which takes a prediction for each of them."""
ATTENDED = 40
"""Tokens and vectors in a drawing of attention."""
LONGEST = 600
"""Characters that are shown of a text."""
LARGEST_SOUND, LARGEST = 250_000, 3_500_000
"""Bytes of one sound, and of all pictures and sounds of items. The tasks share them."""

Block = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Everything that a report is made of.

    Args:
        model: The trained model.
        recipe: What was trained.
        scores: The table of scores.
        scored: Task -> the predictions for the scored split.
        train: The training data; empty if it cannot be read.
        record: The content of ``run.json``.
        log: The lines of ``metrics.csv``.
        cache: Cache of prepared items.
        used: Task -> bytes of the pictures and sounds on the page so far.
        marks: Task and number of an item on the page so far -> the names and marks of its vectors.
    """

    model: Predictor
    recipe: Recipe
    scores: Report
    scored: Mapping[str, Scored]
    train: Sequence[Source]
    record: Mapping[str, Any]
    log: Sequence[Mapping[str, str]]
    cache: ItemCache
    used: dict[str, int] = field(default_factory=dict)
    marks: dict[tuple[str, int], tuple[list[str], list[Mark]]] = field(default_factory=dict)

    def room(self, task: str) -> int:
        """Bytes left for a task: its share of what the tasks before it have left, less what it has used."""
        self.used.setdefault(task, 0)
        before = sum(self.used.values()) - self.used[task]
        return (LARGEST - before) // (len(self.scored) - len(self.used) + 1) - self.used[task]

    @property
    def split(self) -> str:
        """The name of the scored split."""
        return next((entry["split"] for entry in self.scores.values()), "test")


def write_report(run: Run, folder: str | Path, say: Callable[[str], None]) -> None:
    """Write ``report.html`` into a run's folder. A failure is told, never raised: the run is worth more."""
    try:
        write_whole(Path(folder) / REPORT, page(run, folder))
    except Exception as error:
        say(f"{Path(folder) / REPORT}: not written: {_reason(error)}; `multiseq report {folder}` tries again")


def page(run: Run, folder: str | Path) -> str:
    """The report as HTML. Its title has the names of the run's folder and of the recipe."""
    sections = [
        _section("Scores", partial(_scores, run), partial(_curves, run)),
        *(
            _section(
                task,
                partial(_by_kind, run, task),
                partial(_ranked, run, task),
                partial(_label_errors, run, task),
            )
            for task in run.scored
        ),
        _section("Data", partial(_data, run)),
        _section("How it was made", partial(_made, run)),
    ]
    jinja = need("jinja2")
    environment = jinja.Environment(autoescape=True, finalize=_printable, undefined=jinja.StrictUndefined)
    template = environment.from_string(
        files("multiseq").joinpath("runs/reports/page.html.jinja").read_text("utf-8")
    )
    name, recipe = Path(folder).resolve().name, run.record.get("recipe", run.recipe.name)
    title = f"Run {name}" if name == recipe else f"Run {name} of the recipe {recipe}"
    head = {"title": title, "lines": _head_lines(run)}
    html: str = template.render(page={**head, "sections": sections})
    return html


def _printable(value: Any) -> Any:
    """What the template prints: texts without characters that a page cannot hold. Not our markup."""
    return "".join(visible(line) + "\n" for line in value.split("\n"))[:-1] if type(value) is str else value


def _section(title: str, *makers: Callable[[], Iterable[Block]]) -> dict[str, Any]:
    """The blocks that the functions make. One that fails becomes a line; the others are not lost."""
    blocks: list[Block] = []
    for make in makers:
        try:
            blocks += make()
        except Exception as error:
            blocks.append(_error(f"This part could not be made: {_reason(error)}"))
    return {"title": visible(title, 60), "blocks": blocks}


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _error(text: str) -> Block:
    return {"kind": "error", "text": text}


def _note(text: str) -> Block:
    return {"kind": "note", "text": text}


def _table_block(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int
) -> Block:
    shown = [[visible(cell, 80) for cell in row] for row in rows]
    return {
        "kind": "table", "caption": caption, "header": header, "rows": shown, "numbers_from": numbers_from
    }  # fmt: skip


def _plot(figure: Any, alt: str, caption: str) -> dict[str, Any]:
    """A figure inside the page, so that it takes the page's colours."""
    markup = need("markupsafe")
    label = markup.escape(visible(alt))
    drawing = plots.svg(figure).replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return {"svg": markup.Markup(drawing), "caption": caption, "width": round(96 * figure.get_figwidth())}


# --- the run --------------------------------------------------------------------------------------


def _head_lines(run: Run) -> list[str]:
    weights = run.record.get("weights")
    what = f"{len(run.scores)} task{'s' if len(run.scores) != 1 else ''}"
    lines = [what + (f", {weights:,} weights" if weights else "")]
    seconds = run.record.get("training_seconds")
    if seconds is not None:
        steps = len({row["step"] for row in run.log if row["split"] == "train"})
        lines[0] += f", trained for {steps:,} steps in {seconds:,.0f} s"
    lines[0] += (
        f" (started {run.record['started'][:16].replace('T', ' ')} UTC)." if "started" in run.record else "."
    )
    if run.record and seconds is None:
        lines.append("The training is not finished: this is the model that was saved last.")
    lines.append(f"All predictions below are for the {run.split} split.")
    if run.split == "train":
        lines.append("The model was trained on these items: the scores say nothing about new ones.")
    return lines


def _scores(run: Run) -> Iterable[Block]:
    if not run.scores:
        yield _note("No data has labels to score, so there are no scores.")
        return
    rows = [list(row) for row in table_rows(run.scores)]
    yield _table_block(f"Scores on the {run.split} split", HEADER, rows, 3)
    yield _note(
        "Baseline: a simple method that was trained on the same items. Cell: the modality and what gets a "
        "label. Seconds: the time to predict the split."
    )


def _curves(run: Run) -> Iterable[Block]:
    if run.log:
        caption = (
            "Loss in training, smoothed over 1/50 of the run, and scores on the dev split, if there is one."
        )
        alt = f"Curves of the losses of {len(run.scored)} tasks over the training steps"
        yield {"kind": "plots", "plots": [_plot(plots.curves(run.log), alt, caption)]}


def _data(run: Run) -> Iterable[Block]:
    rows = []
    for split, key in (("train", "sources"), ("dev", "dev"), ("test", "test")):
        for source in run.record.get(key, []):
            rows.append([", ".join(source["tasks"]), split, f"{source['items']:,}"])
    if rows:
        yield _table_block("Items in each split", ("tasks", "split", "items"), rows, 2)
    if "bad_rows" in run.record:
        yield _note(f"{run.record['bad_rows']}. They are listed in bad_rows.csv.")
    rows, figures = [], []
    for name, sources in (("train", run.train), (run.split, _sources(run))):
        for source in sources:
            row, lengths = _lengths(run, source)
            rows.append([", ".join(source.targets), name, *row])
            if name == run.split and lengths:
                title = f"{', '.join(source.targets)}: vectors in an item of the {name} split"
                figures.append(_plot(plots.histogram(lengths, "vectors in an item"), title, title))
    header = ("tasks", "split", "least", "median", "most", "measured")
    yield _table_block("Vectors (words, frames, atoms …) in an item", header, rows, 2)
    yield {"kind": "plots", "plots": figures}


def _sources(run: Run) -> list[Source]:
    return list({id(scored.source): scored.source for scored in run.scored.values()}.values())


def _lengths(run: Run, source: Source) -> tuple[list[str], list[int]]:
    adapter = run.model.adapter(source.adapter_name)
    lengths = run.cache.num_vectors(adapter, source, spread(len(source.items), MEASURED))
    if not lengths:
        return ["–", "–", "–", "0 of 0 items"], []
    about = f"{len(lengths):,} of {len(source.items):,} items"
    return [f"{min(lengths):,}", f"{median(lengths):,.0f}", f"{max(lengths):,}", about], lengths


def _made(run: Run) -> Iterable[Block]:
    import tomli_w

    record = run.record
    rows = [
        [name, str(record[key])]
        for key, name in (("command", "command"), ("started", "started"))
        if key in record
    ]
    if "peak_memory_mib" in record:
        rows.append(["memory at most", f"{record['peak_memory_mib'] or 0:,.0f} MiB"])
    rows += [[name.replace("_", " "), str(value)] for name, value in record.get("machine", {}).items()]
    rows += [[f"version of {name}", str(value)] for name, value in record.get("versions", {}).items()]
    yield _table_block("Machine and versions", ("what", "value"), rows, 2)
    tables = {section: table for section, table in run.recipe.tables.items() if table}
    yield {"kind": "code", "title": "The recipe, with all changes", "text": tomli_w.dumps(tables)}


# --- a task ---------------------------------------------------------------------------------------


def _by_kind(run: Run, task: str) -> Iterable[Block]:
    """The plots and tables that fit the task's target."""
    pairs = [pair for judged in run.scored[task].judged for pair in judged.pairs]
    entry = run.scores[task]
    [row, *_] = table_rows({task: entry})
    yield _note(f"{row[1]}. {row[2]}: {row[4]}, baseline {row[3]}. {len(pairs):,} labels.")
    if not pairs:
        yield _note("Nothing in this split has a label for this task.")
        return
    kinds: dict[type, Any] = {Label: _class_blocks, LabelSet: _class_set_blocks, Number: _number_blocks}
    make = kinds.get(type(pairs[0][0]))
    if make is not None:
        yield from make(pairs)
    yield _note(" ".join(_confidence(run, task)))


def _confidence(run: Run, task: str) -> Iterable[str]:
    """What the dev split has determined, and how many items are unlike the training data."""
    from multiseq.training.confidence import DECIDING

    if task in run.record.get("confidence", {}):
        yield f"From the dev split: {run.record['confidence'][task]}."
    distances = [mean_distance(judged.results) for judged in run.scored[task].judged]
    known = [distance for distance in distances if distance is not None]
    if not known:
        yield "No item can be marked as unlike the training data: that needs a dev split of 20 items."
        return
    num = sum(distance > 1 for distance in known)
    largest = digits(max(known))
    yield (
        f"Unlike the training data (distance above 1): {num:,} of {len(known):,} items. The largest distance "
        f"is {largest}."
    )
    dev = [source["items"] for source in run.record.get("dev", []) if task in source["tasks"]]
    if dev and dev[0] < DECIDING:
        yield (
            f"With fewer than {DECIDING} dev items, the farthest of them alone is the limit: if it is an "
            "unusual one, nothing is ever marked."
        )


def _class_blocks(pairs: Sequence[tuple[Label, Any]]) -> Iterable[Block]:
    predicted = [str(class_name(result.label)) for result, _ in pairs]
    wanted = [str(class_name(label)) for _, label in pairs]
    names = len({*predicted, *wanted})
    wrong = Counter((a, b) for a, b in zip(wanted, predicted, strict=True) if a != b)
    often = "; ".join(f"{a} taken for {b} ({count:,})" for (a, b), count in wrong.most_common(3))
    alt = f"Confusion matrix of {names} classes. Most frequent confusions: {often or 'none'}"
    caption = f"Confusion matrix. Most frequent: {often}." if often else "Confusion matrix. No confusions."
    right = [a == b for a, b in zip(wanted, predicted, strict=True)]
    shares = [result.probability for result, _ in pairs]
    shown = [_plot(plots.confusion(wanted, predicted), alt, caption), _reliable(shares, right)]
    yield {
        "kind": "plots",
        "plots": shown,
        "table": _class_table([[a] for a in wanted], [[b] for b in predicted]),
    }


def _class_set_blocks(pairs: Sequence[tuple[LabelSet, Any]]) -> Iterable[Block]:
    known = [flags(result, label) for result, label in pairs]
    shares, there = [], []
    for (result, _), of_item in zip(pairs, known, strict=True):
        given = {str(class_name(name)): p for name, p in result.probabilities.items()}
        shares += [given.get(name, 0.0) for _, _, name in of_item]
        there += [wanted for _, wanted, _ in of_item]
    wanted = [[name for _, flag, name in of_item if flag] for of_item in known]
    table = _class_table(wanted, [[name for flag, _, name in of_item if flag] for of_item in known])
    yield {"kind": "plots", "plots": [_reliable(shares, there)], "table": table}


def _reliable(shares: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    from multiseq.training.calibration import calibration_error, reliability_bins

    shares = [min(max(share, 0.0), 1.0) for share in shares]  # sums of many shares may be 1.0000001
    error = calibration_error(shares, right)
    mean, share = sum(shares) / len(shares), sum(right) / len(right)
    sure = (
        "too sure"
        if mean > share + 0.02
        else "too careful"
        if mean < share - 0.02
        else "about as sure as it should be"
    )
    words = (
        f"Mean confidence {mean:.0%}, right {share:.0%}: {sure} on average. Calibration error {error:.3f}."
    )
    caption = f"Reliability: a point below the diagonal is too sure. {words}"
    return _plot(plots.reliability(reliability_bins(shares, right)), f"Reliability diagram. {words}", caption)


def _class_table(wanted: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Block:
    scores = by_class(wanted, predicted)
    rows = [
        [s.name, *(_rounded(v) for v in (s.precision, s.recall, s.f1)), f"{s.count:,}"]
        for s in scores[:CLASSES]
    ]
    of = f": the {CLASSES} most frequent of {len(scores):,}" if len(scores) > CLASSES else ""
    return _table_block(f"Scores by class{of}", ("class", "precision", "recall", "F1", "count"), rows, 1)


def _rounded(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _number_blocks(pairs: Sequence[tuple[Number, Any]]) -> Iterable[Block]:
    from multiseq.training.metrics import coverage

    shown, rows = [], []
    held = coverage(*zip(*pairs, strict=True))
    for name in pairs[0][0].values:
        known = [(r, *numbers(r, label)[name]) for r, label in pairs if name in numbers(r, label)]
        if not known:
            continue
        ends = [(getattr(r, "intervals", None) or {}).get(name) for r, _, _ in known]
        intervals: Any = None if None in ends else ends
        predicted, wanted = [a for _, a, _ in known], [b for _, _, b in known]
        errors = [a - b for a, b in zip(predicted, wanted, strict=True)]
        scale, unit = known[0][0].scales.get(name), known[0][0].unit
        bias = digits(sum(errors) / len(errors), scale)
        worst = digits(max(map(abs, errors)), scale)
        typical = digits(median(map(abs, errors)), scale)
        rows.append([name, f"{len(known):,}", typical, worst, bias])
        words = f"{name}: predicted against measured. Half of the errors are below {typical}, "
        words += f"the largest is {worst}."
        if intervals is not None:
            rows[-1].append(f"{held[name]:.0%}")
            words += f" The lines are intervals; {held[name]:.0%} of them hold the measured number."
        shown.append(_plot(plots.measured(wanted, predicted, intervals=intervals, unit=unit), words, words))
    yield {"kind": "plots", "plots": shown[:8]}
    header = ["number", "count", "median error", "largest error", "mean of predicted − measured"]
    header += ["inside its interval"] if rows and len(rows[0]) > len(header) else []
    yield _table_block("Errors, in the unit of the numbers", header, rows[:CLASSES], 1)


# --- items ----------------------------------------------------------------------------------------


def _ranked(run: Run, task: str) -> Iterable[Block]:
    scored, level = run.scored[task], run.model.task(task).head.level
    every = units(scored.judged, level, 10**9)
    chosen = [every[i] for i in spread(len(every), RANKED)]
    if not chosen:
        return
    what = "labels" if chosen[0].vector is not None else "items"
    of = f"{len(chosen):,} of {len(every):,} {what}" if len(chosen) < len(every) else f"{len(every):,} {what}"
    bad = [unit for unit in sorted(chosen, key=badness, reverse=True) if _has_error(unit)][:WORST]
    if bad:
        yield {"kind": "title", "text": "The worst predictions"}
        yield _note(f"The {len(bad)} worst of {of}.")
        yield {"kind": "items", "items_": [_item(run, task, unit) for unit in bad]}
    else:
        yield _note(f"No prediction is wrong among {of}.")
    unsure = [(value, unit) for unit in chosen if unit not in bad and (value := doubt(unit)) is not None]
    widths = [value for value, unit in unsure if isinstance(unit.pairs[0][0], Number)]
    unsure = sorted(unsure, key=lambda entry: -entry[0])[:UNSURE]
    if len(widths) > 1 and max(widths) - min(widths) <= SAME * max(widths):
        yield _note("No prediction is surer than another: all intervals are equally wide.")
    elif unsure:
        yield {"kind": "title", "text": "The least sure predictions"}
        yield _note(f"The {len(unsure)} least sure of {of}, without those above.")
        yield {"kind": "items", "items_": [_item(run, task, unit) for _, unit in unsure]}


def _has_error(unit: Unit) -> bool:
    return any(is_wrong(result, label) or isinstance(result, Number) for result, label in unit.pairs)


def _label_errors(run: Run, task: str) -> Iterable[Block]:
    scored = run.scored[task]
    every = [
        Unit(judged, i if len(judged.results) > 1 or run.model.task(task).head.level == "vector" else None)
        for judged in scored.judged
        for i, (result, label) in enumerate(zip(judged.results, judged.labels, strict=True))
        if label is not None and isinstance(result, Label)
    ]
    if not every:
        return
    chosen = [every[i] for i in spread(len(every), MOST)]
    pairs = [unit.pairs[0] for unit in chosen]
    suspected = suspects([result for result, _ in pairs], [label for _, label in pairs])
    yield {"kind": "title", "text": "Labels that may be wrong"}
    right = sum(not is_wrong(result, label) for result, label in pairs) / len(pairs)
    text = (
        f"The model disagrees with {len(suspected):,} of {len(chosen):,} labels: it is as sure of another "
        "class as of a typical item of that class (confident learning). This is not the number of wrong "
        "labels"
    )
    if right < STRONG:
        text += f": with an accuracy of {right:.0%}, most of them are mistakes of the model"
    if run.split == "train":
        text += "; and the model has learned these labels, so it disagrees with few"
    yield _note(f"{text}. Look at a label before you change it.")
    listed = [
        [*_place_and_item(run, task, chosen[one.place]), one.label, one.better, f"{one.probability:.0%}"]
        for one in suspected[:SUSPECTS]
    ]
    if listed:
        header = ("place", "item", "label", "the model says", "its confidence")
        yield _table_block(f"The {len(listed)} that it disagrees with most", header, listed, 4)


def _place_and_item(run: Run, task: str, unit: Unit) -> tuple[str, str]:
    """The location of a label; and the item, or the words around the labelled one, as a short text."""
    source, number = run.scored[task].source, unit.judged.item
    item, location = source.items[number], _location(run, task, number)
    if unit.vector is None:
        suffixes = getattr(run.model.adapter(source.adapter_name), "suffixes", ())
        return location, visible(item, 60) if isinstance(item, str) and not suffixes else ""
    names = _vector_names(run, task, number)
    first = max(0, unit.vector - 3)
    near = [f"[{name}]" if i == unit.vector else name for i, name in enumerate(names)][
        first : unit.vector + 4
    ]
    words = any(name.isalpha() for name in near)  # numbers of nodes, and times, say nothing beside each other
    return location, " ".join(near) if words else names[unit.vector]


def _location(run: Run, task: str, number: int) -> str:
    """The file and line of an item; of a recording or a text file, its path as the user's data has it."""
    source = run.scored[task].source
    item = source.items[number]
    location = source.locations[number] if source.locations else f"item {number}"
    if isinstance(item, AudioFile):
        return item.member
    file, _, line = location.rpartition(":")
    of_line = bool(file) and line.isdigit()
    suffixes = getattr(run.model.adapter(source.adapter_name), "suffixes", ())
    if isinstance(item, str) and suffixes:
        path = PurePath(item)
    elif of_line or not source.locations:
        return PurePath(location).name or location
    else:
        path = PurePath(location)
    spec = run.recipe.tables["data"][run.recipe.tasks[task]["data"]]
    named = [
        PurePath(spec[key]).parts for key in ("audio", "file", *SPLITS) if isinstance(spec.get(key), str)
    ]
    folders = [up for name in named for up in path.parents if name and up.parts[-len(name) :] == name]
    folders += [PurePath(file).parent] if of_line else []
    folder = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
    return path.relative_to(folder).as_posix()


def _vector_names(run: Run, task: str, number: int) -> list[str]:
    source = run.scored[task].source
    adapter = run.model.adapter(source.adapter_name)
    examples = run.cache.examples(adapter, source.items, source.locations)[number]
    return [name for example in examples for name in adapter.names(example)]


def _item(run: Run, task: str, unit: Unit) -> dict[str, Any]:
    """An item as what it is, with its label and its prediction."""
    location = _location(run, task, unit.judged.item)
    views: list[dict[str, Any]] = []
    facts = [] if len(unit.pairs) != 1 else _label_and_prediction(*unit.pairs[0])
    try:
        why = _why(run, task, unit)
        views, names = _views(run, task, unit, why)
        facts += [] if why is None else [(f"why {visible(why.of, 40)}", visible(str(why), 200))]
        if unit.vector is not None and unit.vector < len(names):
            location = f"{location}, {visible(names[unit.vector], 60)}"
    except Exception as error:
        views = [{"kind": "error", "text": f"The item cannot be shown: {_reason(error)}"}]
    return {"location": location, "views": views, "facts": facts}


def _why(run: Run, task: str, unit: Unit) -> Contributions | None:
    """What each node contributes to the prediction for a graph: to its class, or to its worst number."""
    source, head = run.scored[task].source, run.model.task(task).head
    adapter: Any = run.model.adapter(source.adapter_name)
    if head.level != "set" or not hasattr(adapter, "without"):
        return None
    [example] = run.cache.examples(adapter, source.items, source.locations)[unit.judged.item]
    if not 1 < adapter.num_vectors(example) <= EXPLAINED:
        return None
    [(result, label)] = unit.pairs
    of = ""
    if isinstance(result, Number):
        errors = {name: abs(a - b) / result.scales[name] for name, (a, b) in numbers(result, label).items()}
        of = max(errors, key=errors.__getitem__)
    return run.model.contributions_of(task, [example], of=of)


def _views(
    run: Run, task: str, unit: Unit, why: Contributions | None
) -> tuple[list[dict[str, Any]], list[str]]:
    source, judged = run.scored[task].source, unit.judged
    adapter: Any = run.model.adapter(source.adapter_name)
    item = source.items[judged.item]
    examples = run.cache.examples(adapter, source.items, source.locations)[judged.item]
    marks: list[Mark] = []
    names: list[str] = []
    if why is not None:
        marks = [Mark(name, "", "", False, value) for name, value in zip(why.names, why.values, strict=True)]
    if run.model.task(task).head.level == "vector":
        names, marks = _vector_marks(run, task, judged)
    shown = adapter.show(item, examples, marks, unit.vector) if hasattr(adapter, "show") else []
    views = [_view(run, task, view) for view in shown]
    if not views and marks and why is None:
        views = [_words(marks, unit.vector)]
    seen = _attended(run, task, unit, examples)
    if not views:
        text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str)
        views = [{"kind": "text", "text": visible(text, LONGEST)}]
    return [*views, *(_view(run, task, picture) for picture in seen)], names


def _vector_marks(run: Run, task: str, judged: Judged) -> tuple[list[str], list[Mark]]:
    """The names of an item's vectors; their labels and predictions. All that are shown may be of one item."""
    key = task, judged.item
    if key not in run.marks:
        names = _vector_names(run, task, judged.item)
        rows = zip(names, judged.results, judged.labels, strict=True)
        run.marks[key] = (
            names,
            [
                Mark(
                    name,
                    "" if label is None else label_text(label),
                    _predicted_text(result),
                    _wrong(result, label),
                )
                for name, result, label in rows
            ],
        )
    return run.marks[key]


def _attended(run: Run, task: str, unit: Unit, examples: Sequence[Any]) -> list[Picture]:
    """What each token of a predicted text looks at in the item: the mean over the last layer's heads."""
    from multiseq.model import Model

    model, source = run.model, run.scored[task].source
    if not isinstance(model, Model) or not hasattr(model.task(task).head, "attention") or len(examples) != 1:
        return []
    if not model.adapter(source.adapter_name).names(examples[0]):
        return []
    item, text = source.items[unit.judged.item], unit.judged.results[0].text
    words, tokens, weights = model.cross_attention(task, item, text)
    mean = weights.mean(0, keepdim=True)[:, :ATTENDED, :ATTENDED].cpu()
    what = f"Attention of {len(tokens)} predicted tokens to {len(words)} vectors of the item"
    cut = f", the first {ATTENDED} of each" if max(len(words), len(tokens)) > ATTENDED else ""
    figure = plots.attention(words[:ATTENDED], mean, tokens=tokens[:ATTENDED])
    return [Picture(plots.svg(figure), what + cut)]


def _wrong(result: Any, label: Any) -> bool:
    return label is not None and is_wrong(result, label)


def _predicted_text(result: Any) -> str:
    return str(class_name(result.label)) if isinstance(result, Label) else str(result)


def _view(run: Run, task: str, shown: Any) -> dict[str, Any]:
    """One thing that an adapter shows, for the template. No sound or picture once the page has enough."""
    if isinstance(shown, str):
        return {"kind": "text", "text": visible(shown, LONGEST)}
    sound = isinstance(shown, Sound)
    content = shown.data if isinstance(shown, Sound) else shown.svg.encode("utf-8", "replace")
    size = 4 * len(content) // 3
    if size > run.room(task) or (sound and size > LARGEST_SOUND):
        what = "sound" if sound else "picture"
        return {"kind": "text", "text": f"(the {what} is left out, so that the page stays small)"}
    run.used[task] += size
    kind = shown.kind if isinstance(shown, Sound) else "image/svg+xml"
    data = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return {
        "kind": "sound" if sound else "picture",
        "data": need("markupsafe").Markup(data),
        "text": shown.text,
    }


def _words(marks: Sequence[Mark], focus: int | None) -> dict[str, Any]:
    """Words with labels under them. Of a long text, those around the word or the first error."""
    middle = focus if focus is not None else next((i for i, mark in enumerate(marks) if mark.wrong), 0)
    most = WORDS if focus is None else WORDS // 3
    first = max(0, min(middle - most // 2, len(marks) - most))
    chosen = marks[first : first + most]
    words = [
        {
            "name": visible(mark.name, 40),
            "text": visible(mark.text, 40),
            "wrong": mark.wrong,
            "focus": i == focus,
        }
        for i, mark in enumerate(chosen, first)
    ]
    more = f"{first + 1:,} to {first + len(chosen):,} of {len(marks):,}" if len(chosen) < len(marks) else ""
    return {"kind": "words", "words": words, "more": more}


def _label_and_prediction(result: Any, label: Any) -> list[tuple[str, Any]]:
    """The label and the prediction. Of texts, what differs is marked."""
    if isinstance(result, Text):
        texts = [label] if isinstance(label, str) else list(label)
        pieces, predicted = _difference(str(texts[0]) if texts else "", result.text)
        return [("true", pieces or "(empty)"), ("predicted", predicted or "(empty)")]
    true = visible(label_text(label), 200)
    if isinstance(result, Label):
        best = sorted(result.probabilities.items(), key=lambda entry: -entry[1])[:3]
        shares = ", ".join(f"{visible(name, 40)} {share:.0%}" for name, share in best)
        return [("true", true), ("predicted", shares or str(result))]
    if isinstance(result, LabelSet):
        return [("true", true or "(none)"), ("predicted", visible(str(result), 200))]
    ends = getattr(result, "intervals", None) or {}
    between = [f"{digits(low)} to {digits(high)}" for low, high in ends.values()]
    facts = [("true", true), ("predicted", visible(str(result), 200))]
    return [*facts, ("interval", "; ".join(between))] if between else facts


def _difference(true: str, predicted: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Both texts in pieces: what only the true text has is "del", what only the prediction has is "ins".

    >>> _difference("a cat", "a dog")
    ([('', 'a '), ('del', 'cat')], [('', 'a '), ('ins', 'dog')])
    """
    import re
    from difflib import SequenceMatcher

    true, predicted = visible(true, LONGEST), visible(predicted, LONGEST)
    spaced = " " in true.strip()
    a, b = ([*re.findall(r"\s+|\S+", text)] if spaced else list(text) for text in (true, predicted))
    left: list[tuple[str, str]] = []
    right: list[tuple[str, str]] = []
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        same = kind == "equal"
        left += [("" if same else "del", "".join(a[i:j]))] if j > i else []
        right += [("" if same else "ins", "".join(b[k:m]))] if m > k else []
    return left, right
