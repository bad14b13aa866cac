"""Read a pretrained encoder of speech in the format of Hugging Face, as the stem of the speech adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiseq.adapters.speech import SpeechAdapter
from multiseq.checks import reading
from multiseq.pretrained.files import (
    EXPECTED,
    check_weights,
    digests_of,
    find_folder,
    keep_files,
    read_config,
    read_json,
    read_weights,
)
from multiseq.pretrained.speech_families import SPEECH_FAMILIES
from multiseq.pretrained.stem import PretrainedStem, SpeechArchitecture

__all__ = ["PretrainedSpeech", "pretrained_speech"]

PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")


def pretrained_speech(start: str | Path, *, dim: int, **options: Any) -> SpeechAdapter:
    """A speech adapter whose stem is a pretrained model, with its weights.

    Args:
        start: A folder in the format of Hugging Face (``config.json``, ``model.safetensors`` and
            ``preprocessor_config.json``), or a name on the Hub, if there is no such folder. The models are
            Whisper (its encoder), wav2vec 2.0, HuBERT and WavLM.
        dim: Width of the vectors, the encoder's.
        options: Arguments of `multiseq.SpeechAdapter`.

    Raises:
        ValueError: The model cannot be found or read; the message says what to do.
    """
    given = PretrainedSpeech.read(start)
    adapter = given.adapter(dim=dim, **options)
    given.fill(adapter)
    return adapter


@dataclass(frozen=True)
class PretrainedSpeech:
    """A pretrained model of speech whose weights have not been read yet.

    Args:
        folder: Where its files are.
        family: The ``model_type`` of its config.
        architecture: Its sizes and variants.
    """

    folder: Path
    family: str
    architecture: SpeechArchitecture

    @classmethod
    def read(cls, start: str | Path) -> PretrainedSpeech:
        """Find a model and read its config. Raises ValueError, as :func:`pretrained_speech` says."""
        folder = find_folder(start, ("config.json", *PREPROCESSORS))
        found = cls.read_kept(folder)
        check_weights(folder, str(start), "AutoFeatureExtractor")
        return found

    @classmethod
    def read_kept(cls, folder: Path) -> PretrainedSpeech:
        """Read the config of a model whose folder needs no weights. Raises ValueError as :meth:`read`."""
        config, family = read_config(folder, SPEECH_FAMILIES, "a speech adapter")
        with reading(str(folder / "config.json"), *EXPECTED):
            architecture = SPEECH_FAMILIES[family].architecture(config, _preprocessor(folder))
            return cls(folder, family, architecture)

    def keep(self, folder: Path) -> None:
        """Write the configs into a folder, for :meth:`read_kept`."""
        keep_files(self.folder, ("config.json", *PREPROCESSORS), folder)

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file of its weights, by the file's name."""
        return digests_of(self.folder)

    def adapter(self, **options: Any) -> SpeechAdapter:
        """The speech adapter, with random weights."""
        return SpeechAdapter.with_stem(self.architecture, **options)

    def fill(self, adapter: SpeechAdapter) -> None:
        """Read the weights into an adapter of this model.

        Raises:
            ValueError: The weights are missing, are a pickle, or do not fit the config.
        """
        assert isinstance(adapter.stem, PretrainedStem)
        with reading(str(self.folder), *EXPECTED):
            weights = SPEECH_FAMILIES[self.family].read(self.architecture, read_weights(self.folder))
            left = adapter.stem.load_state_dict(weights, strict=False)
            assert set(left.missing_keys) == {"out.weight", "out.bias", "norm.weight", "norm.bias"}, left


def _preprocessor(folder: Path) -> Mapping[str, Any]:
    """What is done to samples: in a file of its own, or in a part of the processor's. Empty: the defaults."""
    for name in PREPROCESSORS:
        if (folder / name).is_file():
            given = read_json(folder, name)
            inner = given.get("feature_extractor", given)
            return inner if isinstance(inner, Mapping) else given
    return {}
