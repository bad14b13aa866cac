"""Kim's CNN beside ours: the sentiment of sentences, from scratch.

    python -m benchmarks.accuracy.kim_cnn --data FOLDER_OF_SST
    python -m benchmarks.accuracy.kim_cnn --data FOLDER_OF_QC --recipe trec

CNN-rand of Kim 2014 (https://aclanthology.org/D14-1181), as published: 100 filters each of widths 3, 4 and 5
over embeddings of width 300, the maximum over the positions, dropout 0.5, rows of the last layer with a norm
of at most 3, Adadelta, batches of 50 padded sentences, the best of its epochs on dev.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from benchmarks.accuracy.beside import Items, Plan, compare
from multiseq.adapters._text.words import split_words

EPOCHS, BATCH, WIDTHS, FILTERS, DIM, NORM = 25, 50, (3, 4, 5), 100, 300, 3.0
UNKNOWN = 1
"""Number of unknown words; 0 fills up."""


class CNN(nn.Module):
    """Words in, logits of classes out."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, DIM, padding_idx=0)
        nn.init.uniform_(self.embedding.weight, -0.25, 0.25)
        self.filters = nn.ModuleList(nn.Conv1d(DIM, FILTERS, n, padding=n - 1) for n in WIDTHS)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(FILTERS * len(WIDTHS), classes)

    def forward(self, words: Tensor) -> Tensor:
        """Words (sentences, longest)."""
        x = self.embedding(words).transpose(1, 2)
        highest = [torch.relu(f(x)).amax(dim=-1) for f in self.filters]
        logits: Tensor = self.out(self.dropout(torch.cat(highest, dim=-1)))
        return logits


def kim_cnn(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train the network; the accuracy on test."""
    torch.manual_seed(0)
    texts, labels = splits["train"]
    known = dict.fromkeys(word for text in texts for word in split_words(text.lower()))
    numbers = {word: i for i, word in enumerate(known, 2)}
    classes = {label: i for i, label in enumerate(sorted(set(labels)))}
    train, dev, test = (_numbers(splits[split], numbers, classes) for split in ("train", "dev", "test"))
    model = CNN(len(numbers) + 2, len(classes))
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0, rho=0.95, eps=1e-6)
    best, kept = -1.0, model.state_dict()
    for _ in range(1 if plan.quick else EPOCHS):
        model.train()
        for chosen in torch.randperm(len(texts)).split(BATCH):
            words, wanted = _batch(train, chosen.tolist())
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(words), wanted).backward()
            optimizer.step()
            with torch.no_grad():
                model.out.weight.renorm_(2, 0, NORM)
        score = _accuracy(model, dev)
        if score > best:
            best, kept = score, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return _accuracy(model, test)


def _numbers(
    items: Items, numbers: Mapping[str, int], classes: Mapping[str, int]
) -> list[tuple[Tensor, int]]:
    words = ([numbers.get(word, UNKNOWN) for word in split_words(text.lower())] for text in items[0])
    return [(torch.tensor(w or [0]), classes[label]) for w, label in zip(words, items[1], strict=True)]


def _batch(items: Sequence[tuple[Tensor, int]], chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
    words = pad_sequence([items[i][0] for i in chosen], batch_first=True)
    return words, torch.tensor([items[i][1] for i in chosen])


@torch.no_grad()
def _accuracy(model: CNN, items: Sequence[tuple[Tensor, int]]) -> float:
    model.eval()
    right = 0
    for chosen in torch.arange(len(items)).split(BATCH):
        words, wanted = _batch(items, chosen.tolist())
        right += int((model(words).argmax(-1) == wanted).sum())
    return right / len(items)


if __name__ == "__main__":
    compare(__doc__, "sst2", {"CNN-rand": kim_cnn})
