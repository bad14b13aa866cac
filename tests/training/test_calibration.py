"""Calibration: reliability bins and the calibration error (`multiseq.training.calibration`)."""

from __future__ import annotations

import math

import pytest
import torch

from multiseq.training.calibration import ReliabilityBin, calibration_error, reliability_bins


def test_bins_by_hand() -> None:
    bins = reliability_bins([0.9, 0.2, 0.8, 0.6, 0.4], [True, False, False, True, True], num_bins=2)
    assert [b.count for b in bins] == [3, 2]  # the lower bin is the larger one
    assert [b.confidence for b in bins] == pytest.approx([0.4, 0.85])
    assert [b.accuracy for b in bins] == pytest.approx([2 / 3, 0.5])
    error = calibration_error([0.9, 0.2, 0.8, 0.6, 0.4], [True, False, False, True, True], num_bins=2)
    assert error == pytest.approx(3 / 5 * (2 / 3 - 0.4) + 2 / 5 * 0.35)


def test_equal_confidences_share_a_bin_in_any_order() -> None:
    shares, right = [1.0] * 5 + [0.5] * 2, [True, True, True, False, False, True, False]
    bins = reliability_bins(shares, right, num_bins=3)
    assert bins == [ReliabilityBin(0.5, 0.5, 2), ReliabilityBin(1.0, 0.6, 5)]
    assert reliability_bins(shares[::-1], right[::-1], num_bins=3) == bins


def test_fewer_predictions_than_bins() -> None:
    assert [b.count for b in reliability_bins([0.3, 0.1], [True, False])] == [1, 1]
    assert reliability_bins([], []) == []
    assert math.isnan(calibration_error([], []))


def test_a_calibrated_model_has_a_small_error_and_a_boastful_one_has_not() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(20_011, generator=generator)
    right = torch.rand(20_011, generator=generator) < shares
    assert calibration_error(shares, right) < 0.02
    assert calibration_error((0.5 + shares / 2).tolist(), right.tolist()) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("shares", "right", "num_bins", "message"),
    [
        ([0.5], [True, False], 15, "correct: got 2 for 1 confidences"),
        ([1.5], [True], 15, "confidence: got a number outside of 0 to 1"),
        ([math.nan], [True], 15, "or NaN, expected probabilities"),
        ([0.5], [True], 0, "num_bins: got 0, expected 1 or more"),
    ],
)
def test_wrong_input_says_what_to_do(
    shares: list[float], right: list[bool], num_bins: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reliability_bins(shares, right, num_bins)
