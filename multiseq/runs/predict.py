"""Predict the rows of files into a file: in chunks of bounded memory, and resumable.

Finished chunks are files in the folder ``Y.partial`` beside the output ``Y``, with ``state.json``: from which
input, model and options they come, and how many rows are done. At the end they become ``Y``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from multiseq._version import __version__
from multiseq.data import conllu
from multiseq.data.formats import PATHS, SPLITS
from multiseq.data.readers.text import FASTTEXT
from multiseq.data.recordings import is_audio
from multiseq.data.splits import is_empty
from multiseq.data.text_files import suffix_of
from multiseq.model import MAX_VECTORS, PREPARED
from multiseq.protocols import LongItem
from multiseq.runs import writers
from multiseq.runs.columns import columns_of
from multiseq.runs.items import check_files, has_times, reading_of, record_of
from multiseq.runs.rows import (
    ENDINGS,
    FILE,
    Input,
    Row,
    columns_of_input,
    inputs_of,
    num_rows,
    rows_of,
    schema_of,
    spooled,
)
from multiseq.runs.sources import EMPTY
from multiseq.system.files import is_leftover, write_whole
from multiseq.system.lock import LOCK, FolderInUseError, hold
from multiseq.system.processes import in_processes
from multiseq.system.progress import Count

if TYPE_CHECKING:
    from multiseq.model import Predictor
    from multiseq.runs.recipe import Recipe

__all__ = ["Done", "line_endings", "open_inputs", "predict_files", "predict_items"]

CHUNK_VECTORS = 32 * MAX_VECTORS
"""A chunk ends at this number of vectors, or at `CHUNK` rows. It bounds the memory."""
CHUNK = 1024

N_BEST = 3
"""How many classes the column of the most probable ones has by default."""

STATE = "state.json"

Say = Callable[[str], None]
_Prepared = tuple[Row, "list[Any] | LongItem", str]
"""A row, the examples of its item, and why there are none."""


# --- inputs ---------------------------------------------------------------------------------------


@contextmanager
def open_inputs(
    given: str,
    adapter: Any,
    recipe: Recipe | None,
    task: str,
    *,
    column: str | None = None,
    changes: Sequence[str] = (),
    labels: Iterable[str] = (),
) -> Iterator[list[Input]]:
    """The files of ``--input``, and how each is read.

    ``-`` is standard input in the format of training, ``-.csv`` (or another ending) in that format.

    Args:
        given: A file, a folder, a pattern such as ``new/*.csv``, or ``-``.
        adapter: The adapter of the items.
        recipe: The run's recipe, if there is one.
        task: The task.
        column: The column of a table that holds the items, if it is not that of training.
        changes: As for `reading_of`.
        labels: The labels that the task has learned.

    Raises:
        ValueError: There is no such file, or an option is invalid.
    """
    with ExitStack() as stack:
        piped = _is_stream(given)
        if piped:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            suffix = given[1:] or _suffix_of_stream(recipe, task, changes)
            paths = [(spooled(Path(folder), suffix), "stdin")]
        else:
            paths = inputs_of(given, adapter)
        files = []
        for path, short in paths:
            if not getattr(adapter, "suffixes", ()) and is_audio(path):
                check_files(adapter, [str(path)], "multiseq predict RUN")
            reading = reading_of(path, adapter, recipe, task, changes, tuple(labels))
            options = {**reading.options, "input": column} if column else reading.options
            reading = replace(reading, options=options)
            name, folder_of = ("stdin", Path()) if piped else (str(path), path.parent)
            files.append(Input(path, reading, folder_of, name, short))
        try:
            yield files
        except ValueError as error:
            spool = str(paths[0][0])
            if not piped or spool not in str(error):
                raise
            message = str(error).replace(spool, "standard input")
            if given == "-" and suffix != ".txt":
                message += f"; it is read as {suffix}; --input -.txt reads a text in each line"
            raise ValueError(message) from error


def _is_stream(name: str) -> bool:
    return name == "-" or (name.startswith("-.") and "/" not in name)


def _suffix_of_stream(recipe: Recipe | None, task: str, changes: Sequence[str]) -> str:
    """The ending that standard input would have as a file: of the format that is set, or of training."""
    chosen = next((c.partition("=")[2] for c in changes if c.startswith("format=")), "")
    if recipe is None:
        return ENDINGS.get(chosen, ".txt")
    spec = recipe.tables["data"][recipe.tasks[task]["data"]]
    file = spec.get("file", spec.get("train"))
    trained = suffix_of(file) if isinstance(file, str) and spec["format"] != "rdkit-logp" else ".txt"
    return trained if chosen in ("", spec["format"]) else ENDINGS.get(chosen, ".txt")


def line_endings(recipe: Recipe | None, task: str) -> set[str]:
    """The endings of files with a line for each answer in the training data of a task.

    These are the endings of the target texts (``.de`` of ``["train.en", "train.de"]``), or of labelled lines.
    """
    spec = {} if recipe is None else recipe.tables["data"][recipe.tasks[task]["data"]]
    if spec.get("format") not in ("lines", "labelled"):
        return set()
    files = [spec[key] for key in ("file", *SPLITS) if isinstance(spec.get(key), str | list)]
    return {suffix_of(file[-1] if isinstance(file, list) else file) for file in files} - {""}


# --- prediction -----------------------------------------------------------------------------------


def predict_items(
    model: Predictor,
    task: str,
    items: Sequence[Any],
    locations: Sequence[str],
    decode: Mapping[str, Any],
    errors: dict[int, str] | None = None,
) -> list[Any]:
    """The results of items, as `Predictor.run` returns them; None for an item with an error.

    Args:
        model: The model.
        task: The task.
        items: The items.
        locations: The name of each in messages.
        decode: Options for the head's ``decode``.
        errors: The error of each item that has one, by its number; it gets those that are found here. Without
            it, the first one is raised.

    Raises:
        ValueError: An item cannot be predicted, and there is no ``errors``; or none can be predicted.
    """
    if errors is None:
        return model.run(task, items, locations=locations, **decode)
    results: dict[int, Any] = {}

    def run(pieces: Mapping[int, list[Any] | LongItem]) -> None:
        places = [locations[i] for i in pieces]
        of_task = model.run_task(task, [*pieces.values()], locations=places, **decode)
        results.update(zip(pieces, of_task, strict=True))

    for first in range(0, len(items), PREPARED):
        pieces = {}
        for i in range(first, min(first + PREPARED, len(items))):
            if i not in errors and is_empty(items[i]):
                errors[i] = f"{locations[i]}: {EMPTY}"
            if i not in errors:
                fail = partial(errors.setdefault, i)
                pieces[i] = model.prepare(task, items[i], locations[i], fail)
        pieces = {i: examples for i, examples in pieces.items() if i not in errors}
        try:
            run(pieces)
        except ValueError:
            for i, examples in pieces.items():  # one item has no finite prediction: find it
                try:
                    run({i: examples})
                except ValueError as error:
                    errors[i] = str(error)
    if items and len(errors) == len(items):
        raise ValueError(f"none of the {len(items)} items can be predicted; the first: {errors[0]}")
    return [results.get(i) for i in range(len(items))]


@dataclass
class Done:
    """What `predict_files` did.

    Args:
        output: The output.
        rows: The number of rows in the output.
        failed: How many of them have an error instead of a prediction.
        error: The first of these errors.
        empty: How many rows have no answer because their item has no content. Only lines of text do that.
        cut: How many texts are as long as ``max_length`` allows, so that they may be cut off.
        limit: This ``max_length``, in tokens.
    """

    output: str
    rows: int = 0
    failed: int = 0
    error: str = ""
    empty: int = 0
    cut: int = 0
    limit: int = 0

    def add(self, filled: Sequence[tuple[Row, Mapping[str, Any]]], are_lines: bool) -> None:
        """Count some rows of the input. A network has a row in the output for each of its nodes."""
        for row, added in filled:
            self.rows += max(1, len(row.members))
            self.failed += bool(added.get("error"))
            self.error = self.error or added.get("error", "")
            self.empty += are_lines and is_empty(row.item) and not added.get("error")
            self.cut += added.get("cut") is True

    def join(self, other: Done) -> None:
        """Count the rows of another part of the same output."""
        self.rows += other.rows
        self.failed += other.failed
        self.error = self.error or other.error
        self.empty += other.empty
        self.cut += other.cut

    def in_words(self) -> list[str]:
        """What was done, in a line; and in another one, how many texts may be cut off."""
        failed = f", {self.failed:,} of them with an error; the first: {self.error}" if self.failed else ""
        empty = f", {self.empty:,} of them empty" if self.empty else ""
        cut = (
            f"{self.cut:,} of {self.rows:,} texts may be cut off: they are as long as max_length allows, "
            f"{self.limit:,} tokens. To allow more, give --decode max_length={2 * self.limit}, or set "
            f"decode = {{ max_length = {2 * self.limit} }} of the task in the recipe"
        )
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        return [f"{self.output}: {rows}{empty}{failed}", *([cut] if self.cut else [])]


def predict_files(
    model: Predictor,
    task: str,
    files: Sequence[Input],
    output: str,
    *,
    source: str | Path,
    column: str = "",
    n_best: int | None = None,
    skip: bool = False,
    decode: Mapping[str, Any] | None = None,
    endings: Collection[str] = (),
    say: Say = print,
    chunk: int = CHUNK,
) -> Done:
    """Predict the rows of files, and write them with the predictions to a file or to standard output.

    Args:
        model: The model.
        task: The task.
        files: The files, from `open_inputs`. Of several, each row names its file.
        output: A path that ends in one of `writers.ENDINGS`; a folder, for TextGrids; ``-`` or ``-.csv`` for
            standard output.
        source: The folder of the model, whose content tells whether a run can be continued.
        column: The column of CoNLL-U to fill in.
        n_best: The number of classes, or of texts, in the column ``n_best``. Default: 3 classes; none for a
            label per vector and for a text.
        skip: Give a row that cannot be predicted an ``error`` instead of stopping.
        decode: Options for the ``decode`` of the head.
        endings: Further endings of an output with one answer a line, from `line_endings`.
        say: Function that is called with each line for the user.
        chunk: The most rows that are predicted together.

    Raises:
        ValueError: A row cannot be predicted, the output cannot be of this kind, or another process writes
            it.
    """
    job = _Job(model, task, list(files), output, column, n_best, skip, dict(decode or {}), endings, chunk)
    if job.ending is None:
        raise ValueError(_unknown(output, endings))
    job.check()
    if _is_stream(output):
        return _to_stream(job)
    out = job.out
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent}: no such folder, expected the folder of the output")
    partial = out.with_name(f"{out.name}.partial")
    _check_partial(partial)
    try:
        with hold(partial):
            done = _to_file(job, out, partial, _origin(job, Path(source)), say)
    except FolderInUseError:
        raise ValueError(f"{out}: another process writes this file; wait for it, or choose another") from None
    shutil.rmtree(partial, ignore_errors=True)
    return done


@dataclass
class _Job:
    """A prediction into a file: what `predict_files` was given, and what follows from it."""

    model: Predictor
    task: str
    files: list[Input]
    output: str
    column: str
    n_best: int | None
    skip: bool
    decode: dict[str, Any]
    endings: Collection[str]
    chunk: int

    def __post_init__(self) -> None:
        self.head = self.model.task(self.task).head
        self.adapter: Any = self.model.adapter(self.model.task(self.task).adapter_name)
        self.vector = self.head.level == "vector"
        self.best = (0 if self.vector else N_BEST) if self.n_best is None else self.n_best
        if has_times(self.model, self.task):
            self.decode = {"times": True, **self.decode}
        if self.head.level == "sequence" and self.n_best:
            self.decode = {"n_best": self.n_best, **self.decode}
        self.folder = False  # a file for each recording
        if _is_stream(self.output):
            ending = self.output[1:] or _stream_ending(self.files[0])
        elif self.output.endswith(("/", os.sep)) or Path(self.output).is_dir():
            ending, self.folder = ".TextGrid", True
        else:
            ending, self.folder = Path(self.output).suffix, Path(self.output).stem == "*"
        known = {name.lower(): name for name in (*writers.ENDINGS, ".tab", ".ndjson")}
        spelled = known.get(ending.lower())
        self.ending = {".tab": ".tsv", ".ndjson": ".jsonl"}.get(spelled or "", spelled)
        if self.ending is None and ending.lower() in self.endings:
            self.ending = ".txt"
        self.limit: int = self.decode.get("max_length", getattr(self.head, "max_length", 0))
        self.labels: Sequence[str] = getattr(self.head.target, "labels", ())
        marked = bool(self.labels) and all(str(label).startswith(FASTTEXT) for label in self.labels)
        self.of_fasttext = marked and self.files[0].reading.trained == "labelled"

    def check(self) -> None:
        """Raise ValueError if the output cannot be of this kind, before anything is predicted."""
        if any(_same(file.path, self.output) for file in self.files):
            raise ValueError(f"{self.output}: is the input too; choose another output")
        filled = {".conllu": ("CoNLL-U", "conllu"), ".conll": ("CoNLL", "conll")}.get(str(self.ending))
        if filled and not (self.vector and all(file.reading.format == filled[1] for file in self.files)):
            raise ValueError(
                f"{self.output}: {filled[0]} needs a task with a label for each word and an input in "
                f"{filled[0]} (if it is, add --set format={filled[1]}); choose .jsonl or .csv"
            )
        if self.ending == ".txt" and (self.vector or self.n_best):
            what = "labels for each vector" if self.vector else "--n-best"
            raise ValueError(
                f"{self.output}: got {what}, but a line has one answer for its item; choose .jsonl or .csv"
            )
        spans = self.vector and hasattr(self.adapter, "vector_seconds") and self.head.target.kind == "class"
        if self.ending in writers.TIMED and not (spans or has_times(self.model, self.task)):
            what = "TextGrids need" if self.ending == ".TextGrid" else f"{self.ending} needs"
            raise ValueError(
                f"{self.output}: {what} a task with a label for each span of a recording, or a text by CTC; "
                f"choose a file that ends in one of {' '.join(writers.ENDINGS[:4])}"
            )
        if self.folder and self.ending not in writers.TIMED[:3]:
            raise ValueError(
                f"{self.output}: a folder has a TextGrid or subtitles for each recording; name a file"
            )
        if self.folder and self.out.is_dir() and any(self.out.iterdir()):
            raise ValueError(f"{self.out}: is not empty; choose a new folder")
        if _is_stream(self.output) and self.ending in (".parquet", ".xlsx", *writers.TIMED[:3]):
            raise ValueError(f"{self.output}: {self.ending} is not written to standard output; name a file")

    def processes(self, rows: int) -> int:
        """How many processes predict so many rows: one for each thread that torch would use on a CPU.

        Recordings are an exception: one of them can be hours long, and all threads share it.
        """
        if self.model.device.type != "cpu" or hasattr(self.adapter, "suffixes") or sys.platform != "linux":
            return 1
        cores = len(os.sched_getaffinity(0))
        return max(1, min(torch.get_num_threads(), cores, rows // (2 * self.chunk)))

    @property
    def out(self) -> Path:
        """The file, or the folder: ``subtitles`` for ``subtitles/*.srt``."""
        path = Path(self.output)
        return path.parent if path.stem == "*" else path

    def columns(self) -> tuple[list[str], str]:
        """The columns of all files, and which of them names the file of a row if there are several."""
        named = list(dict.fromkeys(c for file in self.files for c in columns_of_input(file, self.vector)))
        if len(self.files) == 1:
            return named, ""
        if all(file.reading.format in ("item", "folders") for file in self.files):
            return named, FILE
        file_column = FILE if FILE not in named else f"input_{FILE}"
        return [file_column, *named], file_column

    def rows(self, file_column: str) -> Iterator[Row]:
        """The rows of all files."""
        for file in self.files:
            for row in rows_of(file, self.adapter):
                if row.members:  # each has all columns of its row
                    row = replace(row, cells={}) if self.vector else replace(row, members=())
                yield replace(row, cells={file_column: file.name, **row.cells}) if file_column else row

    def chunks(self, rows: Iterable[Row]) -> Iterator[list[_Prepared]]:
        """Rows with their examples and errors, in chunks. A chunk may end early where items are large."""
        chunk: list[_Prepared] = []
        vectors = 0
        for row in rows:
            examples, error = self.prepared(row)
            chunk.append((row, examples, error))
            long = isinstance(examples, LongItem)
            vectors += CHUNK_VECTORS if long else sum(map(self.adapter.num_vectors, examples))
            if len(chunk) == self.chunk or vectors >= CHUNK_VECTORS:
                yield chunk
                chunk, vectors = [], 0
        if chunk:
            yield chunk

    def prepared(self, row: Row) -> tuple[list[Any] | LongItem, str]:
        """The examples of a row's item, or why there are none."""
        try:
            if row.error or (self.skip and is_empty(row.item)):
                raise ValueError(row.error or f"{row.location}: {EMPTY}")
            return self.model.prepare(self.task, row.item, row.location), ""
        except ValueError as error:
            if not self.skip:
                raise ValueError(f"{error} (--on-error skip goes on)") from error
            return [], str(error)

    def filled(self, chunk: Sequence[_Prepared]) -> list[tuple[Row, dict[str, Any]]]:
        """The rows of a chunk with their predictions. A row with an error has only the error."""
        good = [i for i, (_, _, error) in enumerate(chunk) if not error]
        errors = {i: error for i, (_, _, error) in enumerate(chunk) if error}
        try:
            results = dict(zip(good, self.run([chunk[i] for i in good]), strict=True))
        except ValueError:
            if not self.skip:
                raise
            results = {}
            for i in good:  # one row has no finite prediction: find it
                try:
                    [results[i]] = self.run([chunk[i]])
                except ValueError as error:
                    errors[i] = str(error)
        filled = []
        for i, (row, _, _) in enumerate(chunk):
            added = {}
            if i in results:
                pieces = results.pop(i)
                added = columns_of(record_of(self.model, self.task, row.item, pieces), self.best)
                if self.ending in writers.TIMED:
                    added["seconds"] = sum(getattr(example, "seconds", 0.0) for example, _ in pieces)
            if self.skip:
                added["error"] = errors.get(i, "")
            filled.append((row, added))
        return filled

    def run(self, chunk: Sequence[_Prepared]) -> list[list[tuple[Any, Any]]]:
        """The results for prepared items."""
        places = [row.location for row, _, _ in chunk]
        examples = [examples for _, examples, _ in chunk]
        return self.model.run_task(self.task, examples, locations=places, **self.decode)


def _filled_chunks(job: _Job, rows: Iterable[Row]) -> Iterator[list[tuple[Row, dict[str, Any]]]]:
    """Chunks of rows with their predictions."""
    for chunk in job.chunks(rows):
        yield job.filled(chunk)


def _to_stream(job: _Job) -> Done:
    columns, file_column = job.columns()
    done = Done("standard output", limit=job.limit)
    out = sys.stdout.buffer
    writer: writers.Writer | None = None
    for filled in chain(_filled_chunks(job, job.rows(file_column)), [[]]):
        if writer is None:
            names = _names_of_added(job, columns, filled)
            writer = _writer(job, columns, names)
            out.write(writer.header() if isinstance(writer, writers.TextWriter) else b"")
        out.write(writer.encode(_written(job, filled, names)))
        out.flush()
        done.add(filled, job.ending == ".txt")
    return done


def _to_file(job: _Job, out: Path, partial: Path, origin: dict[str, Any], say: Say) -> Done:
    state = _State.read(partial, origin, Done(str(out), limit=job.limit), say)
    columns, file_column = job.columns()
    counts = [num_rows(file) for file in job.files]
    total = None if None in counts else sum(filter(None, counts))
    try:
        with Count("rows", total, state.rows) as progress:
            for part in _parts(job, columns, file_column, state, total):
                write_whole(partial / _chunk_name(state.parts), part.content)
                state.parts += 1
                state.rows += part.rows
                state.done.join(part.done)
                state.write(partial)
                progress.add(part.rows)
    except KeyboardInterrupt:
        if state.rows:
            say(f"{state.rows:,} rows are done; the same command goes on from there")
        raise
    writer = _writer(job, columns, state.names or _names_of_added(job, columns, []))
    writer.join([partial / _chunk_name(i) for i in range(state.parts)], out)
    return state.done


@dataclass
class _Part:
    """A part of the output: its bytes, how many rows of the input it is, and what it counts."""

    content: bytes
    rows: int
    done: Done


def _parts(
    job: _Job, columns: Sequence[str], file_column: str, state: _State, total: int | None
) -> Iterator[_Part]:
    """The parts of the output that are left. The names of the added columns are those of the first one."""
    begin = state.rows
    number = 1 if total is None else job.processes(total - begin)
    rows = islice(job.rows(file_column), begin, None)
    for filled in _filled_chunks(job, rows) if number == 1 else [_filled_block(job, rows)]:
        state.names = state.names or _names_of_added(job, columns, filled)
        yield _part(job, columns, state.names, filled)
    if number > 1:
        share = partial(_share, job, columns, state.names, file_column, begin + job.chunk, number)
        yield from in_processes(share, number)


def _filled_block(job: _Job, rows: Iterator[Row]) -> list[tuple[Row, dict[str, Any]]]:
    """The next rows with their predictions; empty after the last one."""
    return [*chain.from_iterable(_filled_chunks(job, islice(rows, job.chunk)))]


def _share(
    job: _Job,
    columns: Sequence[str],
    names: Mapping[str, str],
    file_column: str,
    begin: int,
    number: int,
    me: int,
) -> Iterator[_Part]:
    """The blocks of rows that process ``me`` predicts, each as a part. It reads the others' rows too."""
    rows = islice(job.rows(file_column), begin + me * job.chunk, None)
    while filled := _filled_block(job, rows):
        yield _part(job, columns, names, filled)
        deque(islice(rows, (number - 1) * job.chunk), maxlen=0)


def _part(
    job: _Job,
    columns: Sequence[str],
    names: Mapping[str, str],
    filled: Sequence[tuple[Row, Mapping[str, Any]]],
) -> _Part:
    done = Done(job.output)
    done.add(filled, job.ending == ".txt")
    return _Part(_writer(job, columns, names).encode(_written(job, filled, names)), len(filled), done)


def _names_of_added(
    job: _Job, columns: Sequence[str], filled: Sequence[tuple[Row, Mapping[str, Any]]]
) -> dict[str, str]:
    """The added columns: the name in `columns_of` -> the name in the output.

    If the input has one of them, all begin with the name of the task.

    Raises:
        ValueError: All rows have errors, or the input has those columns too.
    """
    keys = dict.fromkeys(key for _, added in filled for key in added if key != "error")
    if filled and not keys:
        error = filled[0][1]["error"]
        raise ValueError(f"none of the first {len(filled)} rows can be predicted; the first: {error}")
    names = {key: key for key in [*(keys or ["prediction"]), *(["error"] if job.skip else [])]}
    if not set(names.values()) & set(columns):
        return names
    names = {key: f"{job.task}_{key}" for key in names}
    twice = [name for name in names.values() if name in columns]
    if twice:
        raise ValueError(f"the input has a column {twice[0]!r} already; rename it, or leave it out")
    return names


def _written(
    job: _Job, filled: Sequence[tuple[Row, Mapping[str, Any]]], names: Mapping[str, str]
) -> list[tuple[Row, dict[str, Any]]]:
    """The rows with the added columns under their names. Only lines of fastText keep ``__label__``."""
    renamed = [(row, {names[key]: v for key, v in added.items() if key in names}) for row, added in filled]
    if not job.of_fasttext or job.ending == ".txt":
        return renamed
    labels = {names[key] for key in ("prediction", "n_best") if key in names}
    if all(file.reading.format == "labelled" for file in job.files):  # a table keeps its own cells
        labels.add("label")
    return [
        (replace(row, cells=_bare_in(row.cells, labels)), _bare_in(added, labels)) for row, added in renamed
    ]


def _bare_in(cells: Mapping[str, Any], columns: Collection[str]) -> dict[str, Any]:
    return {name: _bare(cell) if name in columns else cell for name, cell in cells.items()}


def _bare(labels: Any) -> Any:
    """One label of fastText, a list of them or a mapping from them, without what they begin with."""
    if isinstance(labels, Mapping):
        return {_bare(label): share for label, share in labels.items()}
    if isinstance(labels, list):
        return [_bare(label) for label in labels]
    return labels.removeprefix(FASTTEXT) if isinstance(labels, str) else labels


def _writer(job: _Job, columns: Sequence[str], names: Mapping[str, str]) -> writers.Writer:
    every, added = [*columns, *names.values()], list(names.values())
    if job.ending == ".parquet":
        return writers.ParquetWriter(every, added, _types(job.files))
    if job.ending == ".conllu":
        other = job.column not in conllu.LABELS and job.files[0].reading.trained != "conllu"
        column = f"misc.{job.column}" if job.column and other else job.column or "upos"
        return writers.ConlluWriter(column, names["prediction"])
    if job.ending == ".conll":
        return writers.ConllWriter(job.column, names["prediction"])
    if job.ending == ".ctm":
        return writers.CtmWriter(names)
    if job.ending in writers.TIMED:
        render = {".srt": writers.srt, ".vtt": writers.vtt}.get(job.ending, writers.word_grid(job.task))
        return writers.TimedWriter(render, job.ending, names, job.folder)
    joint = " " if job.vector or (job.of_fasttext and job.ending == ".txt") else ", "
    plain = not any(joint.strip() in label if joint.strip() else label.split()[1:] for label in job.labels)
    if job.ending == ".txt":
        answers = [name for key, name in names.items() if key.startswith("prediction")]
        return writers.LineWriter(answers, joint if plain else None, with_text=job.of_fasttext)
    if job.ending == ".xlsx":
        return writers.ExcelWriter(every, added, joint if plain else None)
    return writers.TextWriter(str(job.ending), every, added, joint if plain else None)


def _types(files: Sequence[Input]) -> dict[str, Any]:
    """The types of the columns if all files are Parquet and agree."""
    if any(suffix_of(file.path) != ".parquet" for file in files):
        return {}
    types: dict[str, set[Any]] = {}
    for file in files:
        for field in schema_of(file.path):
            types.setdefault(field.name, set()).add(field.type)
    return {name: kinds.pop() for name, kinds in types.items() if len(kinds) == 1}


def _stream_ending(file: Input) -> str:
    """The format of standard output: that of the input if it can be, CSV otherwise."""
    kind, suffix = file.reading.format, suffix_of(file.path)
    if kind in ("jsonl", "json", "conllu", "conll"):
        return {**ENDINGS, "json": ".jsonl"}[kind]
    return ".tsv" if suffix in (".tsv", ".tab") else ".csv"


def _same(path: Path, output: str) -> bool:
    return path.exists() and Path(output).exists() and path.samefile(output)


def _unknown(output: str, endings: Collection[str]) -> str:
    known = " ".join([*writers.ENDINGS, *sorted(set(endings) - set(writers.ENDINGS))])
    return (
        f"{output}: got the ending {Path(output).suffix!r}, expected one of {known}, or "
        "a folder for several recordings: grids/, or 'subtitles/*.srt'"
    )


# --- what is done ---------------------------------------------------------------------------------


@dataclass
class _State:
    """How far a prediction is. It is written after each chunk.

    Args:
        origin: The input, the model and the options that the chunks come from.
        names: The added columns, from `_names_of_added`.
        parts: The number of finished chunks.
        rows: The number of rows of the input in them.
        done: What the output has in them.
    """

    origin: dict[str, Any]
    names: dict[str, str]
    done: Done
    parts: int = 0
    rows: int = 0

    @classmethod
    def read(cls, partial: Path, origin: dict[str, Any], nothing: Done, say: Say) -> _State:
        """The state of a prediction that was stopped, or a new one if it had another origin."""
        try:
            kept = json.loads((partial / STATE).read_text(encoding="utf-8"))
            state = cls(**{**kept, "done": Done(**kept["done"])})
        except (OSError, ValueError, TypeError, KeyError):
            return cls(origin, {}, nothing)
        changed = [key for key in origin if state.origin.get(key) != origin[key]]
        if changed:
            say(f"{partial}: starts anew, because of another {' and another '.join(changed)} than before")
            (partial / STATE).unlink()
            return cls(origin, {}, nothing)
        say(f"{partial}: continues after {state.rows:,} rows")
        return state

    def write(self, partial: Path) -> None:
        """Write the state. The chunk that it counts is there already."""
        write_whole(partial / STATE, json.dumps(asdict(self)))


def _chunk_name(number: int) -> str:
    return f"{number:06}.part"


def _check_partial(partial: Path) -> None:
    """Raise ValueError if the folder for chunks has files that are not ours."""
    there = list(partial.iterdir()) if partial.is_dir() else [partial] if partial.exists() else []
    ours = [p for p in there if p.name in (LOCK, STATE) or p.suffix == ".part" or is_leftover(p.name)]
    if len(ours) < len(there):
        raise ValueError(f"{partial}: exists and is not of a prediction; move it, or choose another output")


def _origin(job: _Job, source: Path) -> dict[str, Any]:
    """What chunks depend on, by the word that names it in a message. All values are plain JSON."""
    options = {
        "version": __version__,
        "task": job.task,
        "ending": job.ending,
        "column": job.column,
        "n_best": job.best,
        "skip": job.skip,
        "decode": job.decode,
        "chunk": job.chunk,
        "precision": job.model.precision,
        "reading": [[file.reading.format, dict(file.reading.options)] for file in job.files],
    }
    weights = source / "model" if (source / "model").is_dir() else source
    origin = {
        "input": [_seen(file) for file in job.files],
        "model": _digest(p for p in sorted(weights.rglob("*")) if p.is_file()),
        "option": options,
    }
    plain: dict[str, Any] = json.loads(json.dumps(origin, default=str))
    return plain


def _seen(file: Input) -> list[Any]:
    """Name, size and time of a file and of those that belong to it; of standard input, its digest."""
    if file.name != str(file.path):
        return [file.name, _digest([file.path])]
    others = [Path(value) for key, value in file.reading.options.items() if key in PATHS]
    inner = sorted(file.path.iterdir()) if file.path.is_dir() else [file.path]
    stats = [(path, path.stat()) for path in [*inner, *others] if path.is_file()]
    return [[str(path.absolute()), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _digest(paths: Iterable[Path]) -> str:
    digest = blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
