"""Render the starter set of short spoken clips with espeak-ng.

Usage::

    python tools/make_clips.py --out DIR

The output folder receives three files:

``clips.tar``
    800 mono 16 kHz Ogg Opus files in an uncompressed tar archive.
``manifest.tsv``
    One row per clip: clip, split, speaker, text, seconds, voice.
``phones.tsv``
    One row per phone segment: clip, start, end, phone (times in seconds).

Needed: the shared library ``libespeak-ng`` (Debian: ``libespeak-ng1``) with its voice data,
numpy and soundfile.  The same seed and library versions give the same bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import io
import itertools
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE_OUT = 16000
RATE_ESPEAK = 22050
BLOCK_OUT, BLOCK_ESPEAK = 320, 441  # 20 ms at both rates
COMPRESSION = 0.945  # libsndfile maps this to about 20 kbit/s for Opus

SIL = "sil"
STOPS = frozenset("ptkbdg")
MAX_CLOSURE = 0.060  # seconds of silence before a burst that count as its closure
MIN_PAUSE = 0.030  # shorter gaps inside an utterance are not a pause
MIN_PHONE = 0.025  # shorter phones (not stops) begin earlier, inside the phone before them
ALONE_RATE = 0.80  # single words are spoken slower


class Voice(NamedTuple):
    """An espeak-ng voice with its usual rate (words per minute) and pitch (0 to 100)."""

    label: str
    name: str
    rate: int
    pitch: int


VOICES = (
    Voice("v00", "en-us", 195, 50),
    Voice("v01", "en+m7", 180, 32),
    Voice("v02", "en-gb-scotland+klatt4", 190, 72),
    Voice("v03", "en-029+Lee", 195, 70),
    Voice("v04", "en-gb-x-rp+david", 200, 45),
    Voice("v05", "en-us+steph3", 190, 48),
    Voice("v06", "en+linda", 205, 52),
    Voice("v07", "en-gb-scotland+f1", 200, 40),
    Voice("v08", "en-029+Annie", 195, 62),
    Voice("v09", "en-us-nyc+shelby", 210, 55),
)

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Each entry is a sequence of slots; the words of a slot are separated by "|", "-" is no word.
GRAMMAR = (
    "stop|start|play|go|next|open|close|call|up|down|left|right|on|off|back|home",
    "turn on|off|up the light|radio|music|volume",
    "turn the light|radio on|off",
    "turn the music|volume up|down",
    "turn left|right|back",
    "open|close the door|window",
    "open|close door|window",
    "go left|right|back|home|up|down",
    "go up|down left|right",
    "stop|start|play the|- music|song|radio",
    "next song",
    "play the next song",
    "play song one|two|three|four|five|six|seven|eight|nine",
    "volume up|down|zero|one|two|three|four|five|six|seven|eight|nine",
    "radio on|off",
    "light on|off",
    "call home|back|one|two|three|four|five|six|seven|eight|nine",
    "open|close the left|right|back door|window",
    "go back home",
)

# espeak phoneme name -> label; stress and length marks are gone, close allophones share a label.
PHONES = {
    **{name: name for name in "pbtdkgfvTDszhmnNlrjwIEaV@"},
    **{name: name for name in ("eI", "aI", "aU", "oU", "i@")},
    "t2": "t",
    "t[": "t",
    "r-": "r",
    "I2": "I",
    "i:": "i",
    "i": "i",
    "A@": "A",
    "A:": "A",
    "0": "Q",
    "O2": "Q",
    "O:": "O",
    "o@": "O",
    "O@": "O",
    "3:": "3r",
    "VR": "3r",
    "@2": "@",
    "aI2": "aI",
    "u:": "u",
    "U": "u",
    "_": SIL,
    "_:": SIL,
    "_!": SIL,
}
GLIDES = frozenset({";"})  # markers that belong to the phone before them

CLIPS = {"train": 56, "dev": 6, "test": 18}  # clips per voice


# --- texts and splits ----------------------------------------------------------------------


def command_texts() -> list[str]:
    """List all word strings of the command grammar, each once, in a fixed order."""
    texts: dict[str, None] = {}
    for rule in GRAMMAR:
        slots = [slot.split("|") for slot in rule.split()]
        for words in itertools.product(*slots):
            texts[" ".join(word for word in words if word != "-")] = None
    return list(texts)


def digit_texts(rng: np.random.Generator) -> list[str]:
    """List the ten single digits and a random choice of strings of two to four digits."""
    texts = dict.fromkeys(DIGITS)
    for length, count in ((2, 70), (3, 70), (4, 50)):
        wanted = len(texts) + count
        while len(texts) < wanted:
            texts[" ".join(rng.choice(DIGITS, size=length))] = None
    return list(texts)


def hold_out(texts: Sequence[str], counts: Sequence[int], rng: np.random.Generator) -> list[list[str]]:
    """Split off groups of multi-word texts; the last list holds what is left."""
    movable = [text for text in texts if " " in text]
    order = [movable[i] for i in rng.permutation(len(movable))]
    groups = []
    for count in counts:
        groups.append(order[:count])
        order = order[count:]
    taken = {text for group in groups for text in group}
    return [*groups, [text for text in texts if text not in taken]]


def draw_train(
    digits: Sequence[str],
    commands: Sequence[str],
    count: int,
    tally: Counter[str],
    rng: np.random.Generator,
) -> list[str]:
    """Choose different texts for one voice, half digits and half commands.

    Commands are drawn by a word that they contain, the more likely the fewer `tally` has of it.
    """
    chosen: dict[str, None] = {}
    words = sorted({word for text in commands for word in text.split()} - set(DIGITS))
    while len(chosen) < count:
        if len(chosen) % 2:
            length = int(rng.choice(4, p=(0.16, 0.28, 0.28, 0.28))) + 1
            options = [text for text in digits if len(text.split()) == length]
        else:
            weights = np.array([1 / (1 + tally[word]) ** 2 for word in words])
            word = rng.choice(words, p=weights / weights.sum())
            options = [text for text in commands if word in text.split()]
        options = [text for text in options if text not in chosen]
        if options:
            text = str(rng.choice(options))
            chosen[text] = None
            tally.update(text.split())
    return list(chosen)


class Clip(NamedTuple):
    """What to render: a text in a voice, for a split."""

    split: str
    voice: Voice
    text: str


def plan(rng: np.random.Generator) -> list[Clip]:
    """Choose the texts of all clips; no (voice, text) pair comes twice."""
    new_d = hold_out(digit_texts(rng), (60, 20), rng)
    new_c = hold_out(command_texts(), (30, 10), rng)
    new = {"test": new_d[0] + new_c[0], "dev": new_d[1] + new_c[1]}
    tally: Counter[str] = Counter()
    train = {v: draw_train(new_d[2], new_c[2], CLIPS["train"], tally, rng) for v in VOICES}
    clips = [Clip("train", voice, text) for voice in VOICES for text in train[voice]]
    seen = list(dict.fromkeys(clip.text for clip in clips))
    used = {voice: set(texts) for voice, texts in train.items()}
    for split in ("dev", "test"):
        fresh = [new[split][i] for i in rng.permutation(len(new[split]))]
        half = CLIPS[split] // 2
        for number, voice in enumerate(VOICES):
            known = [text for text in seen if text not in used[voice]]
            picked = [str(text) for text in rng.choice(known, size=half, replace=False)]
            picked += fresh[number * half : (number + 1) * half]
            used[voice].update(picked)
            clips += [Clip(split, voice, text) for text in picked]
    return clips


# --- synthesis -----------------------------------------------------------------------------


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_SYNCHRONOUS, _PHONEME_EVENTS, _EVENT_PHONEME = 2, 1, 7
_PARAM_RATE, _PARAM_PITCH = 1, 3
_POS_CHARACTER, _CHARS_UTF8 = 1, 1


class Mark(NamedTuple):
    """A phoneme name and the sample at which espeak starts it."""

    sample: int
    name: str


class Espeak:
    """The espeak-ng C library, set up to hand back samples and phoneme events."""

    def __init__(self, library: str = "libespeak-ng.so.1") -> None:
        self._lib = ctypes.CDLL(library)
        self._libc = ctypes.CDLL(None)
        self._audio: list[NDArray[np.int16]] = []
        self._marks: list[Mark] = []
        rate = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        if rate != RATE_ESPEAK:
            raise RuntimeError(f"espeak-ng gave sample rate {rate}, expected {RATE_ESPEAK}")
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only a pointer
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, wav: Any, count: int, events: Any) -> int:
        if wav and count:
            self._audio.append(np.ctypeslib.as_array(wav, (count,)).copy())
        for event in itertools.takewhile(lambda event: event.type, events):
            if event.type == _EVENT_PHONEME:
                self._marks.append(Mark(event.sample, event.id.string.decode()))
        return 0

    def render(self, text: str, voice: str, rate: int, pitch: int, seed: int) -> tuple[Floats, list[Mark]]:
        """Give samples at RATE_ESPEAK (full scale 1.0) and phoneme marks of a text."""
        self._audio, self._marks = [], []
        self._libc.srand(seed)  # espeak draws its fricative and breath noise from rand()
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._lib.espeak_SetParameter(_PARAM_RATE, rate, 0)
        self._lib.espeak_SetParameter(_PARAM_PITCH, pitch, 0)
        data = text.encode() + b"\0"
        if self._lib.espeak_Synth(data, len(data), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None):
            raise RuntimeError(f"espeak-ng could not render {text!r}")
        return np.concatenate(self._audio) / 32768.0, self._marks


# --- phone segments ------------------------------------------------------------------------


class Segment(NamedTuple):
    """A phone from start up to end (in samples until `finish`, then in seconds)."""

    start: float
    end: float
    phone: str


def gap_start(samples: Floats, stop: int, floor: int) -> int:
    """Where the (near-)silence that ends at `stop` begins; not before `floor`."""
    loud = np.flatnonzero(np.abs(samples[floor:stop]) > 0.003 * np.abs(samples).max())
    return floor + int(loud[-1]) + 1 if len(loud) else floor


def with_gaps(samples: Floats, marks: Sequence[Mark]) -> Iterator[Mark]:
    """Move marks so that silence before a phone is its closure (stops) or a pause.

    espeak puts the mark of a voiceless stop at its burst, so that the closure would count to
    the phone before it.
    """
    floor = 0
    for mark in marks:
        begin = gap_start(samples, mark.sample, floor) if mark.sample > floor else mark.sample
        seconds = (mark.sample - begin) / RATE_ESPEAK
        if mark.name in STOPS and floor > 0:
            if seconds > MAX_CLOSURE + MIN_PAUSE:
                yield Mark(begin, SIL)
                begin = mark.sample - round(MAX_CLOSURE * RATE_ESPEAK)
            yield Mark(begin, mark.name)
        else:
            if seconds > MIN_PAUSE:
                yield Mark(begin, SIL)
            yield mark
        floor = mark.sample


def widened(segments: Sequence[Segment]) -> list[Segment]:
    """Let very short phones begin earlier.

    espeak marks the end of the glide into a weak vowel or a final liquid, which can leave it only
    some milliseconds.
    """
    result = list(segments)
    least = round(MIN_PHONE * RATE_ESPEAK)
    for i, (before, segment) in enumerate(itertools.pairwise(segments), start=1):
        start = segment.end - least
        if segment.phone in STOPS or SIL in (before.phone, segment.phone):
            continue
        if result[i - 1].start + least <= start < segment.start:
            result[i - 1] = result[i - 1]._replace(end=start)
            result[i] = segment._replace(start=start)
    return result


def segments_of(samples: Floats, marks: Sequence[Mark]) -> list[Segment]:
    """Contiguous segments over all samples; the first and last are silence."""
    named = [Mark(m.sample, PHONES[m.name]) for m in marks if m.name not in GLIDES]
    starts = [Mark(0, SIL), *with_gaps(samples, named)]
    ends = [mark.sample for mark in starts[1:]] + [len(samples)]
    result: list[Segment] = []
    for (start, phone), end in zip(starts, ends, strict=True):
        if end <= start:
            continue
        if result and phone == result[-1].phone == SIL:
            result[-1] = result[-1]._replace(end=end)
        else:
            result.append(Segment(start, end, phone))
    return widened(result)


@dataclass
class Spoken:
    """A rendered clip: samples and segments at one rate."""

    samples: Floats
    segments: list[Segment]


def set_ends(spoken: Spoken, lead: int, trail: int) -> Spoken:
    """Give the clip `lead` samples of silence first and about `trail` last (whole blocks)."""
    inner = [s for s in spoken.segments if s.phone != SIL]
    first, last = int(inner[0].start), int(inner[-1].end)
    tail = spoken.samples[last:][:trail]
    length = lead + last - first + trail
    length += -length % BLOCK_ESPEAK
    samples = np.zeros(length)
    samples[lead : lead + last - first] = spoken.samples[first:last]
    samples[lead + last - first :][: len(tail)] = tail
    kept = [s for s in spoken.segments if first <= s.start and s.end <= last]
    moved = [Segment(s.start - first + lead, s.end - first + lead, s.phone) for s in kept]
    return Spoken(
        samples,
        [Segment(0, lead, SIL), *moved, Segment(lead + last - first, length, SIL)],
    )


# --- audio ---------------------------------------------------------------------------------


def resample(samples: Floats) -> Floats:
    """From RATE_ESPEAK to RATE_OUT without delay; the length must be whole blocks."""
    length = len(samples) // BLOCK_ESPEAK * BLOCK_OUT
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    hertz = np.fft.rfftfreq(length, 1 / RATE_OUT)
    fade = np.clip((8000 - hertz) / 700, 0, 1)
    window = 0.5 - 0.5 * np.cos(np.pi * fade)
    result: Floats = np.fft.irfft(spectrum * window, length) * (length / len(samples))
    return result


def noise(length: int, pink: bool, rng: np.random.Generator) -> Floats:
    """White or pink noise of power one."""
    white = rng.standard_normal(length)
    if not pink:
        return white
    hertz = np.fft.rfftfreq(length, 1 / RATE_OUT)
    shaped: Floats = np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.maximum(hertz, 40)), length)
    shaped /= np.sqrt(np.mean(shaped**2))
    return shaped


def finish(spoken: Spoken, rng: np.random.Generator) -> Spoken:
    """Resample, set a random level and add random background noise; segments in seconds."""
    samples = resample(spoken.samples)
    segments = [
        Segment(round(s.start / RATE_ESPEAK, 4), round(s.end / RATE_ESPEAK, 4), s.phone)
        for s in spoken.segments
    ]
    speech = np.concatenate(
        [samples[round(s.start * RATE_OUT) : round(s.end * RATE_OUT)] for s in segments if s.phone != SIL]
    )
    power = float(np.mean(speech**2))
    snr = rng.uniform(15, 40)
    scale = np.sqrt(power / 10 ** (snr / 10))
    mixed = samples + scale * noise(len(samples), bool(rng.random() < 0.5), rng)
    level = 10 ** (rng.uniform(-26, -18) / 20) / np.sqrt(power)
    return Spoken(mixed * min(level, 0.95 / np.abs(mixed).max()), segments)


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        table.append(crc & 0xFFFFFFFF)
    return table


_CRC = _crc_table()


def fix_serial(data: bytes, serial: int) -> bytes:
    """Set the serial number (random in libsndfile) of every page of an Ogg stream."""
    pages = bytearray(data)
    at = 0
    while at < len(pages):
        count = pages[at + 26]
        size = 27 + count + sum(pages[at + 27 : at + 27 + count])
        pages[at + 14 : at + 18] = serial.to_bytes(4, "little")
        pages[at + 22 : at + 26] = bytes(4)
        crc = 0
        for byte in pages[at : at + size]:
            crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC[(crc >> 24) ^ byte]
        pages[at + 22 : at + 26] = crc.to_bytes(4, "little")
        at += size
    return bytes(pages)


def encode(samples: Floats, serial: int) -> bytes:
    """Ogg Opus bytes of a mono clip."""
    soundfile: Any = importlib.import_module("soundfile")
    stream = io.BytesIO()
    soundfile.write(
        stream,
        samples.astype(np.float32),
        RATE_OUT,
        format="OGG",
        subtype="OPUS",
        compression_level=COMPRESSION,
    )
    return fix_serial(stream.getvalue(), serial)


# --- files ---------------------------------------------------------------------------------


def render_clip(espeak: Espeak, clip: Clip, seed: int, index: int) -> Spoken:
    """Render one clip with its own random rate, pitch, pauses, level and noise."""
    rng = np.random.default_rng([seed, index])
    usual = clip.voice.rate * (1.0 if " " in clip.text else ALONE_RATE)
    rate = round(usual * rng.uniform(0.88, 1.16))
    pitch = round(clip.voice.pitch + rng.uniform(-7, 7))
    samples, marks = espeak.render(clip.text, clip.voice.name, rate, pitch, 1000 * seed + index)
    lead, trail = (round(s * RATE_ESPEAK) for s in rng.uniform(0.040, 0.100, size=2))
    return finish(set_ends(Spoken(samples, segments_of(samples, marks)), lead, trail), rng)


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a tab-separated table with a header line."""
    lines = ["\t".join(header), *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to the archive with fixed metadata."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    archive.addfile(info, io.BytesIO(data))


def check(clips: Sequence[Clip], spoken: Sequence[Spoken]) -> None:
    """Raise if the set lacks a property that its description promises."""
    pairs = Counter((clip.voice.label, clip.text) for clip in clips)
    if max(pairs.values()) > 1:
        raise ValueError("a (voice, text) pair comes twice")
    words = Counter(w for clip in clips if clip.split == "train" for w in clip.text.split())
    rare = {w for clip in clips for w in clip.text.split() if words[w] < 12}
    if rare:
        raise ValueError(f"too rare in train: {sorted(rare)}")
    for clip, item in zip(clips, spoken, strict=True):
        edges = [0.0, *(segment.end for segment in item.segments)]
        starts = [segment.start for segment in item.segments]
        seconds = round(len(item.samples) / RATE_OUT, 4)
        if starts != edges[:-1] or edges != sorted(set(edges)) or edges[-1] != seconds:
            raise ValueError(f"bad segments: {clip}")


def make(out: Path, seed: int) -> None:
    """Render all clips and write the three files to `out`."""
    clips = plan(np.random.default_rng(seed))
    espeak = Espeak()
    spoken = [render_clip(espeak, clip, seed, index) for index, clip in enumerate(clips)]
    check(clips, spoken)
    names = [f"{clip.voice.label}_{index:04d}.ogg" for index, clip in enumerate(clips)]
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out / "clips.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for index, (name, item) in enumerate(zip(names, spoken, strict=True)):
            add_member(archive, name, encode(item.samples, index + 1))
    write_tsv(
        out / "manifest.tsv",
        ("clip", "split", "speaker", "text", "seconds", "voice"),
        (
            (
                name,
                clip.split,
                clip.voice.label,
                clip.text,
                f"{len(item.samples) / RATE_OUT:.2f}",
                clip.voice.name,
            )
            for name, clip, item in zip(names, clips, spoken, strict=True)
        ),
    )
    write_tsv(
        out / "phones.tsv",
        ("clip", "start", "end", "phone"),
        (
            (name, f"{segment.start:.4f}", f"{segment.end:.4f}", segment.phone)
            for name, item in zip(names, spoken, strict=True)
            for segment in item.segments
        ),
    )


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Render the starter set of spoken clips.")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    make(options.out, options.seed)


if __name__ == "__main__":
    main()
