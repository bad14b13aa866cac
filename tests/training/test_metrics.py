"""Metrics by name: each on numbers that one can work out by hand."""

import math
import random
from typing import Any

import pytest
import sacrebleu
import torch

from multiseq.options import METRICS_OF
from multiseq.results import Label, LabelSet, Number, Text
from multiseq.training import metrics
from multiseq.training.evaluation import Judged, Score, value_of
from multiseq.training.metrics import METRICS, compute, coverage


def labels(*names: str, positive: float = 0.9) -> list[Label]:
    found = []
    for name in names:
        p = positive if name == "yes" else 1 - positive
        found.append(Label(name, max(p, 1 - p), {"no": 1 - p, "yes": p}))
    return found


def numbers(*values: float) -> list[Number]:
    return [Number({"v": value}) for value in values]


@pytest.mark.parametrize(
    ("metric", "results", "wanted", "value"),
    [
        ("accuracy", labels("yes", "no", "yes", "no"), ["yes", "no", "no", "no"], 0.75),
        ("frame_accuracy", labels("yes", "no"), ["yes", "yes"], 0.5),
        # yes: precision 1/2, recall 1, F1 2/3; no: precision 1, recall 2/3, F1 4/5.
        ("f1", labels("yes", "no", "yes", "no"), ["yes", "no", "no", "no"], (2 / 3 + 4 / 5) / 2),
        ("f1", labels("yes", "yes"), ["yes", "yes"], 1.0),
        ("roc_auc", labels("yes", "no", "yes"), ["yes", "no", "no"], 0.75),
        ("rmse", numbers(1.0, 5.0), [1.0, 2.0], math.sqrt(4.5)),
        ("mae", numbers(1.0, 5.0, 7.0), [1.0, 2.0, None], 1.5),
        ("r2", numbers(1.0, 2.0, 3.0), [1.0, 2.0, 3.0], 1.0),
        ("r2", numbers(2.0, 2.0, 2.0), [1.0, 2.0, 3.0], 0.0),
        ("exact_match", [Text("a b", 0.0), Text("café", 0.0)], ["a  b", "cafe\u0301"], 1.0),
        ("word_error_rate", [Text("a b", 0.0), Text("c", 0.0)], ["a x", "c d"], 0.5),
        ("word_error_rate", [Text("café", 0.0)], ["cafe\u0301"], 0.0),
        ("character_error_rate", [Text("abcd", 0.0)], ["abxd"], 0.25),
        # Of several right texts any one, or the nearest in errors a word: one of two words, none of three.
        ("exact_match", [Text("a b", 0.0), Text("c", 0.0)], [["a b", "b a"], ["a", "b"]], 0.5),
        ("exact_match", [Text("", 0.0)] * 4, ["", [], None, math.nan], 1.0),
        ("word_error_rate", [Text("a b", 0.0), Text("c d e", 0.0)], [["a", "a x"], ["x", "c d e"]], 0.2),
        ("character_error_rate", [Text("abcd", 0.0)], [["abxd", "abcd e"]], 0.25),
        ("word_error_rate", [Text("", 0.0)], [["a b", ""]], math.nan),  # no word to miss
        ("bleu", [Text("the cat sat on the mat", 0.0)], [["a dog", "the cat sat on the mat"]], 100.0),
        ("bleu", [Text("我喜欢吃苹果。", 0.0)], ["我喜欢吃苹果。"], 100.0),
        ("chrf", [Text("two men walk home.", 0.0)], [["a cat", "two men walk home."]], 100.0),
        ("bleu_lowercase", [Text("Two Men walk Home .", 0.0)], ["two men walk home."], 100.0),
        # Ranks 1, 2, 3 and 1.5, 3, 1.5: covariance 0, as the equal numbers share the mean of their ranks.
        ("spearman", numbers(0.1, 0.2, 70.0), [1.0, 2.0, 1.0], 0.0),
        ("spearman", numbers(0.1, 0.2, 70.0), [-5.0, 2.0, 3.0], 1.0),
        ("spearman", numbers(0.1, 0.1, 0.1), [1.0, 2.0, 3.0], math.nan),
        ("spearman", numbers(0.1, 0.2), [1.0, 1.0], math.nan),
    ],
)
def test_by_hand(metric: str, results: list[Any], wanted: list[Any], value: float) -> None:
    assert compute(metric, results, wanted) == pytest.approx(value, nan_ok=True)


def test_several_classes_at_once() -> None:
    results = [LabelSet(("a",), {"a": 0.9, "b": 0.2}), LabelSet(("a", "b"), {"a": 0.6, "b": 0.7})]
    # Of a: right, wrong; of b: missing, right. Two right, three found, two there: F1 = 4 / 5.
    wanted = [{"a": True, "b": None}, {"a": False, "b": True}]
    assert compute("f1", results, wanted) == pytest.approx(0.8)
    assert compute("roc_auc", results, [{"a"}, {"b"}]) == 1.0
    assert compute("f1", results, [{"a": None}, {}]) == 0.0  # nothing to score


