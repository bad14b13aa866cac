"""A BiLSTM over characters and words beside ours: parts of speech of a treebank, words given.

    python -m benchmarks.accuracy.bilstm --data FOLDER_OF_UD_ENGLISH_EWT

As Plank et al. 2016 (https://aclanthology.org/P16-2067): a word is its embedding and the last states of a
BiLSTM over its characters; a BiLSTM over the words of a sentence gives the tags. Sizes are theirs (64 for
words, 100 for characters and states), except that it learns in padded batches with AdamW.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from benchmarks.accuracy.beside import Items, Plan, compare, words_and_tags

EPOCHS, BATCH, LR, DROPOUT = 10, 16, 2e-3, 0.33
UNKNOWN = 1
"""Number of unknown words and characters; 0 fills up."""
WORD_DROPOUT = 0.1
"""Probability that a word is unknown in training."""


class Tagger(nn.Module):
    """Characters and words in, logits of tags out."""

    def __init__(self, words: int, characters: int, tags: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, 64, padding_idx=0)
        self.characters = nn.Embedding(characters, 100, padding_idx=0)
        self.of_word = nn.LSTM(100, 100, bidirectional=True, batch_first=True)
        self.of_sentence = nn.LSTM(64 + 200, 100, bidirectional=True, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(200, tags)

    def forward(self, words: Tensor, characters: Tensor, sizes: Tensor, lengths: Tensor) -> Tensor:
        """Words (sentences, longest), characters (all words, longest word) and their numbers."""
        packed = pack_padded_sequence(
            self.characters(characters), sizes, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.of_word(packed)
        spelled = torch.cat([last[0], last[1]], dim=-1).split(lengths.tolist())
        x = self.dropout(torch.cat([self.words(words), pad_sequence(spelled, batch_first=True)], dim=-1))
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.of_sentence(packed)[0], batch_first=True)
        logits: Tensor = self.out(self.dropout(states))
        return logits


def bilstm(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train the tagger and keep the weights of the best epoch on dev; the accuracy on test."""
    torch.manual_seed(0)
    train = words_and_tags(splits["train"])
    counts = Counter(word for words, _ in train for word in words)
    vocabularies = {
        "word": {word: i for i, word in enumerate(counts, 2)},
        "character": {c: i for i, c in enumerate(sorted(set("".join(counts))), 2)},
        "tag": {tag: i for i, tag in enumerate(sorted({tag for _, tags in train for tag in tags if tag}))},
    }
    model = Tagger(*(len(v) + 2 for v in vocabularies.values()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    best, kept = -1.0, model.state_dict()
    for _ in range(1 if plan.quick else EPOCHS):
        model.train()
        for number in torch.randperm(len(train)).split(BATCH):
            inputs, wanted = _batch([train[i] for i in number.tolist()], vocabularies)
            inputs[0].masked_fill_((torch.rand(inputs[0].shape) < WORD_DROPOUT) & (inputs[0] > 0), UNKNOWN)
            loss = nn.functional.cross_entropy(model(*inputs).flatten(0, 1), wanted.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        score = _accuracy(model, words_and_tags(splits["dev"]), vocabularies)
        if score > best:
            best, kept = score, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return _accuracy(model, words_and_tags(splits["test"]), vocabularies)


def _batch(pairs: list[Any], vocabularies: Mapping[str, Mapping[str, int]]) -> tuple[list[Tensor], Tensor]:
    word, character, tag = vocabularies.values()
    words = [torch.tensor([word.get(w, UNKNOWN) for w in ws]) for ws, _ in pairs]
    spelled = [torch.tensor([character.get(c, UNKNOWN) for c in w]) for ws, _ in pairs for w in ws]
    wanted = [torch.tensor([tag.get(t, -100) for t in tags]) for _, tags in pairs]
    sizes, lengths = torch.tensor([len(w) for w in spelled]), torch.tensor([len(w) for w in words])
    inputs = [pad_sequence(words, batch_first=True), pad_sequence(spelled, batch_first=True), sizes, lengths]
    return inputs, pad_sequence(wanted, batch_first=True, padding_value=-100)


@torch.no_grad()
def _accuracy(model: Tagger, pairs: list[Any], vocabularies: Mapping[str, Mapping[str, int]]) -> float:
    model.eval()
    right = total = 0
    for some in _in_batches(pairs):
        inputs, wanted = _batch(some, vocabularies)
        right += int((model(*inputs).argmax(-1) == wanted).sum())
        total += sum(
            tag is not None for _, tags in some for tag in tags
        )  # a tag that training lacks is wrong
    return right / total


def _in_batches(pairs: list[Any]) -> Iterator[list[Any]]:
    by_length = sorted(pairs, key=lambda pair: len(pair[0]))
    return (by_length[i : i + 64] for i in range(0, len(pairs), 64))


if __name__ == "__main__":
    compare(__doc__, "english-pos", {"BiLSTM": bilstm})
