"""Speech: reading audio, log-mel frames, the stem, chunks, augmentation, time-aligned labels."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import multiseq
from multiseq.adapters import speech
from multiseq.adapters._speech.audio import read_audio
from multiseq.adapters._speech.log_mel import log_mel, spec_augment
from multiseq.adapters._speech.packed_conv import PackedConv
from multiseq.adapters.speech import AudioFile, SpeechAdapter, SpeechExample
from multiseq.protocols import Adapter

RATE = 16000
LENGTHS = [13, 0, 1, 7, 2]
"""Frames of five utterances, an empty one among them."""


def sine(hertz: float, seconds: float = 0.5, rate: int = RATE, amplitude: float = 0.5) -> Tensor:
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)


def noise(seconds: float, seed: int = 0) -> Tensor:
    return torch.randn(round(seconds * RATE), generator=seeded(seed)) / 20


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(dim: int = 12, n_mels: int = 20, **options: Any) -> SpeechAdapter:
    """An adapter in evaluation: mean -5 and standard deviation 2 in every mel."""
    return SpeechAdapter([-5.0] * n_mels, [2.0] * n_mels, dim, **options).eval()


def example_of(adapter: SpeechAdapter, item: Any) -> SpeechExample:
    [example] = adapter.prepare(item)
    return example


def stem(adapter: SpeechAdapter, items: Sequence[Any]) -> list[Tensor]:
    examples = [example for item in items for example in adapter.prepare(item)]
    return [v.detach() for v in adapter(adapter.collate(examples)).unpack()]


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "subtype", "tolerance"),  # of a sample, where nothing is lost
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "FLOAT", 1e-7),  # read as 16 bits, it would come out as zeros
        ("a.flac", "PCM_16", 2**-15),
        ("a.ogg", "VORBIS", 0.05),
        ("a.ogg", "OPUS", 0.05),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_a_file_gives_its_samples(tmp_path: Path, file: str, subtype: str, tolerance: float) -> None:
    tone = sine(440, seconds=1.0)
    soundfile.write(tmp_path / file, tone.numpy(), RATE, subtype=subtype)
    samples, rate = read_audio(tmp_path / file)
    assert rate == RATE
    if tolerance < 1e-3:
        torch.testing.assert_close(samples, tone, atol=tolerance, rtol=0)
    # In the middle, where coding makes no edges, it is as loud, and loudest in the same mel.
    assert samples[4000:12000].abs().max() == pytest.approx(0.5, abs=0.05)
    example = example_of(made(), tmp_path / file)
    assert example.log_mel[50].argmax() == example_of(made(), (tone, RATE)).log_mel[50].argmax()
    assert example.seconds == pytest.approx(1.0, abs=0.1 if file.endswith("mp3") else 0)
    assert example.source == str(tmp_path / file)


def test_members_of_an_archive_are_read_in_any_order(tmp_path: Path) -> None:
    adapter = made()
    tones = {f"clips/{hertz}.flac": sine(hertz) for hertz in (300, 1000, 3000)}
    with tarfile.open(tmp_path / "clips.tar", "w") as archive:
        for name, tone in tones.items():
            soundfile.write(tmp_path / "one.flac", tone.numpy(), RATE)
            archive.add(tmp_path / "one.flac", name)
    for name in [*reversed(tones), *tones]:
        found = example_of(adapter, AudioFile(tmp_path / "clips.tar", name))
        soundfile.write(tmp_path / "one.flac", tones[name].numpy(), RATE)
        torch.testing.assert_close(
            found.log_mel, example_of(adapter, tmp_path / "one.flac").log_mel, atol=0, rtol=0
        )
        assert found.source == f"{tmp_path / 'clips.tar'}: {name}"


def test_an_archive_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    adapter = made()
    seconds = []
    for length in (0.25, 0.75):
        soundfile.write(tmp_path / "one.wav", sine(300, length).numpy(), RATE)
        with tarfile.open(tmp_path / "clips.tar", "w") as archive:
            archive.add(tmp_path / "one.wav", f"{length}.wav")
        member = AudioFile(tmp_path / "clips.tar", f"{length}.wav")
        seconds.append(example_of(adapter, member).seconds)
    assert seconds == [0.25, 0.75]


def test_channels_are_averaged_whichever_axis_they_are(tmp_path: Path) -> None:
    adapter = made()
    left, right = noise(0.1, seed=1), noise(0.1, seed=2)
    both = torch.stack([left, right])
    expected = example_of(adapter, ((left + right) / 2, RATE)).log_mel
    soundfile.write(tmp_path / "both.wav", both.T.numpy(), RATE, subtype="FLOAT")
    for item in [(both, RATE), (both.T.numpy(), RATE), tmp_path / "both.wav"]:
        torch.testing.assert_close(example_of(adapter, item).log_mel, expected, atol=1e-5, rtol=1e-5)


def test_16_bit_integers_are_scaled() -> None:
    adapter = made()
    tone = (sine(440) * 32768).round().to(torch.int16)
    for item in [(tone, RATE), (tone.numpy(), np.int64(RATE)), (tone.double() / 32768, 16e3)]:
        torch.testing.assert_close(
            example_of(adapter, item).log_mel,
            example_of(adapter, (tone.float() / 32768, RATE)).log_mel,
            atol=1e-5,
            rtol=0,
        )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("nowhere/a.wav", r"nowhere/a\.wav: no such file"),
        (AudioFile("nowhere.tar", "a.wav"), r"nowhere\.tar: a\.wav: no such archive"),
        (17, "got int, expected a path, an AudioFile"),
        ((torch.zeros(9), 0), "got a rate of 0, expected samples per second"),
        ((torch.zeros(9), -16000), "got a rate of -16000"),
        ((torch.zeros(9), 16), "got a rate of 16, .* at least 1000"),
        ((torch.zeros(9), 16000.5), r"got a rate of 16000\.5"),
        ((torch.zeros(9), "16000"), "got a rate of '16000'"),
        ((torch.zeros(9), float("nan")), "got a rate of nan"),
        ((torch.tensor([0.0, torch.nan]), RATE), "got samples up to nan, .* no NaN"),
        ((torch.tensor([0.0, torch.inf]), RATE), "got samples up to inf"),
        ((torch.tensor([0.0, 20000.0]), RATE), "up to 20000.0, .* divide integers by 32768"),
        ((torch.zeros(9, dtype=torch.int32), RATE), "got dtype int32, expected floats"),
        ((torch.zeros(1, 2, 9), RATE), r"got shape \(1, 2, 9\), expected \(samples,\)"),
        ((torch.zeros(80, 90), RATE), r"got shape \(80, 90\), .* at most 32 channels"),
    ],
)
def test_what_is_no_recording_says_what_is_wrong(item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made().prepare(item)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    (tmp_path / "empty.flac").touch()
    (tmp_path / "text.tar").write_text("this is no archive")
    for file in ("text.wav", "empty.flac"):
        with pytest.raises(ValueError, match=rf"{file}: not readable as audio"):
            made().prepare(tmp_path / file)
    with pytest.raises(ValueError, match=r"text\.tar: not readable as an uncompressed \.tar"):
        made().prepare(AudioFile(tmp_path / "text.tar", "a.wav"))
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(tmp_path / "text.wav", "b.wav")
    with pytest.raises(ValueError, match=r"a\.wav: the archive has no such member; it has 1: b\.wav"):
        made().prepare(AudioFile(tmp_path / "some.tar", "a.wav"))
    with pytest.raises(ValueError, match=r"some\.tar: b\.wav: not readable as audio"):
        made().prepare(AudioFile(tmp_path / "some.tar", "b.wav"))


def test_no_samples_are_no_vectors(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 2)), RATE)
    adapter = made(speeds=[0.9])
    for item in [(torch.zeros(0), RATE), (np.zeros((2, 0)), 8000), tmp_path / "none.wav"]:
        example = adapter.augment(example_of(adapter, item), seeded(0))
        assert adapter.num_vectors(example) == 0
        assert adapter.names(example) == adapter.align([], example) == []
        assert adapter.align([(0.0, 1.0, "a")], example) == []
    assert [len(v) for v in stem(adapter, [(torch.zeros(0), RATE), (torch.zeros(1), RATE)])] == [
        0,
        1,
    ]


# --- log-mel --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hertz", "band"), [(300, 10), (1000, 27), (3000, 52), (6800, 75)])
def test_a_tone_is_loudest_in_its_mel(hertz: float, band: int) -> None:
    # By hand for 1000 Hz: 2595 log10(1 + 1000 / 700) = 1000 mel. The filters' edges go from 32 mel
    # (20 Hz) to 2840 mel (8 kHz) in 81 steps of 34.7 mel, so filter i stands at 32 + 34.7 (i + 1):
    # i = 26.9.
    frames = log_mel(sine(hertz), RATE, 80)
    assert frames[20].argmax() == band


def test_frame_t_is_centred_at_t_and_a_half_hops() -> None:
    # A click in the middle of span 7 is loudest in frame 7, and as loud in 6 as in 8.
    samples = torch.zeros(20 * 160)
    samples[7 * 160 + 80] = 1.0
    loudness = log_mel(samples, RATE, 20).exp().sum(1)
    assert loudness.argmax() == 7
    torch.testing.assert_close(loudness[6], loudness[8])
    assert loudness[9] < 1e-3 * loudness[7]  # 25 ms windows reach 12.5 ms far


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (159, 1), (160, 1), (161, 2), (16000, 100)])
def test_every_hop_that_begins_makes_a_frame(samples: int, frames: int) -> None:
    assert log_mel(torch.zeros(samples), RATE, 20).shape == (frames, 20)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 44101, 48000])
def test_resampling_keeps_tone_and_time(rate: int) -> None:
    adapter = made(n_mels=80)
    other = example_of(adapter, (sine(1000, 0.5, rate), rate))
    same = example_of(adapter, (sine(1000, 0.5), RATE))
    assert other.seconds == pytest.approx(0.5, abs=2 / RATE)
    loud = same.log_mel[20] > same.log_mel[20].max() - 2
    torch.testing.assert_close(other.log_mel[20][loud], same.log_mel[20][loud], atol=0.1, rtol=0)


def test_low_rates_have_no_empty_filter_and_too_many_mels_are_refused() -> None:
    assert log_mel(noise(0.1), 8000, 80).std(0).min() > 0
    with pytest.raises(ValueError, match=r"n_mels: got 400 at 16000 Hz, .* use fewer"):
        log_mel(noise(0.1), RATE, 400)


# --- fitting --------------------------------------------------------------------------------------


def test_fit_standardises_the_training_recordings() -> None:
    items = [(noise(0.3, seed) * (1 + 9 * (seed % 2)), RATE) for seed in range(11)]
    adapter = SpeechAdapter.fit(items, dim=8, n_mels=20)
    frames = torch.cat([adapter.features(example_of(adapter, item)) for item in items])
    torch.testing.assert_close(frames.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(0), torch.ones(20), atol=1e-2, rtol=0)


def test_a_band_that_is_silent_in_training_is_not_blown_up() -> None:
    adapter = SpeechAdapter.fit([(sine(500, 0.3, 8000), 8000)], dim=8, n_mels=20)
    assert adapter.std.min() == 1.0
    assert adapter.features(example_of(adapter, (noise(0.3), RATE))).abs().max() < 20


def test_fit_reads_a_part_of_many_recordings_evenly_spread(monkeypatch: Any) -> None:
    monkeypatch.setattr(speech, "FITTED_ON", 50)
    loud = (torch.ones(161) * 0.5, RATE)  # would raise the mean if it were read
    items = [(torch.zeros(161), RATE) if i % 3 == 0 else loud for i in range(150)]
    torch.testing.assert_close(
        SpeechAdapter.fit(items, dim=8, n_mels=20).mean, torch.full((20,), np.log(1e-6))
    )


def test_fit_says_which_recording_is_bad() -> None:
    good = (noise(0.1), RATE)
    with pytest.raises(ValueError, match="item 1: samples: got a rate of 0"):
        SpeechAdapter.fit([good, (noise(0.1), 0)], dim=8)
    with pytest.raises(ValueError, match="got 2 and no sample in them, expected audio"):
        SpeechAdapter.fit([(torch.zeros(0), RATE)] * 2, dim=8)
    with pytest.raises(ValueError, match="got 0 and no sample"):
        SpeechAdapter.fit([], dim=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsample": 3}, "subsample: got 3, expected 1, 2 or 4"),
        ({"sample_rate": 16}, "sample_rate: got 16, expected from 1000 to 768000, a whole number"),
        ({"speeds": []}, r"speeds: got \(\), expected one or more"),
        ({"speeds": [1.0, 90.0]}, "speeds: got 90.0, expected from 0.5 to 2"),
        ({"gain": -1.0}, "gain: got -1.0, expected at least 0, a number"),
        ({"chunk_seconds": 0.01}, "chunk_seconds: got 0.01, expected at least a vector's 0.02 s"),
        ({"n_mels": 0}, "n_mels: got 0, expected from 1 to 1000"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpeechAdapter.fit([(noise(0.1), RATE)], dim=8, **options)


# --- the stem -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (4, 2), (6, 2)])
def test_a_packed_convolution_is_conv1d_of_every_sequence(kernel: int, stride: int) -> None:
    conv = PackedConv(3, 5, kernel, stride)
    plain = nn.Conv1d(3, 5, kernel, stride)
    plain.weight.data = conv.linear.weight.data.view(5, kernel, 3).permute(0, 2, 1)
    plain.bias = conv.linear.bias
    rows = [torch.randn(n, 3) for n in LENGTHS]
    packed = conv(torch.cat(rows), conv.taps(LENGTHS)).split(conv.lengths(LENGTHS))
    assert conv.lengths(LENGTHS) == [-(-n // stride) for n in LENGTHS]
    side = (kernel - stride) // 2
    for row, found in zip(rows, packed, strict=True):
        if len(row):
            after = side + len(found) * stride - len(row)
            expected = plain(F.pad(row.T, (side, after))).T
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_gradients_of_a_packed_convolution() -> None:
    conv = PackedConv(2, 3, kernel=4, stride=2).double()
    rows = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: conv(x, conv.taps([5, 0, 3])), rows)


def test_a_kernel_must_be_centred() -> None:
    with pytest.raises(ValueError, match="kernel: got 4 for stride 1, expected the stride plus"):
        PackedConv(2, 2, kernel=4, stride=1)


@pytest.mark.parametrize("subsample", [1, 2, 4])
def test_an_utterance_does_not_leak_into_its_neighbours(subsample: int) -> None:
    adapter = made(subsample=subsample)
    before, own, after = noise(0.13, seed=1), noise(0.11, seed=2), noise(0.07, seed=3)
    quiet = stem(adapter, [(before, RATE), (own, RATE), (after, RATE)])
    loud = stem(adapter, [(before * 9, RATE), (own, RATE), (after * 9, RATE)])
    assert torch.equal(quiet[1], loud[1])
    assert all((quiet[i] - loud[i]).abs().amax(1).min() > 1e-3 for i in (0, 2))


@pytest.mark.parametrize("subsample", [1, 2, 4])
def test_a_batch_gives_what_each_gives_alone(subsample: int) -> None:
    adapter = made(subsample=subsample)
    items = [(noise(n / 100, seed=n), RATE) for n in LENGTHS]
    together = stem(adapter, items)
    assert [len(v) for v in together] == [-(-n // subsample) for n in LENGTHS]
    for item, found in zip(items, together, strict=True):
        [alone] = stem(adapter, [item])
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
        assert adapter.num_vectors(example_of(adapter, item)) == len(alone)


def test_no_examples_are_no_sets() -> None:
    sets = made()(made().collate([]))
    assert (sets.num_sets, sets.num_vectors, sets.dim) == (0, 0, 12)


def test_vectors_have_an_order() -> None:
    adapter = made()
    sets = adapter(adapter.collate(adapter.prepare((noise(0.1), RATE)) * 2))
    assert sets.positions is not None
    assert sets.positions.tolist() == [0, 1, 2, 3, 4] * 2


# --- chunks ---------------------------------------------------------------------------------------


def test_a_long_recording_is_cut_into_chunks_of_equal_length() -> None:
    # 1.01 s are 51 vectors of 20 ms; at most 0.5 s makes three chunks of 17 vectors, 0.34 s.
    adapter = made(chunk_seconds=0.5)
    samples = noise(1.01)
    chunks = adapter.prepare((samples, RATE))
    assert [adapter.num_vectors(c) for c in chunks] == [17, 17, 17]
    assert [c.seconds for c in chunks] == pytest.approx([0.34, 0.34, 0.33])
    whole = example_of(made(), (samples, RATE))
    assert [n for c in chunks for n in adapter.names(c)] == made().names(whole)
    # But for the frame at either end of a cut, features are those of the whole.
    for number, chunk in enumerate(chunks):
        inner = whole.log_mel[number * 34 + 1 : number * 34 + len(chunk.log_mel) - 1]
        torch.testing.assert_close(chunk.log_mel[1:-1], inner, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("labels", ["segments", "vectors"])
def test_labels_are_cut_with_the_chunks(labels: str) -> None:
    adapter, whole = made(chunk_seconds=0.25), made()
    item = (noise(1.01), RATE)
    given: list[Any] = [(i / 10, i / 10 + 0.1, f"p{i}") for i in range(10)]
    if labels == "vectors":
        given = whole.align(given, example_of(whole, item))
    found = [label for c in adapter.prepare(item) for label in adapter.align(given, c)]
    assert found == whole.align(given, example_of(whole, item))
    assert found[:6] == ["p0"] * 5 + ["p1"]


def test_a_chunk_may_be_one_vector_and_a_recording_shorter_than_a_chunk() -> None:
    assert len(made(chunk_seconds=0.02).prepare((noise(0.07), RATE))) == 4
    assert len(made(chunk_seconds=5.0).prepare((noise(0.07), RATE))) == 1
    assert len(made(chunk_seconds=5.0).prepare((torch.zeros(0), RATE))) == 1


# --- labels ---------------------------------------------------------------------------------------


def test_segments_become_labels_by_hand() -> None:
    # 0.11 s are six vectors of 20 ms; the last one is half as long, with its centre at 0.105.
    adapter = made()
    example = example_of(adapter, (torch.zeros(1760), RATE))
    assert adapter.names(example) == ["0.01 s", "0.03 s", "0.05 s", "0.07 s", "0.09 s", "0.105 s"]
    segments = [(0.0, 0.03, "a"), (0.03, 0.06, "b"), (0.08, 0.11, "c")]
    assert adapter.align(segments, example) == ["a", "b", "b", None, "c", "c"]
    assert adapter.align([[0.08, 0.1, 3.5], [0.0, 0.03, 1.0]], example) == [
        1.0, None, None, None, 3.5, None,
    ]  # fmt: skip
    # An empty segment, and one that goes on after the recording.
    segments = [(0.0, 0.0, "x"), (0.0, 0.05, "a"), (0.05, 0.5, "b")]
    assert adapter.align(segments, example) == ["a", "a", "b", "b", "b", "b"]
    assert adapter.align(list("abcdef"), example) == list("abcdef")


def test_alignment_is_that_of_a_slow_search() -> None:
    adapter = made(subsample=1)
    edges = torch.rand(41, generator=seeded(3)).sort().values.tolist()
    segments = [(a, b, i) for i, (a, b) in enumerate(pairwise(edges)) if i % 3]
    centres = [(t + 0.5) / 100 for t in range(97)]
    slow = [next((x for a, b, x in segments if a <= t < b), None) for t in centres]
    assert adapter.align(segments, example_of(adapter, (noise(0.97), RATE))) == slow


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([(0.05, 0.02, "a")], r"got segment \(0\.05, 0\.02, 'a'\), expected 0 <= start <= end"),
        ([(-0.1, 0.02, "a")], r"got segment \(-0\.1, 0\.02, 'a'\)"),
        ([(0.0, float("nan"), "a")], r"got segment \(0\.0, nan, 'a'\)"),
        (
            [(0.04, 0.1, "b"), (0.0, 0.05, "a")],
            r"got segments \(0\.0, 0\.05, 'a'\) and \(0\.04, 0\.1, 'b'\), which overlap",
        ),
        ([(0, 800, "a"), (800, 1760, "b")], r"up to 1760\.0 in a recording of 0\.12 s, .* seconds"),
        (
            [(0.0, 0.1, "a"), (0.1, 0.2, None), (0.2, 0.3, "b")],
            r"got segment \(0\.2, 0\.3, 'b'\), which begins after the end of a recording of 0\.12 s",
        ),
        (["a", (0.0, 0.1, "b")], "got 'a' as number 0 among segments"),
        (
            list("abcde"),
            "samples: labels: got 5 labels for 6 vectors, expected one for each vector of 0",
        ),
        ([], "got 0 labels for 6 vectors"),
        ("abcdef", "labels: got str, expected a list of"),
        (7, "labels: got int"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, message: str) -> None:
    adapter = made()
    with pytest.raises(ValueError, match=message):
        adapter.align(labels, example_of(adapter, (torch.zeros(1760), RATE)))


# --- augmentation ---------------------------------------------------------------------------------


def test_preparing_is_not_random_and_augmenting_follows_its_generator() -> None:
    adapter = made(speeds=[0.9, 1.0, 1.1])
    item = (noise(0.5), RATE)
    example = example_of(adapter, item)
    assert torch.equal(example.log_mel, example_of(adapter, item).log_mel)
    kept = example.log_mel.clone()
    first, again, other = (adapter.augment(example, seeded(s)) for s in (5, 5, 6))
    assert torch.equal(adapter.features(first), adapter.features(again))
    assert not torch.equal(adapter.features(first), adapter.features(other))
    assert torch.equal(example.log_mel, kept)


def test_spec_augment_hides_two_bands_and_two_stretches() -> None:
    frames, n_mels = 101, 80
    hidden_frames, hidden_mels = [], []
    for seed in range(200):
        given = torch.ones(frames, n_mels)
        hidden = spec_augment(given, seeded(seed)) == 0
        assert given.all()  # what was prepared stays as it is
        rows, columns = hidden.all(1), hidden.all(0)
        assert torch.equal(hidden, rows[:, None] | columns)
        hidden_frames.append(int(rows.sum()))
        hidden_mels.append(int(columns.sum()))
    assert max(hidden_frames) <= 2 * 20  # two times a fifth of the recording
    assert max(hidden_mels) <= 2 * 15
    # Two uniform widths from 0 to 20, and from 0 to 15, overlap now and then.
    assert 15 < np.mean(hidden_frames) < 20
    assert 11 < np.mean(hidden_mels) < 15


@pytest.mark.parametrize(("seconds", "widest"), [(0.7, 20), (0.05, 5), (0.0, 0)])
def test_the_widest_stretch_of_time_that_is_hidden(seconds: float, widest: int) -> None:
    """Of 101 frames at most a fifth."""
    adapter = made(time_mask=seconds, gain=0.0)
    example = example_of(adapter, (noise(1.01), RATE))
    hidden = []
    for seed in range(100):
        features = adapter.features(adapter.augment(example, seeded(seed)))
        hidden.append(int((features == 0).all(1).sum()))
    assert max(hidden) <= 2 * widest
    assert max(hidden) >= 1.5 * widest


def test_a_gain_shifts_every_frame_as_louder_samples_do() -> None:
    adapter = made(specaugment=False, gain=6.0)
    samples = noise(0.3) * 4
    example = example_of(adapter, (samples, RATE))
    shifts = []
    for seed in range(50):
        changed = adapter.augment(example, seeded(seed))
        shift = (adapter.features(changed) - adapter.features(example)).mean().item()
        shifts.append(shift * 2 * 10 / np.log(10))  # in decibels; the standard deviation is 2
    assert -6 <= min(shifts) < -4
    assert 4 < max(shifts) <= 6
    louder = example_of(adapter, (samples * 10 ** (shifts[-1] / 20), RATE))
    torch.testing.assert_close(adapter.features(changed), adapter.features(louder), atol=1e-2, rtol=0)


def test_nothing_is_changed_where_all_is_switched_off() -> None:
    adapter = made(specaugment=False, gain=0.0)
    example = example_of(adapter, (noise(0.3), RATE))
    assert example.samples is None
    changed = adapter.augment(example, seeded(0))
    assert torch.equal(adapter.features(changed), adapter.features(example))


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_scales_time_pitch_and_labels(speed: float) -> None:
    adapter = made(n_mels=80, specaugment=False, gain=0.0, speeds=[speed])
    # 1000 Hz for 0.4 s, then 3000 Hz for 0.6 s.
    item = (torch.cat([sine(1000, 0.4), sine(3000, 0.6)]), RATE)
    example = adapter.augment(example_of(adapter, item), seeded(0))
    frames = -(-100 // speed)
    assert example.speed == speed
    features = adapter.features(example)
    assert len(features) == frames
    played = adapter.features(example_of(adapter, (sine(1000 * speed, 0.4), RATE)))
    assert features[10].argmax() == played[10].argmax()
    labels = adapter.align([(0.0, 0.4, "low"), (0.4, 1.0, "high")], example)
    assert len(labels) == adapter.num_vectors(example) == -(-frames // 2)
    heard = features[::2].argmax(1) > (played[10].argmax() + 8)
    assert labels.count("low") == round(0.4 / speed / 0.02)
    assert [label == "high" for label in labels].count(True) == pytest.approx(int(heard.sum()), abs=1)
    # One label a vector: each goes where its moment went.
    own = adapter.align(["low"] * 20 + ["high"] * 30, example)
    assert own == labels


def test_every_speed_is_drawn() -> None:
    adapter = made(speeds=[0.9, 1.0, 1.1])
    example = example_of(adapter, (noise(0.1), RATE))
    speeds = [adapter.augment(example, seeded(seed)).speed for seed in range(60)]
    assert {s: speeds.count(s) > 9 for s in speeds} == {0.9: True, 1.0: True, 1.1: True}


# --- the adapter as a whole -----------------------------------------------------------------------


def test_it_is_an_adapter() -> None:
    adapter = made()
    assert isinstance(adapter, Adapter)
    assert adapter.modality == "speech"
    inputs = adapter.collate([])
    sets = adapter(inputs)
    assert adapter.read(sets, inputs) is sets


@pytest.mark.parametrize("options", [{}, {"speeds": (0.9, 1.1), "chunk_seconds": 0.3, "subsample": 4}])
def test_config_and_assets_rebuild_it(options: dict[str, Any]) -> None:
    item = (noise(0.5), RATE)
    adapter = SpeechAdapter.fit([item], dim=8, n_mels=20, gain=3.0, dropout=0.2, **options).eval()
    config = json.loads(json.dumps(adapter.config()))
    again = SpeechAdapter.from_config(config, adapter.assets()).eval()
    again.load_state_dict(adapter.state_dict())
    assert (again.config(), again.assets()) == (adapter.config(), adapter.assets())
    assert all(torch.equal(a, b) for a, b in zip(stem(adapter, [item]), stem(again, [item]), strict=True))
    changed = [a.augment(a.prepare(item)[0], seeded(1)).augmented for a in (adapter, again)]
    assert torch.equal(*changed)


def test_it_goes_to_loader_workers() -> None:
    adapter = made(speeds=[0.9])
    example = example_of(adapter, (noise(0.3), RATE))
    again, sent = pickle.loads(pickle.dumps((adapter, example)))
    changed = again.augment(sent, seeded(0))
    assert torch.equal(changed.augmented, adapter.augment(example, seeded(0)).augmented)


def test_the_stem_learns_ten_clips() -> None:
    items = [(sine(200 * (i + 1), 0.1) + noise(0.1, seed=i), RATE) for i in range(10)]
    adapter = SpeechAdapter.fit(items, dim=16, n_mels=20, dropout=0.0)
    inputs = adapter.collate([example_of(adapter, item) for item in items])
    readout = nn.Linear(16, 10)
    optimizer = torch.optim.Adam([*adapter.parameters(), *readout.parameters()], lr=0.01)
    targets = torch.arange(10).repeat_interleave(5)
    for _ in range(40):
        loss = F.cross_entropy(readout(adapter(inputs).values), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


# --- real recordings ------------------------------------------------------------------------------


def rows_of_table(file: Path) -> list[dict[str, str]]:
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_a_starter_clip() -> None:
    folder = Path(multiseq.__file__).parent / "starter" / "clips"
    row = rows_of_table(folder / "manifest.tsv")[1]
    item = AudioFile(folder / "clips.tar", row["clip"])
    phones = [
        (float(p["start"]), float(p["end"]), p["phone"])
        for p in rows_of_table(folder / "phones.tsv")
        if p["clip"] == row["clip"]
    ]
    adapter = SpeechAdapter.fit([item], dim=8)
    example = example_of(adapter, item)
    assert example.seconds == pytest.approx(float(row["seconds"]), abs=0.011)
    labels = adapter.align(phones, example)
    assert labels[0] == phones[0][2]
    assert {label for label in labels if label} <= {p[2] for p in phones}
    assert sum(label is None for label in labels) <= 1


def test_a_timit_utterance(data_dir: Path) -> None:
    folder = data_dir / "speech_phones" / "timit_sample_nltk" / "dr1-fvmh0"
    phones = [
        (int(start) / RATE, int(end) / RATE, phone)
        for start, end, phone in map(str.split, (folder / "sa1.phn").read_text().splitlines())
    ]
    adapter = SpeechAdapter.fit([folder / "sa1.flac"], dim=8, subsample=1)
    example = example_of(adapter, folder / "sa1.flac")
    labels = adapter.align(phones, example)
    # sa1.phn: h# to sample 7812, sh to 9507; frame t is centred at sample 160 t + 80.
    assert labels[:60] == ["h#"] * 49 + ["sh"] * 10 + ["iy"]

    # An s is heard above 4 kHz, a vowel is not; h# is soft.
    def mean(phone: str, bands: slice) -> float:
        chosen = torch.tensor([label == phone for label in labels])
        return example.log_mel[chosen, bands].mean().item()

    assert mean("sh", slice(55, 80)) > mean("iy", slice(55, 80)) + 0.3
    assert mean("h#", slice(0, 80)) < mean("iy", slice(0, 80)) - 0.5


def test_opus_in_an_archive(data_dir: Path) -> None:
    folder = data_dir / "speech_asr" / "mboshi"
    row = next(r for r in rows_of_table(folder / "manifest.tsv") if r["official_split"] == "dev")
    member = AudioFile(folder / "audio_dev_opus.tar", f"{row['utt']}.opus")
    assert example_of(made(), member).seconds == int(row["n_samples_16k"]) / RATE
