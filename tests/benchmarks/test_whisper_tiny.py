"""The script that turns a Whisper of CTranslate2 into a folder of Hugging Face."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multiseq import pretrained_speech
from multiseq.pretrained.stem import PretrainedStem
from multiseq.runs.build import check_options
from multiseq.runs.recipe import read
from tests.pretrained.speech_tiny import MODELS, expected, noise, speech_model, write_speech_folder
from tools import whisper_tiny
from tools.whisper_tiny import TYPES, largest_difference, read_ctranslate2, write_folder

ROOT = Path(__file__).parents[2]
SIZES = MODELS["whisper"][1]


def name(text: str) -> bytes:
    """A name in a file of CTranslate2."""
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def ctranslate2(variables: Mapping[str, Tensor]) -> bytes:
    """A file of CTranslate2 with one alias."""
    parts = [struct.pack("<I", 6), name("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for key, tensor in variables.items():
        content = bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())
        parts += [name(key), struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)]
        parts += [struct.pack("<BI", TYPES.index(tensor.dtype), len(content)), content]
    return b"".join([*parts, struct.pack("<I", 1), name("decoder/projection"), name("decoder/embeddings")])


def test_the_variables_of_a_file_written_by_hand() -> None:
    head = b"\x06\0\0\0\x04\0abc\0\x01\0\0\0\x02\0\0\0"
    halves = b"\x02\0m\0\x02\x02\0\0\0\x01\0\0\0\x04\x04\0\0\0\x00\x3c\x00\xc0"
    number = b"\x02\0n\0\x00\x02\x02\0\0\0\x06\x00"
    alias = b"\x01\0\0\0\x02\0a\0\x02\0m\0"
    got = read_ctranslate2(head + halves + number + alias)
    assert {key: (value.dtype, value.tolist()) for key, value in got.items()} == {
        "m": (torch.float16, [[1.0], [-2.0]]),
        "n": (torch.int16, 6),
    }


WHOLE = ctranslate2({"a": torch.ones(2)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x05" + WHOLE[1:], "got version 5, expected 6"),
        (WHOLE[:-1], "damaged at byte 75 of 93"),
        (WHOLE + b"\0", "got 95 bytes, expected 94"),
    ],
)
def test_a_damaged_file(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ctranslate2(data)


def stored_by_ctranslate2() -> dict[str, Tensor]:
    """The weights of the tiny model, named and joined as CTranslate2 does; and one of its decoder."""
    heads = torch.tensor(3, dtype=torch.int16)
    variables = {"decoder/embeddings/weight": torch.zeros(3, 2), "encoder/num_heads": heads}
    theirs = speech_model("whisper").encoder.state_dict()

    def put(source: str, name: str, kinds: tuple[str, str]) -> None:
        for kind, stored in zip(("weight", "bias"), kinds, strict=True):
            variables[f"encoder/{source}/{stored}"] = theirs[f"{name}.{kind}"]

    plain, norm = ("weight", "bias"), ("gamma", "beta")
    for conv in ("conv1", "conv2"):
        put(conv, conv, plain)
    put("layer_norm", "layer_norm", norm)
    variables["encoder/position_encodings/encodings"] = theirs["embed_positions.weight"]
    for number in range(SIZES["encoder_layers"]):
        layer, source = f"layers.{number}", f"layer_{number}"
        put(f"{source}/self_attention/layer_norm", f"{layer}.self_attn_layer_norm", norm)
        put(f"{source}/self_attention/linear_1", f"{layer}.self_attn.out_proj", plain)
        put(f"{source}/ffn/layer_norm", f"{layer}.final_layer_norm", norm)
        put(f"{source}/ffn/linear_0", f"{layer}.fc1", plain)
        put(f"{source}/ffn/linear_1", f"{layer}.fc2", plain)
        q, k, v = (f"{layer}.self_attn.{part}_proj" for part in "qkv")
        joined = f"encoder/{source}/self_attention/linear_0"
        variables[f"{joined}/weight"] = torch.cat([theirs[f"{part}.weight"] for part in (q, k, v)])
        zeros = torch.zeros(SIZES["d_model"])
        variables[f"{joined}/bias"] = torch.cat([theirs[f"{q}.bias"], zeros, theirs[f"{v}.bias"]])
    return variables


def test_the_folder_gives_what_transformers_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {key: SIZES[key] for key in whisper_tiny.CONFIG if key in SIZES}
    monkeypatch.setattr(whisper_tiny, "CONFIG", whisper_tiny.CONFIG | sizes)
    write_folder(ctranslate2(stored_by_ctranslate2()), tmp_path / "model")
    adapter = pretrained_speech(tmp_path / "model", dim=8).eval()
    assert isinstance(adapter.stem, PretrainedStem)
    samples = noise(30 * 16000)
    rows = adapter.features(adapter.prepare((samples, 16000))[0])
    with torch.no_grad():
        got = adapter.stem.encode(rows, [len(rows)]).values
    torch.testing.assert_close(got, expected("whisper", samples), atol=1e-4, rtol=0)
    assert largest_difference(tmp_path / "model", noise(5000).numpy()) < 1e-4


def test_the_recipe_above_a_frozen_whisper_can_be_used(tmp_path: Path) -> None:
    """Its options exist, and its augmentation lets the stem read each recording once."""
    start = write_speech_folder(tmp_path / "hf", "whisper")
    changes = [f"adapters.speech.start={start}", "training.frozen_layers=2"]
    recipe = read(ROOT / "benchmarks" / "speech" / "timit-whisper.toml", changes)
    check_options(recipe)
    options = {key: value for key, value in recipe.tables["adapters"]["speech"].items() if key != "start"}
    adapter = pretrained_speech(start, dim=8, **options)
    assert adapter.fix_stem(True) == "the frozen stem reads each recording once, not in each step"