def test_labels_that_training_lacks_are_missed() -> None:
    found = [LabelSet(("nice",), {"nice": 0.9, "bad": 0.1})] * 2
    # Two right of two found and four wanted.
    assert compute("f1", found, [["nice", "rude"]] * 2) == pytest.approx(2 * 2 / (2 + 4))
    assert compute("f1", found, [{"nice": True, "rude": None}] * 2) == 1.0
    # Of nice 1; of rude, which has no probability, the toss of a coin.
    found = [LabelSet(("nice",), {"nice": 0.9}), LabelSet((), {"nice": 0.1})]
    assert compute("roc_auc", found, [["nice", "rude"], []]) == pytest.approx(0.75)
    # yes: precision 1/2, recall 1, F1 2/3; of maybe, which no result can be, 0.
    assert compute("f1", labels("yes", "yes"), ["yes", "maybe"]) == pytest.approx(1 / 3)


def test_a_third_class_has_no_roc_auc() -> None:
    with pytest.raises(ValueError, match="got the label 'maybe', expected no or yes"):
        compute("roc_auc", labels("yes", "no"), ["yes", "maybe"])
    assert math.isnan(compute("roc_auc", labels("yes", "no"), ["yes", "yes"]))


def test_r2_is_not_defined_without_a_spread() -> None:
    assert math.isnan(compute("r2", numbers(1.0), [2.0]))
    assert math.isnan(compute("r2", numbers(1.0, 2.0), [0.3, 0.1 + 0.2]))  # rounding alone
    several = [Number({"a": 1.0, "b": 4.0}), Number({"a": 2.0, "b": 6.0})]
    assert compute("r2", several, [{"a": 1.0, "b": 5.0}, {"a": 2.0, "b": 5.0}]) == 1.0  # of a alone
    # Twenty labels from 0 to 0.003, predicted upside down: 1 - 4.
    small = [0.003 * i / 19 for i in range(20)]
    assert compute("r2", numbers(*small[::-1]), small) == pytest.approx(-3.0)


def test_metrics_are_those_of_torchmetrics() -> None:
    from torchmetrics.functional import classification, regression, text

    names, generator = ["a", "b", "c", "d"], random.Random(0)
    found, wanted = ([generator.choice(names[:3]) for _ in range(31)] for _ in range(2))
    codes = [torch.tensor([names.index(v) for v in column]) for column in (found, wanted)]
    results = [Label(name, 1.0) for name in found]
    expected = classification.multiclass_f1_score(*codes, 4, average="macro").item()
    assert compute("f1", results, wanted) == pytest.approx(expected)
    a, b = torch.randn(31), torch.randn(31).round()  # some are equal
    assert compute("r2", numbers(*a.tolist()), b.tolist()) == pytest.approx(regression.r2_score(a, b).item())
    spearman = regression.spearman_corrcoef(a, b).item()
    assert compute("spearman", numbers(*a.tolist()), b.tolist()) == pytest.approx(spearman)
    lines = [[" ".join(generator.choices(names, k=generator.randrange(9))) for _ in range(31)] for _ in "ab"]
    texts = [Text(line, 0.0) for line in lines[0]]
    for metric, function in (
        ("word_error_rate", text.word_error_rate),
        ("character_error_rate", text.char_error_rate),
    ):
        assert compute(metric, texts, lines[1]) == pytest.approx(function(*lines).item())


def test_a_foreign_name_does_not_change_the_tokenizer_of_bleu() -> None:
    found = ["The U.S. team won 3-2 in 1.5 hours, didn't it?"] * 20 + ["Ada lives in Tokyo now."]
    wanted = ["The U.S. side won 3-2 within 1.5 hours, didn't it?"] * 20 + ["Ada lives in Tokyo (東京) now."]
    results = [Text(text, 0.0) for text in found]
    assert compute("bleu", results, wanted) == pytest.approx(sacrebleu.corpus_bleu(found, [wanted]).score)
    chinese = ["我喜欢吃苹果。"] * 11 + ["The U.S. side"] * 10  # most are Chinese
    results = [Text("我喜欢吃梨和苹果。", 0.0)] * 21
    expected = sacrebleu.corpus_bleu([r.text for r in results], [chinese], tokenize="zh").score
    assert compute("bleu", results, chinese) == pytest.approx(expected)


