"""Evaluation mode: each part gets its own mode back, when the last of several predictions ends."""

from __future__ import annotations

import threading

import torch
from torch import nn

from multiseq.nn.inference import inference


def test_each_part_gets_its_own_mode_back_when_the_last_thread_is_done() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    begun, end = threading.Event(), threading.Event()

    def predict() -> None:
        with inference(model):
            begun.set()
            assert end.wait(60)

    other = threading.Thread(target=predict)
    with inference(model):
        other.start()
        assert begun.wait(60)
    assert not any(part.training for part in model.modules())  # the other thread is not done
    end.set()
    other.join()
    assert [part.training for part in model.modules()] == [True, True, False]


def test_no_gradient_is_kept() -> None:
    layer = nn.Linear(2, 2)
    with inference(layer):
        assert layer(torch.ones(1, 2)).is_inference()
    assert layer(torch.ones(1, 2)).requires_grad


def test_a_part_and_its_whole_at_the_same_time() -> None:
    """The head of a model predicts in one thread, and ends while the model predicts in another."""
    whole = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    begun, end = threading.Event(), threading.Event()

    def predict() -> None:
        with inference(whole):
            begun.set()
            assert end.wait(60)

    other = threading.Thread(target=predict)
    with inference(whole[1]):
        other.start()
        assert begun.wait(60)
    assert not whole[1].training
    end.set()
    other.join()
    assert all(part.training for part in whole.modules())
