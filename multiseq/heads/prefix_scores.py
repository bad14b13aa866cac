"""CTC prefix scores: how probable it is that a text begins with some tokens, for a search token by token.

Axes: sets, beams (hypotheses of one set that are not finished), frames (vectors of a set, in order), size (of
the vocabulary).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from multiseq.vectors import VectorSets

__all__ = ["CTCSteps"]

LEAST = -700.0
"""The least log-probability of a token at a frame: exp of it is still a normal number of 64 bits."""


class CTCSteps:
    """CTC in the form that beam search calls it (`multiseq.heads.search.Steps`).

    The probability that the text of a set begins with the tokens h and then c is a sum over the frame at
    which c is said first, and that it is h and nothing more is that of all frames:

        P(h c …) = sum over t of before(t, c) p(c, t)        P(h, end) = token(T) + blank(T)
        before(t, c) = blank(t - 1) + token(t - 1), without the second term if c is the last token of h

    ``token(t)`` and ``blank(t)`` are the probabilities of the paths of the first t frames that give h and end
    in its last token, or in blank. This is algorithm 2 of Watanabe et al. 2017
    (https://www.merl.com/publications/docs/TR2017-190.pdf). There are two differences. The sum over t is a
    product of matrices, so that all tokens of the vocabulary get their exact score. And the recursion over t
    is solved by cumulative sums, without a loop:

        r(t) = p(t) (r(t - 1) + x(t))  =>  r(t) / c(t) = sum over s <= t of x(s) / c(s - 1),  c = cumprod(p)

    All of it is in 64 bits, because c becomes tiny.

    Args:
        log_probs: Sets whose vectors are log-probabilities of all tokens; -inf for tokens that no text has.
            No set is empty.
        blank: The number of the blank token.
        end: The number of the token that ends a text. CTC itself has none.

    Example:
        >>> half = VectorSets(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]).log(), [2])
        >>> steps = CTCSteps(half, blank=0, end=2)
        >>> steps(torch.tensor([[2]])).exp()  # "a" is the text of 3 of 4 paths, and "" of one
        tensor([[[0.0000, 0.7500, 0.2500]]])
    """

    def __init__(self, log_probs: VectorSets, *, blank: int, end: int) -> None:
        # Apple's GPUs have no numbers of 64 bits.
        self.device = torch.device("cpu") if log_probs.device.type == "mps" else log_probs.device
        self.blank, self.end, self.lengths = blank, end, list(log_probs.lengths)
        padded, inside = log_probs.to(self.device).to_padded()
        shares = padded.double().exp() * inside[:, :, None]
        self.shares = shares.transpose(1, 2).contiguous()  # (sets, size, frames)
        blanks = self._logs(torch.full((len(self.lengths), 1), blank, device=self.device))
        self.in_blank = F.pad(blanks.cumsum(-1), (1, 0))  # (sets, beams, frames + 1)
        self.in_token = torch.full_like(self.in_blank, -math.inf)
        self.begun = blanks.new_zeros(len(self.lengths), 1)  # log P(h …), (sets, beams)
        self.last: Tensor | None = None  # (sets, beams)

    def __call__(self, tokens: Int[Tensor, "sets beams"]) -> Float[Tensor, "sets beams size"]:
        """As `Steps` says. The first tokens, which only begin a text, are not part of it."""
        last = tokens.to(self.device)
        if self.last is not None:
            self._extend(last, self.last)
        self.last = last
        either = torch.logaddexp(self.in_token, self.in_blank)
        most = either[:, :, :-1].amax(-1, keepdim=True).clamp(min=-1e300)  # -inf: no frame is left
        scores = ((either[:, :, :-1] - most).exp() @ self.shares.transpose(1, 2)).log() + most
        again = (self._of(last) * (self.in_blank[:, :, :-1] - most).exp()).sum(-1, keepdim=True)
        scores = scores.scatter(2, last[:, :, None], again.log() + most)
        frames = torch.tensor(self.lengths).to(self.device)[:, None, None]
        scores[:, :, self.end] = either.gather(2, frames.expand(-1, either.shape[1], 1))[:, :, 0]
        scores[:, :, self.blank] = -math.inf
        return (scores - self.begun[:, :, None]).float().to(tokens.device)

    def keep(self, rows: Int[Tensor, "sets_kept beams_kept"], sets: Sequence[int] | None) -> None:
        """As `Steps` says."""
        assert self.last is not None
        if sets is not None:
            self.lengths = [self.lengths[i] for i in sets]
            chosen, frames = torch.tensor(sets).to(self.device), max(self.lengths, default=0)
            self.shares, self.last = self.shares[chosen, :, :frames], self.last[chosen]
            self.in_blank, self.in_token = (
                x[chosen, :, : frames + 1] for x in (self.in_blank, self.in_token)
            )
        rows = rows.to(self.device)
        index = rows[:, :, None].expand(-1, -1, self.in_blank.shape[2])
        self.in_blank, self.in_token = self.in_blank.gather(1, index), self.in_token.gather(1, index)
        self.last = self.last.gather(1, rows)

    def _extend(self, tokens: Int[Tensor, "sets beams"], last: Int[Tensor, "sets beams"]) -> None:
        """Append a token to each hypothesis, whose last token was ``last``."""
        either = torch.logaddexp(self.in_token, self.in_blank)
        before = torch.where((tokens == last)[:, :, None], self.in_blank, either)[:, :, :-1]
        logs = self._logs(tokens)
        self.begun = (before + logs).logsumexp(-1)
        self.in_token = _recursion(logs, before)
        self.in_blank = _recursion(self._logs(torch.full_like(tokens, self.blank)), self.in_token[:, :, :-1])

    def _of(self, tokens: Int[Tensor, "sets beams"]) -> Float[Tensor, "sets beams frames"]:
        """The probability of a token of each beam at each frame."""
        return self.shares.gather(1, tokens[:, :, None].expand(-1, -1, self.shares.shape[2]))

    def _logs(self, tokens: Int[Tensor, "sets beams"]) -> Float[Tensor, "sets beams frames"]:
        return self._of(tokens).log().clamp(min=LEAST)


def _recursion(
    logs: Float[Tensor, "sets beams frames"], inflow: Float[Tensor, "sets beams frames"]
) -> Float[Tensor, "sets beams frames_and_one"]:
    """``r(t) = p(t) (r(t - 1) + x(t))`` with ``r(0) = 0``, in logarithms: log p and log x in, log r out."""
    product = logs.cumsum(-1)
    return F.pad(product + (inflow - product + logs).logcumsumexp(-1), (1, 0), value=-math.inf)
