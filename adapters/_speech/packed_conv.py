"""Convolution over packed sequences. An output never depends on another sequence.

    y[t] = bias + sum over k of W[k] x[stride * t + k - (kernel - stride) / 2]

with x = 0 outside the sequence. Output t is centred on the inputs that it stands for, stride * t …
stride * (t + 1) - 1. The convolution gathers rows and multiplies them with one matrix. The CPU computes
from the lengths which rows to gather; kernel places outside the sequence read a row of zeros.

Axes: rows (of all sequences), outputs (rows after subsampling), kernel, channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.nn.linear import Linear, padded_rows
from multiseq.vectors import order_of

__all__ = ["ConvStem", "PackedConv"]

STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2)}
"""Subsampling -> strides of the two convolutions."""


class PackedConv(nn.Module):
    """A convolution over packed rows, with ceil(length / stride) outputs per sequence.

    Args:
        in_channels: Width of the rows.
        out_channels: Width of the outputs.
        kernel: Number of rows that an output sees.
        stride: Number of rows from one output to the next.

    Raises:
        ValueError: ``kernel - stride`` is odd or negative, so outputs would not be centred on their rows.

    Example:
        >>> conv = PackedConv(3, 5, kernel=4, stride=2)
        >>> conv(torch.randn(6, 3), conv.taps([5, 0, 1])).shape
        torch.Size([4, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        if kernel < stride or (kernel - stride) % 2:
            raise ValueError(
                f"kernel: got {kernel} for stride {stride}, expected the stride plus an even number"
            )
        self.kernel, self.stride = kernel, stride
        self.linear = Linear(kernel * in_channels, out_channels, bias=True)

    def lengths(self, lengths: Sequence[int]) -> list[int]:
        """The number of outputs of each sequence."""
        return [-(-n // self.stride) for n in lengths]

    def taps(self, lengths: Sequence[int]) -> Int[Tensor, "outputs kernel"]:
        """The number of the row that each kernel place reads. One past the last row means zeros.

        >>> PackedConv(1, 1, kernel=3).taps([2, 1]).tolist()
        [[3, 0, 1], [0, 1, 3], [3, 2, 3]]
        """
        outputs = torch.tensor(self.lengths(lengths), dtype=torch.long)
        inputs = torch.tensor(lengths, dtype=torch.long)
        first = (inputs.cumsum(0) - inputs).repeat_interleave(outputs).unsqueeze(1)
        size = inputs.repeat_interleave(outputs).unsqueeze(1)
        place = order_of(outputs.tolist()).unsqueeze(1) * self.stride
        place = place - (self.kernel - self.stride) // 2 + torch.arange(self.kernel)
        inside = (place >= 0) & (place < size)
        return (first + place).where(inside, inputs.sum()).int()

    def forward(
        self, rows: Float[Tensor, "rows channels"], taps: Int[Tensor, "outputs kernel"]
    ) -> Float[Tensor, "outputs out_channels"]:
        """Convolve the rows. ``taps`` is the result of :meth:`taps` for the lengths of their sequences."""
        # Use an embedding: on a GPU, the gradient of index_select is summed in no fixed order.
        seen = F.embedding(taps, F.pad(rows, (0, 0, 0, 1)), padding_idx=rows.shape[0])
        outputs: Tensor = self.linear(seen.flatten(1))
        return outputs


class ConvStem(nn.Module):
    """Two convolutions and a projection, with ceil(length / subsample) vectors per sequence.

        norm(W gelu(conv(gelu(conv(x)))))

    Args:
        in_channels: Width of the rows.
        dim: Width of the vectors.
        subsample: Rows per vector: 1, 2 or 4.

    Raises:
        ValueError: ``subsample`` is another number.
    """

    def __init__(self, in_channels: int, dim: int, subsample: int) -> None:
        super().__init__()
        if subsample not in STRIDES:
            raise ValueError(f"subsample: got {subsample}, expected 1, 2 or 4")
        first, second = STRIDES[subsample]
        self.conv1 = PackedConv(in_channels, dim, 4 + first, first)
        self.conv2 = PackedConv(dim, dim, 2 + second, second)
        self.reach = (self.conv1.kernel - first) // 2 + (self.conv2.kernel - second) // 2 * first
        """Rows that a vector sees before and after those that it stands for."""
        self.project = Linear(dim, dim, bias=True)
        self.norm = nn.LayerNorm(dim)

    def taps(self, lengths: Sequence[int]) -> tuple[list[int], dict[str, Tensor]]:
        """The number of vectors of each sequence, and the rows that each convolution reads."""
        halfway = self.conv1.lengths(lengths)
        taps = {"taps1": self.conv1.taps(lengths), "taps2": self.conv2.taps(halfway)}
        return self.conv2.lengths(halfway), taps

    def forward(
        self, rows: Float[Tensor, "rows channels"], taps: Mapping[str, Tensor]
    ) -> Float[Tensor, "vectors dim"]:
        """The vectors of packed sequences. ``taps`` is from :meth:`taps`."""
        rows = rows.to(self.project.weight.dtype)
        x = F.gelu(self.conv1(rows, _filled_up(taps["taps1"], len(rows))))[: len(taps["taps1"])]
        x = F.gelu(self.conv2(x, _filled_up(taps["taps2"], len(x))))
        vectors: Tensor = self.norm(self.project(x))[: len(taps["taps2"])]
        return vectors


def _filled_up(taps: Tensor, nothing: int) -> Tensor:
    """On a CPU, pad with outputs that read row ``nothing``, so that few different row counts occur."""
    more = padded_rows(len(taps)) - len(taps) if taps.device.type == "cpu" else 0
    return F.pad(taps, (0, 0, 0, more), value=nothing) if more else taps
