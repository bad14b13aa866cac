"""Publish a model: write its model card, and upload it to the Hugging Face Hub."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from multiseq._version import __version__
from multiseq.checkpoint import load, save
from multiseq.requires import need
from multiseq.runs.folder import read_run, read_scores
from multiseq.runs.scoring import shown, with_spread
from multiseq.system.files import write_whole

if TYPE_CHECKING:
    from multiseq.ensemble import Ensemble
    from multiseq.model import Model, Predictor
    from multiseq.runs.recipe import Recipe

__all__ = ["model_card", "push_to_hub"]

PIPELINES = {
    "text/vector/class": "token-classification",
    "text/set/class": "text-classification",
    "speech/set/class": "audio-classification",
    "speech/sequence/text": "automatic-speech-recognition",
}
"""Cell and target -> the Hub's name of the task. Other tasks of text are listed by their tag only."""

ABOUT = """\
A [multiseq](https://github.com/multiseq/multiseq) model: one self-attention encoder for text, speech and
graphs. It has {weights:,} weights."""

BASELINE = """\
The baseline is a simple method (for example the most frequent label, or logistic regression) that was fitted
to the same training items. The scores hold for items like those of the split that was scored."""

FOLDS = """\
The scores are the mean and the standard deviation of a cross-validation: each fold was scored by a model that
was not trained on it. This model is the ensemble of all of them, which no item is left to score."""

MOST_CLASSES = 30
"""A card names the classes of a task if there are no more than these."""


def model_card(run: str | Path, name: str = "") -> str:
    """The model card of a run, in Markdown with the Hub's metadata.

    It says what the model predicts, how well beside the baseline, how to use it, and how it was trained. It
    contains no items, and the names of labels only up to 30 classes. Of a path that leads out of the folder
    of the data, it has the last name alone.

    Args:
        run: A finished run, the folder that `multiseq train` wrote.
        name: Name of the model on the Hub, ``user/name``. Default: the name of the folder.

    Raises:
        ValueError: The folder is not a run, or its training is not finished.
    """
    run = Path(run)
    recipe, record = read_run(run), json.loads((run / "run.json").read_text(encoding="utf-8"))
    scores = read_scores(run)
    if scores is None:
        raise ValueError(f"{run}: its training is not finished; go on with multiseq train --resume")
    model = load(run)
    name = name or run.resolve().name
    paragraphs = [
        _metadata(recipe, model, scores, name, record.get("start", {})),
        f"# {name}",
        ABOUT.format(weights=record["weights"]),
        "## What it predicts",
        "\n".join(_rows(model, scores)),
        *_class_lists(model),
        BASELINE,
        *([FOLDS] if any("folds" in entry for entry in scores.values()) else []),
        "## Use it",
        f"```sh\npip install multiseq\n```\n\n```python\n{_example(model, name)}\n```",
        "## How it was trained",
        "\n".join(_training_facts(record)),
        f"```toml\n{_recipe_text(recipe)}```",
    ]
    return "\n\n".join(paragraphs) + "\n"


def push_to_hub(model: Model | Ensemble | str | Path, name: str, *, private: bool = False) -> str:
    """Upload a model to the Hugging Face Hub. Then anyone can use it by ``multiseq.load(name)``.

    Log in first with ``hf auth login``, or set ``HF_TOKEN``.

    Args:
        model: A model, or the folder of a run. A run gets a model card (`model_card`).
        name: Name on the Hub, ``user/name``. It is made if it is not there.
        private: If it is made now, only you can see it.

    Returns:
        The address of the upload.

    Raises:
        ValueError: The folder is not a finished run, or the Hub refuses.
    """
    hub = need("huggingface_hub")
    card = model_card(model, name) if isinstance(model, str | Path) else ""
    model = load(model) if isinstance(model, str | Path) else model
    with tempfile.TemporaryDirectory() as folder:
        files = save(model, Path(folder, "model"))
        if card:
            write_whole(files / "README.md", card)
        api = hub.HfApi(library_name="multiseq", library_version=__version__)
        try:
            api.create_repo(name, private=private or None, exist_ok=True)
            done = api.upload_folder(
                repo_id=name, folder_path=files, commit_message=f"multiseq {__version__}"
            )
        except Exception as error:  # of the network, or of the Hub
            raise ValueError(f"{name}: not uploaded: {' '.join(str(error).split())[:300]}") from error
    return str(done)


# --- the sections of a card -----------------------------------------------------------------------


