"""A plain Transformer beside ours on facts: it reads them as one line of text.

    python -m benchmarks.accuracy.linearised --data FOLDER_OF_WEBNLG

`MarianMTModel` of `transformers` with our width, depth, heads, dropout and label smoothing, from random
weights (`benchmarks.accuracy.marian`). Its input is ``subject | relation | object``, fact after fact; in
training, each text of an item is a pair of its own. The score is the recipe's BLEU; all texts of an item are
references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.accuracy.beside import Items, Plan, compare
from benchmarks.accuracy.marian import marian

__all__ = ["line_of", "pairs", "transformer"]


def line_of(facts: Sequence[Sequence[str]]) -> str:
    """The facts as one line.

    >>> line_of([("Ada", "wrote", "notes"), ("notes", "about", "engines")])
    'Ada | wrote | notes && notes | about | engines'
    """
    return " && ".join(" | ".join(fact) for fact in facts)


def pairs(items: Items) -> Items:
    """Each fact list with each of its texts.

    >>> pairs(([[("a", "b", "c")]], [["One.", "Two."]]))
    (['a | b | c', 'a | b | c'], ['One.', 'Two.'])
    """
    found = [(line_of(facts), text) for facts, texts in zip(*items, strict=True) for text in _listed(texts)]
    return [line for line, _ in found], [text for _, text in found]


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def transformer(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train the model from scratch; its BLEU on test."""
    facts, references = splits["test"]
    test = [line_of(one) for one in facts], references
    return marian(plan, {"train": pairs(splits["train"]), "test": test})


if __name__ == "__main__":
    compare(__doc__, "webnlg", {"plain Transformer": transformer})
