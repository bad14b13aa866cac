"""Pretrained models of speech as the stem of the speech adapter: equal to `transformers`, without padding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import (
    ClassTarget,
    Encoder,
    Model,
    Settings,
    Source,
    SpeechAdapter,
    Task,
    VectorHead,
    load,
    pretrained_speech,
    save,
    train,
)
from multiseq.adapters._speech.stem_features import stem_features
from multiseq.nn.bias import bucket_of
from multiseq.pretrained.stem import PretrainedStem
from multiseq.training.optimizer import frozen, make_optimizer
from tests.pretrained.speech_tiny import MODELS, expected, extractor, noise, speech_model, write_speech_folder

RATE = 16000
WAVES = [name for name in MODELS if name != "whisper"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> folder."""
    return {name: write_speech_folder(tmp_path_factory.mktemp(name), name) for name in MODELS}


def stem_of(adapter: SpeechAdapter) -> PretrainedStem:
    """The pretrained stem of an adapter."""
    assert isinstance(adapter.stem, PretrainedStem)
    return adapter.stem


def outputs(adapter: SpeechAdapter, *recordings: torch.Tensor) -> list[torch.Tensor]:
    """What the pretrained model gives for each recording of one batch."""
    features = [adapter.features(adapter.prepare((samples, RATE))[0]) for samples in recordings]
    with torch.no_grad():
        return list(stem_of(adapter).encode(torch.cat(features), [len(rows) for rows in features]).unpack())


# --- equal to transformers ------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [400, 5000, 16000])
@pytest.mark.parametrize("name", WAVES)
def test_one_recording_equals_transformers(name: str, samples: int, folders: dict[str, Path]) -> None:
    adapter = pretrained_speech(folders[name], dim=10).eval()
    [got] = outputs(adapter, noise(samples))
    torch.testing.assert_close(got, expected(name, noise(samples)), atol=1e-5, rtol=0)