def test_several_numbers_are_averaged() -> None:
    results = [Number({"a": 1.0, "b": 0.0}), Number({"a": 3.0, "b": 2.0})]
    assert compute("mae", results, [{"a": 1.0, "b": None}, {"a": 5.0, "b": 6.0}]) == pytest.approx(
        (1 + 4) / 2
    )


def test_every_metric_has_a_target_and_nothing_to_score_is_nan() -> None:
    assert {m for metrics in METRICS_OF.values() for m in metrics} == set(METRICS)
    assert all(math.isnan(compute(metric, [], [])) for metric in METRICS)
    with pytest.raises(ValueError, match="expected one of accuracy"):
        compute("acuracy", [], [])
    with pytest.raises(ValueError, match="got 3 classes, expected two"):
        compute("roc_auc", [Label("a", 1.0, {"a": 1.0, "b": 0.0, "c": 0.0})], ["a"])


def test_goodness_is_one_for_the_best_and_higher_is_better() -> None:
    assert Score("", "bleu", 100.0, 1).goodness == 1.0
    assert Score("", "bleu_lowercase", 50.0, 1).goodness == 0.5
    assert Score("", "bleu_lowercase", 50.0, 1).goodness_name == "bleu lowercase / 100"
    assert Score("", "word_error_rate", 0.25, 1).goodness == 0.75
    assert Score("", "accuracy", 0.25, 1).goodness == 0.25
    # An error of half the deviation of the training numbers, whatever their unit.
    assert Score("", "rmse", 500.0, 1, error=0.5).goodness == 0.5
    assert Score("", "mae", 500.0, 1, error=0.5).goodness == 0.5
    # R² of one item is not defined: its error counts against the deviation of the training numbers.
    assert Score("", "r2", 0.25, 1, error=0.5).goodness == 0.25
    assert Score("", "r2", math.nan, 1, error=0.5).goodness == 0.75


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-PER I-PER O B-LOC", {(0, 1, "PER"), (3, 3, "LOC")}),
        ("I-PER I-PER I-LOC O", {(0, 1, "PER"), (2, 2, "LOC")}),  # IOB1
        ("B-PER B-PER I-PER", {(0, 0, "PER"), (1, 2, "PER")}),
        ("S-PER B-LOC I-LOC E-LOC I-LOC", {(0, 0, "PER"), (1, 3, "LOC"), (4, 4, "LOC")}),  # BIOES
        ("U-A L-A B-A L-A", {(0, 0, "A"), (1, 1, "A"), (2, 3, "A")}),  # BILOU, one L alone
        ("O I-A-B", {(1, 1, "A-B")}),
        ("O O", set()),
    ],
)
def test_spans_of_all_schemes(tags: str, spans: set[tuple[int, int, str]]) -> None:
    assert metrics._spans(tags.split()) == spans


def test_span_f1_counts_whole_spans_and_none_goes_over_the_end_of_an_item() -> None:
    wanted = ["B-PER", "I-PER", "O", "B-LOC", "O", "I-LOC"]
    found = labels("B-PER", "I-PER", "O", "B-ORG", "O", "I-LOC")
    assert compute("span_f1", found, wanted) == pytest.approx(2 * 2 / (3 + 3))
    # The third word begins an item: its I-PER is a span of its own there.
    parts = labels("B-PER", "I-PER", "I-PER")
    assert compute("span_f1", parts, ["B-PER", "I-PER", "I-PER"], [2, 1]) == 1.0
    assert compute("span_f1", parts, ["B-PER", "I-PER", "B-PER"], [2, 1]) == 1.0
    assert compute("span_f1", parts, ["B-PER", "I-PER", "B-PER"], [3]) == 0.0
    assert compute("span_f1", labels("B-PER", "O"), ["B-PER", None]) == 1.0
    # A word without a label is outside for both: two spans, not one.
    judged = [Judged(0, labels("I-P", "I-P", "I-P"), ["I-P", None, "I-P"])]
    assert value_of("span_f1", judged, labels("I-P", "O")) == pytest.approx(2 * 1 / 3)
    assert math.isnan(compute("span_f1", labels("O"), ["O"]))
    with pytest.raises(ValueError, match="got the label 'NOUN', expected labels such as B-PER"):
        compute("span_f1", labels("NOUN"), ["NOUN"])


def test_coverage_counts_the_labels_in_their_intervals_for_each_number() -> None:
    ends = {"a": (0.0, 1.0), "b": (-2.0, 2.0)}
    found = [Number({"a": 0.5, "b": 0.0}, intervals=ends)] * 4
    wanted = [{"a": 0.0, "b": 2.5}, {"a": 1.0}, {"a": 1.01, "b": 0}, {"a": None, "b": -3}]
    assert coverage(found, wanted) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert math.isnan(coverage([Number({"a": 0.5})], [0.5])["a"])  # not calibrated
    assert coverage([], []) == {}
