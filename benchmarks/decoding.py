"""Decoding: tokens per second, beside `generate` of Hugging Face; and of CTC, beside its own greedy search.

Both decoders read the same encoded sets, have about as many weights, and say texts of the same lengths, which
are drawn as the sets' are, apart from them. The weights are random, so a text's end is forced, on both sides
by the same lines, and only what comes before it is counted. The other decoder is Marian's with its cache that
grows: on a CPU the fastest of Marian, BART and T5 with that cache and BART with a static one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import alternate, median, ratio, seconds_of
from benchmarks.workloads import draw, padding_factor, sets_of
from multiseq import VectorSets
from multiseq.heads.decoder import CachedSteps, DecoderHead
from multiseq.heads.search import Steps, beam_search, ctc_beam_search, ctc_greedy
from multiseq.heads.text_target import TextTarget
from multiseq.nn.inference import inference
from multiseq.requires import need

__all__ = ["measure"]

Decode = Callable[[], list[list[int]]]
"""Gives every set's tokens."""

BATCH = 32
"""Sets decoded at once."""

BEAMS = (1, 5)

SIZE = 8000
"""Of the vocabulary."""

ROUNDS = 3

TEXT_SEED = 1000
"""Unlike the seeds of the sets, which are counted from 0."""

NOTE = (
    "ours, generate: tokens per second, batches of {batch} sets. times as fast: median of {rounds} rounds "
    "(lowest–highest). lengths: in {draws} batches together, those of sets and texts differ; or in one, all "
    "are the mean, so that no text ends before another. padding: rows after padding to rows, of the texts. "
    "Weights in thousands, beside the embeddings: ours {ours:,}, Marian {theirs:,}. Forcing the ends took at "
    "most {forced:.1f} % of our time."
)

CTC_BEAM = 10

CTC_SIZE = 32
"""Letters, the blank among them."""

CTC_NOTE = (
    "One set after the other, on the host, {draws} batches of {batch} utterances; log-probabilities as a "
    "trained network has them, a token in every fourth frame on average. No peer: torchaudio's decoders need "
    "flashlight or a GPU. times as long as greedy: median of {rounds} rounds (lowest–highest)."
)


def measure(setting: Setting) -> list[Table]:
    """A table of the decoder, one of CTC."""
    return [_decoders(setting), _ctc(setting)]


# --- decoders -------------------------------------------------------------------------------------------


def _decoders(setting: Setting) -> Table:
    head, model = _head(setting), _marian(setting)
    rows: list[dict[str, Cell]] = []
    forced = []
    for name, batches in (("differ", _differing(setting)), ("one", _one_length(setting))):
        for beam in BEAMS:
            decodes = {
                "ours": [_ours(head, sets, texts, beam) for sets, texts in batches],
                "generate": [_generate(model, sets, texts, beam) for sets, texts in batches],
            }
            seconds = alternate({k: _all_of(v) for k, v in decodes.items()}, ROUNDS, setting.device)
            tokens = sum(sum(texts) for _, texts in batches)
            row: dict[str, Cell] = {"search": _search(beam), "lengths": name}
            row["padding"] = sum(padding_factor(texts) for _, texts in batches) / len(batches)
            row |= {k: tokens / median(v) for k, v in seconds.items()}
            row["times as fast"] = ratio(seconds["ours"], seconds["generate"])
            rows.append(row)
            forced.append(_seconds_of_ends(batches, beam, setting) / median(seconds["ours"]))
    note = NOTE.format(
        draws=setting.draws,
        batch=BATCH,
        rounds=ROUNDS,
        ours=_thousands(head),
        theirs=_thousands(model.get_decoder())
        + SIZE * setting.dim // 1000,  # the output's are an embedding's
        forced=100 * max(forced),
    )
    return Table("decoding", "Decoding, tokens per second", rows, note)


Batch = tuple[VectorSets, list[int]]
"""Encoded sets, and the length of each one's text."""


def _differing(setting: Setting) -> list[Batch]:
    """Lengths of the sets and of the texts from the shape of sentences, or from the user's own."""
    workload = "sentences" if setting.lengths is None else "own lengths"
    drawn = [
        [draw(workload, BATCH, seed + first, setting.lengths) for first in (0, TEXT_SEED)]
        for seed in range(setting.draws)
    ]
    return [(sets_of(lengths, setting), texts) for lengths, texts in drawn]


def _one_length(setting: Setting) -> list[Batch]:
    """A batch of sets and texts that are all of the mean length."""
    texts = [n for _, lengths in _differing(setting) for n in lengths]
    length = round(sum(texts) / len(texts))
    return [(sets_of([length] * BATCH, setting), [length] * BATCH)]


def _all_of(decodes: Sequence[Decode]) -> Callable[[], None]:
    def decode() -> None:
        for one in decodes:
            one()

    return decode


def _head(setting: Setting) -> DecoderHead:
    target = TextTarget("character", [chr(0x4E00 + i) for i in range(SIZE - 4)], 0)
    torch.manual_seed(0)
    head = DecoderHead(setting.dim, target, depth=setting.depth, heads=setting.heads)
    return head.to(setting.device, setting.dtype)


def _ours(head: DecoderHead, sets: VectorSets, texts: Sequence[int], beam: int) -> Decode:
    """What `DecoderHead.decode` does, but for the ends and the strings."""
    order = sorted(range(sets.num_sets), key=lambda i: sets.lengths[i], reverse=True)

    def decode() -> list[list[int]]:
        with inference(head):
            beams = beam_search(
                _EndingSteps(CachedSteps(head, sets.select(order)), [texts[i] for i in order]),
                sets.num_sets,
                begin=head.target.begin,
                end=head.target.end,
                max_length=max(texts) + 1,
                num_beams=beam,
                device=sets.device,
            )
        return [beams[place][0].tokens for place in sorted(range(len(order)), key=order.__getitem__)]

    return decode