def test_whisper_equals_transformers_at_its_full_length(folders: dict[str, Path]) -> None:
    adapter = pretrained_speech(folders["whisper"], dim=10).eval()
    [got] = outputs(adapter, noise(30 * RATE))
    assert got.shape == (1500, 24)
    torch.testing.assert_close(got, expected("whisper", noise(30 * RATE)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("samples", [100, 320, 5000, 29 * RATE, 30 * RATE])
def test_whisper_reads_the_frames_of_its_extractor_without_those_of_silence(
    samples: int, folders: dict[str, Path]
) -> None:
    architecture = stem_of(pretrained_speech(folders["whisper"], dim=10)).architecture
    got = stem_features(noise(samples), architecture)
    theirs = extractor("whisper")(noise(samples).numpy(), sampling_rate=RATE, return_tensors="pt")
    assert len(got) == -(-samples // 160)
    torch.testing.assert_close(got, theirs.input_features[0].T[: len(got)], atol=1e-4, rtol=0)


def test_buckets_of_wavlm() -> None:
    distances = torch.arange(-900, 901)
    theirs = speech_model("wavlm").encoder.layers[0].attention
    ours = bucket_of(distances.clamp(-40, 40), 32, 40)
    assert ours.tolist() == theirs._relative_positions_bucket(distances).tolist()


# --- nothing is padded ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_equals_each_recording_alone(name: str, folders: dict[str, Path]) -> None:
    adapter = pretrained_speech(folders[name], dim=10).eval()
    recordings = [noise(samples, samples) for samples in (4801, 0, 16000, 100, 700)]
    together = outputs(adapter, *recordings)
    for recording, got in zip(recordings, together, strict=True):
        torch.testing.assert_close(got, outputs(adapter, recording)[0], atol=1e-5, rtol=0)
    examples = [adapter.prepare((recording, RATE))[0] for recording in recordings]
    with torch.no_grad():
        sets = adapter(adapter.collate(examples))
        alone = [adapter(adapter.collate([example])).values for example in examples]
    assert sets.lengths == (16, 0, 50, 1, 3)
    torch.testing.assert_close(sets.values, torch.cat(alone), atol=1e-5, rtol=0)


def test_a_padded_batch_of_transformers_differs_where_ours_does_not(folders: dict[str, Path]) -> None:
    short, long = noise(4800), noise(16000, 1)
    inputs = extractor("wav2vec2")(
        [short.numpy(), long.numpy()], sampling_rate=RATE, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        padded = speech_model("wav2vec2")(**inputs).last_hidden_state[0, :14]
    alone = expected("wav2vec2", short)
    assert (padded - alone).abs().max() > 0.1  # the group norm saw the padding
    ours, _ = outputs(pretrained_speech(folders["wav2vec2"], dim=10).eval(), short, long)
    torch.testing.assert_close(ours, alone, atol=1e-5, rtol=0)


# --- vectors --------------------------------------------------------------------------------------


def test_which_outputs_a_vector_reads(folders: dict[str, Path]) -> None:
    """Of 1,000 samples wav2vec 2.0 makes 2 outputs; 62.5 ms are 7 vectors of 10 ms, 4 of 20, 2 of 40."""
    for subsample, places in ((1, [[0], [0], [1], [1], [1], [1], [1]]), (2, [[0], [1], [1], [1]])):
        stem = stem_of(pretrained_speech(folders["wav2vec2"], dim=10, subsample=subsample))
        assert [part.tolist() if hasattr(part, "tolist") else part for part in stem.taps([1000])] == [
            [len(places)],
            places,
        ]
    stem = stem_of(pretrained_speech(folders["wav2vec2"], dim=10, subsample=4))
    lengths, taps = stem.taps([1000, 0, 640])
    assert lengths == [2, 0, 1]
    assert taps.tolist() == [[0, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize("subsample", [1, 2, 4])
@pytest.mark.parametrize("name", ["wav2vec2", "whisper"])
def test_vectors_are_those_of_an_adapter_without_a_start(
    name: str, subsample: int, folders: dict[str, Path]
) -> None:
    plain = SpeechAdapter.fit([(noise(4000), RATE)], dim=10, n_mels=20, subsample=subsample)
    adapter = pretrained_speech(folders[name], dim=10, subsample=subsample)
    for samples in (0, 1, 159, 161, 640, 5043):
        [ours], [theirs] = adapter.prepare((noise(samples), RATE)), plain.prepare((noise(samples), RATE))
        assert adapter.num_vectors(ours) == plain.num_vectors(theirs)
        assert adapter.names(ours) == plain.names(theirs)
        assert len(adapter(adapter.collate([ours])).values) == plain.num_vectors(theirs)
        assert len(adapter.baseline_vectors(ours)) == plain.num_vectors(theirs)


def test_whisper_cuts_at_30_seconds(folders: dict[str, Path]) -> None:
    adapter = pretrained_speech(folders["whisper"], dim=10)
    assert adapter.chunk_seconds == 30
    pieces = adapter.prepare((noise(31 * RATE), RATE))
    assert [adapter.num_vectors(piece) for piece in pieces] == [775, 775]
    slow = pretrained_speech(folders["whisper"], dim=10, speeds=[0.9, 1.0])
    assert slow.chunk_seconds == 27
    with pytest.raises(
        ValueError, match=r"chunk_seconds: got 31.0, expected at most 30, because the pretrained"
    ):
        pretrained_speech(folders["whisper"], dim=10, chunk_seconds=31.0)


@pytest.mark.parametrize("name", ["wav2vec2", "whisper"])
def test_augmented_recordings(name: str, folders: dict[str, Path]) -> None:
    """SpecAugment hides stretches of time; of Whisper's frames, bands too. A slower recording is longer."""
    adapter = pretrained_speech(folders[name], dim=10, speeds=[0.5], time_mask=0.1)
    [example] = adapter.prepare((noise(8000), RATE))
    changed = adapter.augment(example, torch.Generator().manual_seed(1))
    assert adapter.num_vectors(changed) == 2 * adapter.num_vectors(example) == 50
    hidden = (adapter.features(changed) == 0).all(1).sum()
    assert 0 < hidden <= 2 * 0.1 * 100 * (160 if name == "wav2vec2" else 1)
    assert len(adapter(adapter.collate([changed])).values) == 50


# --- training and saving --------------------------------------------------------------------------


def model_with(adapter: SpeechAdapter) -> tuple[Model, list[Source]]:
    """A model that says which half of a recording is loud, and what it learns from."""
    head = VectorHead(adapter.dim, ClassTarget(["soft", "loud"]))
    model = Model({"speech": adapter}, Encoder(adapter.dim, 1, 2), {"loud": Task("speech", head)})
    recordings = [(noise(3200, seed), RATE) for seed in range(4)]
    labels = [[(0.0, 0.1, "soft"), (0.1, 0.2, "loud")]] * 4
    return model, [Source("speech", recordings, {"loud": labels})]


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm-large", "whisper"])
def test_training_freezes_layers_and_a_checkpoint_needs_no_folder(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    start = Path(shutil.copytree(folders[name], tmp_path / "start"))
    model, data = model_with(pretrained_speech(start, dim=12))
    shutil.rmtree(start)
    stem = stem_of(model.adapter("speech"))  # type: ignore[arg-type]
    before = {key: value.clone() for key, value in stem.state_dict().items()}
    train(model, data, steps=2, lr=1e-2, frozen_layers=1, progress=False)
    changed = {key for key, value in stem.state_dict().items() if not value.equal(before[key])}
    still = (
        "convs.",
        "project",
        "places.",
        "encoder.blocks.0.attention.",
        "encoder.positions",
        "encoder.bias",
    )
    assert not [key for key in changed if key.startswith(still)]
    assert {"out.weight", "norm.weight", "encoder.blocks.1.attention.qkv.weight"} <= changed

    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    item = (noise(5000), RATE)
    ours, theirs = model.predict("loud", [item])[0], again.predict("loud", [item])[0]
    assert [one.label for one in ours] == [one.label for one in theirs]


def test_config_round_trip(folders: dict[str, Path]) -> None:
    for name in MODELS:
        adapter = pretrained_speech(folders[name], dim=10, subsample=1)
        config = json.loads(json.dumps(adapter.config()))
        again = SpeechAdapter.from_config(config, adapter.assets())
        assert again.config() == adapter.config()
        again.load_state_dict(adapter.state_dict())


def test_rates_and_frozen_layers(folders: dict[str, Path]) -> None:
    """The last layer has `pretrained_lr`, a lower one less, and new weights `lr`."""
    model, _ = model_with(pretrained_speech(folders["hubert"], dim=12))
    stem = stem_of(model.adapter("speech"))  # type: ignore[arg-type]
    settings = Settings(lr=1e-3, pretrained_lr=1e-4, layer_lr_decay=0.5)
    groups = make_optimizer(model, settings).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert rates[id(stem.out.weight)] == 1e-3
    by_layer = [stem.encoder.blocks[n].get_parameter("attention.qkv.weight") for n in (2, 1, 0)]
    assert [rates[id(weight)] for weight in by_layer] == [1e-4, 0.5e-4, 0.25e-4]
    assert rates[id(stem.project.weight)] == 0.125e-4
    assert len(rates) == len(list(model.parameters()))
    with frozen(model, 3):
        trained = {name for name, weight in stem.named_parameters() if weight.requires_grad}
        assert trained == {"out.weight", "out.bias", "norm.weight", "norm.bias"}
    with (
        pytest.raises(ValueError, match="frozen_layers: got 4, expected at most 3, its layers"),
        frozen(model, 4),
    ):
        pass


def test_new_weights_are_the_same_in_every_process(folders: dict[str, Path]) -> None:
    torch.manual_seed(3)
    one = pretrained_speech(folders["whisper"], dim=10)
    torch.manual_seed(3)
    other = pretrained_speech(folders["whisper"], dim=10)
    assert all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wav2vec2", "whisper"])
def test_weights_of_a_model_with_a_head(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """They have a prefix; and older versions called the norm of the last convolution's weight otherwise."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders[name], tmp_path / "head"))
    prefix = {"wav2vec2": "wav2vec2.", "whisper": "model."}[name]
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for key, tensor in load_file(folder / "model.safetensors").items():
        for new, before in old.items():
            key = key.replace(new, before)
        renamed[prefix + key] = tensor
    save_file(renamed | {"lm_head.weight": torch.zeros(2)}, folder / "model.safetensors")
    one, other = pretrained_speech(folders[name], dim=10), pretrained_speech(folder, dim=10)
    for (key, weight), same in zip(stem_of(one).named_parameters(), stem_of(other).parameters(), strict=True):
        assert key.startswith(("out", "norm")) or weight.equal(same)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("hubert", {"model_type": "bert"}, r"got model_type 'bert', expected one of wav2vec2, hubert, wavlm"),
        ("hubert", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm: got True, expected a model without"),
        ("hubert", {"hidden_act": "tanh"}, "activation: got 'tanh'"),
        ("hubert", {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "got a vector for each 0.01 s, expected 0.02 s"),
        ("hubert", {"num_hidden_layers": 4}, r"its weights lack 'encoder\.layers\.3"),
        ("whisper", {"d_model": 30}, "size mismatch.*all files are of one model"),
        ("whisper", {"encoder_layers": 0}, r"config\.json: depth: got 0"),
    ],
)
def test_a_config_that_does_not_fit(
    name: str, change: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders[name], tmp_path / "changed"))
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        pretrained_speech(folder, dim=10)


def test_missing_weights_and_pickles(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["hubert"], tmp_path / "old"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors; copy the whole folder"):
        pretrained_speech(folder, dim=10)
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(ValueError, match=r"has pytorch_model\.bin but no.*reads none.*save_pretrained"):
        pretrained_speech(folder, dim=10)


def test_what_does_not_go_with_a_start(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="sample_rate: got 8000, but the pretrained model has 16000"):
        pretrained_speech(folders["hubert"], dim=10, sample_rate=8000)
    model, _ = model_with(pretrained_speech(folders["hubert"], dim=12))
    with pytest.raises(ValueError, match="reads whole recordings"):
        model.adapter("speech").stream(RATE, 4)  # type: ignore[attr-defined]


def test_samples_that_are_not_scaled(folders: dict[str, Path]) -> None:
    """WavLM base takes samples as they are; `preprocessor_config.json` says so."""
    adapter = pretrained_speech(folders["wavlm"], dim=10)
    samples = noise(1000)
    assert adapter.features(adapter.prepare((samples, RATE))[0])[:, 0].equal(samples)
    scaled = pretrained_speech(folders["wavlm-large"], dim=10)
    features = scaled.features(scaled.prepare((samples, RATE))[0])
    assert features.mean() == pytest.approx(0, abs=1e-5)
    assert features.std() == pytest.approx(1, abs=1e-3)
    assert adapter.prepared_by() != scaled.prepared_by()


def test_a_stem_drops_as_much_as_its_model_was_trained_with(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "wavlm"
    shutil.copytree(folders["wavlm-large"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_dropout": 0.25}))
    for path, share in ((folder, 0.25), (folders["whisper"], 0.0)):
        adapter = pretrained_speech(path, dim=10, dropout=0.5)
        assert stem_of(adapter).encoder.dropout == share
        assert adapter.dropout.p == 0.5
        config = adapter.config()
        assert stem_of(SpeechAdapter.from_config(config, adapter.assets())).encoder.dropout == share
    del config["pretrained"]["dropout"]  # saved before 2026-11-28
    assert stem_of(SpeechAdapter.from_config(config, adapter.assets())).encoder.dropout == 0.1


# --- a frozen stem runs once ----------------------------------------------------------------------


def plain(folder: Path, **options: Any) -> SpeechAdapter:
    """An adapter whose augmentation changes nothing that the stem reads."""
    torch.manual_seed(3)
    return pretrained_speech(folder, dim=12, dropout=0.2, **{"specaugment": False, **options})


@pytest.mark.parametrize("name", ["hubert", "wavlm", "whisper"])
@pytest.mark.parametrize("subsample", [1, 4])
def test_outputs_that_are_computed_once_are_those_of_each_step(
    name: str, subsample: int, folders: dict[str, Path]
) -> None:
    """Of recordings of several lengths, in one batch, in training: a frozen stem drops nothing."""
    adapter = plain(folders[name], subsample=subsample).train()
    recordings = [(noise(samples, samples), RATE) for samples in (4801, 0, 16000, 100)]
    line = "the frozen stem reads recordings in each step"
    assert adapter.fix_stem(True, once=False) == line
    each = adapter.collate([adapter.prepare(recording)[0] for recording in recordings])
    assert adapter.fix_stem(True) == "the frozen stem reads each recording once, not in each step"
    examples = [adapter.prepare(recording)[0] for recording in recordings]
    once = adapter.collate([adapter.augment(one, torch.Generator()) for one in examples])
    assert "features" in each.tensors
    assert "features" not in once.tensors
    torch.manual_seed(0)
    expected = adapter(each)
    torch.manual_seed(0)
    got = adapter(once)
    assert got.lengths == expected.lengths
    torch.testing.assert_close(got.values, expected.values, atol=1e-5, rtol=0)


def trained(folder: Path, data: list[Source], cache: Any = None, **options: Any) -> dict[str, torch.Tensor]:
    """The weights of a model after a few steps with a wholly frozen stem."""
    model, _ = model_with(plain(folder, **options))
    train(model, data, steps=5, lr=1e-2, frozen_layers=3, progress=False, cache=cache)
    return model.state_dict()


def counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of recordings of each time that a stem runs from now on."""
    runs: list[int] = []
    encode = PretrainedStem.encode

    def counted(self: PretrainedStem, rows: Any, lengths: Any) -> Any:
        runs.append(len(lengths))
        return encode(self, rows, lengths)

    monkeypatch.setattr(PretrainedStem, "encode", counted)
    return runs


def test_a_training_on_outputs_equals_one_that_runs_the_stem_in_each_step(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = model_with(plain(folders["hubert"]))
    runs = counted_runs(monkeypatch)
    once = trained(folders["hubert"], data)
    assert runs == [1, 1, 1, 1]  # each of four recordings
    runs.clear()
    # The masks of SpecAugment have no width here, but it is on.
    monkeypatch.setattr("multiseq.adapters.speech.spec_augment", lambda features, *_: features)
    each = trained(folders["hubert"], data, specaugment=True)
    assert runs == [4] * 5
    assert once.keys() == each.keys()
    for key, weight in once.items():
        torch.testing.assert_close(weight, each[key], atol=1e-4, rtol=0)


def test_outputs_are_kept_in_the_cache_until_stem_or_settings_change(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    _, data = model_with(plain(folders["hubert"]))
    first = trained(folders["hubert"], data, cache)
    runs = counted_runs(monkeypatch)
    again = trained(folders["hubert"], data, cache)
    assert not runs
    assert all(weight.equal(again[key]) for key, weight in first.items())
    trained(folders["hubert"], data, cache, chunk_seconds=0.1)
    assert sum(runs) == 8  # two chunks of each
    runs.clear()
    adapter = plain(folders["hubert"])
    with torch.no_grad():
        stem_of(adapter).encoder.blocks[0].get_parameter("attention.out.weight")[0, 0] += 1
    model, _ = model_with(adapter)
    train(model, data, steps=1, frozen_layers=3, progress=False, cache=cache)
    assert sum(runs) == 4
    assert len(list(cache.iterdir())) == 3


def test_outputs_of_earlier_weights_are_not_read(folders: dict[str, Path]) -> None:
    """Examples that were prepared before stay in memory; they have the frames of the recording too."""
    adapter = plain(folders["whisper"])
    adapter.fix_stem(True)
    [example] = adapter.prepare((noise(5000), RATE))
    assert "outputs" in adapter.collate([example]).tensors
    adapter.fix_stem(False)
    assert "features" in adapter.collate([example]).tensors
    with torch.no_grad():
        stem_of(adapter).encoder.norm.weight.add_(1)
    adapter.fix_stem(True)
    assert "features" in adapter.collate([example]).tensors
    assert "outputs" in adapter.collate(adapter.prepare((noise(5000), RATE))).tensors


def test_augmentation_needs_the_stem_in_each_step(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = plain(folders["hubert"], specaugment=True, speeds=[0.9, 1.0])
    assert adapter.fix_stem(True) == (
        "the frozen stem reads recordings in each step, because of specaugment, speeds: without, once"
    )
    assert adapter.prepare((noise(5000), RATE))[0].outputs is None
    assert adapter.fix_stem(False) == ""
    assert SpeechAdapter.fit([(noise(5000), RATE)], dim=8).fix_stem(True) == ""
