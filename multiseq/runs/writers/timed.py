"""Predictions with times: TextGrids of Praat, subtitles (SRT, WebVTT), and CTM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.recordings import is_audio
from multiseq.results import Spoken
from multiseq.runs.writers.base import Filled, as_bytes, chained
from multiseq.system.files import put, replace_file, replace_folder, write_whole

__all__ = ["CtmWriter", "TimedWriter", "srt", "text_grid", "vtt", "word_grid"]

PAUSE, LONGEST, LETTERS = 0.8, 6.0, 84
"""A subtitle ends at a pause of so many seconds, and lasts at most so long with at most so many letters."""


def spoken_in(added: Mapping[str, Any], names: Mapping[str, str]) -> list[Spoken]:
    """The words or the segments in the columns of a prediction.

    Args:
        added: The columns.
        names: The name in `multiseq.runs.columns.columns_of` -> the name of the column.
    """
    column = {key: added.get(names.get(key, key)) or [] for key in ("words", "segments", "confidence")}
    if column["words"]:
        return [Spoken(w["text"], w["start"], w["end"], w["confidence"]) for w in column["words"]]
    if not column["segments"]:
        return []  # the confidence is that of a text
    pairs = zip(column["segments"], column["confidence"], strict=True)
    return [Spoken(label, start, end, share) for (start, end, label), share in pairs]


class CtmWriter:
    """CTM of NIST: a line for each word or segment of each recording, with start and duration in seconds.

    ``recording 1 0.320 0.290 yes 0.98`` (https://github.com/usnistgov/SCTK/blob/master/doc/infmts.htm)

    Args:
        names: As for `spoken_in`.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some recordings."""
        lines = []
        for row, added in filled:
            for one in spoken_in(added, self.names):
                name, word = ("_".join(str(text).split()) for text in (_stem(row.name), one.text))
                lines.append(
                    f"{name} 1 {one.start:.3f} {one.end - one.start:.3f} {word} {one.confidence:.2f}\n"
                )
        return as_bytes("".join(lines))

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """All chunks."""
        replace_file(out, lambda fresh: chained(fresh, chunks))


class TimedWriter:
    """A file for each recording: a TextGrid or subtitles. A chunk has a JSON line for each recording.

    Args:
        render: From words or segments, and the seconds of the recording, to the content of its file.
        ending: The ending of the files.
        names: As for `spoken_in`; ``seconds`` too.
        folder: Whether the result is a folder, with a file for each recording. Otherwise it is one file.
    """

    def __init__(
        self,
        render: Callable[[Sequence[Spoken], float], str],
        ending: str,
        names: Mapping[str, str],
        folder: bool,
    ) -> None:
        self.render, self.ending, self.names, self.folder = render, ending, names, folder

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some recordings."""
        lines = []
        for row, added in filled:
            if not row.name:
                continue  # a row of the table that cannot be read names no recording
            seconds = added.get(self.names.get("seconds", "seconds")) or 0.0
            content = self.render(spoken_in(added, self.names), seconds)
            lines.append(json.dumps({"name": _stem(row.name), "content": content}) + "\n")
        return "".join(lines).encode()

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """The file of the only recording, or the folder. Recordings of the same name get a number."""
        if self.folder:
            replace_folder(out, lambda fresh: self._fill(fresh, chunks))
            return
        contents = [content for _, content in _recordings(chunks)]
        if len(contents) != 1:
            raise ValueError(
                f"{out}: got {len(contents)} recordings, expected one; give a folder for several: "
                f"--output {_folder_for(out)}"
            )
        write_whole(out, as_bytes(contents[0]))

    def _fill(self, folder: Path, chunks: Sequence[Path]) -> None:
        seen: dict[str, int] = {}
        for name, content in _recordings(chunks):
            path, number = folder / f"{name}{self.ending}", seen.get(name, 1)
            while path.exists():  # a recording may also be called a-2
                number += 1
                path = folder / f"{name}-{number}{self.ending}"
            seen[name] = number
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, as_bytes(content))


def _folder_for(out: Path) -> str:
    folder = out.with_suffix("")
    return f"{folder}/" if out.suffix.lower() == ".textgrid" else f"'{folder}/*{out.suffix}'"


def _recordings(chunks: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for chunk in chunks:
        with chunk.open(encoding="utf-8") as lines:
            for line in lines:
                recording = json.loads(line)
                yield recording["name"], recording["content"]


def _stem(name: str) -> str:
    """The name of a recording without its ending, and without folders that lead out of the output."""
    path = Path(name).with_suffix("") if is_audio(name) else Path(name)  # utterances may be called a.1
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


# --- subtitles ------------------------------------------------------------------------------------


def srt(words: Sequence[Spoken], seconds: float) -> str:
    """Subtitles as SubRip has them.

    >>> print(srt([Spoken("so", 60.5, 60.75, 0.9), Spoken("good", 60.75, 61.25, 0.8)], 62.0), end="")
    1
    00:01:00,500 --> 00:01:01,250
    so good
    <BLANKLINE>
    """
    cues = enumerate(_cues(words), 1)
    return "".join(f"{i}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{text}\n\n" for i, (a, b, text) in cues)


def vtt(words: Sequence[Spoken], seconds: float) -> str:
    """Subtitles for browsers (https://www.w3.org/TR/webvtt1/)."""
    safe = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = [f"{_clock(a, '.')} --> {_clock(b, '.')}\n{t.translate(safe)}\n\n" for a, b, t in _cues(words)]
    return "".join(["WEBVTT\n\n", *cues])


def _cues(words: Sequence[Spoken]) -> Iterator[tuple[float, float, str]]:
    cue: list[Spoken] = []
    for word in words:
        text = " ".join(w.text for w in [*cue, word])
        if cue and (
            word.start - cue[-1].end >= PAUSE or word.end - cue[0].start > LONGEST or len(text) > LETTERS
        ):
            yield cue[0].start, cue[-1].end, " ".join(w.text for w in cue)
            cue = []
        cue.append(word)
    if cue:
        yield cue[0].start, cue[-1].end, " ".join(w.text for w in cue)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, minutes, rest = milliseconds // 3_600_000, milliseconds // 60_000 % 60, milliseconds % 60_000
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


# --- TextGrids ------------------------------------------------------------------------------------


def word_grid(tier: str) -> Callable[[Sequence[Spoken], float], str]:
    """A function that makes a TextGrid of two tiers: the words or segments, and their confidence."""

    def render(spoken: Sequence[Spoken], seconds: float) -> str:
        intervals, place = [], 0.0
        for one in spoken:
            if one.start > place:  # intervals follow each other
                intervals.append((place, one.start, "", ""))
            intervals.append((one.start, one.end, one.text, str(one.confidence)))
            place = one.end
        if place < seconds:
            intervals.append((place, seconds, "", ""))
        texts = [(start, end, text) for start, end, text, _ in intervals]
        return text_grid([(tier, texts), ("confidence", [(a, b, share) for a, b, _, share in intervals])])

    return render


def text_grid(tiers: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> str:
    """A TextGrid in Praat's long form.

    Args:
        tiers: (name, intervals) of each; an interval is (start, end, text), in seconds and without gaps.
    """
    ends = [interval[1] for _, intervals in tiers for interval in intervals]
    end = max(ends, default=0.0)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers, 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
        ]
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for i, (first, last, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{i}]:",
                f"            xmin = {first}",
                f"            xmax = {last}",
            ]
            lines.append(f"            text = {_quoted(text)}")
    return "\n".join(lines) + "\n"


def _quoted(text: Any) -> str:
    doubled = str(text).replace('"', '""')
    return f'"{doubled}"'
