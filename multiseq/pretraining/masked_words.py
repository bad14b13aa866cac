"""Begin with words that are predicted from their sentences: pretraining on texts without labels.

Some words of each text are hidden, and the model learns to predict them from the others (masked language
modelling, Devlin et al. 2019, https://arxiv.org/abs/1810.04805, with whole words). Text adapter and encoder
keep what they have learned; the layer that predicts words is thrown away. It helps where labels are few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from multiseq.adapters._text.words import WordParts
from multiseq.adapters.text import TextAdapter
from multiseq.checks import check_number
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget
from multiseq.model import Model
from multiseq.tasks import Source, Task
from multiseq.training.loop import train
from multiseq.training.settings import Settings

__all__ = ["pretrain"]

MASK = "[MASK]"
"""What a hidden word is shown as."""
DRAWS = 6
"""How often the hidden words of a text are drawn. Later epochs repeat these draws."""
MOST_WORDS = 20_000
"""Words that can be predicted: the most frequent of those that occur twice. Capitals are ignored."""


def pretrain(
    model: Model,
    adapter: str,
    texts: Iterable[Any],
    *,
    mask: float = 0.15,
    settings: Settings | None = None,
    **options: Any,
) -> Model:
    """Pretrain a text adapter and the encoder of a model in place, on texts without labels.

    Args:
        model: The model. Its heads stay as they are.
        adapter: The name of a `TextAdapter` with the unit "word".
        texts: Texts, each a string or a list of words. The adapter should have been fitted to them.
        mask: Share of the words that are hidden; at least one of each text is.
        settings: As for `multiseq.train`. The seed decides what is hidden, too.
        options: As for `multiseq.train`, for example ``steps=1500, lr=2e-3``.

    Returns:
        The model.

    Raises:
        ValueError: The adapter is another one, or no word occurs twice.

    Example:
        >>> from multiseq import ClassTarget, Encoder, Model, SetHead, Task, TextAdapter
        >>> texts = ["a red lamp", "a blue lamp", "the lamp is red"]
        >>> text = TextAdapter.fit(texts, dim=16)
        >>> colour = Task("text", SetHead(16, ClassTarget(["blue", "red"])))
        >>> model = Model({"text": text}, Encoder(dim=16, depth=1, heads=2), {"colour": colour})
        >>> pretrain(model, "text", texts, steps=3, progress=False) is model
        True
    """
    check_number("mask", mask, 0.0, 1.0)
    reads = model.adapter(adapter)
    if not isinstance(reads, TextAdapter) or not isinstance(reads.parts, WordParts):
        raise ValueError(
            f"adapter: got {adapter!r}, a {type(reads).__name__}, expected a TextAdapter whose unit is word"
        )
    sentences = [words for words in map(reads.parts.split, texts) if words]
    counts = Counter(word.lower() for words in sentences for word in words)
    known = sorted(word for word, count in counts.most_common(MOST_WORDS) if count > 1)
    if not known:
        raise ValueError(f"texts: got {len(sentences)} texts in which no word occurs twice, expected more")
    seed = options.get("seed", 0) if settings is None else settings.seed
    items, labels = _hidden(sentences, set(known), mask, torch.Generator().manual_seed(seed))
    head: Any = VectorHead(model.encoder.dim, ClassTarget(known))
    guesser = Model({adapter: reads}, model.encoder, {"word": Task(adapter, head)})
    train(guesser, [Source(adapter, items, {"word": labels})], settings=settings, **options)
    return model


def _hidden(
    sentences: Sequence[Sequence[str]], known: set[str], mask: float, generator: torch.Generator
) -> tuple[list[list[str]], list[list[str | None]]]:
    """The texts with some words hidden, and for each word what it was, or None if it was not hidden."""
    items, labels = [], []
    for words in [words for _ in range(DRAWS) for words in sentences]:
        places = [i for i, word in enumerate(words) if word.lower() in known]
        if not places:
            continue
        draws = torch.rand(len(places), generator=generator).tolist()
        least = min(draws)
        hidden = {i for i, draw in zip(places, draws, strict=True) if draw < mask or draw == least}
        items.append([MASK if i in hidden else word for i, word in enumerate(words)])
        labels.append([word.lower() if i in hidden else None for i, word in enumerate(words)])
    return items, labels
