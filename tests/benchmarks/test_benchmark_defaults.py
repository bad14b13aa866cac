"""The table of `benchmarks.accuracy.defaults`."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.defaults import BEFORE, table


def row(changes: dict[str, Any], dev: float, test: float, metric: str = "rmse") -> dict[str, Any]:
    return {
        "task": "esol",
        "size": 300,
        "changes": changes,
        "steps": 1200,
        "seconds": 61.2,
        "dev": dev,
        "metric": metric,
        "test": test,
        "trust": {} if changes else {"before": 0.2, "after": 0.875},
    }


def test_dev_chooses_the_tuned_settings() -> None:
    """An error is best where it is lowest; the old default is not a candidate, even with the best score."""
    rows = [row(BEFORE, 0.1, 0.9), row({}, 0.7, 0.6), row({"lr": 3e-4}, 0.5, 0.8), row({"dim": 64}, 0.6, 0.5)]
    cells = [cell.strip() for cell in table(rows).splitlines()[2].split("|")[1:-1]]
    assert cells[:2] == ["esol, 300", "rmse"]
    assert [cell.split()[0] for cell in [*cells[2:4], cells[5]]] == ["0.900", "0.600", "0.800"]
    assert cells[4] == "88% in the 90 % interval"
    assert cells[6] == "{'lr': 0.0003} of 2"
    accuracies = [row({}, 0.7, 0.6, "accuracy"), row({"lr": 1}, 0.8, 0.5, "accuracy")]
    assert "0.500 (1,200 steps, 61 s)" in table(accuracies)


def test_what_is_not_measured_is_said() -> None:
    assert table([row({}, 0.7, 0.6)]).count("not measured") == 3