def _metadata(
    recipe: Recipe, model: Predictor, scores: dict[str, Any], name: str, start: dict[str, Any]
) -> str:
    hub = need("huggingface_hub")
    results = [
        hub.EvalResult(
            task_type=_pipeline(model, task) or "other",
            task_name=task,
            dataset_type=recipe.tasks[task]["data"],
            dataset_name=recipe.tasks[task]["data"],
            dataset_config=task,  # without it, the Hub's format puts the scores of several tasks into one
            dataset_split=entry["split"],
            metric_type=entry["metric"],
            metric_value=float(shown(entry["metric"], entry["value"])),
        )
        for task, entry in scores.items()
        if entry["value"] is not None
    ]
    pipelines = {_pipeline(model, task) for task in model.tasks}
    data = hub.ModelCardData(
        library_name="multiseq",
        base_model=start["name"] if start.get("on_hub") else None,
        tags=["multiseq", *sorted({model.cell(task).partition("/")[0] for task in model.tasks})],
        pipeline_tag=pipelines.pop() if len(pipelines) == 1 else None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _pipeline(model: Predictor, task: str) -> str | None:
    return PIPELINES.get(f"{model.cell(task)}/{model.task(task).head.target.kind}")


def _rows(model: Predictor, scores: dict[str, Any]) -> Iterator[str]:
    yield "| task | input | output | metric | baseline | this model | scored on |"
    yield "|---|---|---|---|---|---|---|"
    for task in model.tasks:
        modality, level = model.cell(task).split("/")
        kind = model.task(task).head.target.kind
        output = {"vector": f"a {kind} per vector", "set": f"a {kind} per item", "sequence": "a text"}[level]
        entry = scores.get(task)
        if entry is None:
            figures = ["–"] * 4
        else:
            values = [with_spread(entry, key) for key in ("baseline", "value")]
            scored_on = f"{entry['split']}, {entry['num_items']:,}"
            figures = [entry["metric"].replace("_", " "), *values, scored_on]
        yield f"| {' | '.join(map(_cell, (task, modality, output, *figures)))} |"


def _class_lists(model: Predictor) -> Iterator[str]:
    for name, task in model.tasks.items():
        labels: Sequence[str] = getattr(task.head.target, "labels", ())
        if 0 < len(labels) <= MOST_CLASSES:
            yield f"Classes of {name}: {', '.join(map(_code, labels))}."
        elif labels:
            yield f"{name} has {len(labels)} classes."


def _example(model: Predictor, name: str) -> str:
    task = next(iter(model.tasks))
    item = {
        "text": '"a text"',
        "speech": '"a_recording.wav"',
        "graph": '"CC(=O)O"' if hasattr(model.adapter(model.task(task).adapter_name), "parse") else "graph",
    }.get(model.cell(task).partition("/")[0], "item")
    return f'import multiseq\n\nmodel = multiseq.load("{name}")\nprint(model.predict("{task}", [{item}]))'


def _training_facts(record: dict[str, Any]) -> Iterator[str]:
    starts = [("it", record["start"])] if "start" in record else []
    starts += [(f"the stem of {name}", one) for name, one in record.get("adapter_starts", {}).items()]
    for what, start in starts:
        digests = ", ".join(f"{digest} ({file})" for file, digest in start["sha256"].items())
        yield f"- {what} began as {_code(start['name'])} ({start['model_type']}), SHA-256 {digests}"
    for source in record["sources"]:
        yield f"- {source['items']:,} training items for {', '.join(source['tasks'])}"
    for task, what in record.get("confidence", {}).items():
        yield f"- confidence of {task}: {what}"
    machine = record["machine"]
    yield f"- {record['seconds']:,.0f} seconds on {machine['gpu'] or machine['cpu']}"
    yield f"- {', '.join(f'{library} {version}' for library, version in record['versions'].items())}"


def _recipe_text(recipe: Recipe) -> str:
    """The recipe. Files outside its folder are called by their names alone: their folders are private."""
    import tomli_w

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if inner != {}}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return _without_folders(value) if isinstance(value, str) else value

    return tomli_w.dumps(plain(recipe.tables))


def _without_folders(text: str) -> str:
    """The last name of a path that is absolute or leads out of its folder, on Windows too. Else the text.

    >>> list(map(_without_folders, ("/a/b.csv", "../b/c.csv", "~/c.csv", "C:/a/d.csv", "x/d.csv", "/")))
    ['b.csv', 'c.csv', 'c.csv', 'd.csv', 'x/d.csv', '/']
    """
    for path in (PurePosixPath(text), PureWindowsPath(text)):
        if path.name and (path.is_absolute() or {"..", "~"} & set(path.parts)):
            return path.name
    return text


def _cell(text: str) -> str:
    r"""A text in a table of Markdown.

    >>> print(_cell("a | <b>"))
    a \| &lt;b>
    """
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
