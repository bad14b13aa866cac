"""Write docs/options.md: every key that a recipe may have, with its values, its default and its meaning.

python tools/write_options.py

Names and ranges come from `multiseq.options`, `multiseq.data.formats` and `multiseq.runs.recipe_check`,
defaults from signatures, and meanings from docstrings, so the page cannot say anything else than the code.
Only the keys of ``[data.NAME]`` and ``[tasks.NAME]`` have no docstring: their meanings are here. A test
compares the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import multiseq
from multiseq.data.formats import FORMATS
from multiseq.data.readers import READERS
from multiseq.data.text_files import open_text
from multiseq.nn.encoder import PRESETS
from multiseq.options import METRICS_OF, NUMBER, OPTIONS, TAKES
from multiseq.runs import recipe_check
from multiseq.runs.build import PRESET
from multiseq.training.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "options.md"

HEAD = """\
# Every option

`python tools/write_options.py` writes this page from the code. A recipe needs `[data.NAME]` and
`[tasks.NAME]` only; everything else has a default. `--set training.steps=500` changes one value on the
command line. [Recipes](recipes.md) says how the tables go together, and `multiseq init` writes a recipe for
your files.

"""

WORDS = {str: "text", int: "whole number", float: "number", NUMBER: "number", bool: "`true`, `false`"}
WORDS |= {list: "list", dict: "table"}

DATA = {
    "adapter": "`text`, `speech`, `graph`, or a name that `[adapters.NAME]` gives a modality.",
    "format": "How the files are read, see [formats](#formats).",
    "train": "The file of the training items. For `lines` and `files` a list of files.",
    "dev": "The file of the dev split, or the fraction of the items that is held out.",
    "test": "The file of the test split, or the fraction of the items that is held out.",
    "file": "One file for all splits, with one of the next keys or fractions.",
    "split_column": "The column that says train, dev (val, valid, validation) or test.",
    "split_names": 'What other words in this column mean: `{ dev = "test" }`.',
    "split_file": "A JSON file of row numbers from 0 for each split.",
    "fold": "Which of several splits to use, from 0; `all` trains a model for each.",
    "weight": "How often the items are drawn, relative to other data.",
    "folds": "Cross-validation: the number of folds, each of which is the test split of one model.",
    "group": "The column whose values are never in two splits: a speaker, a patient.",
    "time": "The column by which the items are divided: the latest are the test split.",
    "scaffold": "`true`: the items are SMILES; no scaffold is in two splits, and the rarest are held out.",
    "split_seed": "Seed of the fractions that are held out.",
    "on_error": "`stop` at a bad row, or `skip` and list it.",
    "decimal": "The decimal mark of numbers, `.` or `,`; the other one may group digits.",
}
"""Key of ``[data.NAME]`` -> what it means."""

TASKS = {
    "data": "The `[data.NAME]` that it learns from.",
    "output": "`vector` (one label for each vector), `set` (one for each item) or `sequence` (a text).",
    "target": f"{', '.join(f'`{name}`' for name in METRICS_OF)}.",
    "column": "The column or field that holds the labels.",
    "columns": "Several columns: several numbers, or a flag for each of several labels.",
    "unit": "The unit of a number, for people.",
    "copy": "Whether rare words, numbers and names of nodes are copied from the input as they are.",
    "tokens": "What a text is written in: `character` or `piece` (parts of words).",
    "vocab_size": "Number of pieces.",
    "metric": "The score, see [labels](recipes.md#labels).",
    "weight": "Factor of its loss in the sum over the tasks.",
    "head": 'Options of the head, see [heads](#heads). For a sequence, `kind = "ctc"` or `"joint"` chooses '
    "another than the decoder.",
    "decode": "Options of the search for a text, see [heads](#heads).",
    "class_weight": "`balanced` gives rare classes more weight in the loss.",
    "label_smoothing": "Label smoothing in the loss of classes.",
    "margin": "Angular margin between classes in the loss, in radians (ArcFace), for "
    "[comparing items](speech.md#voices): 0.2, for example. 0: none.",
    "scale": "With a margin, the largest logit. Default: 30.",
    "stress": "`false`: vowels of ARPAbet lose their stress, so that AH0, AH1 and AH2 are AH.",
}
"""Key of ``[tasks.NAME]`` -> what it means."""

RUNS = {
    "ensemble": "So many models are trained, with seeds `seed`, `seed + 1` …, and predict as one. 1: one.",
}
"""Key of ``[training]`` that is none of `multiseq.train` -> what it means."""

START = """
### With a pretrained start

