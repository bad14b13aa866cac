"""Read a pretrained text encoder in the format of Hugging Face: from a folder, or by its name on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiseq.adapters.pretrained_text import PretrainedTextAdapter
from multiseq.checks import check_whole_number, reading
from multiseq.pretrained.architecture import Architecture
from multiseq.pretrained.encoder import PretrainedEncoder
from multiseq.pretrained.families import FAMILIES
from multiseq.pretrained.files import (
    EXPECTED,
    check_fetched,
    check_weights,
    digests_of,
    find_folder,
    keep_files,
    read_config,
    read_json,
    read_weights,
)
from multiseq.requires import need

__all__ = ["Pretrained", "pretrained_text"]

TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")


def pretrained_text(
    start: str | Path,
    *,
    dropout: float = 0.1,
    pair_codes: int = 0,
    lora_rank: int = 0,
    **options: Any,
) -> tuple[PretrainedTextAdapter, PretrainedEncoder]:
    """The text adapter and the encoder of a pretrained model, with its weights.

    Args:
        start: A folder in the format of Hugging Face (``config.json``, ``model.safetensors``, and
            ``tokenizer.json`` or ``vocab.txt``), or a name on the Hub, if there is no such folder. The models
            are BERT (MiniLM is one), RoBERTa, XLM-R, DistilBERT and ModernBERT.
        dropout: Dropout probability in adapter and encoder.
        pair_codes: As in `multiseq.Encoder`.
        lora_rank: The rank of low-rank terms (LoRA), see `multiseq.PretrainedEncoder`.
        options: ``unit``, ``piece_pooling``, ``window`` and ``word_shape`` of
            `multiseq.PretrainedTextAdapter`.

    Raises:
        ValueError: The model cannot be found or read; the message says what to do.
    """
    given = Pretrained.read(start)
    adapter = given.adapter(dropout=dropout, **options)
    encoder = given.encoder(dropout=dropout, pair_codes=pair_codes, lora_rank=lora_rank)
    given.fill(encoder, [adapter])
    return adapter, encoder


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model whose weights have not been read yet.

    Args:
        folder: Where its files are.
        family: The ``model_type`` of its config.
        architecture: Its sizes and variants.
        num_pieces: The number of rows of its embedding table.
    """

    folder: Path
    family: str
    architecture: Architecture
    num_pieces: int

    @classmethod
    def read(cls, start: str | Path) -> Pretrained:
        """Find a model and read its config. Raises ValueError, as :func:`pretrained_text` says."""
        folder = find_folder(start, ("config.json", *TOKENIZER))
        found = cls.read_kept(folder)
        check_weights(folder, str(start), "AutoTokenizer")
        return found

    @classmethod
    def read_kept(cls, folder: Path) -> Pretrained:
        """Read the config of a model whose folder needs no weights. Raises ValueError as :meth:`read`."""
        config, family = read_config(folder, FAMILIES, "an encoder")
        with reading(str(folder / "config.json"), *EXPECTED):
            architecture = FAMILIES[family].architecture(config)
            return cls(folder, family, architecture, int(config["vocab_size"]))

    def keep(self, folder: Path) -> None:
        """Write the config and the tokenizer into a folder, for :meth:`read_kept`."""
        keep_files(self.folder, ("config.json", *TOKENIZER), folder)

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file of its weights, by the file's name."""
        return digests_of(self.folder)

    def adapter(self, **options: Any) -> PretrainedTextAdapter:
        """The text adapter, with random weights."""
        size = self.architecture
        if options.get("window") is None:
            options["window"] = size.max_length
        check_whole_number("window", options["window"], 1, size.max_length)
        try:
            return PretrainedTextAdapter(_tokenizer(self.folder), size.dim, self.num_pieces, **options)
        except ValueError as error:
            if not str(error).startswith("tokenizer"):
                raise
            raise ValueError(f"{self.folder}: {error}") from error

    def encoder(self, **options: Any) -> PretrainedEncoder:
        """The encoder, with random weights."""
        return PretrainedEncoder(self.architecture, **options)

    def fill(self, encoder: PretrainedEncoder, adapters: Sequence[PretrainedTextAdapter]) -> None:
        """Read the weights into an encoder and adapters of this model.

        Raises:
            ValueError: The weights are missing, are a pickle, or do not fit the config.
        """
        with reading(str(self.folder), *EXPECTED):
            embedding, weights = FAMILIES[self.family].weights(self.architecture, read_weights(self.folder))
            for adapter in adapters:
                adapter.embedding.load_state_dict({"weight": embedding})
            left = encoder.load_state_dict(weights, strict=False)
            new = ("bias.", ".down", ".up")  # of pairs, and of low-rank terms
            assert all(name.startswith(new[0]) or name.endswith(new[1:]) for name in left.missing_keys), left


def _tokenizer(folder: Path) -> str:
    """The model's tokenizer as JSON."""
    if (folder / "tokenizer.json").is_file():
        check_fetched(folder / "tokenizer.json")
        return (folder / "tokenizer.json").read_text(encoding="utf-8")
    if not (folder / "vocab.txt").is_file():
        raise ValueError(
            f"{folder}: has neither tokenizer.json nor vocab.txt. Write it with transformers: "
            f'AutoTokenizer.from_pretrained("{folder}").save_pretrained("{folder}")'
        )
    return _word_pieces(folder)


def _word_pieces(folder: Path) -> str:
    """BERT's tokenizer, from its vocabulary of one piece per line (https://arxiv.org/abs/1609.08144)."""
    library = need("tokenizers")
    options = (
        read_json(folder, "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    )
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    pieces = {
        piece.rstrip("\r"): number for number, piece in enumerate(lines[:-1] if not lines[-1] else lines)
    }
    unknown, first, last = (
        str(options.get(f"{name}_token", default))
        for name, default in (("unk", "[UNK]"), ("cls", "[CLS]"), ("sep", "[SEP]"))
    )
    for piece in (unknown, first, last):
        if piece not in pieces:
            raise ValueError(f"{folder / 'vocab.txt'}: has no piece {piece!r}")
    tokenizer = library.Tokenizer(
        library.models.WordPiece(pieces, unk_token=unknown, max_input_chars_per_word=100)
    )
    tokenizer.normalizer = library.normalizers.BertNormalizer(
        lowercase=bool(options.get("do_lower_case", True)),
        strip_accents=options.get("strip_accents"),
        handle_chinese_chars=bool(options.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = library.processors.BertProcessing((last, pieces[last]), (first, pieces[first]))
    special = (
        unknown,
        first,
        last,
        *(str(options.get(f"{n}_token", f"[{n.upper()}]")) for n in ("pad", "mask")),
    )
    tokenizer.add_special_tokens([piece for piece in special if piece in pieces])
    return str(tokenizer.to_str())
