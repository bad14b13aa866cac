"""The Trainer of `transformers` beside ours: MiniLM fine-tuned to tag English-EWT.

    python -m benchmarks.accuracy.minilm MODEL
    pip install accelerate
    python -m benchmarks.accuracy.hf_trainer --data FOLDER_OF_UD_ENGLISH_EWT --set encoder.start=MODEL

Both take the same steps, the same optimiser with the same learning rates, layer by layer, and on average the
same number of vectors a batch, so the same epochs. The Trainer pads each batch to its longest sentence, in
random order, and with `group_by_length`. It labels the first piece of a word, as its users do; ours the mean
of the pieces. Ours scores dev while it trains, the Trainer does not: `--set training.evaluate_every=0` leaves
that out. Both compute in fp32; `--set training.precision=bf16` gives both bf16 (the Trainer by autocast).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.accuracy.beside import Items, Plan, compare, words_and_tags
from multiseq.runs.recipe import read
from multiseq.training.budget import Fitted
from multiseq.training.optimizer import rate_at

RECIPE = Path(__file__).parent / "english-pos-minilm.toml"


def in_random_order(plan: Plan, splits: Mapping[str, Items]) -> float:
    """The Trainer with batches in random order; the accuracy on test."""
    return _trained(plan, splits, "random")


def grouped_by_length(plan: Plan, splits: Mapping[str, Items]) -> float:
    """The Trainer with batches of similar lengths; the accuracy on test."""
    return _trained(plan, splits, "group_by_length")


def _trained(plan: Plan, splits: Mapping[str, Items], sampling: str) -> float:
    import transformers

    torch.manual_seed(0)
    settings = plan.settings()
    start = read(plan.recipe, plan.all_changes()).tables["encoder"]["start"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(start)
    tags = sorted({tag for _, tags in words_and_tags(splits["train"]) for tag in tags if tag})
    model = transformers.AutoModelForTokenClassification.from_pretrained(start, num_labels=len(tags))
    longest = model.config.max_position_embeddings
    rows = {
        split: [_row(tokenizer, longest, tags, *pair) for pair in words_and_tags(splits[split])]
        for split in ("train", "test")
    }
    lengths = [len(row["input_ids"]) for row in rows["train"]]
    batch = max(1, round((settings.max_vectors or 4096) * len(lengths) / sum(lengths)))
    steps = settings.steps or 1
    optimizer = torch.optim.AdamW(_groups(model, settings), betas=(0.9, 0.98))
    fitted = Fitted(steps=steps, max_vectors=1, warmup=settings.warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, fitted))
    with TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=64,
            train_sampling_strategy=sampling,
            max_grad_norm=settings.max_grad_norm,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=settings.precision == "bf16",
            dataloader_pin_memory=False,
            seed=settings.seed,
        )
        trainer: Any = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=rows["train"],
            data_collator=transformers.DataCollatorForTokenClassification(tokenizer),
            optimizers=(optimizer, schedule),
        )
        trainer.train()
        found = trainer.predict(rows["test"])
    labelled = found.label_ids != -100
    right = int(((found.predictions.argmax(-1) == found.label_ids) & labelled).sum())
    return right / sum(tag is not None for tags in splits["test"][1] for tag in tags)


def _row(
    tokenizer: Any, longest: int, tags: list[str], words: list[str], labels: list[str | None]
) -> dict[str, list[int]]:
    """The pieces of a sentence, and the label of the first piece of each word."""
    encoding = tokenizer(words, is_split_into_words=True, truncation=True, max_length=longest)
    numbers, before = [], None
    for word in encoding.word_ids():
        first = word is not None and word != before
        tag = labels[word] if first else None
        numbers.append(tags.index(tag) if tag in tags else -100)
        before = word
    return {
        "input_ids": encoding["input_ids"],
        "attention_mask": encoding["attention_mask"],
        "labels": numbers,
    }


def _groups(model: Any, settings: Any) -> list[dict[str, Any]]:
    """Weights with the learning rates and the weight decay that ours gives them."""
    base = model.base_model
    layers = [base.embeddings, *base.encoder.layer]
    rates = [settings.pretrained_lr * settings.layer_lr_decay**below for below in range(len(layers))]
    groups = [(list(model.classifier.parameters()), settings.lr)]
    groups += [(list(layer.parameters()), rate) for layer, rate in zip(reversed(layers), rates, strict=True)]
    return [
        {"params": [w for w in weights if (w.dim() >= 2) == matrix], "lr": rate, "weight_decay": decay}
        for weights, rate in groups
        for matrix, decay in ((True, settings.weight_decay), (False, 0.0))
    ]


if __name__ == "__main__":
    systems = {"Trainer, random order": in_random_order, "Trainer, by length": grouped_by_length}
    compare(__doc__, str(RECIPE), systems)
