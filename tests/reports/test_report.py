"""The report of a run: what is on the page, that users' data stays text, and how a browser sees it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from multiseq.cli import app
from multiseq.data.archives import AudioFile
from multiseq.protocols import Mark, Picture, Sound
from multiseq.results import Number
from multiseq.runs.evaluate import report_run
from multiseq.runs.recipe import read
from multiseq.runs.reports import page as reports
from multiseq.runs.run import train_run
from multiseq.tasks import Source
from multiseq.training.evaluation import Judged

SCRIPT = "<script>window.hacked = 1; fetch('https://example.org/a')</script>"
IMAGE = '"><img src="https://example.org/b.png" onerror=\'window.hacked = 2\'>'
TEXTS = [
    f"good {SCRIPT} film",
    f"bad {IMAGE}",
    "good\x00 and " + chr(0x202E) + "turned " + chr(0x200F) + "round",
    "bad half " + chr(0xD83D) + " a smile &amp; <b>bold</b> </style></title><!-- -->",
    "good {{ 7 * 7 }} {% raw %} $\\frac{a}{b}$ 中文 " + "long" * 300,
    "bad",
    "",
]
CLASSES = ["<b>good</b>", "bad'\"&\x00</td>"]
RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 3
max_vectors = 200

[data.comments]
adapter = "text"
format = "jsonl"
train = "<i>comments.jsonl"
test = "<i>comments.jsonl"

[tasks.opinion]
data = "comments"
output = "set"
target = "class"
column = "<u>label"

[tasks.stars]
data = "comments"
output = "set"
target = "number"
column = "stars"
unit = "<s>stars</s>"

[tasks.kinds]
data = "comments"
output = "set"
target = "multilabel"
column = "kinds"

[tasks.tags]
data = "comments"
output = "vector"
target = "class"
column = "tags"

[tasks.answer]
data = "comments"
output = "sequence"
target = "text"
tokens = "character"
column = "answer"

[data.molecules]
adapter = "graph"
format = "table"
train = "molecules.csv"
test = "molecules.csv"

[tasks.weight]
data = "molecules"
output = "set"
target = "number"
column = "weight"
"""


class Page(HTMLParser):
    """The tags, the attributes and the texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def recipe_of(*names: str) -> str:
    """The parts of the recipe that use these data."""
    head, *tables = re.split(r"\n(?=\[data\.)", RECIPE)
    return "\n".join([head, *(t for t in tables if t.startswith(tuple(f"[data.{name}]" for name in names)))])


def write_data(folder: Path) -> None:
    rows = []
    for i, text in enumerate([*TEXTS, *TEXTS]):
        good = text.startswith("good")
        row = {
            "text": text, "<u>label": CLASSES[not good], "stars": 1.5 * i,
            "kinds": ["<i>x</i>"] if good else [],
            "tags": CLASSES[:1] if text == "bad" else None, "answer": f"{SCRIPT} ok" if good else "no",
        }  # fmt: skip
        rows.append(json.dumps(row))
    (folder / "<i>comments.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "molecules.csv").write_text("text,weight\nCCO,46.07\nc1ccccc1,78.11\nCC(=O)O,60.05\n")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on texts, classes, columns and files with names that a page must not believe."""
    folder = tmp_path_factory.mktemp("hostile")
    write_data(folder)
    path = folder / "<img src=x onerror=alert(1)>.toml"
    path.write_text(recipe_of("comments", "molecules"))
    train_run(read(path), folder / "run", progress=False, say=lambda line: None)
    return folder / "run"


@pytest.fixture(scope="module")
def html(hostile: Path) -> str:
    return (hostile / "report.html").read_text(encoding="utf-8")


# --- the page -------------------------------------------------------------------------------------


