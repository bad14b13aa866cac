"""Initial weights: the same in every process, and what a user seeds torch with decides them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from multiseq import ClassTarget, Encoder, Model, SetHead, Task
from multiseq.nn import first_weights

README = Path(__file__).parents[2] / "README.md"
KEEP = """
import torch
state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
"""
SHOW = """
assert torch.equal(torch.get_rng_state(), state), "a training changes the user's random numbers"
import hashlib
for part in (before, model.state_dict()):
    print(hashlib.sha256(b"".join(w.numpy().tobytes() for w in part.values())).hexdigest())
"""


@pytest.fixture
def unseeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose generator has the random seed that torch chose."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(2**60 + 7)
        monkeypatch.setattr(first_weights, "_AT_IMPORT", 2**60 + 7)
        monkeypatch.setattr(first_weights, "_stream", None)
        yield


def weights_of(part: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in part.parameters()])


def an_encoder() -> torch.Tensor:
    return weights_of(Encoder(dim=8, depth=1, heads=2))


def test_the_example_of_the_readme_gives_the_same_weights_in_every_process() -> None:
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert "manual_seed" not in code
    assert code.count("train(model,") == 1
    code = code.replace("train(model,", KEEP + "train(model,")
    run = [sys.executable, "-W", "ignore", "-c", code + SHOW]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    two = [subprocess.Popen(run, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0].splitlines()[-2:] for process in two)
    assert [process.returncode for process in two] == [0, 0]
    assert first == second
    assert len(set(first)) == 2


def test_parts_built_one_after_another_differ_and_the_next_process_gets_the_same_ones(
    unseeded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.get_rng_state()
    one, two = an_encoder(), an_encoder()
    assert not torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)  # the user's random numbers are not touched
    monkeypatch.setattr(first_weights, "_stream", None)  # as in a new process
    torch.default_generator.manual_seed(2**61 + 3)
    monkeypatch.setattr(first_weights, "_AT_IMPORT", 2**61 + 3)
    assert torch.equal(an_encoder(), one)
    assert torch.equal(an_encoder(), two)


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 9, -5])
def test_a_seed_of_the_user_decides_as_everywhere_in_torch(unseeded: None, seed: int) -> None:
    default = an_encoder()
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    seeded = an_encoder()
    assert not torch.equal(torch.get_rng_state(), state)  # drawn from torch's generator
    torch.manual_seed(seed)
    assert torch.equal(an_encoder(), seeded)
    torch.manual_seed(seed + 1)
    assert not torch.equal(an_encoder(), seeded)
    assert torch.equal(seeded, default) == (seed == 0)


def test_a_seed_set_before_multiseq_was_imported_counts(
    unseeded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    monkeypatch.setattr(first_weights, "_AT_IMPORT", 3)
    seeded = an_encoder()
    torch.manual_seed(3)
    assert torch.equal(an_encoder(), seeded)
    assert not torch.equal(an_encoder(), seeded)


def test_a_model_keeps_the_weights_of_its_parts(unseeded: None, point_adapter: type) -> None:
    encoder, head = Encoder(dim=8, depth=1, heads=2), SetHead(8, ClassTarget(["a", "b"]))
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.data.fill_(0.25)  # trained before
    model = Model({"points": point_adapter(8)}, encoder, {"label": Task("points", head)})
    assert torch.equal(weights_of(model.encoder), torch.full_like(weights_of(encoder), 0.25))
