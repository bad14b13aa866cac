"""Make the starter networks: who buys depends on the member and on the friends.

Writes two tab-separated files, ``nodes.tsv`` and ``edges.tsv``.  Everything in them is
generated; no member is a real person.  The same seed always gives the same files::

    python tools/make_networks.py --out multiseq/starter/networks

**The networks.**  There are 220 networks of 20 to 45 members: 188 for training, 12
for development and 20 for testing; a network is never divided over splits.  Members live in one of
five cities and have an age, a job, a hobby and a monthly spending.  Families are small, fully
tied groups in one city.  Colleagues are tied when they share job and city, and sometimes across
cities.  Friends are drawn by city, age and popularity (which makes hubs), and friends of friends
often become friends (which makes triangles).  Some members have no ties at all.

**The rule.**  The product is an electric bike, and ``buys`` follows from four steps.

1. Interest: each member has 0 to 5 points of interest, the sum of

   * hobby: cycling or hiking 3, running or gardening 1, gaming or cooking 0;
   * job: nurse or teacher 1, any other job 0;
   * age: 1 when the member is younger than 45, otherwise 0.

   A member is *interested* from 3 points on.
2. Support: each interested friend counts 1 and each interested relative (a tie of kind
   ``family``) counts 2.  Colleagues never count, interested or not.
3. Word of mouth over two ties: a friend or relative who is not interested, but has at least 3
   interested friends or relatives (the member aside), counts 1.
4. Decision: with 5 points of interest a member buys; with 4 points, when there are at least 2
   points of support; with 2 or 3 points, when there are at least 3 points of support; with 0 or
   1 point a member does not buy.

At the end one answer in a hundred, drawn at random, is turned around.  Only the interest of
others matters, never whether they buy, so all answers can be predicted at once.  Spending hangs
on job and age only and plays no part in the rule.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

SEED = 20
NETWORKS = {"train": 188, "dev": 12, "test": 20}
SMALLEST, LARGEST = 20, 45

CITIES = ("Aldern", "Brookhaven", "Castell", "Dunmore", "Eastvale")
JOBS = ("nurse", "teacher", "engineer", "clerk", "driver", "student")
HOBBIES = ("cycling", "hiking", "running", "gardening", "gaming", "cooking")
PAY = {"nurse": 60, "teacher": 80, "engineer": 150, "clerk": 50, "driver": 40, "student": -60}

HOBBY_POINTS = {"cycling": 3, "hiking": 3, "running": 1, "gardening": 1, "gaming": 0, "cooking": 0}
JOB_POINTS = {"nurse": 1, "teacher": 1}
KEEN_BELOW = 45
INTERESTED = 3
SUPPORT = {"friend": 1, "family": 2, "colleague": 0}
TALK = 3
NEEDED = {2: 3, 3: 3, 4: 2, 5: 0}
NOISE = 0.01

Ties = dict[tuple[int, int], str]


@dataclass(frozen=True)
class Member:
    """One member of a network, without the answer."""

    age: int
    city: str
    job: str
    hobby: str
    spending: int


@dataclass(frozen=True)
class Network:
    """Members, their ties (each once, smaller index first) and who buys."""

    members: list[Member]
    ties: Ties
    buys: list[bool]


# ------------------------------------------------------------------------------------ the rule


def interest(member: Member) -> int:
    """Points of interest of one member, 0 to 5 (step 1 of the rule)."""
    age_point = int(member.age < KEEN_BELOW)
    return HOBBY_POINTS[member.hobby] + JOB_POINTS.get(member.job, 0) + age_point


def close_ones(count: int, ties: Ties) -> list[dict[int, str]]:
    """Friends and relatives of every member, as a mapping from index to kind of tie."""
    near: list[dict[int, str]] = [{} for _ in range(count)]
    for (source, target), kind in ties.items():
        if SUPPORT[kind]:
            near[source][target] = kind
            near[target][source] = kind
    return near


def support(member: int, near: Sequence[dict[int, str]], interested: Sequence[bool]) -> int:
    """Points of support one member gets (steps 2 and 3 of the rule)."""
    points = 0
    for other, kind in near[member].items():
        if interested[other]:
            points += SUPPORT[kind]
        elif sum(interested[third] for third in near[other] if third != member) >= TALK:
            points += 1
    return points


def decide(members: Sequence[Member], ties: Ties) -> list[bool]:
    """Who buys, by the rule and without noise (step 4 of the rule)."""
    points = [interest(member) for member in members]
    interested = [point >= INTERESTED for point in points]
    near = close_ones(len(members), ties)
    return [
        point in NEEDED and support(i, near, interested) >= NEEDED[point] for i, point in enumerate(points)
    ]


# ------------------------------------------------------------------------------------ the ties


def add_tie(ties: Ties, first: int, second: int, kind: str) -> None:
    """Tie two different members, unless they are tied already."""
    if first != second:
        ties.setdefault((min(first, second), max(first, second)), kind)


def neighbours(ties: Ties, member: int, kind: str) -> set[int]:
    """Those tied to a member by one kind of tie."""
    pairs = [pair for pair, tie in ties.items() if tie == kind and member in pair]
    return {first + second - member for first, second in pairs}


def add_families(rng: np.random.Generator, members: Sequence[Member], ties: Ties) -> None:
    """Tie small groups within a city, each fully, as families."""
    for city in CITIES:
        here = [i for i, member in enumerate(members) if member.city == city]
        rng.shuffle(here)
        while len(here) >= 2:
            size = int(rng.choice((1, 2, 3, 4), p=(0.4, 0.3, 0.2, 0.1)))
            for first, second in combinations(here[:size], 2):
                add_tie(ties, first, second, "family")
            here = here[size:]


def add_colleagues(rng: np.random.Generator, members: Sequence[Member], ties: Ties) -> None:
    """Tie most of those who share job and city, and a few of those who share the job."""
    for first, second in combinations(range(len(members)), 2):
        one, two = members[first], members[second]
        if one.job == two.job and rng.random() < (0.75 if one.city == two.city else 0.22):
            add_tie(ties, first, second, "colleague")


def add_friends(rng: np.random.Generator, members: Sequence[Member], ties: Ties) -> None:
    """Draw friends by city, age and popularity, then let friends of friends meet."""
    count = len(members)
    popularity = rng.lognormal(0.0, 0.65, count)
    for first, second in combinations(range(count), 2):
        one, two = members[first], members[second]
        chance = 0.16 if one.city == two.city else 0.025
        chance *= 1.4 if abs(one.age - two.age) <= 10 else 0.8
        if rng.random() < chance * popularity[first] * popularity[second]:
            add_tie(ties, first, second, "friend")
    for member in range(count):
        for first, second in combinations(sorted(neighbours(ties, member, "friend")), 2):
            if rng.random() < 0.12:
                add_tie(ties, first, second, "friend")


def draw_ties(rng: np.random.Generator, members: Sequence[Member]) -> Ties:
    """All ties of a network; about one member in twenty loses all of them."""
    ties: Ties = {}
    add_families(rng, members, ties)
    add_friends(rng, members, ties)
    add_colleagues(rng, members, ties)
    alone = rng.random(len(members)) < 0.05
    return {pair: ties[pair] for pair in sorted(ties) if not alone[list(pair)].any()}


# ----------------------------------------------------------------------------- members, networks


def draw_member(rng: np.random.Generator, cities: np.ndarray, hobbies: dict[str, np.ndarray]) -> Member:
    """One member, given how likely each city is and each hobby in each city."""
    city = str(rng.choice(CITIES, p=cities))
    age = int(rng.integers(18, 72))
    job = str(rng.choice(JOBS, p=(0.18, 0.18, 0.2, 0.18, 0.16, 0.1)))
    if age > 30 and job == "student":
        job = "clerk"
    hobby = str(rng.choice(HOBBIES, p=hobbies[city]))
    spending = 140 + PAY[job] + 1.2 * (age - 18) + rng.normal(0.0, 30.0)
    return Member(age, city, job, hobby, max(20, round(float(spending))))


def draw_network(rng: np.random.Generator) -> Network:
    """One network; cities differ in how common each hobby is."""
    count = int(rng.integers(SMALLEST, LARGEST + 1))
    cities = rng.dirichlet(np.full(len(CITIES), 1.5))
    hobbies = {city: rng.dirichlet(np.full(len(HOBBIES), 4.0)) for city in CITIES}
    members = [draw_member(rng, cities, hobbies) for _ in range(count)]
    ties = draw_ties(rng, members)
    turned = rng.random(count) < NOISE
    buys = [bool(said != turn) for said, turn in zip(decide(members, ties), turned, strict=True)]
    return Network(members, ties, buys)


def draw_networks(seed: int = SEED) -> list[tuple[str, str, Network]]:
    """All networks as (name, split, network); the splits are shuffled over the names."""
    rng = np.random.default_rng(seed)
    splits = [split for split, count in NETWORKS.items() for _ in range(count)]
    order = rng.permutation(len(splits))
    return [
        (f"net{number:02d}", splits[place], draw_network(rng)) for number, place in enumerate(order, start=1)
    ]


# ----------------------------------------------------------------------------------- the files


def write_table(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    """Write a tab-separated table with a header line."""
    lines = [header.split(), *rows]
    text = "".join("\t".join(str(cell) for cell in line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_networks(out: Path, networks: Sequence[tuple[str, str, Network]]) -> None:
    """Write ``nodes.tsv`` and ``edges.tsv`` into a folder, which is made if need be."""
    out.mkdir(parents=True, exist_ok=True)
    nodes = [
        (name, split, i, m.age, m.city, m.job, m.hobby, m.spending, "yes" if buys else "no")
        for name, split, network in networks
        for i, (m, buys) in enumerate(zip(network.members, network.buys, strict=True))
    ]
    edges = [
        (name, source, target, kind)
        for name, _, network in networks
        for (source, target), kind in network.ties.items()
    ]
    write_table(out / "nodes.tsv", "network split node age city job hobby spending buys", nodes)
    write_table(out / "edges.tsv", "network source target kind", edges)


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description="Make the starter networks.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the random numbers")
    args = parser.parse_args()
    write_networks(args.out, draw_networks(args.seed))


if __name__ == "__main__":
    main()