def test_the_page_has_every_part(html: str) -> None:
    page = Page(html)
    assert "This part could not be made" not in page.text
    assert "cannot be shown" not in page.text
    assert page.text.startswith("Run run of the recipe <img src=x onerror=alert(1)>")
    for part in (
        "Scores on the test split", "opinion text/set", "baseline", "Loss in training", "Confusion matrix",
        "Scores by class", "precision recall F1 count", "Reliability", "Calibration error",
        "predicted against measured", "The worst predictions", "The least sure predictions",
        "Labels that may be wrong", "This is not the number of wrong labels: with an accuracy of",
        "most of them are mistakes of the model. Look at a label before you change it.",
        "Items in each split", "Machine and versions", "version of torch",
        "steps = 3", "trained for 3 steps", "From the dev split: not calibrated, with 0 dev labels",
        "No item can be marked as unlike the training data",
    ):  # fmt: skip
        assert part in page.text, part
    # Curves; 2 of opinion, stars, kinds, 2 of tags, weight; the lengths of both sources.
    assert page.tags["svg"] == 10
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == 10
    assert any(label.startswith("Confusion matrix of 2 classes") for label in labels)
    told = [value for _, name, value in page.attributes if name == "alt"]
    structures = [text for text in told if text.startswith("Structure of the molecule ")]
    assert len(structures) == 3
    why = ", coloured by what each atom contributes: orange raises, blue lowers"
    assert min(structures) == f"Structure of the molecule CC(=O)O{why}"
    assert len(re.findall(r"why weight (C|O|c)\d+ [+-]", page.text)) == 3
    looks = [
        text for text in told if text.startswith("Attention of ")
    ]  # of answers, but not to an empty text
    assert all(
        re.match(r"Attention of \d+ predicted tokens to \d+ vectors of the item", text) for text in looks
    )
    assert len(looks) + 3 == len(told) == page.tags["img"] > 3
    assert page.tags["th"] > 40
    assert page.tags["caption"] == page.tags["table"]


def test_nothing_of_the_users_becomes_markup(html: str) -> None:
    page = Page(html)
    allowed = (
        "html head meta title link style body header main section nav ul li a h1 h2 h3 p div table caption "
        "thead tbody tr th td figure figcaption svg defs g path use text tspan rect clippath image article "
        "bdi dl dt dd img audio span small details summary pre code del ins"
    )
    assert not set(page.tags) - set(allowed.split())
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert links
    assert all(value.startswith(("#", "data:")) for value in links)
    assert SCRIPT in page.text.replace("  ", " ")
    assert IMAGE in page.text
    assert "{{ 7 * 7 }} {% raw %} $\\frac{a}{b}$ 中文" in page.text
    assert "good␀ and ⟨U+202E⟩turned ⟨U+200F⟩round" in page.text
    assert "bad half ⟨U+D83D⟩ a smile &amp; <b>bold</b>" in page.text
    assert "recipe <img src=x onerror=alert(1)>" in page.text
    assert not set(html) & {chr(0), chr(0x202E), chr(0xD83D)}
    assert "long" * 200 not in html  # 600 characters are shown


def test_the_page_forbids_scripts_and_connections(html: str) -> None:
    [policy] = [
        value
        for tag, name, value in Page(html).attributes
        if tag == "meta" and value.startswith("default-src")
    ]
    assert policy.split(";")[0] == "default-src 'none'"
    assert "script" not in policy
    assert "http" not in policy


def test_words_have_tags_under_them(html: str) -> None:
    words = re.findall(r'<span class="word[^"]*"><bdi>(.*?)</bdi><small><bdi>(.*?)</bdi>', html)
    assert words
    assert {name for name, _ in words} == {"bad"}
    assert all("good" in tags or "bad" in tags for _, tags in words)


def test_differences_of_texts_are_marked() -> None:
    true, found = reports._difference("the cat sat", "the dog sat")
    assert true == [("", "the "), ("del", "cat"), ("", " sat")]
    assert found == [("", "the "), ("ins", "dog"), ("", " sat")]
    chinese = [("", "你"), ("del", "好"), ("", "吗")], [("", "你"), ("", "吗")]
    assert reports._difference("你好吗", "你吗") == chinese


def test_a_long_text_is_shown_around_its_first_error() -> None:
    marks = [Mark(str(i), "a", "b" if i == 700 else "a", i == 700) for i in range(1000)]
    block = reports._words(marks, None)
    assert block["more"] == "671 to 730 of 1,000"
    assert [word["name"] for word in block["words"] if word["wrong"]] == ["700"]
    near = reports._words(marks, 2)
    assert [word["name"] for word in near["words"] if word["focus"]] == ["2"]
    assert near["more"] == "1 to 20 of 1,000"


# --- what can go wrong ----------------------------------------------------------------------------


