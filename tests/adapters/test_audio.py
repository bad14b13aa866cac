"""Reading audio: in blocks, whole or refused, several channels, archives, limits."""

from __future__ import annotations

import tarfile
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from multiseq.adapters._speech import audio as _audio
from multiseq.adapters._speech import log_mel as _log_mel
from multiseq.adapters._speech.audio import AudioFile, open_audio, read_audio
from multiseq.adapters._speech.log_mel import log_mel, resample, resample_blocks, resampled_length
from multiseq.adapters.speech import SpeechAdapter

RATE = 16000


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) / 20


def written(path: Path, samples: Tensor, rate: int = RATE, **options: Any) -> Path:
    soundfile.write(path, samples.numpy(), rate, **options)
    return path


# --- blocks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of some hundred samples, so that a second has many."""
    monkeypatch.setattr(_audio, "BLOCK", 997)
    monkeypatch.setattr(_log_mel, "BLOCK", 4099)


@pytest.mark.parametrize("file", ["a.wav", "a.flac", "a.ogg", "a.mp3", "two.wav"])
def test_a_file_in_blocks_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    sound = noise(RATE + 13)
    whole = torch.stack([sound, noise(RATE + 13, 1)], 1) if file == "two.wav" else sound
    path = written(tmp_path / file, whole)
    expected, _ = read_audio(path)
    monkeypatch.setattr(_audio, "BLOCK", 997)
    recording = open_audio(path)
    blocks = list(recording.blocks())
    assert len(blocks) > 16
    assert sum(map(len, blocks)) == recording.length == len(expected)
    torch.testing.assert_close(torch.cat(blocks), expected, atol=0, rtol=0)


@pytest.mark.parametrize("ratio", ["1", "2", "1/2", "441/160", "160/441", "9/10", "3/1", "44101/16000"])
def test_resampling_in_blocks_is_resampling(monkeypatch: pytest.MonkeyPatch, ratio: str) -> None:
    sound = noise(20011)
    expected = resample(sound, Fraction(ratio))
    monkeypatch.setattr(_log_mel, "BLOCK", 4099)
    blocks = list(resample_blocks(sound.split(997), len(sound), Fraction(ratio)))
    assert len(blocks) > 4
    assert sum(map(len, blocks)) == len(expected) == resampled_length(len(sound), Fraction(ratio))
    torch.testing.assert_close(torch.cat(blocks), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("samples", [0, 1, 160, 1283, 20011])
def test_frames_in_blocks_are_the_frames(monkeypatch: pytest.MonkeyPatch, samples: int) -> None:
    expected = log_mel(noise(samples), RATE, 20)
    monkeypatch.setattr(_log_mel, "BLOCK", 4099)
    torch.testing.assert_close(log_mel(noise(samples), RATE, 20), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rate", [RATE, 11025, 44100])
@pytest.mark.parametrize("chunk_seconds", [None, 0.31])
def test_examples_made_in_blocks_are_those_made_at_once(
    monkeypatch: pytest.MonkeyPatch, rate: int, chunk_seconds: float | None
) -> None:
    items = [(noise(round(rate * 1.37)), rate)]
    options: dict[str, Any] = {"dim": 8, "n_mels": 20, "chunk_seconds": chunk_seconds, "speeds": (0.9, 1.0)}
    whole = SpeechAdapter.fit(items, **options)
    expected = whole.prepare(items[0])
    monkeypatch.setattr(_audio, "BLOCK", 997)
    monkeypatch.setattr(_log_mel, "BLOCK", 4099)
    adapter = SpeechAdapter.fit(items, **options)
    torch.testing.assert_close(adapter.mean, whole.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(adapter.std, whole.std, atol=1e-5, rtol=1e-5)
    found = adapter.prepare(items[0])
    assert len(found) == len(expected) == (5 if chunk_seconds else 1)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.log_mel, other.log_mel, atol=1e-4, rtol=1e-4)
        assert one.samples is not None
        assert other.samples is not None
        assert (one.samples.int() - other.samples.int()).abs().max() <= 1  # rounded to 16 bits
        assert (one.seconds, one.start, one.total) == (other.seconds, other.start, other.total)


def test_a_chunk_hears_nothing_of_its_neighbours(small_blocks: None) -> None:
    adapter = SpeechAdapter([0.0] * 20, [1.0] * 20, 8, chunk_seconds=0.5)
    sound = torch.cat([noise(8000), 9 * noise(8000, 1)])
    first, second = adapter.prepare((sound, RATE))
    torch.testing.assert_close(first.log_mel, log_mel(sound[:8000], RATE, 20), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.log_mel, log_mel(sound[8000:], RATE, 20), atol=1e-5, rtol=1e-5)


def test_memory_of_a_long_recording_is_that_of_its_example(tmp_path: Path, small_blocks: None) -> None:
    path = written(tmp_path / "silence.flac", torch.zeros(60 * RATE))
    recording = open_audio(path)
    tracemalloc.start()  # numpy's arrays, into which files are read
    try:
        assert sum(len(block) for block in recording.blocks()) == 60 * RATE
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 500_000  # one second at a time; 3,840,000 bytes whole


# --- whole or refused -----------------------------------------------------------------------------


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("a.wav", {}, "got 1.50 s of sound in 47978 bytes, expected 96000 bytes as its header says"),
        ("a.wav", {"format": "RF64"}, r"got 1\.50 s of sound in \d+ bytes, expected \d+ bytes"),
        ("a.w64", {}, r"got 1\.50 s of sound in \d+ bytes, expected \d+ bytes"),
        ("a.aiff", {}, r"got 1\.50 s of sound in \d+ bytes, expected \d+ bytes"),
        ("a.au", {}, r"got 1\.50 s of sound in \d+ bytes, expected \d+ bytes"),
        ("a.flac", {}, r"not readable as audio|got \d\.\d+ s of sound, expected 3\.00 s"),
        ("a.ogg", {"subtype": "OPUS"}, "got an Ogg file without its end"),
        ("a.ogg", {"subtype": "VORBIS"}, "got an Ogg file without its end|not readable as audio"),
        ("a.mp3", {}, r"got \d\.\d+ s of sound, expected 3\.00 s as its header says"),
    ],
)
def test_a_file_that_was_cut_off_is_refused(
    tmp_path: Path, file: str, options: dict[str, Any], message: str
) -> None:
    path = written(tmp_path / file, noise(3 * RATE), **options)
    assert len(read_audio(path)[0]) == 3 * RATE
    with pytest.raises(ValueError, match=rf"{file}: ({message})"):
        read_audio(cut(path, 0.5))


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"])
def test_a_stream_that_could_not_know_its_length_is_read_whole(tmp_path: Path, size: bytes) -> None:
    path = written(tmp_path / "a.wav", noise(RATE))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = size
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == RATE


