"""The architecture of a pretrained encoder, in words that all families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from multiseq.checks import MANY, WIDEST, check_number, check_whole_number, config_of, one_of

__all__ = ["Architecture"]

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")
LONGEST = 1 << 20


@dataclass(frozen=True)
class Architecture:
    """The sizes and variants of a pretrained encoder. `multiseq.pretrained.families` reads it from a config.

    Args:
        dim: Width of the vectors.
        depth: Number of layers.
        heads: Number of attention heads.
        ff_dim: Inner width of the feed-forward network.
        max_length: The longest sequence that the model knows, in vectors.
        pre_norm: Whether a layer normalises its input (ModernBERT); otherwise its sums (BERT).
        entry_norm: Whether the vectors are normalised before the first layer, as a part of the residual
            stream. With ``pre_norm`` false they always are.
        bias: Whether linear layers and norms have biases.
        norm_eps: The small number that layer norm adds to the variance.
        activation: One of ``gelu``, ``gelu_tanh``, ``relu`` and ``silu``.
        gated: Whether the feed-forward network is gated: ``activation(value) * gate``.
        learned_positions: Whether there is a table of ``max_length`` learned absolute positions.
        rotary_bases: For each layer the base of its rotary positions; empty if it has none.
        windows: For each layer its sliding window, or None for a global layer; empty if all are global.
        buckets: The number of buckets of a gated bias over relative positions (WavLM); 0 for none.
        furthest: The distance from which on all positions share a bucket, in vectors.

    Raises:
        ValueError: A number is out of its range, or the sizes do not fit together.
    """

    dim: int
    depth: int
    heads: int
    ff_dim: int
    max_length: int
    pre_norm: bool = False
    entry_norm: bool = True
    bias: bool = True
    norm_eps: float = 1e-12
    activation: str = "gelu"
    gated: bool = False
    learned_positions: bool = True
    rotary_bases: tuple[float, ...] = ()
    windows: tuple[int | None, ...] = ()
    buckets: int = 0
    furthest: int = 0

    def __post_init__(self) -> None:
        check_whole_number("dim", self.dim, 1, WIDEST)
        check_whole_number("depth", self.depth, 1, MANY)
        check_whole_number("heads", self.heads, 1, WIDEST)
        check_whole_number("ff_dim", self.ff_dim, 1, 16 * WIDEST)
        check_whole_number("max_length", self.max_length, 1, LONGEST)
        check_whole_number("buckets", self.buckets, 0, MANY)
        check_whole_number("furthest", self.furthest, self.buckets // 4 + 1 if self.buckets else 0, LONGEST)
        check_number("norm_eps", self.norm_eps, 0.0, 1.0)
        one_of(self.activation, ACTIVATIONS, "activation")
        for name in ("rotary_bases", "windows"):
            values = getattr(self, name)
            if len(values) not in (0, self.depth):
                raise ValueError(
                    f"{name}: got {len(values)} values, expected one for each of {self.depth} layers"
                )
        for base in self.rotary_bases:
            check_number("rotary_bases", base, 1.0, 1e12)
        for window in self.windows:
            check_whole_number("windows", window, 1, none="attend to whole sets")
        unit = 2 * self.heads if self.rotary_bases else self.heads
        if self.dim % unit:
            raise ValueError(f"dim: got {self.dim} for {self.heads} heads, expected a multiple of {unit}")

    def config(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """The inverse of :meth:`config`."""
        given = config_of(config, tuple(field.name for field in fields(cls)))
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return cls(**values)
