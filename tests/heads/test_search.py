"""Searches agree with exhaustive enumeration, and do what their names say."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from multiseq.heads.search import beam_search, ctc_beam_search, ctc_greedy, gnmt_penalty
from tests.reference import decoding as reference

BEGIN, END, A, B = range(4)
NEVER = torch.full((4,), -math.inf)  # after what no hypothesis says


class Tables:
    """A network that looks log-probabilities up: one table for each set, a row for each prefix."""

    def __init__(self, tables: Sequence[dict[tuple[int, ...], Tensor]]) -> None:
        self.tables = list(tables)
        self.prefixes: list[list[tuple[int, ...]]] = [[()] for _ in tables]  # of every set and row
        self.owners = list(range(len(self.tables)))  # whose tables the sets have
        self.calls: list[int] = []  # rows of each call

    def __call__(self, tokens: Tensor) -> Tensor:
        fed = zip(self.prefixes, tokens.tolist(), strict=True)
        self.prefixes = [[(*p, t) for p, t in zip(*rows, strict=True)] for rows in fed]
        self.calls.append(tokens.numel())
        looked_up = zip(self.owners, self.prefixes, strict=True)
        return torch.stack(
            [torch.stack([self.tables[s].get(p[1:], NEVER) for p in rows]) for s, rows in looked_up]
        )

    def keep(self, rows: Tensor, sets: Sequence[int] | None) -> None:
        chosen = range(len(self.owners)) if sets is None else sets
        self.owners = [self.owners[s] for s in chosen]
        self.prefixes = [
            [self.prefixes[s][row] for row in of_set] for s, of_set in zip(chosen, rows.tolist(), strict=True)
        ]


def random_table(max_length: int, seed: int) -> dict[tuple[int, ...], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = {}
    for prefix in reference.all_sequences([A, B], max_length):
        log_probs = (2 * torch.randn(4, generator=generator)).log_softmax(-1)
        log_probs[BEGIN] = -math.inf
        table[prefix] = log_probs
    return table


def score_in(table: dict[tuple[int, ...], Tensor], tokens: tuple[int, ...]) -> float:
    sequence = (*tokens, END)
    return sum(float(table[sequence[:i]][token]) for i, token in enumerate(sequence))


def search(steps: Tables, **options: float) -> list[tuple[tuple[int, ...], float]]:
    return [best for best, *_ in search_several(steps, **options)]


def search_several(steps: Tables, **options: float) -> list[list[tuple[tuple[int, ...], float]]]:
    found = beam_search(steps, len(steps.tables), begin=BEGIN, end=END, **options)  # type: ignore[arg-type]
    return [[(tuple(one.tokens), one.score) for one in of_set] for of_set in found]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_of_everything_is_exhaustive_search(length_penalty: float) -> None:
    tables = [random_table(5, seed) for seed in range(30)]
    found = search(Tables(tables), max_length=5, num_beams=200, length_penalty=length_penalty)
    for table, (tokens, score) in zip(tables, found, strict=True):
        wanted, best = reference.best_sequence(lambda s, t=table: score_in(t, s), [A, B], 5, length_penalty)
        assert tokens == wanted
        assert score == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_the_n_best_of_a_beam_of_everything_are_those_of_enumeration(length_penalty: float) -> None:
    tables = [random_table(4, seed) for seed in range(10)]
    options = {"max_length": 4, "num_beams": 100, "length_penalty": length_penalty}
    found = search_several(Tables(tables), n_best=5, **options)
    for table, best in zip(tables, found, strict=True):
        scores = {s: score_in(table, s) for s in reference.all_sequences([A, B], 4)}
        wanted = sorted(scores, key=lambda s: scores[s] / gnmt_penalty(len(s) + 1, length_penalty))
        assert [tokens for tokens, _ in best] == wanted[:-6:-1]
        assert [score for _, score in best] == pytest.approx([scores[s] for s, _ in best], abs=1e-5)
    assert [of_set[:1] for of_set in found] == search_several(Tables(tables), **options)


def test_n_best_widens_the_beam_and_there_may_be_fewer() -> None:
    """Two sequences are possible: a and b."""

    def row(end: float, a: float, b: float) -> Tensor:
        return torch.tensor([0.0, end, a, b]).log()

    table = {(): row(0.0, 0.6, 0.4), (A,): row(1.0, 0.0, 0.0), (B,): row(1.0, 0.0, 0.0)}
    [both] = search_several(Tables([table]), max_length=1, n_best=2)
    assert both == [((A,), pytest.approx(math.log(0.6))), ((B,), pytest.approx(math.log(0.4)))]
    assert search_several(Tables([table]), max_length=1, n_best=9) == [both]


@pytest.mark.parametrize("num_beams", [1, 2, 3])
def test_scores_are_the_networks_and_company_changes_nothing(num_beams: int) -> None:
    tables = [random_table(7, seed) for seed in range(11)]
    together = search(Tables(tables), max_length=7, num_beams=num_beams)
    for table, (tokens, score) in zip(tables, together, strict=True):
        assert score == pytest.approx(score_in(table, tokens), abs=1e-5)
        assert search(Tables([table]), max_length=7, num_beams=num_beams) == [(tokens, score)]


def test_a_beam_of_one_takes_the_most_probable_token() -> None:
    for seed in range(20):
        table, tokens = random_table(7, seed), ()
        while len(tokens) < 7 and (token := int(table[tokens].argmax())) != END:
            tokens = (*tokens, token)
        assert search(Tables([table]), max_length=7)[0][0] == tokens


def test_by_hand_a_beam_finds_what_greedy_misses() -> None:
    """P(a, end) = .6 * .1, P(b, end) = .4 * .9; greedy goes on from a, to a limit of 1."""

    def row(end: float, a: float, b: float) -> Tensor:
        return torch.tensor([0.0, end, a, b]).log()

    table = {(): row(0.0, 0.6, 0.4), (A,): row(0.1, 0.5, 0.4), (B,): row(0.9, 0.05, 0.05)}
    (greedy,) = search(Tables([table]), max_length=1, num_beams=1)
    (wide,) = search(Tables([table]), max_length=1, num_beams=2)
    assert greedy == ((A,), pytest.approx(math.log(0.06)))
    assert wide == ((B,), pytest.approx(math.log(0.36)))


def always(token: int, max_length: int) -> dict[tuple[int, ...], Tensor]:
    row = torch.full((4,), 0.01)
    row[token] = 0.97
    return dict.fromkeys(reference.all_sequences([A, B], max_length), row.log())


def test_finished_sets_leave_and_the_search_stops_by_itself() -> None:
    """The first set ends at once, the second after two tokens, the third at the limit."""
    second = always(A, 4)
    second[A, A] = always(END, 0)[()]
    steps = Tables([always(END, 4), second, always(A, 4)])
    assert [tokens for tokens, _ in search(steps, max_length=4)] == [(), (A, A), (A,) * 4]
    assert steps.calls == [3, 2, 2, 1, 1]
    steps = Tables([always(END, 6)] * 2)
    search(steps, max_length=6, num_beams=3)
    # log(.97) cannot be overtaken by what begins with log(.01), even at the limit.
    assert steps.calls == [2]


def test_batches_shrink_to_few_sizes_and_finished_sets_fill_them() -> None:
    """Nine sets end one after the other: sizes are 2^k and 3 * 2^k, and calls repeat them."""
    tables = []
    for ends in range(9):
        table = always(A, 9)
        table[(A,) * ends] = always(END, 0)[()]
        tables.append(table)
    steps = Tables(tables)
    assert [len(tokens) for tokens, _ in search(steps, max_length=9)] == list(range(9))
    assert steps.calls == [9, 8, 8, 6, 6, 4, 3, 2, 1]


def test_length_penalty() -> None:
    assert gnmt_penalty(1, 0.6) == 1.0
    assert gnmt_penalty(7, 1.0) == 2.0
    assert gnmt_penalty(100, 0.0) == 1.0


def test_wrong_input_says_what_to_do() -> None:
    for options in ({"num_beams": 0}, {"max_length": 0}, {"length_penalty": -1.0}):
        with pytest.raises(ValueError, match="expected at least 1, 1, 1 and 0"):
            search(Tables([always(A, 1)]), **{"max_length": 1, **options})
    broken = {(): torch.full((4,), math.nan)}
    with pytest.raises(ValueError, match=r"NaN or -inf for every next token of set 1"):
        search(Tables([always(END, 2), broken]), max_length=2)
    with pytest.raises(ValueError, match="num_beams: got 0"):
        ctc_beam_search(torch.zeros(1, 2), blank=0, num_beams=0)


# --- CTC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "size"), [(5, 3), (7, 2), (3, 5), (1, 4), (0, 3)])
def test_ctc_beam_of_everything_gives_every_texts_probability(frames: int, size: int) -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        log_probs = (2 * torch.randn(frames, size, generator=generator)).log_softmax(-1)
        wanted = reference.ctc_probabilities(log_probs, blank=0)
        found = ctc_beam_search(log_probs, blank=0, num_beams=10_000)
        assert {tuple(h.tokens): math.exp(h.score) for h in found} == pytest.approx(wanted, abs=1e-6)
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert sum(math.exp(h.score) for h in found) == pytest.approx(1.0)


def test_ctc_beam_finds_what_the_best_path_misses() -> None:
    """Two frames of blank .4, a .3, b .3: the best path is blank, but "a" has three paths: .33."""
    log_probs = torch.tensor([[0.4, 0.3, 0.3]] * 2).log()
    assert ctc_greedy(log_probs, blank=0) == []
    best = ctc_beam_search(log_probs, blank=0, num_beams=3)[0]
    assert best.tokens in ([1], [2])
    assert math.exp(best.score) == pytest.approx(0.3 * 0.3 + 2 * 0.4 * 0.3)


def test_a_narrow_ctc_beam_is_near_the_best_text() -> None:
    """Never more probable than the truth, and mostly the best text itself."""
    hits = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        log_probs = (2 * torch.randn(6, 4, generator=generator)).log_softmax(-1)
        texts = reference.ctc_probabilities(log_probs, blank=0)
        best = ctc_beam_search(log_probs, blank=0, num_beams=5, tokens=3)[0]
        assert math.exp(best.score) <= texts[tuple(best.tokens)] + 1e-6
        hits += tuple(best.tokens) == max(texts, key=texts.__getitem__)
    assert hits >= 18


def test_ctc_greedy_is_the_collapsed_best_path() -> None:
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        log_probs = torch.randn(13, 3, generator=generator).log_softmax(-1)
        path = tuple(log_probs.argmax(-1).tolist())
        assert tuple(ctc_greedy(log_probs, blank=1)) == reference.collapse(path, blank=1)
    assert ctc_greedy(torch.zeros(0, 3), blank=0) == []
