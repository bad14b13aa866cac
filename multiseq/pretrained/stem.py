"""Pretrained encoders of speech as a stem: convolutions, then the blocks of a `PretrainedEncoder`.

    wav2vec 2.0, HuBERT, WavLM:  samples -> convolutions -> project(norm) -> + gelu(convolution) -> blocks
    Whisper (its encoder):       log-mel frames -> convolutions -> + positions -> blocks

wav2vec 2.0, Baevski et al. 2020 (https://arxiv.org/abs/2006.11477); HuBERT, Hsu et al. 2021
(https://arxiv.org/abs/2106.07447); WavLM, Chen et al. 2021 (https://arxiv.org/abs/2110.13900); Whisper,
Radford et al. 2022 (https://arxiv.org/abs/2212.04356). All give one vector for each 20 ms.

Recordings are convolved one by one, and attention takes packed sets, so nothing is padded: what a recording
gets does not depend on the others. In the base models of wav2vec 2.0 and HuBERT, the first convolution has a
group norm over time: in a padded batch it would be computed over the padding, too.

Axes: rows (samples, or frames of 10 ms), width (of a row: 1, or mels), outputs (vectors of 20 ms of the
pretrained model), vectors (of the stem), dim.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.checks import MANY, WIDEST, check_number, check_whole_number, config_of, one_of
from multiseq.nn.first_weights import repeatable
from multiseq.nn.linear import Linear
from multiseq.pretrained.architecture import ACTIVATIONS, Architecture
from multiseq.pretrained.encoder import ACTIVATIONS as FUNCTIONS
from multiseq.pretrained.encoder import PretrainedEncoder
from multiseq.vectors import VectorSets, order_of

__all__ = ["PretrainedStem", "SpeechArchitecture"]

NORMS = ("group", "layer", "none")
NEW = ("out.", "norm.")
"""With these begin the names of a stem's weights that are not pretrained."""


