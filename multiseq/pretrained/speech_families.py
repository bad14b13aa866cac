"""Families of pretrained encoders of speech: what their ``config.json`` means, and which weights go where.

wav2vec 2.0, HuBERT, WavLM and Whisper; `multiseq.pretrained.stem` names the papers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multiseq.pretrained.architecture import Architecture
from multiseq.pretrained.families import activation_of
from multiseq.pretrained.stem import SpeechArchitecture

__all__ = ["SPEECH_FAMILIES", "SpeechFamily"]

Config = Mapping[str, Any]
Weights = Mapping[str, Tensor]
Take = Callable[[str], Tensor]


@dataclass(frozen=True)
class SpeechFamily:
    """How to read the models of one family.

    Args:
        prefix: What the names of all weights begin with, if the file is of a model with a head.
        architecture: Reads the sizes and variants from a config, and that of the preprocessor.
        weights: From the architecture and a function that gives a weight by its name: our names and weights.
    """

    prefix: str
    architecture: Callable[[Config, Config], SpeechArchitecture]
    weights: Callable[[SpeechArchitecture, Take], Iterator[tuple[str, Tensor]]]

    def read(self, architecture: SpeechArchitecture, given: Weights) -> dict[str, Tensor]:
        """The weights of a `PretrainedStem`, without its projection.

        Raises:
            ValueError: A weight is missing.
        """
        theirs = {name.removeprefix(self.prefix): tensor.float() for name, tensor in given.items()}

        def take(name: str) -> Tensor:
            if name not in theirs:
                raise ValueError(
                    f"its weights lack {name!r}; expected a model of this family with all layers"
                )
            return theirs[name]

        return dict(self.weights(architecture, take))


# --- what a config says ------------------------------------------------------------------------------


def _wav2vec(config: Config, preprocessor: Config) -> SpeechArchitecture:
    """wav2vec 2.0, HuBERT and WavLM."""
    for name in ("conv_pos_batch_norm", "add_adapter", "adapter_attn_dim"):
        if config.get(name):
            raise ValueError(f"{name}: got {config[name]!r}, expected a model without it")
    stable = config.get("do_stable_layer_norm", False)
    relative = config["model_type"] == "wavlm"
    encoder = Architecture(
        dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        ff_dim=config["intermediate_size"],
        max_length=1,
        pre_norm=stable,
        entry_norm=not stable,
        norm_eps=config.get("layer_norm_eps", 1e-5),
        activation=activation_of(config.get("hidden_act", "gelu")),
        learned_positions=False,
        buckets=config.get("num_buckets", 320) if relative else 0,
        furthest=config.get("max_bucket_distance", 800) if relative else 0,
    )
    return SpeechArchitecture(
        encoder,
        widths=tuple(config.get("conv_dim", (512,) * 7)),
        kernels=tuple(config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2))),
        strides=tuple(config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))),
        normalize=preprocessor.get("do_normalize", True),
        conv_norm=config.get("feat_extract_norm", "group"),
        conv_bias=config.get("conv_bias", False),
        activation=activation_of(config.get("feat_extract_activation", "gelu")),
        project_norm=config.get("feat_proj_layer_norm", True),
        position_kernel=config.get("num_conv_pos_embeddings", 128),
        position_groups=config.get("num_conv_pos_embedding_groups", 16),
        sample_rate=preprocessor.get("sampling_rate", 16000),
        dropout=config.get("hidden_dropout", 0.1),
    )


def _whisper(config: Config, preprocessor: Config) -> SpeechArchitecture:
    for name, expected in (("hop_length", 160), ("n_fft", 400), ("sampling_rate", 16000)):
        if preprocessor.get(name, expected) != expected:
            raise ValueError(
                f"preprocessor_config.json: {name}: got {preprocessor[name]!r}, expected {expected}"
            )
    dim = config["d_model"]
    encoder = Architecture(
        dim=dim,
        depth=config["encoder_layers"],
        heads=config["encoder_attention_heads"],
        ff_dim=config["encoder_ffn_dim"],
        max_length=config.get("max_source_positions", 1500),
        pre_norm=True,
        entry_norm=False,
        norm_eps=1e-5,
        activation=activation_of(config.get("activation_function", "gelu")),
    )
    return SpeechArchitecture(
        encoder,
        widths=(dim, dim),
        kernels=(3, 3),
        strides=(1, 2),
        num_mels=config.get("num_mel_bins", 80),
        dropout=config.get("dropout", 0.0),
    )


# --- which weights go where --------------------------------------------------------------------------


def _both(ours: str, take: Take, *theirs: str) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a layer of ours, from one or several of theirs."""
    for kind in ("weight", "bias"):
        yield f"{ours}.{kind}", torch.cat([take(f"{name}.{kind}") for name in theirs])


