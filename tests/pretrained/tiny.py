"""Folders of tiny random models in the format of Hugging Face, made by `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, processors

from multiseq import (
    ClassTarget,
    GraphAdapter,
    Model,
    SetHead,
    Source,
    SpeechAdapter,
    Task,
    pretrained_text,
)

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "un",
    "##believ", "##able", "##s", "a", "##cat", "##at", ",", ".", "'", "b", "c", "d", "e",
]  # fmt: skip
COMMON: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {**COMMON, "intermediate_size": 40, "max_position_embeddings": 48},
    "roberta": {**COMMON, "intermediate_size": 40, "max_position_embeddings": 50, "hidden_act": "gelu_new"},
    "xlm-roberta": {**COMMON, "intermediate_size": 40, "max_position_embeddings": 50, "type_vocab_size": 1},
    "distilbert": {
        "vocab_size": 64, "dim": 24, "n_heads": 3, "n_layers": 3, "hidden_dim": 40,
        "max_position_embeddings": 48, "activation": "relu",
    },
    "modernbert": {
        **COMMON, "intermediate_size": 40, "max_position_embeddings": 160, "local_attention": 8,
        "global_attn_every_n_layers": 2, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3,
        "bos_token_id": 2, "eos_token_id": 3,
    },
}  # fmt: skip
"""Family -> a tiny configuration. ModernBERT has a narrow window, so that it hides something."""


def model_of(family: str, seed: int = 0) -> Any:
    """A random model of a family. Every weight is random, biases and norms too."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family, **FAMILIES[family])
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        is_scale = parameter.dim() == 1 and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=float(is_scale), std=0.3)
    return model


def word_pieces(folder: Path) -> None:
    """Write the tokenizer of `WORDS` as ``tokenizer.json``."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(4)  # as in some released models; it must be turned off
    tokenizer.enable_padding()
    tokenizer.save(str(folder / "tokenizer.json"))


def write_folder(folder: Path, family: str) -> Path:
    """Write a model and its tokenizer into a folder."""
    model_of(family).save_pretrained(folder)
    word_pieces(folder)
    return folder


def three_modalities(folder: Path, **options: Any) -> tuple[Model, list[Source]]:
    """A model in which text, speech and graphs share a pretrained encoder, and what it learns from."""
    torch.manual_seed(0)
    text, encoder = pretrained_text(folder, pair_codes=8, **options)
    sounds = [(torch.randn(8000) / 10, 16000), (torch.randn(4000) / 10, 16000)]
    facts = [[("Ada", "wrote", "notes"), ("Ada", "met", "Mary")], [("Mary", "met", "Ada")]]
    adapters = {
        "text": text,
        "speech": SpeechAdapter.fit(sounds, dim=24, n_mels=20, subsample=4),
        "graph": GraphAdapter.fit(facts, dim=24, num_layers=1, max_distance=1),
    }
    items = {"text": ["the cat sat", "cats"], "speech": sounds, "graph": facts}
    tasks = {name: Task(name, SetHead(24, ClassTarget(["x", "y"]))) for name in adapters}
    sources = [Source(name, items[name], {name: ["x", "y"]}) for name in adapters]
    return Model(adapters, encoder, tasks), sources