@dataclass(frozen=True)
class SpeechArchitecture:
    """The sizes and variants of a pretrained encoder of speech.

    Args:
        encoder: The blocks, and what is before the first.
        widths, kernels, strides: Of each convolution.
        num_mels: The number of mel bands of the frames that the model reads (Whisper). 0: it reads samples.
        normalize: Whether the samples of a recording are scaled to mean 0 and variance 1.
        conv_norm: "group": the first convolution has a norm over time, for each channel; "layer": all have a
            layer norm; "none".
        conv_bias: Whether convolutions have biases.
        activation: The activation after each convolution.
        project_norm: Whether there is a norm before the projection to the width of the blocks.
        position_kernel, position_groups: Of the convolution that adds positions; only for samples.
        sample_rate: Hz.
        dropout: Probability of dropping an entry of a residual branch, in training only: that with which the
            model was trained. Whisper had none, and is spoiled by one.

    Raises:
        ValueError: A number is out of its range, or a vector does not stand for 20 ms.
    """

    encoder: Architecture
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    num_mels: int = 0
    normalize: bool = True
    conv_norm: str = "none"
    conv_bias: bool = True
    activation: str = "gelu"
    project_norm: bool = True
    position_kernel: int = 0
    position_groups: int = 1
    sample_rate: int = 16000
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.kernels) == len(self.strides) > 0:
            sizes = [len(self.widths), len(self.kernels), len(self.strides)]
            raise ValueError(
                f"convolutions: got {sizes} widths, kernels and strides, expected as many of each"
            )
        for name in ("widths", "kernels", "strides"):
            for value in getattr(self, name):
                check_whole_number(name, value, 1, WIDEST)
        check_whole_number("num_mels", self.num_mels, 0, MANY)
        one_of(self.conv_norm, NORMS, "conv_norm")
        one_of(self.activation, ACTIVATIONS, "activation")
        check_whole_number("position_kernel", self.position_kernel, 0 if self.num_mels else 1, WIDEST)
        check_whole_number("position_groups", self.position_groups, 1, WIDEST)
        check_whole_number("sample_rate", self.sample_rate, 1000)
        check_number("dropout", self.dropout, 0.0, 1.0)
        if (step := prod(self.strides)) != 2 * self.rows_per_frame:
            seconds = step / self.rows_per_frame / 100
            raise ValueError(f"strides: got a vector for each {seconds:g} s, expected 0.02 s")

    @property
    def rows_per_frame(self) -> int:
        """The rows of 10 ms: one frame, or as many samples."""
        return 1 if self.num_mels else self.sample_rate // 100

    @property
    def longest(self) -> int | None:
        """The most rows that a recording may have; None: no limit."""
        encoder = self.encoder
        return 2 * encoder.max_length * self.rows_per_frame if encoder.learned_positions else None

    @property
    def padding(self) -> list[int]:
        """Zeros at both ends, for each convolution. Those of samples have none."""
        return [kernel // 2 if self.num_mels else 0 for kernel in self.kernels]

    @property
    def reach(self) -> int:
        """The fewest rows that make an output."""
        rows = 1
        for kernel, stride, zeros in zip(
            *map(reversed, (self.kernels, self.strides, self.padding)), strict=True
        ):
            rows = (rows - 1) * stride + kernel - 2 * zeros
        return max(rows, 1)

    def num_outputs(self, rows: int) -> int:
        """The number of outputs of a recording. One that is too short is filled up with zeros."""
        num = max(rows, self.reach) if rows else 0
        for kernel, stride, zeros in (
            zip(self.kernels, self.strides, self.padding, strict=True) if num else ()
        ):
            num = (num + 2 * zeros - kernel) // stride + 1
        return num

    def config(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        values = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return values | {"encoder": self.encoder.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SpeechArchitecture:
        """The inverse of :meth:`config`."""
        given = config_of(config, tuple(field.name for field in fields(cls)))
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return cls(**values | {"encoder": Architecture.from_config(given["encoder"])})


class PretrainedStem(nn.Module):
    """A pretrained encoder of speech, and a projection of its outputs to vectors of width ``dim``.

        norm(W mean(outputs of 20 ms))

    A vector of 40 ms reads two outputs, one of 20 ms one, and two of 10 ms the same. The last outputs are
    repeated where there is none: the convolutions over samples have none for the last 5 to 25 ms.

    Args:
        architecture: Sizes and variants.
        dim: Width of the vectors.
        subsample: Frames of 10 ms per vector: 1, 2 or 4.
    """

    @repeatable
    def __init__(self, architecture: SpeechArchitecture, dim: int, subsample: int) -> None:
        super().__init__()
        self.architecture, self.subsample = architecture, subsample
        self.frozen = False
        widths, inner = architecture.widths, architecture.encoder.dim
        self.convs = nn.ModuleList(
            ConvLayer(architecture, number, width)
            for number, width in enumerate((architecture.num_mels or 1, *widths[:-1]))
        )
        self.places: nn.Module | None = None
        if not architecture.num_mels:
            self.project_norm = (
                nn.LayerNorm(widths[-1], eps=architecture.encoder.norm_eps)
                if architecture.project_norm
                else nn.Identity()
            )
            self.project = Linear(widths[-1], inner, bias=True)
            kernel, groups = architecture.position_kernel, architecture.position_groups
            self.places = nn.Conv1d(inner, inner, kernel, padding=kernel // 2, groups=groups)
        self.encoder = PretrainedEncoder(architecture.encoder, dropout=architecture.dropout)
        self.out = Linear(inner, dim, bias=True)
        self.norm = nn.LayerNorm(dim)

    def layers(self) -> list[list[nn.Parameter]]:
        """The pretrained weights: those before the first layer, then each layer's."""
        entry, *layers = self.encoder.layers()
        before = [w for name, w in self.named_parameters() if not name.startswith(("encoder.", *NEW))]
        return [before + entry, *layers]

    def taps(self, lengths: Sequence[int]) -> tuple[list[int], Int[Tensor, "vectors outputs_of_one"]]:
        """The number of vectors of each recording, from that of its rows; and the outputs that each reads."""
        step = self.subsample * self.architecture.rows_per_frame
        vectors = [-(-n // step) for n in lengths]
        outputs = torch.tensor([self.architecture.num_outputs(n) for n in lengths], dtype=torch.long)
        ends = outputs.cumsum(0)
        first, last = ((x).repeat_interleave(torch.tensor(vectors)) for x in (ends - outputs, ends - 1))
        numbers = order_of(vectors) * self.subsample // 2
        places = (first + numbers)[:, None] + torch.arange(max(self.subsample // 2, 1))
        return vectors, places.minimum(last[:, None])

    def forward(
        self,
        rows: Float[Tensor, "rows width"],
        lengths: Sequence[int],
        taps: Int[Tensor, "vectors outputs_of_one"],
    ) -> Float[Tensor, "vectors dim"]:
        """The vectors of packed recordings.

        Args:
            rows: Samples, or log-mel frames.
            lengths: The number of rows of each recording.
            taps: From :meth:`taps`.
        """
        return self.read(self.encode(rows, lengths).values, taps)

    def read(
        self, outputs: Float[Tensor, "outputs inner"], taps: Int[Tensor, "vectors outputs_of_one"]
    ) -> Float[Tensor, "vectors dim"]:
        """The vectors, from the outputs of the pretrained model for packed recordings."""
        read = F.embedding(taps, outputs).mean(1)  # on a GPU its gradient is summed in a fixed order
        vectors: Tensor = self.norm(self.out(read))
        return vectors

    def train(self, mode: bool = True) -> PretrainedStem:
        """Set the mode. A frozen stem drops nothing in training either."""
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def digest(self) -> str:
        """A digest of the architecture and the pretrained weights."""
        digest = sha256(json.dumps(self.architecture.config()).encode())
        for name, weight in self.state_dict().items():
            if not name.startswith(NEW):
                digest.update(name.encode())
                digest.update(weight.cpu().contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()

    def encode(self, rows: Float[Tensor, "rows width"], lengths: Sequence[int]) -> VectorSets:
        """The outputs of the pretrained model: an ordered set for each recording, of the model's width."""
        given = rows.to(self.out.weight.dtype).split(list(lengths))
        outputs = [self._convolved(recording) for recording in given]
        sizes = [len(recording) for recording in outputs]
        x = torch.cat([rows.new_zeros(0, self.architecture.widths[-1]), *outputs])
        if self.places is not None:
            x = self.project(self.project_norm(x))
            x = x + torch.cat([x[:0], *map(self._places_of, x.split(sizes))])
        encoded: VectorSets = self.encoder(VectorSets(x, sizes, order_of(sizes).to(x.device)))
        return encoded

    def _convolved(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "outputs channels"]:
        if not len(rows):
            return rows.new_zeros(0, self.architecture.widths[-1])
        x = F.pad(rows, (0, 0, 0, max(self.architecture.reach - len(rows), 0))).t()[None]
        for conv in self.convs:
            x = conv(x)
        return x[0].t()

    def _places_of(self, x: Float[Tensor, "outputs inner"]) -> Float[Tensor, "outputs inner"]:
        """What the convolution over the outputs of one recording adds to them."""
        if not len(x):
            return x
        assert self.places is not None
        activation = FUNCTIONS[self.architecture.activation]
        return activation(self.places(x.t()[None]))[0, :, : len(x)].t()


class ConvLayer(nn.Module):
    """A convolution of one recording, with a norm and an activation: ``activation(norm(conv(x)))``."""

    def __init__(self, architecture: SpeechArchitecture, number: int, in_channels: int) -> None:
        super().__init__()
        width, norm = architecture.widths[number], architecture.conv_norm
        self.conv = nn.Conv1d(
            in_channels,
            width,
            architecture.kernels[number],
            architecture.strides[number],
            architecture.padding[number],
            bias=architecture.conv_bias,
        )
        self.norm: nn.Module | None = None
        if norm == "layer":
            self.norm = nn.LayerNorm(width)
        if norm == "group" and not number:
            self.norm = nn.GroupNorm(width, width)
        self.activation = FUNCTIONS[architecture.activation]

    def forward(self, x: Float[Tensor, "1 channels rows"]) -> Float[Tensor, "1 width outputs"]:
        """Convolve one recording."""
        x = self.conv(x)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            x = self.norm(x)
        return self.activation(x)
