"""python -m tests.fuzz --minutes 30 [--seed N] [--target NAME]: prints counts, keeps what fails."""

from __future__ import annotations

import argparse
import itertools
import re
import time
from collections import Counter
from random import Random

from tests.fuzz.run import new_input, run, write
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Try new inputs of all targets in turn until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=list(TARGETS))
    options = parser.parse_args()
    random, end = Random(options.seed), time.monotonic() + 60 * options.minutes
    counts: Counter[tuple[str, str]] = Counter()
    known: set[str] = set()
    names = [options.target] if options.target else list(TARGETS)
    for name in itertools.cycle(names):
        if time.monotonic() > end:
            break
        content = new_input(name, random)
        outcome = run(name, content)
        counts[name, outcome.kind] += 1
        kind_of_fault = name + re.sub(r"/\S+|\d+|'.*", "", outcome.text)[:60]
        if outcome.kind == "FAULT" and kind_of_fault not in known:
            known.add(kind_of_fault)
            print(f"FAULT {name}: {outcome.text}\n  {write(name, content)}", flush=True)
    kinds = ("used", "refused", "skipped", "FAULT")
    print(f"{'':16}" + "".join(f"{kind:>9}" for kind in kinds))
    for name in names:
        print(f"{name:16}" + "".join(f"{counts[name, kind]:9}" for kind in kinds))
    print(f"{'all':16}" + "".join(f"{sum(counts[n, kind] for n in names):9}" for kind in kinds))


main()
