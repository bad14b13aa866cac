"""Attention the slow, obvious way: one set, one head, one query at a time."""

import torch
from torch import Tensor

from multiseq.nn.attention import Chunks, Window


def is_hidden(i: int, j: int, window: Window) -> bool:
    """Whether query i does not see key j."""
    if isinstance(window, Chunks):
        begin = i // window.size * window.size
        return j < begin - window.before or j >= begin + window.size
    return abs(i - j) > window


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_lengths: list[int],
    k_lengths: list[int],
    *,
    causal: bool = False,
    bias: Tensor | None = None,
    window: Window | None = None,
    sequences: list[bool] | None = None,
) -> Tensor:
    """What `multiseq.attend` must give, for packed rows ``(vectors, heads, head_dim)``."""
    out = torch.zeros_like(q)
    q_row = k_row = pair = 0
    for num_q, num_k, cut in zip(q_lengths, k_lengths, sequences or [True] * len(q_lengths), strict=True):
        for i in range(num_q):
            keys = [
                j
                for j in range(num_k)
                if not (causal and j > i) and not (cut and window is not None and is_hidden(i, j, window))
            ]
            for head in range(q.shape[1]):
                if not keys:
                    continue
                scores = [q[q_row + i, head] @ k[k_row + j, head] / q.shape[2] ** 0.5 for j in keys]
                if bias is not None:
                    scores = [s + bias[pair + i * num_k + j, head] for s, j in zip(scores, keys, strict=True)]
                weights = torch.stack(scores).softmax(0)
                out[q_row + i, head] = sum(w * v[k_row + j, head] for w, j in zip(weights, keys, strict=True))
        q_row, k_row, pair = q_row + num_q, k_row + num_k, pair + num_q * num_k
    return out