`start = "FOLDER"`, or the name of a model on the Hugging Face Hub: see [text](text.md#a-pretrained-start).
`dim`, `depth`, `heads` and `ff_dim` are those of the model, and there are these keys:

"""

ADAPTERS = {
    "TextAdapter": "text",
    "PretrainedTextAdapter": "text",
    "SpeechAdapter": "speech",
    "GraphAdapter": "graph",
    "NeighborhoodAdapter": "graph",
}
NOTES = {
    "PretrainedTextAdapter": ", if the encoder has a `start`",
    "SpeechAdapter": "; `start` begins with a [pretrained stem](speech.md#a-pretrained-stem)",
    "NeighborhoodAdapter": ", if the recipe gives `num_hops`",
}
HEADS = {
    "VectorHead": 'output = "vector"',
    "SetHead": 'output = "set"',
    "CTCHead": 'output = "sequence"` with `head = { kind = "ctc" }',
    "DecoderHead": 'output = "sequence"',
    "JointHead": 'output = "sequence"` with `head = { kind = "joint" }',
}


def page() -> str:
    """The whole page."""
    sections = [
        HEAD,
        "## Data\n\nKeys of `[data.NAME]`, besides those of the format:\n\n",
        _plain(recipe_check.DATA_KEYS, DATA),
    ]
    sections += [
        "\n## Formats\n\nWhat the files look like is in [files](files.md#formats).\n",
        *map(_format, FORMATS),
    ]
    sections += ["\n## Tasks\n\nKeys of `[tasks.NAME]`:\n\n", _plain(recipe_check.TASK_KEYS, TASKS)]
    sections += ["\n## Encoder\n\n" + _presets() + _table(TAKES["Encoder"], [multiseq.Encoder])]
    sections += [START, _table(TAKES["PretrainedEncoder"], [multiseq.PretrainedEncoder])]
    sections += ["\n## Adapters\n\nKeys of `[adapters.NAME]`, besides `modality` (default: NAME).\n"]
    for name, modality in ADAPTERS.items():
        kind = getattr(multiseq, name)
        functions = [kind.fit, kind] if hasattr(kind, "fit") else [kind]
        sections += [f"\n### {name}\n\nFor `{modality}`{NOTES.get(name, '')}.\n\n"]
        sections += [_table(TAKES[name], functions)]
    sections += ["\n## Heads\n\nKeys of `head = { … }` and `decode = { … }` of a task.\n"]
    for name, output in HEADS.items():
        kind = getattr(multiseq, name)
        sections += [f"\n### {name}\n\nFor `{output}`.\n\n", _table(TAKES[name], [kind])]
        if TAKES[f"{name}.decode"]:
            sections += ["\nKeys of `decode`:\n\n", _table(TAKES[f"{name}.decode"], [kind.decode])]
    sections += [
        "\n## Training\n\nKeys of `[training]`, and arguments of `multiseq.train`.\n\n",
        _table(TAKES["Settings"], [Settings.__init__, Settings]),
        f"\nIn recipes only:\n\n{_plain({'ensemble': int}, RUNS)}",
    ]
    return "".join(sections)


def _presets() -> str:
    rows = "".join(
        f"| `{name}` | {size['dim']} | {size['depth']} | {size['heads']} |\n"
        for name, size in PRESETS.items()
    )
    return (
        f"Keys of `[encoder]`. `preset` is a name of this table (default: `{PRESET}`), and other keys "
        "change its values.\n\n"
        f"| `preset` | `dim` | `depth` | `heads` |\n|---|---|---|---|\n{rows}\n"
    )


def _format(name: str) -> str:
    reader = READERS[name]
    options = FORMATS[name]
    sentence = _sentence(inspect.getdoc(reader) or "")
    return f"\n### {name}\n\n{sentence}\n" + (
        "\n" + _table(options, [reader], needed=options) if options else ""
    )


def _plain(keys: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    missing = sorted(set(keys) - set(meanings))
    if missing:
        raise SystemExit(
            f"{', '.join(missing)}: no meaning; write it in DATA or TASKS of tools/write_options.py"
        )
    rows = [f"| `{key}` | {_type(key, kind)} | {meanings[key]} |" for key, kind in keys.items()]
    return "\n".join(["| key | value | meaning |", "|---|---|---|", *rows]) + "\n"


def _table(keys: Iterable[str], functions: list[Any], needed: Mapping[str, bool] | None = None) -> str:
    keys = list(keys)
    if not keys:
        return "No options.\n"
    parameters: dict[str, inspect.Parameter] = {}
    meanings: dict[str, str] = {}
    for function in functions:
        parameters = {**inspect.signature(function).parameters, **parameters}
        for key, text in _arguments(inspect.getdoc(function) or "").items():
            text = _followed(text, key)
            meanings[key] = meanings[key].replace("As in the constructor.", text) if key in meanings else text
    rows = []
    for key in keys:
        default = "needed" if (needed or {}).get(key) else _default(parameters[key].default)
        rows.append(f"| `{key}` | {_type(key, _reader_type(key))} | {default} | {_markdown(meanings[key])} |")
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _reader_type(key: str) -> Any:
    return OPTIONS[key].type if key in OPTIONS else recipe_check.READER_KEYS.get(key, str)


def _type(key: str, kind: Any) -> str:
    option = OPTIONS.get(key)
    if option and option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    kinds = kind if isinstance(kind, tuple) and kind != NUMBER else (kind,)
    word = " or ".join(WORDS[one] for one in kinds)
    return f"{word}, {str(option.range).removeprefix('a number ')}" if option and option.range else word


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty or value is None or value == ():
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _arguments(docstring: str) -> dict[str, str]:
    """Argument -> what the section ``Args:`` of a docstring says about it."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.M | re.S)
    arguments: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", "\n" + section[1].rstrip() if section else ""):
        names, colon, text = entry.strip().partition(":")
        if colon:
            arguments |= dict.fromkeys(re.split(r", ", names), " ".join(text.split()))
    return arguments


def _followed(text: str, key: str) -> str:
    """A meaning, with what another function says where it refers to that."""
    other = re.match(r"As for `(?:multiseq\.data\.text_files\.)?(open_text|read_table)`[^.]*\.", text)
    if other is None:
        return text
    function = open_text if other[1] == "open_text" else READERS["table"]
    return _followed(_arguments(inspect.getdoc(function) or "")[key], key) + text[other.end() :]


def _sentence(docstring: str) -> str:
    return _markdown(" ".join(docstring.split("\n\n")[0].split()))


def _markdown(text: str) -> str:
    return re.sub(r":\w+:(?=`)", "", text.replace("``", "`")).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
