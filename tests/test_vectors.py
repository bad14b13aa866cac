"""`VectorSets`: every operation on sets of 7, 0, 1 and 5 vectors, and on what hypothesis thinks of."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multiseq.pairs import Pairs
from multiseq.vectors import VectorSets, order_of, rows_of

LENGTHS = [7, 0, 1, 5]
lengths = st.lists(st.integers(0, 5), max_size=6)


def make(lengths: list[int], dim: int = 3, *, ordered: bool = False, start: int = 0) -> VectorSets:
    values = torch.arange(start, start + sum(lengths) * dim, dtype=torch.float32).view(-1, dim)
    return VectorSets(values, lengths, order_of(lengths) if ordered else None)


def matrices(lengths: list[int], start: int = 0) -> list[torch.Tensor | None]:
    """A matrix of codes for every other set."""
    return [
        torch.arange(start, start + n * n).view(n, n) if i % 2 == 0 else None for i, n in enumerate(lengths)
    ]


def coded(lengths: list[int], start: int = 0) -> VectorSets:
    pairs = Pairs.from_list(matrices(lengths, start), 1000)
    return VectorSets(make(lengths).values, lengths, pairs=pairs)


def codes_of(sets: VectorSets) -> list[list[tuple[int, list[list[int]]]]]:
    """For each set its parts with codes: where each begins, and its matrix."""
    found: list[list[tuple[int, list[list[int]]]]] = []
    codes = iter([] if sets.pairs is None else sets.pairs.codes.tolist())
    for parts in ((),) * sets.num_sets if sets.pairs is None else sets.pairs.parts:
        found.append([(first, [[next(codes) for _ in range(n)] for _ in range(n)]) for first, n in parts])
    return found


def wanted(lengths: list[int], start: int = 0) -> list[list[tuple[int, list[list[int]]]]]:
    return [[] if m is None or not len(m) else [(0, m.tolist())] for m in matrices(lengths, start)]


def same(a: VectorSets, b: VectorSets) -> bool:
    positions = a.positions is b.positions or (
        a.positions is not None and b.positions is not None and a.positions.equal(b.positions)
    )
    return a.lengths == b.lengths and a.values.equal(b.values) and positions


@given(lengths, st.booleans())
def test_list_round_trip(lengths: list[int], ordered: bool) -> None:
    sets = make(lengths, ordered=ordered)
    assert [len(s) for s in sets.unpack()] == lengths
    if lengths:
        assert same(VectorSets.from_list(sets.unpack(), ordered=ordered), sets)


@given(lengths, st.booleans())
def test_padded_round_trip(lengths: list[int], ordered: bool) -> None:
    sets = make(lengths, ordered=ordered)
    padded, mask = sets.to_padded(value=-1.0)
    assert padded.shape == (len(lengths), max(lengths, default=0), 3)
    assert mask.sum(1).tolist() == lengths if lengths else mask.numel() == 0
    assert (padded[~mask] == -1).all()
    assert same(VectorSets.from_padded(padded, lengths, ordered=ordered), sets)


@given(lengths)
def test_offsets_say_where_each_set_is(lengths: list[int]) -> None:
    sets = make(lengths)
    offsets = sets.offsets.tolist()
    assert len(offsets) == sets.num_sets + 1
    for i, own in enumerate(sets.unpack()):
        assert own.equal(sets.values[offsets[i] : offsets[i + 1]])
    assert same(VectorSets.from_offsets(sets.values, sets.offsets), sets)
    assert sets.set_index.tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]


@given(lengths, lengths, st.booleans(), st.booleans())
def test_split_is_the_inverse_of_cat(a: list[int], b: list[int], first: bool, second: bool) -> None:
    parts = [make(a, ordered=first), make(b, ordered=second, start=100)]
    together = VectorSets.cat(parts)
    assert together.lengths == (*a, *b)
    for part, again in zip(parts, together.split([len(a), len(b)]), strict=True):
        assert again.lengths == part.lengths
        assert again.values.equal(part.values)
        if part.num_vectors:
            assert same(again, part)


def test_cat_gives_zeros_to_sets_without_order() -> None:
    together = VectorSets.cat([make([2]), make([3], ordered=True)])
    assert together.positions is not None
    assert together.positions.tolist() == [0, 0, 0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5))
def test_join_puts_parts_together_set_by_set(pairs: list[tuple[int, int]]) -> None:
    a, b = make([p[0] for p in pairs]), make([p[1] for p in pairs], start=1000)
    joined = VectorSets.join([a, b])
    for whole, first, second in zip(joined.unpack(), a.unpack(), b.unpack(), strict=True):
        assert whole.equal(torch.cat([first, second]))
    assert joined.num_sets == len(pairs)


@given(lengths, st.data())
def test_select_takes_sets_in_the_order_asked(lengths: list[int], data: st.DataObject) -> None:
    sets = make(lengths, ordered=True)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=5)) if lengths else []
    picked = sets.select(chosen)
    assert picked.lengths == tuple(lengths[i] for i in chosen)
    for own, i in zip(picked.unpack(), chosen, strict=True):
        assert own.equal(sets.unpack()[i])


@given(lengths, lengths, st.data())
def test_codes_of_pairs_go_where_their_sets_go(a: list[int], b: list[int], data: st.DataObject) -> None:
    one, other = coded(a), coded(b, 100)
    together = VectorSets.cat([one, other, make([2])])
    assert codes_of(together) == [*wanted(a), *wanted(b, 100), []]
    for part, codes in zip(
        together.split([len(a), len(b), 1]), (wanted(a), wanted(b, 100), [[]]), strict=True
    ):
        assert codes_of(part) == codes
        assert (part.pairs is None) == (not any(codes))
    chosen = data.draw(st.lists(st.integers(0, len(a) - 1), max_size=5)) if a else []
    assert codes_of(one.select(chosen)) == [wanted(a)[i] for i in chosen]
    assert codes_of(one.to("cpu").with_values(one.values + 1)) == wanted(a)


def test_codes_of_joined_sets_by_hand() -> None:
    """Set 0: two plain vectors, then three coded ones. Set 1: a coded one, then nothing."""
    joined = VectorSets.join([coded([0, 0, 1]).select([1, 2]).with_values(torch.zeros(1, 3)), coded([3, 0])])
    plain = VectorSets.join([make([2, 0]), joined])
    assert codes_of(plain) == [[(2, [[0, 1, 2], [3, 4, 5], [6, 7, 8]])], [(0, [[0]])]]
    assert plain.joined == (True, False)
    words = VectorSets.join([make([2, 1], ordered=True), make([1, 0])])
    assert words.ordered == (True, True)
    assert words.sequences == (False, True)
    assert VectorSets.cat([words, make([1])]).select([2, 1, 0]).sequences == (False, True, False)


def test_merge_and_first_by_hand() -> None:
    sets = make(LENGTHS)
    assert sets.merge([2, 0, 2]).lengths == (7, 0, 6)
    assert sets.first().lengths == (1, 0, 1, 1)
    assert sets.first().values[:, 0].tolist() == [0.0, 21.0, 24.0]
    assert rows_of(LENGTHS, [3, 0]).tolist() == [8, 9, 10, 11, 12, 0, 1, 2, 3, 4, 5, 6]


def test_nested_and_graph_batch_round_trip() -> None:
    sets = make([3, 1, 0])
    assert same(VectorSets.from_nested(sets.to_nested()), sets)
    batch = sets.to_batch()
    assert batch.ptr.tolist() == [0, 3, 4, 4]
    assert same(VectorSets.from_batch(batch), sets)  # the trailing empty graph is still there


def test_with_values_and_to_keep_the_sets() -> None:
    sets = make(LENGTHS, ordered=True)
    wider = sets.with_values(torch.zeros(13, 5))
    assert (wider.dim, wider.lengths) == (5, sets.lengths)
    assert same(sets.to("cpu"), sets)
    assert repr(sets) == "VectorSets(4 sets, 13 vectors of 3, ordered)"
    assert len(sets) == 4


@pytest.mark.gpu
def test_moves_to_the_gpu_and_back() -> None:
    sets = make(LENGTHS, ordered=True)
    moved = sets.pin_memory().to("cuda", non_blocking=True)
    assert moved.values.is_cuda
    assert same(moved.to("cpu"), sets)
    assert codes_of(coded(LENGTHS).pin_memory().to("cuda").to("cpu")) == wanted(LENGTHS)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VectorSets(torch.zeros(2, 3), [1]), "sum of 1 for 2 rows"),
        (lambda: VectorSets(torch.zeros(2, 3), [3, -1]), "negative length"),
        (lambda: VectorSets(torch.zeros(2, 3), [2], torch.zeros(3, dtype=torch.long)), r"expected \(2,\)"),
        (lambda: VectorSets.from_offsets(torch.zeros(2, 3), torch.tensor([0, 2, 1])), "which decrease"),
        (lambda: VectorSets.from_offsets(torch.zeros(2, 3), torch.tensor([1, 2])), "begins with 0"),
        (lambda: VectorSets.from_list([]), "empty list"),
        (lambda: VectorSets.from_padded(torch.zeros(2, 3, 4), [1, 5]), "none above longest"),
        (lambda: VectorSets.cat([]), "got no batches"),
        (lambda: VectorSets.cat([make([1]), make([1], dim=4)]), "expected one dim"),
        (lambda: VectorSets.cat([make([1]), make([1]).with_values(torch.zeros(1, 3).double())]), "one dtype"),
        (lambda: VectorSets.join([make([1]), make([1, 2])]), "expected equal numbers of sets"),
        (lambda: make(LENGTHS).split([1, 2]), "sum of 3, expected 4"),
        (lambda: make(LENGTHS).merge([5]), "sum of 5, expected 4"),
        (lambda: make(LENGTHS).select([4]), "from 0 to 3"),
        (lambda: VectorSets.from_nested(torch.zeros(2, 2)), "jagged layout"),
        (lambda: VectorSets(torch.zeros(2, 3), [2], joined=[True, False]), "joined: got 2 entries for 1"),
        (
            lambda: VectorSets(torch.zeros(2, 3), [1, 1], pairs=coded([2]).pairs),
            "1 sets, expected 2",
        ),
        (
            lambda: VectorSets(torch.zeros(1, 3), [1], pairs=coded([2]).pairs),
            r"\(\(0, 2\),\) .* inside the 1 rows",
        ),
        (lambda: Pairs.from_list([torch.zeros(2, 3)], 1), r"shape \(2, 3\) for set 0"),
        (lambda: Pairs(torch.zeros(4), (((0, 2),),), 1), "codes in torch.float32"),
        (lambda: Pairs(torch.zeros(3, dtype=torch.long), (((0, 2),),), 1), "got 3 codes, expected 4"),
    ],
)
def test_wrong_input_says_what_was_got(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