class _EndingSteps:
    """Steps of texts that end when they are to."""

    def __init__(self, steps: Steps, lengths: Sequence[int]) -> None:
        self.steps, self.lengths, self.said = steps, list(lengths), 0

    def __call__(self, tokens: Tensor) -> Tensor:
        log_probs = self.steps(tokens)
        _end(log_probs, self.lengths, self.said)
        self.said += 1
        return log_probs

    def keep(self, rows: Tensor, sets: Sequence[int] | None) -> None:
        self.lengths = self.lengths if sets is None else [self.lengths[i] for i in sets]
        self.steps.keep(rows, sets)


def _marian(setting: Setting) -> Any:
    """Of the encoder there is as little as can be: it never runs."""
    transformers = need("transformers")
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=SIZE,
        d_model=setting.dim,
        encoder_layers=1,
        decoder_layers=setting.depth,
        encoder_attention_heads=setting.heads,
        decoder_attention_heads=setting.heads,
        encoder_ffn_dim=1,
        decoder_ffn_dim=setting.ff_dim,
        max_position_embeddings=2048,
        pad_token_id=TextTarget.blank,
        eos_token_id=TextTarget.end,
        decoder_start_token_id=TextTarget.begin,
        forced_eos_token_id=None,
    )
    return transformers.MarianMTModel(config).to(setting.device, setting.dtype).eval()


def _generate(model: Any, sets: VectorSets, texts: Sequence[int], beam: int) -> Decode:
    transformers = need("transformers")
    padded, mask = sets.to_padded()
    lengths = [n for n in texts for _ in range(beam)]

    def force(tokens: Tensor, scores: Tensor) -> Tensor:
        _end(scores, lengths, tokens.shape[1] - 1)  # the begin is no part of the text
        return scores

    def decode() -> list[list[int]]:
        # Made anew, for `generate` changes it.
        encoded = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=padded)
        with torch.inference_mode():
            generated: list[list[int]] = model.generate(
                encoder_outputs=encoded,
                attention_mask=mask.long(),
                max_new_tokens=max(texts) + 1,
                num_beams=beam,
                do_sample=False,
                logits_processor=transformers.LogitsProcessorList([force]),
            ).tolist()
        return [tokens[1 : tokens.index(TextTarget.end)] for tokens in generated]

    return decode


def _end(log_probs: Tensor, lengths: Sequence[int], said: int) -> None:
    """Change log-probabilities of the next token: an end where all of a text is said, and nowhere else.

    ``lengths`` are those of the texts of the first axis, the vocabulary is the last one.
    """
    log_probs[..., TextTarget.end] = -math.inf
    due = [i for i, length in enumerate(lengths) if length == said]
    if due:
        log_probs[due] = (
            F.one_hot(torch.tensor(TextTarget.end, device=log_probs.device), log_probs.shape[-1])
            .to(log_probs.dtype)
            .log()
        )


def _seconds_of_ends(batches: Sequence[Batch], beam: int, setting: Setting) -> float:
    """What forcing takes at most: of whole batches, to the last token."""
    log_probs = torch.zeros(BATCH, beam, SIZE, device=setting.device)

    def force() -> None:
        for _, texts in batches:
            for said in range(max(texts) + 1):
                _end(log_probs, texts, said)

    return seconds_of(force, setting.device)


def _search(beam: int) -> str:
    return "greedy" if beam == 1 else f"beam {beam}"


def _thousands(model: nn.Module) -> int:
    """Weights that are no embeddings."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in tables) // 1000


# --- CTC ------------------------------------------------------------------------------------------------


def _ctc(setting: Setting) -> Table:
    workload = "utterances" if setting.lengths is None else "own lengths"
    lengths = [draw(workload, BATCH, seed, setting.lengths) for seed in range(setting.draws)]
    log_probs = [_log_probs(n, seed) for seed, n in enumerate(n for batch in lengths for n in batch)]
    searches: Mapping[str, Callable[[Tensor], list[int]]] = {
        "CTC greedy": lambda x: ctc_greedy(x, blank=0),
        f"CTC prefix beam {CTC_BEAM}": lambda x: ctc_beam_search(x, blank=0, num_beams=CTC_BEAM)[0].tokens,
    }
    tokens = {name: sum(len(search(x)) for x in log_probs) for name, search in searches.items()}

    def every(search: Callable[[Tensor], list[int]]) -> Callable[[], object]:
        return lambda: [search(x) for x in log_probs]

    seconds = alternate({name: every(search) for name, search in searches.items()}, ROUNDS)
    rows: list[dict[str, Cell]] = [
        {
            "search": name,
            "tokens/s": tokens[name] / median(taken),
            "frames/s": sum(map(len, log_probs)) / median(taken),
            "times as long as greedy": ratio(seconds["CTC greedy"], taken),
        }
        for name, taken in seconds.items()
    ]
    note = CTC_NOTE.format(draws=setting.draws, batch=BATCH, rounds=ROUNDS)
    return Table("ctc", "CTC, tokens per second", rows, note)


def _log_probs(frames: int, seed: int) -> Tensor:
    """``(frames, size)``, the right token mostly the most probable one."""
    generator = torch.Generator().manual_seed(seed)
    said = torch.rand(frames, generator=generator) < 0.25
    path = torch.randint(1, CTC_SIZE, (frames,), generator=generator) * said
    noise = 1.5 * torch.randn(frames, CTC_SIZE, generator=generator)
    return (noise + 6 * F.one_hot(path, CTC_SIZE)).log_softmax(-1)
