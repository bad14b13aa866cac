"""Folders of tiny random models of speech in the format of Hugging Face, made by `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

WAVES: dict[str, Any] = {
    "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 40,
    "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
LARGE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", WAVES),
    "wav2vec2-large": ("wav2vec2", WAVES | LARGE),
    "wav2vec2-mixed": ("wav2vec2", WAVES | {"feat_extract_norm": "layer", "hidden_act": "relu"}),
    "hubert": ("hubert", WAVES | {"num_conv_pos_embeddings": 15}),
    "hubert-large": ("hubert", WAVES | LARGE | {"feat_proj_layer_norm": False}),
    "wavlm": ("wavlm", WAVES | {"num_buckets": 32, "max_bucket_distance": 40}),
    "wavlm-large": ("wavlm", WAVES | LARGE | {"num_buckets": 16, "max_bucket_distance": 20}),
    "whisper": (
        "whisper",
        {
            "d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 40,
            "decoder_layers": 1, "decoder_attention_heads": 3, "decoder_ffn_dim": 40, "vocab_size": 60,
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
        },
    ),
}  # fmt: skip
"""Name -> family and a tiny configuration. The convolutions have the strides of the released models."""


def speech_model(name: str) -> Any:
    """A random model. Every weight is random, biases and norms too."""
    torch.manual_seed(0)
    family, sizes = MODELS[name]
    config = transformers.AutoConfig.for_model(family, **sizes)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    for key, parameter in model.named_parameters():
        is_scale = (parameter.dim() == 1 and key.endswith("weight")) or key.endswith("original0")
        torch.nn.init.normal_(parameter, mean=float(is_scale), std=0.3)
    return model


def extractor(name: str) -> Any:
    """What the model's library does to samples."""
    if MODELS[name][0] == "whisper":
        return transformers.WhisperFeatureExtractor()
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=name != "wavlm", return_attention_mask=True)


def write_speech_folder(folder: Path, name: str) -> Path:
    """Write a model and its preprocessor into a folder."""
    speech_model(name).save_pretrained(folder)
    extractor(name).save_pretrained(folder)
    return folder


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise that becomes louder, with a mean that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, generator=generator) * torch.linspace(0.01, 0.2, samples) + 0.02


def expected(name: str, samples: torch.Tensor) -> torch.Tensor:
    """The outputs of `transformers` for one recording, ``(outputs, width)``."""
    model = speech_model(name)
    inputs = extractor(name)(samples.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        if MODELS[name][0] == "whisper":
            return model.encoder(inputs.input_features).last_hidden_state[0]
        return model(inputs.input_values).last_hidden_state[0]