def test_an_error_in_a_part_is_a_line(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(hostile, tmp_path / "run")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("<script>no ink</script>")

    monkeypatch.setattr(reports.plots, "confusion", broken)
    monkeypatch.setattr("multiseq.adapters.graph.show", broken)
    page = Page(report_run(tmp_path / "run").read_text(encoding="utf-8"))
    assert "This part could not be made: <script>no ink</script>" in page.text
    assert "The item cannot be shown: <script>no ink</script>" in page.text
    assert "predicted against measured" in page.text
    assert not page.tags["script"]


def test_a_report_that_fails_does_not_lose_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise MemoryError

    monkeypatch.setattr(reports, "page", broken)
    write_data(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(recipe_of("molecules"))
    said: list[str] = []
    scores = train_run(read(path), tmp_path / "run", progress=False, say=said.append)
    assert "weight" in scores
    assert (tmp_path / "run" / "test.json").is_file()
    assert not (tmp_path / "run" / "report.html").exists()
    assert "report.html: not written: MemoryError; `multiseq report" in said[-1]


def test_the_command_predicts_anew_where_the_data_is_now(hostile: Path, tmp_path: Path) -> None:
    before = (hostile / "report.html").read_bytes()
    moved = shutil.copytree(hostile.parent, tmp_path / "moved", ignore=shutil.ignore_patterns("run"))
    result = CliRunner().invoke(app, ["report", str(hostile), "--data", str(moved), "--split", "train"])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(hostile / "report.html")
    text = Page((hostile / "report.html").read_text(encoding="utf-8")).text
    assert "All predictions below are for the train split." in text
    assert "the scores say nothing about new ones" in text
    (hostile / "report.html").write_bytes(before)
    assert CliRunner().invoke(app, ["report", str(hostile), "--split", "dev"]).exit_code == 1
    assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 1


@pytest.mark.parametrize(
    ("spec", "item", "location", "shown"),
    [
        ({"train": "voices"}, "/d/voices/anna/01.wav", "/d/voices/anna/01.wav", "anna/01.wav"),
        ({"train": "c/c.csv", "audio": "c/audio"}, "/d/c/audio/x/1.wav", "/d/c/c.csv:7", "x/1.wav"),
        ({"train": "c/c.csv", "audio": "../audio"}, "/d/../audio/x/1.wav", "/d/c/c.csv:7", "x/1.wav"),
        ({"train": "c/c.csv"}, "/d/c/x/1.wav", "/d/c/c.csv:7", "x/1.wav"),
        ({"train": "c.csv"}, AudioFile("/d/c.tar", "x/1.wav"), "/d/c.csv:7", "x/1.wav"),
        ({"train": "c.csv"}, (None, 16000), "/d/c.csv:7", "c.csv:7"),
    ],
)
def test_a_recording_has_its_path_as_the_data_has_it(
    spec: dict[str, str], item: Any, location: str, shown: str
) -> None:
    assert reports._location(run_of(spec, item, location, suffixes=(".wav",)), "task", 0) == shown


def test_a_text_has_its_line_or_its_file() -> None:
    for location, shown in (("/d/a.csv:7", "a.csv:7"), ("/d/mails/spam/1.txt", "spam/1.txt")):
        assert reports._location(run_of({"train": "mails"}, "a text", location), "task", 0) == shown


def test_a_page_says_when_nothing_may_be_marked() -> None:
    judged = [
        Judged(i, [Number({"y": 0.0}, distance=i / 2), Number({"y": 0.0}, distance=0.0)], [0.0, None])
        for i in range(7)
    ]  # an item of two vectors has their mean
    for items, warned in ((113, True), (199, False)):
        record = {"dev": [{"tasks": ["x", "y"], "items": items}]}
        some: Any = (
            None,
            None,
            {},
            {"y": reports.Scored(Source("graph", [], {}), judged)},
            [],
            record,
            [],
            None,
        )
        said = " ".join(reports._confidence(reports.Run(*some), "y"))
        assert "(distance above 1): 2 of 7 items. The largest distance is 1.5." in said
        assert ("the farthest of them alone is the limit" in said) == warned


def run_of(spec: dict[str, str], item: Any, location: str, **adapter: Any) -> Any:
    """As much of a run as the place of its only item needs."""
    source = Source("mine", [item], {"task": [None]}, 1.0, [location])
    recipe = SimpleNamespace(tables={"data": {"data": spec}}, tasks={"task": {"data": "data"}})
    model = SimpleNamespace(adapter=lambda _: SimpleNamespace(**adapter))
    some: Any = (model, recipe, {}, {"task": reports.Scored(source, [])}, [], {}, [], None)
    return reports.Run(*some)


def test_no_number_is_the_least_sure_if_all_intervals_are_equally_wide() -> None:
    def notes(*widths: float) -> str:
        results = [Number({"x": i / 3}, intervals={"x": (i / 3, i / 3 + w)}) for i, w in enumerate(widths)]
        judged = [Judged(i, [result], [0.0]) for i, result in enumerate(results)]
        head = SimpleNamespace(head=SimpleNamespace(level="set"))
        source = Source("mine", ["a"] * len(widths), {"task": [0.0] * len(widths)}, 1.0, [])
        model = SimpleNamespace(adapter=lambda _: SimpleNamespace(), task=lambda _: head)
        recipe = SimpleNamespace(tables={"data": {"data": {}}}, tasks={"task": {"data": "data"}})
        some: Any = (model, recipe, {}, {"task": reports.Scored(source, judged)}, [], {}, [], None)
        return str(list(reports._ranked(reports.Run(*some), "task")))

    equal, different = notes(*[0.7] * 12), notes(*range(1, 13))
    assert "No prediction is surer than another: all intervals are equally wide." in equal
    assert "least sure" not in equal
    assert "The least sure predictions" in different


def test_pictures_and_sounds_share_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "LARGEST", 1000)
    none: Any = None
    scored = {name: reports.Scored(none, []) for name in "ab"}
    run = reports.Run(none, none, {}, scored, [], {}, [], none)
    picture = Picture("<svg>" + "x" * 295 + "</svg>", "lines")
    kinds = [reports._view(run, task, picture)["kind"] for task in "aabb"]
    assert kinds == ["picture", "text", "picture", "text"]  # 408 of 500 bytes, then 408 of 592
    monkeypatch.setattr(reports, "LARGEST", 10**6)
    sound = Sound(b"x" * 200_000, "audio/flac", "noise")
    assert "sound is left out" in reports._view(run, "b", sound)["text"]
    data = reports._view(run, "b", Sound(b"abc", "audio/flac", "noise"))["data"]
    assert data == "data:audio/flac;base64," + base64.b64encode(b"abc").decode()


# --- in a browser ---------------------------------------------------------------------------------

PROBE = """<script>addEventListener("load", () => {
const images = [...document.images];
document.body.dataset.probe = JSON.stringify({
  hacked: window.hacked ?? null, images: images.length,
  loaded: images.filter(i => i.complete && i.naturalWidth > 0).length,
  width: innerWidth, page: document.documentElement.scrollWidth,
  unnamed: [...document.querySelectorAll("svg[role=img], audio, img")].filter(
    e => !e.getAttribute("aria-label") && !e.getAttribute("alt")).length,
});});</script>"""
"""Measures a page from inside. The page's own policy forbids scripts, so the test removes it first: then a
script of the users' data could run too, and images from elsewhere would be asked for."""


@pytest.fixture(scope="module")
def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), "")
    if not found and os.environ.get("CI"):
        pytest.fail("no Chromium: the report must be looked at in a browser; install the package chromium")
    if not found:
        pytest.skip("needs Chromium (Debian's package chromium)")
    return found


