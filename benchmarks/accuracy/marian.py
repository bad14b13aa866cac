"""MarianMT of `transformers` beside ours: translation of Multi30k from scratch.

    python -m benchmarks.accuracy.marian --data FOLDER_OF_MULTI30K

MarianMTModel with our width, depth, heads, dropout and label smoothing, random weights, one vocabulary of
byte-pair pieces for both languages, the same steps with about the same number of vectors a batch (padded, in
random order), AdamW, and the search with our number of beams. The score is the recipe's BLEU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.accuracy.beside import Items, Plan, compare
from multiseq import Text
from multiseq.runs.recipe import read
from multiseq.training.budget import Fitted
from multiseq.training.metrics import compute
from multiseq.training.optimizer import rate_at

PAD, END = 0, 1
NUM_PIECES = 8000
LONGEST = 100


def marian(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train the model from scratch; its BLEU on test."""
    torch.manual_seed(0)
    settings = plan.settings()
    recipe = read(plan.recipe, plan.all_changes())
    [task] = recipe.tasks.values()
    tokenizer = _tokenizer([*splits["train"][0], *splits["train"][1]], 300 if plan.quick else NUM_PIECES)
    model = _model(tokenizer.get_vocab_size(), recipe.tables["encoder"], task.get("head", {}))
    train = [_numbers(tokenizer, texts) for texts in splits["train"]]
    lengths = [len(numbers) for numbers in train[0]]
    batch = max(1, round((settings.max_vectors or 4096) * len(lengths) / sum(lengths)))
    steps = settings.steps or 1
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    fitted = Fitted(steps=steps, max_vectors=1, warmup=settings.warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, fitted))
    smoothing = task.get("head", {}).get("label_smoothing", 0.0)
    order: list[int] = []
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(lengths)).tolist()
        chosen, order = order[:batch], order[batch:]
        sources, targets = (pad_sequence([side[i] for i in chosen], batch_first=True) for side in train)
        begun = torch.cat(
            [torch.full((len(chosen), 1), PAD), targets[:, :-1]], dim=1
        )  # Marian begins with PAD
        logits = model(
            input_ids=sources, attention_mask=(sources != PAD).long(), decoder_input_ids=begun
        ).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
    beams = task.get("decode", {}).get("num_beams", 1)
    to_translate = _numbers(tokenizer, splits["test"][0])
    texts = _translated(model, tokenizer, to_translate, beams, 5 if plan.quick else LONGEST)
    return compute(task["metric"], [Text(text, 0.0) for text in texts], splits["test"][1])


def _tokenizer(texts: Sequence[str], num_pieces: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=num_pieces,
        min_frequency=2,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _model(num_pieces: int, encoder: Mapping[str, Any], head: Mapping[str, Any]) -> Any:
    import transformers

    config = transformers.MarianConfig(
        vocab_size=num_pieces,
        d_model=encoder["dim"],
        encoder_layers=encoder["depth"],
        decoder_layers=head.get("depth", 2),
        encoder_attention_heads=encoder["heads"],
        decoder_attention_heads=head.get("heads", 4),
        encoder_ffn_dim=4 * encoder["dim"],
        decoder_ffn_dim=4 * encoder["dim"],
        dropout=encoder.get("dropout", 0.1),
        max_position_embeddings=512,
        scale_embedding=True,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
        forced_eos_token_id=END,
    )
    return transformers.MarianMTModel(config)


def _numbers(tokenizer: Any, texts: Sequence[str]) -> list[Tensor]:
    return [torch.tensor([*one.ids, END]) for one in tokenizer.encode_batch(list(texts))]


@torch.no_grad()
def _translated(model: Any, tokenizer: Any, sources: list[Tensor], beams: int, longest: int) -> list[str]:
    model.eval()
    texts = [""] * len(sources)
    by_length = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for first in range(0, len(by_length), 32):
        chosen = by_length[first : first + 32]
        padded = pad_sequence([sources[i] for i in chosen], batch_first=True)
        mask = (padded != PAD).long()
        found = model.generate(
            input_ids=padded, attention_mask=mask, num_beams=beams, max_new_tokens=longest, do_sample=False
        )
        for i, text in zip(chosen, tokenizer.decode_batch(found.tolist()), strict=True):
            texts[i] = text.strip()
    return texts


if __name__ == "__main__":
    compare(__doc__, "multi30k", {"MarianMT": marian})
