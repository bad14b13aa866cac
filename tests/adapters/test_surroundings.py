"""Noise, rooms and the choice of a channel in the adapter of speech."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import soundfile
import torch

from multiseq.adapters import SpeechAdapter
from multiseq.adapters._speech.audio import read_audio
from multiseq.adapters._speech.surroundings import add_noise, reverberate
from multiseq.checkpoint import load, save
from multiseq.heads.per_set import SetHead
from multiseq.heads.targets import ClassTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.tasks import Task

RATE = 8000


def noise(num: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, generator=torch.Generator().manual_seed(seed)) / 10


def adapter_of(**options: object) -> SpeechAdapter:
    options = {"sample_rate": RATE, "n_mels": 20, "specaugment": False, "gain": 0.0, **options}
    return SpeechAdapter.fit([(noise(4001), RATE)], dim=8, **options)  # type: ignore[arg-type]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for name, samples in {"noise": noise(997, 1), "rooms": torch.tensor([0.0, 0.5, 0.2, 0.0, 0.1])}.items():
        (tmp_path / name / "deep").mkdir(parents=True)
        soundfile.write(tmp_path / name / "deep" / "a.wav", samples.numpy(), RATE)
    return {name: tmp_path / name for name in ("noise", "rooms")}


def test_noise_has_the_power_that_was_asked_for() -> None:
    said, other = noise(4001), noise(997, 1)
    for ratio, decibels in ((0.0, 5.0), (0.5, 12.5), (1.0, 20.0)):
        added = add_noise(said, other, 0.3, ratio) - said
        power = said.square().mean() / added.square().mean()
        assert 10 * math.log10(power) == pytest.approx(decibels, abs=0.01)
    first = add_noise(said, other, 0.5, 0.0) - said
    assert torch.allclose(first[:997], first[997:1994], atol=1e-6)  # short noise is repeated
    assert torch.allclose(first[:499] / first[0], other[498:] / other[498], atol=1e-3)
    for nothing in (torch.zeros(0), torch.zeros(50)):
        assert torch.equal(add_noise(said, nothing, 0.5, 0.5), said)


def test_a_room_by_hand() -> None:
    """The direct sound is the largest value of the response, and keeps its place."""
    said = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    heard = reverberate(said, torch.tensor([0.0, 0.5, 0.25]))
    assert torch.allclose(heard / heard[1], torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0]), atol=1e-6)
    assert heard.square().sum() == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(reverberate(said, torch.zeros(0)), said)


@pytest.mark.parametrize("name", ["noise", "rooms"])
def test_half_of_the_recordings_change_and_the_seed_says_which(folders: dict[str, Path], name: str) -> None:
    adapter = adapter_of(**{name: folders[name]})
    [example] = adapter.prepare((noise(4001, 2), RATE))
    plain = adapter.features(example)
    changed = 0
    for seed in range(20):
        first, again = (
            adapter.features(adapter.augment(example, torch.Generator().manual_seed(seed))) for _ in range(2)
        )
        assert torch.equal(first, again)
        assert first.shape == plain.shape
        changed += not torch.allclose(first, plain, atol=1e-3)
    assert 4 <= changed <= 16
    assert adapter_of().prepare((noise(99), RATE))[0].samples is None  # off by default


def test_a_saved_model_needs_no_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = adapter_of(**folders)
    model = Model(
        {"speech": adapter}, Encoder(8, 1, 2), {"a": Task("speech", SetHead(8, ClassTarget(["x"])))}
    )
    save(model, tmp_path / "model")
    for folder in folders.values():
        (folder / "deep" / "a.wav").unlink()
    loaded = load(tmp_path / "model").adapter("speech")
    assert loaded.config() == adapter.config()
    assert loaded.config()["noise"] == str(folders["noise"])
    with pytest.raises(ValueError, match=r"noise: .*none: no such folder, expected a folder of recordings"):
        adapter_of(noise=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"rooms: .*empty: no recording in it"):
        adapter_of(rooms=tmp_path / "empty")


def test_a_channel(tmp_path: Path) -> None:
    """Opposite channels would cancel each other out; a choice needs no warning."""
    path = str(tmp_path / "two.wav")
    left = noise(4001)
    soundfile.write(path, torch.stack([left, -left / 2], dim=1).numpy(), RATE, subtype="FLOAT")
    mean = adapter_of().prepare(path)[0].log_mel
    first, second = (adapter_of(channel=c).prepare(path)[0].log_mel for c in (0, 1))
    assert torch.allclose(first, adapter_of().prepare((left, RATE))[0].log_mel)
    assert torch.allclose(second, adapter_of().prepare((left / 2, RATE))[0].log_mel)
    assert torch.allclose(mean, adapter_of().prepare((left / 4, RATE))[0].log_mel, atol=1e-4)
    assert len(read_audio((left, RATE))[0]) == len(left)
    one = adapter_of(channel=1)
    assert torch.equal(one.prepare((left, RATE))[0].log_mel, first)  # a single channel is taken
    with pytest.raises(ValueError, match=r"got 2 channels, expected one with the number 5 \(the"):
        adapter_of(channel=5).prepare(path)
    assert one.prepared_by() != adapter_of().prepared_by()
    assert "channel" not in adapter_of().prepared_by()
