"""Text for a pretrained encoder: each text becomes an ordered set with one vector per piece of its tokenizer.

    vector = dropout(table[piece] + shapes[shape of the word that begins with the piece])

The encoder sees all pieces, with [CLS] and [SEP]. Heads see words: the encoded vectors of a word's pieces are
pooled after the encoder, in :meth:`PretrainedTextAdapter.read`. docs/decisions/0025 says why.

The shape of a word says where it has capitals and digits. An uncased model does not see it, so it is added
for such a model. The table of shapes begins with zeros: nothing changes before training. The row of a shape
is its hash (Weinberger et al. 2009, https://arxiv.org/abs/0902.2206).

Axes: vectors (pieces), words, texts (one set each), dim.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import Any
from zlib import crc32

import torch
from jaxtyping import Int
from torch import Tensor, nn

from multiseq.adapters._text.items import TextItems
from multiseq.adapters._text.pretrained_pieces import PretrainedPieces
from multiseq.adapters._text.words import shape_of
from multiseq.checks import (
    WIDEST,
    asset,
    check_labels,
    check_number,
    check_whole_number,
    config_of,
    one_of,
    reading,
)
from multiseq.nn.dropout import Dropout
from multiseq.nn.first_weights import repeatable
from multiseq.nn.pool import pool
from multiseq.protocols import Inputs
from multiseq.vectors import VectorSets, order_of

__all__ = ["PretrainedTextAdapter", "PretrainedTextExample"]

OVERLAP = 4
"""Windows of a long text overlap by one part in so many."""
NUM_SHAPES = 512
"""Rows of the table of shapes. The words of English-EWT have 352 shapes; 96 % of them have one of ten."""


@dataclass(frozen=True)
class PretrainedTextExample:
    """A text, or one window of a long text.

    Args:
        names: The word or the text of the piece that each vector stands for, as heads see them.
        start: Number of words or pieces of the text before those of this window.
        total: Number of words or pieces of the whole text.
        pieces: Row numbers in the embedding table, with the special pieces.
        first: For each name the number of its first piece.
        counts: For each name the number of its pieces.
        begins: The piece with which each word begins, of all words that begin in this window.
        shapes: The shape of each of these words, as a row number.
    """

    names: tuple[str, ...]
    start: int
    total: int
    pieces: Int[Tensor, " vectors"]
    first: Int[Tensor, " words"]
    counts: Int[Tensor, " words"]
    begins: Int[Tensor, " shapes"]
    shapes: Int[Tensor, " shapes"]


class PretrainedTextAdapter(TextItems, nn.Module):
    """Turns each text into the pieces of a pretrained model. :func:`multiseq.pretrained_text` makes one.

    With the unit "word", an item is a string, which is split as `multiseq.TextAdapter` does, or a list of
    words, and heads see one vector per word. With "piece", an item is a string, and heads see one vector per
    piece. Heads never see the special pieces ([CLS], [SEP]). A text that is longer than ``window`` is cut
    into windows that overlap. Each word is read from the window in which it has more text around it.

    Args:
        tokenizer: The model's tokenizer, as JSON of the `tokenizers` library.
        dim: Width of the vectors.
        num_pieces: Number of rows of the embedding table.
        window: The largest number of vectors in a set, with the special pieces.
        unit: What heads see one vector for: a "word" or a "piece".
        piece_pooling: The vector of a word: that of its "first" piece, or the "mean" over its pieces.
        dropout: Dropout probability on the vectors, in training only.
        word_shape: Whether the shape of a word (with the unit "piece": of a piece) is added to its first
            piece. None: if the tokenizer does not tell capitals from small letters.

    Raises:
        ValueError: An argument is outside its range, or the tokenizer cannot be read or has more pieces than
            ``num_pieces``.
    """

    modality = "text"
    kept = (PretrainedTextExample,)

    @repeatable
    def __init__(
        self,
        tokenizer: str,
        dim: int,
        num_pieces: int,
        window: int,
        *,
        unit: str = "word",
        piece_pooling: str = "mean",
        dropout: float = 0.1,
        word_shape: bool | None = None,
    ) -> None:
        super().__init__()
        check_whole_number("dim", dim, 1, WIDEST)
        check_whole_number("num_pieces", num_pieces, 1)
        one_of(unit, ("word", "piece"), "unit")
        one_of(piece_pooling, ("first", "mean"), "piece_pooling")
        check_number("dropout", dropout, 0.0, 1.0)
        self.tokenizer = PretrainedPieces(tokenizer)
        self.specials = len(self.tokenizer.before) + len(self.tokenizer.after)
        # A window holds at least four pieces, so that windows can overlap.
        check_whole_number("window", window, self.specials + OVERLAP)
        if self.tokenizer.size > num_pieces:
            raise ValueError(f"tokenizer: got {self.tokenizer.size} pieces, expected at most {num_pieces}")
        self.dim, self.window = dim, window
        self.unit, self.piece_pooling = unit, piece_pooling
        self.embedding = nn.Embedding(num_pieces, dim)
        self.shapes = None
        if self.tokenizer.uncased if word_shape is None else word_shape:
            self.shapes = nn.Embedding(NUM_SHAPES, dim)
            nn.init.zeros_(self.shapes.weight)
        self.dropout = Dropout(dropout)

    @property
    def longest(self) -> str:
        """The longest text that is not cut, for error messages."""
        return f"{self.window - self.specials:,} pieces of its words"

    # --- on the CPU, in loader workers -----------------------------------------------------------

    def prepare(self, item: Any) -> list[PretrainedTextExample]:
        """One example, or one per window of a long text.

        Raises:
            ValueError: The item is neither a string nor, for the unit "word", a list of strings.
        """
        names, pieces, spans = self.tokenizer.encode(item, self.unit)
        room = self.window - self.specials
        step = room - room // OVERLAP
        starts = range(0, max(1, len(pieces) - room // OVERLAP), step)
        self.warn_of_windows(len(pieces), "piece", room, len(starts), room // OVERLAP)
        # The border between two windows is in the middle of their overlap.
        borders = [0, *(start + room // OVERLAP // 2 for start in starts[1:]), len(pieces)]
        examples, word = [], 0
        for number, start in enumerate(starts):
            last = number == len(starts) - 1
            end = word
            while end < len(spans) and (last or spans[end][0] < borders[number + 1]):
                end += 1
            window = pieces[start : start + room]
            shapes = self._shapes(names, spans, start, len(window))
            here = names[word:end], spans[word:end]
            examples.append(self._example(*here, window, start, word, len(names), shapes))
            word = end
        return examples

    def _example(
        self,
        names: Sequence[str],
        spans: Sequence[tuple[int, int]],
        pieces: Sequence[int],
        start: int,
        word: int,
        total: int,
        shapes: tuple[Tensor, Tensor],
    ) -> PretrainedTextExample:
        before, after = self.tokenizer.before, self.tokenizer.after
        ends = [min(first + count - start, len(pieces)) for first, count in spans]  # a long word is cut
        first = [max(0, first - start + len(before)) for first, _ in spans]
        counts = [max(1, end + len(before) - begin) for begin, end in zip(first, ends, strict=True)]
        return PretrainedTextExample(
            tuple(names),
            word,
            total,
            torch.tensor([*before, *pieces, *after], dtype=torch.int32),
            torch.tensor(first, dtype=torch.int32),
            torch.tensor(counts, dtype=torch.int32),
            *shapes,
        )

    def _shapes(
        self, names: Sequence[str], spans: Sequence[tuple[int, int]], start: int, num: int
    ) -> tuple[Tensor, Tensor]:
        """Where the words of a window begin, and their shapes; also of words that another window reads."""
        first = bisect_left(spans, (max(start, 0), 0))
        begins, rows, before = [], [], len(self.tokenizer.before)
        for word in range(first, len(names) if self.shapes is not None else 0):
            place = spans[word][0]
            if place >= start + num:
                break
            begins.append(place - start + before)
            rows.append(crc32(shape_of(names[word]).encode()) % NUM_SHAPES)
        return torch.tensor(begins, dtype=torch.int32), torch.tensor(rows, dtype=torch.int32)

    def augment(self, example: PretrainedTextExample, generator: torch.Generator) -> PretrainedTextExample:
        """The example unchanged: the model knows its pieces already."""
        return example

    def num_vectors(self, example: PretrainedTextExample) -> int:
        """The number of pieces, with the special ones."""
        return len(example.pieces)

    def encoded_names(self, example: PretrainedTextExample) -> list[str]:
        """The pieces as they are in the vocabulary, with the special ones."""
        return self.tokenizer.names(example.pieces.tolist())

    def align(self, labels: Any, example: PretrainedTextExample) -> list[Any]:
        """The labels of this window. ``labels`` has one label per word or piece of the whole text.

        Raises:
            ValueError: The labels are not a list, or the numbers of labels and words differ.
        """
        more = f" of {' '.join(example.names[:8])!r} …; names() of the examples lists them"
        check_labels(labels, example.total, self.unit, more)
        return list(labels[example.start : example.start + len(example.names)])

    def collate(self, examples: Sequence[PretrainedTextExample]) -> Inputs:
        """Pack examples: all pieces, and for each word the places of its pieces among them."""
        lengths = [len(e.pieces) for e in examples]
        none = torch.zeros(0, dtype=torch.int32)  # torch.cat needs at least one tensor
        offsets = list(accumulate(lengths, initial=0))[: len(examples)]
        first = torch.cat([none, *(e.first + offset for e, offset in zip(examples, offsets, strict=True))])
        counts = torch.cat([none, *(e.counts for e in examples)])
        tensors = {
            "pieces": torch.cat([none, *(e.pieces for e in examples)]),
            "positions": order_of(lengths),
            "word_positions": order_of([len(e.names) for e in examples]),
        }
        host: dict[str, Any] = {"words": [len(e.names) for e in examples]}
        if self.shapes is not None:
            begins = [e.begins + offset for e, offset in zip(examples, offsets, strict=True)]
            tensors["begins"] = torch.cat([none, *begins])
            tensors["shapes"] = torch.cat([none, *(e.shapes for e in examples)])
        if self.piece_pooling == "first":
            tensors["read"] = first
        else:
            host["counts"] = counts.tolist()
            tensors["read"] = first.repeat_interleave(counts) + order_of(host["counts"])
        return Inputs(lengths, tensors, host)

    def prepared_by(self) -> dict[str, Any]:
        """The settings that the result of `prepare` depends on, with a hash of the tokenizer."""
        digest = sha256(self.tokenizer.to_str().encode()).hexdigest()
        shapes = self.shapes is not None
        return {"unit": self.unit, "window": self.window, "word_shape": shapes, "tokenizer.json": digest}

    # --- on the device ---------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One ordered set per example, with a vector for each piece."""
        x = self.embedding(inputs.tensors["pieces"])
        if self.shapes is not None:
            x = x.index_add(0, inputs.tensors["begins"], self.shapes(inputs.tensors["shapes"]))
        x = self.dropout(x)
        return VectorSets(x, inputs.lengths, inputs.tensors["positions"])

    def read(self, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """One vector for each word, pooled from its pieces; or for each piece that is not special."""
        values = sets.values[inputs.tensors["read"]]
        if self.piece_pooling == "mean":
            values = pool(VectorSets(values, inputs.host["counts"]))
        return VectorSets(values, inputs.host["words"], inputs.tensors["word_positions"])

    # --- to disk and back ------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, without the tokenizer."""
        return {
            "dim": self.dim,
            "num_pieces": self.embedding.num_embeddings,
            "window": self.window,
            "unit": self.unit,
            "piece_pooling": self.piece_pooling,
            "dropout": self.dropout.p,
            "word_shape": self.shapes is not None,
        }

    def assets(self) -> dict[str, str]:
        """``tokenizer.json``."""
        return {"tokenizer.json": self.tokenizer.to_str()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> PretrainedTextAdapter:
        """Rebuild the adapter from :meth:`config` and :meth:`assets`. Its weights are new."""
        names = ("dim", "num_pieces", "window", "unit", "piece_pooling", "dropout", "word_shape")
        options = {"word_shape": False} | config_of(config, names)  # older checkpoints have no shapes
        with reading("config"):
            return cls(asset(assets, "tokenizer.json"), **options)
