"""Read a pretrained text encoder in the format of Hugging Face: from a folder, or by its name on the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from torch import Tensor

from multiseq.adapters.pretrained_text import PretrainedTextAdapter
from multiseq.checks import check_whole_number, reading
from multiseq.pretrained.architecture import Architecture
from multiseq.pretrained.encoder import PretrainedEncoder
from multiseq.pretrained.families import FAMILIES
from multiseq.requires import need
from multiseq.system.files import write_whole
from multiseq.system.hub import download_files, is_hub_name

__all__ = ["Pretrained", "pretrained_text"]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
LFS_POINTER = b"version https://git-lfs"
"""With this begins the text that stands for a file in a clone made without git-lfs."""
EXPECTED = ("a model of its family has", "check that all files are of one model, or download it again")
"""For `reading`: what a file of somebody else's model should hold, and what to do."""


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
        folder = Path(start)
        if not folder.is_dir():
            if isinstance(start, Path) or ("/" in start and not is_hub_name(start)):
                raise ValueError(f"{start}: no such folder")
            patterns = ["config.json", WEIGHTS, INDEX, "model-*.safetensors", *TOKENIZER]
            folder = download_files(start, patterns)
        found = cls.read_kept(folder)
        if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
            raise ValueError(_without_weights(folder, str(start)))
        return found

    @classmethod
    def read_kept(cls, folder: Path) -> Pretrained:
        """Read the config of a model whose folder needs no weights. Raises ValueError as :meth:`read`."""
        config, place = _json(folder, "config.json"), str(folder / "config.json")
        family = config.get("model_type")
        if not isinstance(family, str) or family not in FAMILIES:
            raise ValueError(
                f"{place}: got model_type {family!r}, expected one of {', '.join(FAMILIES)}: an encoder can "
                "begin as a model of these families only"
            )
        with reading(place, *EXPECTED):
            architecture = FAMILIES[family].architecture(config)
            return cls(folder, family, architecture, int(config["vocab_size"]))

    def keep(self, folder: Path) -> None:
        """Write the config and the tokenizer into a folder, for :meth:`read_kept`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", *TOKENIZER):
            if (self.folder / name).is_file():
                write_whole(folder / name, (self.folder / name).read_bytes())

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file of its weights, by the file's name."""
        names = [name for name in _weight_files(self.folder) if (self.folder / name).is_file()]
        return {name: _sha256(self.folder / name) for name in names}

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
            embedding, weights = FAMILIES[self.family].weights(self.architecture, _weights(self.folder))
            for adapter in adapters:
                adapter.embedding.load_state_dict({"weight": embedding})
            left = encoder.load_state_dict(weights, strict=False)
            new = ("bias.", ".down", ".up")  # of pairs, and of low-rank terms
            assert all(name.startswith(new[0]) or name.endswith(new[1:]) for name in left.missing_keys), left


def _weights(folder: Path) -> dict[str, Tensor]:
    files = _weight_files(folder)
    return {key: tensor for name in files for key, tensor in _tensors(folder / name).items()}


def _weight_files(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    names = sorted(set(_json(folder, INDEX)["weight_map"].values()))
    if any(Path(name).name != name for name in names):
        raise ValueError(f"{INDEX}: got {names}, expected names of files in this folder")
    return names


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file. Raises ValueError if it is not whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_fetched(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: not a whole safetensors file ({error}); download it again") from error


def _check_fetched(path: Path) -> None:
    """Raise ValueError if a file is missing, or is only the text that stands for it without git-lfs."""
    if not path.is_file():
        raise ValueError(f"{path.name}: no such file; copy the whole folder")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{path.name}: only a pointer of git-lfs; fetch the file with `git lfs pull`")


def _without_weights(folder: Path, start: str) -> str:
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if Path(start).is_dir() and not pickles:
        return f"{folder}: has no {WEIGHTS}; copy the whole folder"
    has = f"has {pickles[0]} but no {WEIGHTS}" if pickles else f"has no {WEIGHTS} on the Hub"
    target = start if pickles else "FOLDER"
    more = "" if pickles else f', and AutoTokenizer likewise; then start = "{target}"'
    return (
        f"{start}: {has}. Older models have a pickle, which can run any program, so multiseq reads none. "
        f'Convert it with transformers: AutoModel.from_pretrained("{start}").save_pretrained("{target}")'
        + more
    )


def _tokenizer(folder: Path) -> str:
    """The model's tokenizer as JSON."""
    if (folder / "tokenizer.json").is_file():
        _check_fetched(folder / "tokenizer.json")
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
    options = _json(folder, "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
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


def _json(folder: Path, name: str) -> Mapping[str, Any]:
    if not (folder / name).is_file():
        raise ValueError(f"{folder}: has no {name}, expected the folder of a Hugging Face model")
    try:
        table = json.loads((folder / name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / name}: damaged: {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{folder / name}: got {type(table).__name__}, expected a table")
    return table