def looked_at(browser: str, page: Path, *options: str) -> tuple[str, str]:
    """The document after loading, and what the browser's console says."""
    profile = page.parent / "profile"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
        "--enable-logging=stderr", *options, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    assert "</html>" in done.stdout
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def probed(browser: str, html: str, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """What a script inside the page measures without the policy that forbids scripts; and the console."""
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', html)
    assert policy is not None
    (folder / "probe.html").write_text(html.replace(policy[0], PROBE), encoding="utf-8")
    document, console = looked_at(browser, folder / "probe.html", *options)
    [probe] = [value for _, name, value in Page(document).attributes if name == "data-probe"]
    found: dict[str, Any] = json.loads(probe)
    return found, console


def test_a_browser_shows_it_and_asks_for_nothing(browser: str, html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    document, console = looked_at(browser, tmp_path / "report.html")
    assert console == ""  # nothing was blocked, because nothing tried
    assert not Page(document).tags["script"]
    found, console = probed(browser, html, tmp_path, "--window-size=390,844")
    assert console == ""  # a failed fetch is told there, and here every one fails
    assert found["hacked"] is None
    assert found["images"] == found["loaded"] == Page(html).tags["img"]
    assert found["unnamed"] == 0
    assert found["width"] <= 500
    assert found["page"] <= found["width"]  # nobody has to scroll sideways on a phone


def test_the_probe_sees_what_it_looks_for(browser: str, html: str, tmp_path: Path) -> None:
    # With the users' texts as markup, a script runs, requests leave, an image is missing, and it is too wide.
    wide = '<p style="width: 3000px">wide</p>'
    bad = f'<header>{SCRIPT}<img src="nowhere.png">{wide}'
    found, console = probed(browser, html.replace("<header>", bad, 1), tmp_path)
    assert found["hacked"] == 1
    pictures = Page(html).tags["img"]
    assert (found["images"], found["loaded"], found["unnamed"]) == (pictures + 1, pictures, 1)
    assert found["page"] > found["width"]
    assert "Failed to fetch" in console
