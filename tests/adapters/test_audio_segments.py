"""Parts of recordings: the same samples as cut from the whole, in bounded memory, known by content."""

from __future__ import annotations

import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from multiseq.adapters._speech.audio import content_of, open_audio, read_audio
from multiseq.adapters.speech import AudioFile, AudioSegment, SpeechAdapter
from multiseq.training.digest import digest_of

RATE = 8000
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS", "mp3": None, "aiff": "PCM_16"}


def sound(path: Path, seconds: float = 3.0, channels: int = 1) -> Path:
    samples = np.random.default_rng(0).standard_normal((int(seconds * RATE), channels)) / 20
    kind = FORMATS[path.suffix[1:]]
    soundfile.write(path, samples, RATE, subtype=kind, format="OGG" if kind == "OPUS" else None)
    return path


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.7, 1.9), (2.5, 3.0), (1.3, None)])
def test_a_segment_is_cut_from_the_whole(
    tmp_path: Path, ending: str, channels: int, start: float, end: float | None
) -> None:
    path = sound(tmp_path / f"a.{ending}", channels=channels)
    whole, rate = read_audio(path)
    found, same = read_audio(AudioSegment(path, start, end))
    assert rate == same
    last = len(whole) if end is None else round(end * rate)
    torch.testing.assert_close(found, whole[round(start * rate) : last], rtol=0, atol=1e-6)
    assert open_audio(AudioSegment(path, start, end)).length == len(found)


def test_a_segment_in_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(sound(tmp_path / "a.flac"), "a.flac")
    found, _ = read_audio(AudioSegment(AudioFile(tmp_path / "a.tar", "a.flac"), 1.0, 1.5))
    assert torch.equal(found, read_audio(tmp_path / "a.flac")[0][RATE : RATE * 3 // 2])


def test_a_segment_may_end_half_a_second_after_its_recording(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav")
    assert len(read_audio(AudioSegment(path, 2.5, 3.5))[0]) == RATE / 2
    for start, end in ((2.5, 3.6), (3.0, 3.2), (5.0, None)):
        with pytest.raises(
            ValueError, match=r"a\.wav, .*: got a segment of a recording of 3\.00 s, expected one that"
        ):
            open_audio(AudioSegment(path, start, end))
    with pytest.raises(ValueError, match="expected the whole segment; the recording is shorter"):
        read_audio(AudioSegment(sound(tmp_path / "a.mp3"), 2.5, 4.0))  # its header does not say its length


@pytest.mark.parametrize(
    "times", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (0.0, float("nan"))]
)
def test_times_that_are_no_segment(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"a\.wav, .* s: expected times in seconds, 0 <= start < end"):
        AudioSegment("a.wav", *times)


def test_a_segment_shorter_than_a_sample(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got a segment without a sample, expected a longer one"):
        open_audio(AudioSegment(sound(tmp_path / "a.wav"), 1.0, 1.00001))


def test_only_the_segment_is_decoded(tmp_path: Path) -> None:
    """A minute is 1.9 MB as floats; its last tenth of a second is 3 kB."""
    path = sound(tmp_path / "long.wav", seconds=60)
    item = AudioSegment(path, 59.9, 60.0)
    read_audio(item)
    tracemalloc.start()
    assert len(read_audio(item)[0]) == RATE // 10
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_content_is_that_of_the_file_and_the_times(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav")
    moved = tmp_path / "b.wav"
    moved.write_bytes(path.read_bytes())

    def digest(item: AudioSegment) -> str:
        return digest_of([SpeechAdapter.content(made, item)])

    made = SpeechAdapter([0.0] * 5, [1.0] * 5, 8)
    first = digest(AudioSegment(path, 1.0, 2.0))
    assert digest(AudioSegment(moved, 1.0, 2.0)) == first
    assert digest(AudioSegment(path, 1.0, 2.5)) != first
    assert digest(AudioSegment(path, 0.5, 2.0)) != first
    assert digest_of([content_of(path)]) != first
    soundfile.write(path, np.zeros(RATE * 3), RATE)
    assert digest(AudioSegment(path, 1.0, 2.0)) != first


def test_an_example_is_that_of_the_cut_sound(tmp_path: Path) -> None:
    made = SpeechAdapter([0.0] * 20, [1.0] * 20, 8, sample_rate=RATE)
    path = sound(tmp_path / "a.wav")
    whole, _ = read_audio(path)
    [found] = made.prepare(AudioSegment(path, 1.0, 2.0))
    [wanted] = made.prepare((whole[RATE : 2 * RATE], RATE))
    assert torch.equal(found.log_mel, wanted.log_mel)
    assert found.source == f"{path}, 1 to 2 s"
