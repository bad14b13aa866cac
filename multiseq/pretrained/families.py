"""Families of pretrained encoders: what their ``config.json`` means, and which of their weights go where.

BERT (https://arxiv.org/abs/1810.04805; MiniLM is one), RoBERTa and XLM-R (https://arxiv.org/abs/1907.11692,
https://arxiv.org/abs/1911.02116), DistilBERT (https://arxiv.org/abs/1910.01108) and ModernBERT
(https://arxiv.org/abs/2412.13663).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multiseq.checks import one_of
from multiseq.pretrained.architecture import Architecture

__all__ = ["FAMILIES", "Family", "activation_of"]

Weights = dict[str, Tensor]
Config = Mapping[str, Any]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}
"""Name in a config -> our name."""


@dataclass(frozen=True)
class Family:
    """How to read the models of one family.

    Args:
        prefix: What the names of all weights begin with, if the file is of a model with a head.
        architecture: Reads the sizes and variants from a config.
        names: From the architecture: our name of a weight -> their names, which are concatenated.
        embedding: Their name of the embeddings of the pieces.
        types: Their name of the embeddings of the segments, whose first row belongs to every piece.
        positions: Their name of the table of positions.
    """

    prefix: str
    architecture: Callable[[Config], Architecture]
    names: Callable[[Architecture], dict[str, tuple[str, ...]]]
    embedding: str
    types: str = ""
    positions: str = ""

    def weights(self, architecture: Architecture, given: Mapping[str, Tensor]) -> tuple[Tensor, Weights]:
        """The embeddings of the pieces, and the weights of the encoder.

        Raises:
            ValueError: A weight is missing or has another shape than the config says.
        """
        theirs = {_current(name.removeprefix(self.prefix)): tensor.float() for name, tensor in given.items()}

        def take(name: str) -> Tensor:
            if name not in theirs:
                raise ValueError(
                    f"its weights lack {name!r}; expected a model of this family with all layers"
                )
            return theirs[name]

        ours = {
            f"{name}.{kind}": torch.cat([take(f"{source}.{kind}") for source in sources])
            for name, sources in self.names(architecture).items()
            for kind in (("weight", "bias") if architecture.bias else ("weight",))
        }
        if self.positions:
            # RoBERTa's table begins with rows for padding, which no vector has.
            ours["positions.weight"] = take(self.positions)[-architecture.max_length :]
        if architecture.rotary_bases:
            for layer in range(architecture.depth):
                name = f"blocks.{layer}.attention.qkv.weight"
                ours[name] = _paired(ours[name], architecture.heads)
        embedding = take(self.embedding)
        return (embedding + take(self.types)[0] if self.types else embedding), ours


def _current(name: str) -> str:
    """The first BERT called the weights of a norm gamma and beta."""
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")


def _paired(qkv: Tensor, heads: int) -> Tensor:
    """Reorder the rows of queries and keys for our rotation.

    They rotate entries i and i + head_dim / 2 of a head together; we rotate neighbours, 2i and 2i + 1.
    Queries and keys are reordered alike, so their products stay the same.
    """
    rotated, values = qkv.split([len(qkv) // 3 * 2, len(qkv) // 3])
    paired = rotated.unflatten(0, (2 * heads, 2, -1)).transpose(1, 2).flatten(0, 2)
    return torch.cat([paired, values])


# --- what a config says ------------------------------------------------------------------------------


def _bert(config: Config) -> Architecture:
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(
            f"position_embedding_type: got {config['position_embedding_type']!r}, expected 'absolute'"
        )
    return Architecture(
        dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        ff_dim=config["intermediate_size"],
        max_length=config["max_position_embeddings"],
        norm_eps=config.get("layer_norm_eps", 1e-12),
        activation=activation_of(config.get("hidden_act", "gelu")),
    )


def _roberta(config: Config) -> Architecture:
    positions = config["max_position_embeddings"] - config.get("pad_token_id", 1) - 1
    return _bert({**config, "max_position_embeddings": positions})


def _distilbert(config: Config) -> Architecture:
    return Architecture(
        dim=config["dim"],
        depth=config["n_layers"],
        heads=config["n_heads"],
        ff_dim=config["hidden_dim"],
        max_length=config["max_position_embeddings"],
        activation=activation_of(config.get("activation", "gelu")),
    )


def _modernbert(config: Config) -> Architecture:
    for name in ("norm_bias", "attention_bias", "mlp_bias"):
        if config.get(name):
            raise ValueError(
                f"{name}: got {config[name]!r}, expected false, as all released ModernBERTs have"
            )
    depth = config["num_hidden_layers"]
    every = config.get("global_attn_every_n_layers", 3)
    kinds = config.get("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(depth)
    ]
    bases = {
        "full_attention": config.get("global_rope_theta", 160_000.0),
        "sliding_attention": config.get("local_rope_theta") or 10_000.0,
    }
    for kind, rotation in (config.get("rope_parameters") or {}).items():
        one_of(rotation.get("rope_type", "default"), ("default",), f"rope_parameters: {kind}: rope_type")
        bases[kind] = rotation.get("rope_theta", bases[kind])
    window = config.get("local_attention", 128) // 2
    return Architecture(
        dim=config["hidden_size"],
        depth=depth,
        heads=config["num_attention_heads"],
        ff_dim=config["intermediate_size"],
        max_length=config["max_position_embeddings"],
        pre_norm=True,
        bias=False,
        norm_eps=config.get("norm_eps", 1e-5),
        activation=activation_of(config.get("hidden_activation", "gelu")),
        gated=True,
        learned_positions=False,
        rotary_bases=tuple(float(bases[kind]) for kind in kinds),
        windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
    )


def activation_of(name: str) -> str:
    """Our name of an activation in a config. Raises ValueError for another."""
    one_of(name, ACTIVATIONS, "activation")
    return ACTIVATIONS[name]


# --- which weights go where --------------------------------------------------------------------------


def _after(layer: int, depth: int) -> str:
    """The norm after a layer of BERT: the next block's first norm, or the encoder's last."""
    return f"blocks.{layer + 1}.attention_norm" if layer + 1 < depth else "norm"


def _bert_names(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {"blocks.0.attention_norm": ("embeddings.LayerNorm",)}
    for layer in range(architecture.depth):
        ours, theirs = f"blocks.{layer}", f"encoder.layer.{layer}"
        names |= {
            f"{ours}.attention.qkv": tuple(f"{theirs}.attention.self.{n}" for n in ("query", "key", "value")),
            f"{ours}.attention.out": (f"{theirs}.attention.output.dense",),
            f"{ours}.feed_forward_norm": (f"{theirs}.attention.output.LayerNorm",),
            f"{ours}.feed_forward.inner": (f"{theirs}.intermediate.dense",),
            f"{ours}.feed_forward.out": (f"{theirs}.output.dense",),
            _after(layer, architecture.depth): (f"{theirs}.output.LayerNorm",),
        }
    return names


def _distilbert_names(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {"blocks.0.attention_norm": ("embeddings.LayerNorm",)}
    for layer in range(architecture.depth):
        ours, theirs = f"blocks.{layer}", f"transformer.layer.{layer}"
        names |= {
            f"{ours}.attention.qkv": tuple(f"{theirs}.attention.{n}_lin" for n in "qkv"),
            f"{ours}.attention.out": (f"{theirs}.attention.out_lin",),
            f"{ours}.feed_forward_norm": (f"{theirs}.sa_layer_norm",),
            f"{ours}.feed_forward.inner": (f"{theirs}.ffn.lin1",),
            f"{ours}.feed_forward.out": (f"{theirs}.ffn.lin2",),
            _after(layer, architecture.depth): (f"{theirs}.output_layer_norm",),
        }
    return names


def _modernbert_names(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {"norm": ("final_norm",)}
    for layer in range(architecture.depth):
        ours, theirs = f"blocks.{layer}", f"layers.{layer}"
        names |= {
            f"{ours}.attention_norm": (f"{theirs}.attn_norm" if layer else "embeddings.norm",),
            f"{ours}.attention.qkv": (f"{theirs}.attn.Wqkv",),
            f"{ours}.attention.out": (f"{theirs}.attn.Wo",),
            f"{ours}.feed_forward_norm": (f"{theirs}.mlp_norm",),
            f"{ours}.feed_forward.inner": (f"{theirs}.mlp.Wi",),
            f"{ours}.feed_forward.out": (f"{theirs}.mlp.Wo",),
        }
    return names


WORDS, TYPES, POSITIONS = (
    f"embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type", "position")
)

FAMILIES = {
    "bert": Family("bert.", _bert, _bert_names, WORDS, TYPES, POSITIONS),
    "roberta": Family("roberta.", _roberta, _bert_names, WORDS, TYPES, POSITIONS),
    "xlm-roberta": Family("roberta.", _roberta, _bert_names, WORDS, TYPES, POSITIONS),
    "distilbert": Family("distilbert.", _distilbert, _distilbert_names, WORDS, positions=POSITIONS),
    "modernbert": Family("model.", _modernbert, _modernbert_names, "embeddings.tok_embeddings.weight"),
}
"""``model_type`` in a config -> its family."""