def _wav2vec_weights(architecture: SpeechArchitecture, take: Take) -> Iterator[tuple[str, Tensor]]:
    normed = {"group": 1, "layer": len(architecture.widths), "none": 0}[architecture.conv_norm]
    for number in range(len(architecture.widths)):
        ours, theirs = f"convs.{number}", f"feature_extractor.conv_layers.{number}"
        yield f"{ours}.conv.weight", take(f"{theirs}.conv.weight")
        if architecture.conv_bias:
            yield f"{ours}.conv.bias", take(f"{theirs}.conv.bias")
        if number < normed:
            yield from _both(f"{ours}.norm", take, f"{theirs}.layer_norm")
    if architecture.project_norm:
        yield from _both("project_norm", take, "feature_projection.layer_norm")
    yield from _both("project", take, "feature_projection.projection")
    yield "places.bias", take("encoder.pos_conv_embed.conv.bias")
    yield "places.weight", _without_norm(take, "encoder.pos_conv_embed.conv")

    encoder = architecture.encoder
    depth, stable = encoder.depth, encoder.pre_norm
    yield from _both(
        "encoder.norm" if stable else "encoder.blocks.0.attention_norm", take, "encoder.layer_norm"
    )
    for layer in range(depth):
        ours, theirs = f"encoder.blocks.{layer}", f"encoder.layers.{layer}"
        after = f"encoder.blocks.{layer + 1}.attention_norm" if layer + 1 < depth else "encoder.norm"
        first, second = (f"{ours}.attention_norm", f"{ours}.feed_forward_norm")
        yield from _both(first if stable else second, take, f"{theirs}.layer_norm")
        yield from _both(second if stable else after, take, f"{theirs}.final_layer_norm")
        qkv = [f"{theirs}.attention.{name}_proj" for name in "qkv"]
        yield from _both(f"{ours}.attention.qkv", take, *qkv)
        yield from _both(f"{ours}.attention.out", take, f"{theirs}.attention.out_proj")
        yield from _both(f"{ours}.feed_forward.inner", take, f"{theirs}.feed_forward.intermediate_dense")
        yield from _both(f"{ours}.feed_forward.out", take, f"{theirs}.feed_forward.output_dense")
        if encoder.buckets:
            # They add four outputs of a linear layer for each gate: one output of the sum of its weights.
            for kind in ("weight", "bias"):
                gates = take(f"{theirs}.attention.gru_rel_pos_linear.{kind}")
                yield f"{ours}.attention.gate.{kind}", gates.unflatten(0, (2, 4)).sum(1)
            yield f"{ours}.attention.scale", take(f"{theirs}.attention.gru_rel_pos_const").flatten()
    if encoder.buckets:
        yield "encoder.bias.relative", take("encoder.layers.0.attention.rel_attn_embed.weight")


def _without_norm(take: Take, conv: str) -> Tensor:
    """The weight of a convolution that is stored as a length and a direction for each place of the kernel."""
    try:
        length, direction = (take(f"{conv}.parametrizations.weight.original{n}") for n in (0, 1))
    except ValueError:  # models saved by older versions
        length, direction = take(f"{conv}.weight_g"), take(f"{conv}.weight_v")
    weight: Tensor = direction * (length / direction.norm(dim=(0, 1), keepdim=True))
    return weight


def _whisper_weights(architecture: SpeechArchitecture, take: Take) -> Iterator[tuple[str, Tensor]]:
    for number in (0, 1):
        yield from _both(f"convs.{number}.conv", take, f"encoder.conv{number + 1}")
    yield "encoder.positions.weight", take("encoder.embed_positions.weight")
    yield from _both("encoder.norm", take, "encoder.layer_norm")
    for layer in range(architecture.encoder.depth):
        ours, theirs = f"encoder.blocks.{layer}", f"encoder.layers.{layer}"
        yield from _both(f"{ours}.attention_norm", take, f"{theirs}.self_attn_layer_norm")
        yield from _both(f"{ours}.feed_forward_norm", take, f"{theirs}.final_layer_norm")
        q, k, v, out = (f"{theirs}.self_attn.{name}_proj" for name in ("q", "k", "v", "out"))
        yield f"{ours}.attention.qkv.weight", torch.cat([take(f"{name}.weight") for name in (q, k, v)])
        biases = [take(f"{q}.bias"), torch.zeros(architecture.encoder.dim), take(f"{v}.bias")]
        yield f"{ours}.attention.qkv.bias", torch.cat(biases)  # keys have none
        yield from _both(f"{ours}.attention.out", take, out)
        yield from _both(f"{ours}.feed_forward.inner", take, f"{theirs}.fc1")
        yield from _both(f"{ours}.feed_forward.out", take, f"{theirs}.fc2")


SPEECH_FAMILIES = {
    "wav2vec2": SpeechFamily("wav2vec2.", _wav2vec, _wav2vec_weights),
    "hubert": SpeechFamily("hubert.", _wav2vec, _wav2vec_weights),
    "wavlm": SpeechFamily("wavlm.", _wav2vec, _wav2vec_weights),
    "whisper": SpeechFamily("model.", _whisper, _whisper_weights),
}
"""``model_type`` in a config -> its family."""