def test_a_header_that_was_never_completed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", noise(RATE))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.wav: got a header that says there is no sound and 32044 bytes"):
        read_audio(path)
    assert len(read_audio(written(path, torch.zeros(0)))[0]) == 0


def test_a_few_missing_bytes_are_a_writers_mistake(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", noise(RATE))
    content = path.read_bytes()
    path.write_bytes(content[:-44])
    assert len(read_audio(path)[0]) == RATE - 22


def test_a_flac_stream_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", noise(RATE))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO: how many samples there are
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == RATE


def test_mp3_without_a_tag_is_read_to_its_end_or_refused(tmp_path: Path) -> None:
    content = written(tmp_path / "a.mp3", noise(3 * 44100), 44100).read_bytes()
    frames = mp3_frames(content)[1:]  # the first one holds the tag alone
    path = tmp_path / "constant.mp3"
    path.write_bytes(b"".join(frame for frame in frames if frame[2] >> 4 == frames[9][2] >> 4))
    many = sum(frame[2] >> 4 == frames[9][2] >> 4 for frame in frames)
    assert many > 20
    assert len(read_audio(path)[0]) == pytest.approx(many * 1152, abs=4 * 1152)
    path = tmp_path / "variable.mp3"
    path.write_bytes(b"".join(frames))
    with pytest.raises(ValueError, match=r"variable\.mp3: got an MP3 file of 3\.\d+ s without a tag"):
        read_audio(path)


def mp3_frames(content: bytes) -> list[bytes]:
    """The frames of an MP3 file of 44,100 Hz without padding: 144 bytes a kilobit and second / 44.1."""
    kilobits = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    frames = []
    while len(content) > 4:
        size = 144_000 * kilobits[content[2] >> 4] // 44100 + (content[2] >> 1 & 1)
        frames.append(content[:size])
        content = content[size:]
    return frames


# --- several channels -----------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", ["one", "many"])
def test_channels_in_opposite_phase_are_not_averaged_to_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: str
) -> None:
    if blocks == "many":
        monkeypatch.setattr(_audio, "BLOCK", 997)
    sound = noise(RATE)
    path = written(tmp_path / "a.wav", torch.stack([sound, -1.01 * sound], 1), subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"a\.wav: its channels are in opposite phase, .* took channel 1"):
        samples, _ = read_audio(path)
    torch.testing.assert_close(samples, -1.01 * sound, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("channels", [2, 7, 31])
def test_other_channels_are_averaged(channels: int) -> None:
    unrelated = torch.stack([noise(RATE, seed) for seed in range(channels)])
    one = torch.zeros(channels, RATE)
    one[1] = noise(RATE)
    for sound in (unrelated, one, noise(RATE).expand(channels, -1), torch.zeros(channels, RATE)):
        torch.testing.assert_close(read_audio((sound, RATE))[0], sound.mean(0), atol=1e-6, rtol=1e-5)


def test_samples_that_make_no_array_are_refused() -> None:
    with pytest.raises(ValueError, match="samples: got list, expected an array of numbers"):
        read_audio(([[0.1, 0.2], [0.3]], RATE))


# --- limits ---------------------------------------------------------------------------------------


def test_a_rate_that_cannot_be_is_refused_before_a_filter_is_made(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", noise(RATE))
    content = bytearray(path.read_bytes())
    content[24:28] = (10_000_019).to_bytes(4, "little")
    path.write_bytes(content)
    message = r"a\.wav: got a rate of 10000019, expected .* at least 1000 and at most 768000"
    with pytest.raises(ValueError, match=message):
        SpeechAdapter([0.0], [1.0], 8).prepare(path)
    with pytest.raises(ValueError, match=r"sample_rate: got 10000019, expected from 1000 to 768000"):
        SpeechAdapter([0.0], [1.0], 8, sample_rate=10_000_019)


@pytest.mark.parametrize("rate", [767_999, 384_001, 192_001, 44_101])
def test_filters_of_odd_rates_stay_small(rate: int) -> None:
    ratio = _log_mel.simple_ratio(Fraction(rate, 8000))
    assert ratio.numerator * ratio.denominator <= 2 * _log_mel.FILTER_WEIGHTS
    assert float(ratio) == pytest.approx(rate / 8000, rel=1e-3)


@pytest.mark.parametrize("file", ["a.flac", "a.mp3"])
def test_a_recording_longer_than_the_limit_is_refused(tmp_path: Path, file: str) -> None:
    path = written(tmp_path / file, torch.zeros(5 * RATE))
    short, long = (SpeechAdapter([0.0], [1.0], 8, max_seconds=most) for most in (3.0, None))
    with pytest.raises(ValueError, match=rf"{file}: got a recording of 5 s or more, expected at most 3 s"):
        short.prepare(path)
    with pytest.raises(ValueError, match=r"item 0: .* expected at most 3 s"):
        SpeechAdapter.fit([path], dim=8, n_mels=1, max_seconds=3.0)
    assert long.prepare(path)[0].seconds == pytest.approx(5, abs=0.2)
    assert SpeechAdapter([0.0], [1.0], 8).max_seconds == 4 * 3600
    assert SpeechAdapter.from_config(long.config(), long.assets()).max_seconds is None


# --- archives -------------------------------------------------------------------------------------


def archived(tmp_path: Path, name: str) -> Path:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(written(tmp_path / "a.wav", noise(RATE)), name)
    return tmp_path / "a.tar"


@pytest.mark.parametrize("packed", ["clips/a.wav", "./clips/a.wav"])
@pytest.mark.parametrize("asked", ["clips/a.wav", "./clips/a.wav", "clips//a.wav"])
def test_a_leading_dot_makes_no_difference(tmp_path: Path, packed: str, asked: str) -> None:
    assert len(read_audio(AudioFile(archived(tmp_path, packed), asked))[0]) == RATE


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    content = written(tmp_path / "a.wav", noise(RATE)).read_bytes()
    member = tarfile.TarInfo("a.wav")
    member.size = len(content)
    member.pax_headers = {"GNU.sparse.map": f"0,{len(content)}", "GNU.sparse.size": f"{len(content) + 512}"}
    with (
        tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive,
        (tmp_path / "a.wav").open("rb") as file,
    ):
        archive.addfile(member, file)
    with pytest.raises(ValueError, match=r"a\.wav: got a sparse member, .* without tar -S"):
        read_audio(AudioFile(tmp_path / "a.tar", "a.wav"))


def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = archived(tmp_path, "a.wav")
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(
        ValueError, match=r"got 19488 bytes, expected 32044; the archive was cut|not readable"
    ):
        read_audio(AudioFile(path, "a.wav"))
