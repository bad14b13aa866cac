"""Make the starter data set "facts": small sets of triples with an English text that says them.

Everything is invented here: people, cities, books, dishes, football clubs, companies. Names of
subjects are put together from words, values are dealt out evenly and independently of the names,
and a subject is in few sets only, so that nobody can know a value but from the triple itself. The
wording is fixed by the set of relations, and the order of the facts in the text is fixed as well;
the triples themselves are written in shuffled order, since they are a set. Development and test
sets are about subjects that have no training set, made of words and values that training knows.

Usage: python tools/make_facts.py [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Triple = tuple[str, str, str]
Pools = dict[str, list[str]]

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "multiseq" / "starter" / "facts"
SIZES = {"train": 2200, "dev": 120, "test": 250}
CITY_SHARES = {"train": 0.78, "dev": 0.06, "test": 0.16}
SIZE_WEIGHTS = {1: 0.14, 2: 0.30, 3: 0.31, 4: 0.25}
REUSED = 0.15  # share of sets about a subject that has one already
LINKED = 0.14  # share of sets that also say the country of a city, where that is possible
MAX_SETS = 3  # per subject
MAX_CITY_SETS = 6  # with those that only say the country of the city
MIN_SEEN = 8  # training sets per value, relation and word of a name
MIN_SUBJECTS = 6  # per value
MIN_NEW = 0.8  # share of test subjects that no training set names, not even as a value
MAX_WORDS = 550

# --------------------------------------------------------------------------------------------
# Parts of names
# --------------------------------------------------------------------------------------------


def listed(words: str) -> list[str]:
    """List words that are set apart by white space."""
    return words.split()


WOMEN = listed("""
    Marta Elsa Nadia Ingrid Clara Ruth Leila Sofia Agnes Yuna Petra Irene Helga Rosa Fiona Anya
    Greta Lucia Mona Tessa Vera
""")
MEN = listed("""
    Jonas Karl Amir Peter Hugo Samuel Diego Felix Oscar Kenji Viktor Emil Leon Rafael Ivan Tomas
    Noah Malik Arthur Bruno Simon
""")
LAST_NAMES = listed("""
    Lind Brockel Feron Sallow Vesten Okonel Marsh Dantry Thorley Tamako Holvic Castow Munt
    Delvane Brackett Korvin Sund Ferrant Hadley Wickram Alstead Berrow Ostby Delacour Hallow
    Vantreen Orde Marrant Norling Tillen Morado Strell Grantham Baskett Corvo Petrick Lundy
    Ferris Sanders Castell Weldrake Morwen Tranter Prewitt Oldacre Ruskov Dorlin Kettering
    Vienti Larkmoor Hexley Arkwell Pindar Sorley Tolmin Varga
""")
CITIES = listed("""
    Tarvel Brondal Orrin Kessen Mirfold Veldrin Harrowick Lunder Pellow Sarnholt Dovrin Castrel
    Embry Faldoon Grimsholm Ivarra Jastow Quenby Rostel Thornmere Umberlee Wexholm Zarnow
    Aldhaven Bellmarsh Corvane Drisk Elmarra Fennwick Gorlan Hestor Ilvane Jorrund Kelbridge
    Lorvik Mandry Nethermoor Ossering Pryde Quellin Ravensund Solmark Tunnick Ullswell Varnholt
    Wyndle Yarrowby Zeldan Ambrook Barrendale Cindermoor Dunvale Eskdorf Fairlund Glasdon
    Hovenfield Inchmere Junfold Kirvale Lastrow Morvane Norrel Oakhythe Penmarra Questor Rindle
    Stavenby Tressick Urstead Vintry Westerlund Yelding Zimmel Arvoss Birkholm Colvenny Derrow
    Estrun Frostwick Galdera Hulmere Istrel Kettmoor Lyndra Mossgate Nymark Ormsund Parringdon
    Redholt Silvane Torvald Undry Vosk Wendrick Ysmere Bramholt Crandle Delmora Ferrick Gorsby
""")
ADJECTIVES = listed("""
    Copper Silver Silent Empty Hidden Broken Golden Frozen Distant Crooked Scarlet Forgotten
""")
OWNERS = listed("""
    Beekeeper's Tinker's Sailor's Widow's Miller's Bishop's Captain's Shepherd's Painter's
    Hunter's Duchess's Gardener's
""")
NOUNS = listed("""
    Lantern Crown Bridge Letter Garden Mirror Compass Umbrella Clock Ladder Ferry Orchard Secret
    Feather Island Violin
""")
DISHES = listed("Delight Surprise Dream Comfort Fancy Treat Parcel Wonder")
CLUB_ENDS = listed("Rovers United Athletic Wanderers Rangers Albion Orient")
CLUB_STARTS = listed("Dynamo Sporting Royal Concordia")

# --------------------------------------------------------------------------------------------
# Values
# --------------------------------------------------------------------------------------------

COUNTRIES = {
    "Norvia": "Norvian", "Velmaria": "Velmarian", "Estoria": "Estorian", "Caldenia": "Caldenian",
    "Tarquia": "Tarquian", "Ostrovia": "Ostrovian", "Lumeria": "Lumerian", "Zembria": "Zembrian",
}  # fmt: skip
YEARS = listed("1949 1953 1957 1961 1966 1970 1974 1979 1983 1990")
NUMBERS = ["4,000", "8,000", "12,000", "18,000", "25,000", "32,000", "41,000", "60,000"]
COMPANIES = [
    "Kestrin Foods", "Marrant Hotels", "Ostrel Motors", "Brisco Airlines", "Pellworth Bank",
    "Quillon Software", "Tamsin Press", "Ember Media",
]  # fmt: skip
AUTHORS = [f"{f} {last}" for f, last in zip((WOMEN + MEN)[::4], LAST_NAMES[::5], strict=False)]

# --------------------------------------------------------------------------------------------
# Kinds of subjects
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Domain:
    """A kind of subjects: how it is worded and what its values may be.

    The first relation, where it is said, makes the head of the first sentence. What follows "|"
    in a wording is put right after the words of the relation before it, where that is said too.
    """

    share: float
    names: list[tuple[str | list[str], ...]]  # shapes of a name: words, and lists to draw from
    wording: dict[str, str]
    pools: Pools
    link: str = ""  # the relation whose value is a city
    kinds: list[Pools] = field(default_factory=lambda: [{}])  # values that go together


DOMAINS = {
    "person": Domain(
        share=0.34,
        names=[(WOMEN + MEN, LAST_NAMES)],
        wording={
            "profession": "is {a}",
            "employer": "works for {}| at {}",
            "birthplace": "was born in {}",
            "birth year": "was born in {}| in {}",
            "city": "lives in {}",
            "language": "speaks {}",
            "hobby": "enjoys {}",
        },
        pools={
            "birthplace": CITIES,
            "birth year": YEARS,
            "city": CITIES,
            "language": listed("French Spanish Arabic Mandarin Russian Swahili Italian Dutch"),
            "hobby": listed("chess gardening sailing hiking pottery cycling knitting archery"),
        },
        link="city",
        kinds=[
            {"profession": professions.split(), "employer": employers}
            for professions, employers in {
                "nurse surgeon pharmacist": ["Saint Olin Hospital", "Merrin Hospital"],
                "teacher librarian historian": ["Saint Olin College", "Merrin College"],
                "baker cook driver": COMPANIES[:2],
                "engineer mechanic electrician": COMPANIES[2:4],
                "accountant lawyer programmer": COMPANIES[4:6],
                "editor translator photographer": COMPANIES[6:],
            }.items()
        ],
    ),
    "city": Domain(
        share=0.10,
        names=[],
        wording={
            "country": "is a city in {}",
            "river": "lies on the river {}",
            "founding year": "was founded in {}",
            "population": "has {} inhabitants",
            "landmark": "is known for its {}",
            "product": "produces {}",
        },
        pools={
            "country": list(COUNTRIES),
            "river": listed("Oss Lunna Merrin Sorrow Amberle Elmwater Tarn Vey"),
            "founding year": listed("1086 1147 1239 1312 1405 1568 1633 1720"),
            "population": NUMBERS,
            "landmark": [
                "cathedral", "castle", "lighthouse", "botanical garden", "opera house",
                "old harbour", "clock tower", "stone bridge",
            ],
            "product": listed("glass cheese paper furniture wool wine steel porcelain"),
        },
    ),
    "book": Domain(
        share=0.21,
        names=[
            ("The", ADJECTIVES, NOUNS), ("The", OWNERS, NOUNS), ("The", NOUNS, "and the", NOUNS),
        ],
        wording={
            "genre": "is {a}",
            "author": "was written by {}| by {}",
            "publication year": "was published in {}",
            "setting": "is set in {}",
            "number of pages": "has {} pages",
            "award": "won the {}",
        },
        pools={
            "genre": [
                "crime novel", "historical novel", "fantasy novel", "ghost story", "love story",
                "adventure story", "family novel", "war story",
            ],
            "author": AUTHORS,
            "publication year": YEARS,
            "setting": CITIES,
            "number of pages": listed("96 148 212 256 304 368 420 512"),
            "award": [
                "Copper Medal", "Silver Medal", "Larkmoor Medal", "Ember Medal",
                "Copper Prize", "Silver Prize", "Larkmoor Prize", "Ember Prize",
            ],
        },
        link="setting",
    ),
    "dish": Domain(
        share=0.16,
        names=[(words, DISHES) for words in (OWNERS, LAST_NAMES, LAST_NAMES, LAST_NAMES)],
        wording={
            "type": "is {a}",
            "origin": "comes from {}| from {}",
            "main ingredient": "is made with {}",
            "taste": "has a {} taste",
            "topping": "is topped with {}",
            "occasion": "is eaten at {}",
        },
        pools={
            "origin": list(COUNTRIES),
            "occasion": [
                "weddings", "birthday parties", "harvest festivals", "picnics", "Christmas",
                "Easter", "New Year", "Sunday lunch",
            ],
        },
        kinds=[
            {
                "type": listed("soup stew casserole salad omelette"),
                "main ingredient": listed("beetroot lentils fish mushrooms potatoes chicken"),
                "taste": listed("salty spicy smoky sour mild"),
                "topping": listed("parsley breadcrumbs onions cheese"),
            },
            {
                "type": listed("pudding cake tart pancake"),
                "main ingredient": listed("apples plums almonds cherries pears"),
                "taste": listed("sweet buttery fruity mild"),
                "topping": listed("cream cinnamon honey chocolate"),
            },
        ],
    ),
    "club": Domain(
        share=0.19,
        names=[(LAST_NAMES, CLUB_ENDS), (LAST_NAMES, CLUB_ENDS), (CLUB_STARTS, LAST_NAMES)],
        wording={
            "home town": "is a football club from {}",
            "league": "competes in the {}",
            "year of foundation": "was founded in {}",
            "stadium capacity": "plays in a stadium with {} seats",
            "shirt colour": "wears {} shirts",
            "mascot": "has {a} as its mascot",
            "sponsor": "is sponsored by {}",
        },
        pools={
            "home town": CITIES,
            "league": [
                f"{region} {kind}"
                for region in ("Northern", "Southern", "Eastern", "Western")
                for kind in ("League", "Division")
            ],
            "year of foundation": YEARS,
            "stadium capacity": NUMBERS,
            "shirt colour": listed("red green blue orange black purple yellow white"),
            "mascot": listed("bear otter wolf eagle fox owl stag lynx"),
            "sponsor": COMPANIES,
        },
        link="home town",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One line of a data file: a set of triples in the order of the text, and the text."""

    triples: tuple[Triple, ...]
    text: str


# --------------------------------------------------------------------------------------------
# Wording
# --------------------------------------------------------------------------------------------


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def phrase_facts(wording: dict[str, str], facts: dict[str, str]) -> list[str]:
    """Word the facts as verb phrases, in the order of ``wording``."""
    phrases: list[str] = []
    before = ""
    for relation, pattern in wording.items():
        if relation in facts:
            value = facts[relation]
            alone, _, attached = pattern.partition("|")
            if attached and before in facts:
                phrases[-1] += attached.format(value)
            else:
                phrases.append(alone.format(value, a=with_article(value)))
        before = relation
    return phrases


def conjoin(phrases: Sequence[str]) -> str:
    """Join one or two verb phrases; an auxiliary is said once only."""
    if len(phrases) == 1:
        return phrases[0]
    first, second = phrases
    for auxiliary in ("is ", "was "):
        if first.startswith(auxiliary):
            second = second.removeprefix(auxiliary)
    return f"{first} and {second}"


def make_item(domain: str, subject: str, facts: dict[str, str], country: str | None) -> Item:
    """Word facts about a subject, and the country of its city, in one or two sentences."""
    kind = DOMAINS[domain]
    triples = [(subject, name, facts[name]) for name in kind.wording if name in facts]
    said = dict(facts)
    if country:
        triples.append((facts[kind.link], "country", country))
        said[kind.link] = f"the {COUNTRIES[country]} city of {facts[kind.link]}"
    first, *rest = phrase_facts(kind.wording, said)
    if next(iter(kind.wording)) in facts and rest:
        first += f" {'who' if domain == 'person' else 'that'} {rest.pop(0)}"
    elif rest:
        first = conjoin([first, rest.pop(0)])
    text = f"{subject} {first}."
    if rest:
        pronoun = "It" if domain != "person" else "She" if subject.split()[0] in WOMEN else "He"
        text += f" {pronoun} {conjoin(rest)}."
    return Item(tuple(triples), text)


# --------------------------------------------------------------------------------------------
# The invented world
# --------------------------------------------------------------------------------------------


class World:
    """Subjects and what is true of them, invented as they are needed."""

    def __init__(self, seed: int) -> None:
        """Start with nothing but the cities."""
        self.rng = random.Random(seed)
        self.decks: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self.facts: dict[str, dict[str, str]] = {}
        self.pools: dict[str, Pools] = {}
        self.known: dict[tuple[str, str], list[str]] = defaultdict(list)  # by split and domain
        self.sets: Counter[str] = Counter()  # how many sets name a subject as such
        self.cities = self.share_cities()

    def share_cities(self) -> dict[str, list[str]]:
        """Share out the cities: a city is a subject in one split only, a value in all."""
        cities = self.rng.sample(CITIES, len(CITIES))
        counts = {split: round(share * len(cities)) for split, share in CITY_SHARES.items()}
        return {split: [cities.pop() for _ in range(count)] for split, count in counts.items()}

    def draw(self, pool: Sequence[str], bar: Collection[str] = ()) -> str:
        """Deal a value out: none comes again before all others of its pool have come."""
        deck = self.decks[tuple(pool)]
        if all(card in bar for card in deck):
            deck.extend(self.rng.sample(pool, len(pool)))
        card = next(card for card in deck if card not in bar)
        deck.remove(card)
        return card

    def subject(self, domain: str, split: str) -> str:
        """Choose a subject: seldom one of the split that has sets already, else a new one."""
        again = [name for name in self.known[split, domain] if self.sets[name] < MAX_SETS]
        if domain == "city":
            subject = self.draw(self.cities[split], self.barred_cities(split))
        elif again and self.rng.random() < REUSED:
            subject = self.rng.choice(again)
        else:
            subject = self.new_name(domain)
            self.known[split, domain].append(subject)
        self.add(subject, domain)
        return subject

    def new_name(self, domain: str) -> str:
        """Put a name together that no subject and no author has."""
        while True:
            shape = self.rng.choice(DOMAINS[domain].names)
            words = [entry if isinstance(entry, str) else self.draw(entry) for entry in shape]
            name = " ".join(words)
            if name not in self.facts and name not in AUTHORS and len(set(words)) == len(words):
                return name

    def add(self, subject: str, domain: str) -> None:
        """Let a subject be in the world; choose which of the values that go together it has."""
        if subject not in self.facts:
            self.facts[subject] = {}
            self.pools[subject] = DOMAINS[domain].pools | self.rng.choice(DOMAINS[domain].kinds)

    def value(self, subject: str, relation: str, bar: Sequence[str] = ()) -> str:
        """Say what is true of a subject; no two of its relations have the same value."""
        facts = self.facts[subject]
        if relation not in facts:
            pool = self.pools[subject][relation]
            facts[relation] = self.draw(pool, [*bar, *facts.values()])
        return facts[relation]

    def item(self, domain: str, split: str) -> Item:
        """Make a set of triples about a subject, perhaps with the country of its city."""
        kind = DOMAINS[domain]
        subject = self.subject(domain, split)
        size = self.rng.choices(list(SIZE_WEIGHTS), list(SIZE_WEIGHTS.values()))[0]
        relations = list(kind.wording)
        country = None
        if size > 1 and kind.link not in ("", *self.facts[subject]) and self.rng.random() < LINKED:
            country = self.link(subject, kind.link, split)
            relations.remove(kind.link)
        chosen = self.rng.sample(relations, size - 2 if country else size)
        chosen += [kind.link] if country else []
        facts = {relation: self.value(subject, relation) for relation in chosen}
        return make_item(domain, subject, facts, country)

    def barred_cities(self, split: str) -> list[str]:
        """List the cities that are of another split or have all their sets."""
        free = [city for city in self.cities[split] if self.sets[city] < MAX_CITY_SETS]
        return [city for city in CITIES if city not in free]

    def link(self, subject: str, relation: str, split: str) -> str:
        """Give a subject a city that has sets in the same split; return the city's country."""
        city = self.value(subject, relation, self.barred_cities(split))
        self.add(city, "city")
        return self.value(city, "country")


def build(seed: int) -> dict[str, list[Item]]:
    """Build the three splits."""
    world = World(seed)
    done: set[frozenset[Triple]] = set()
    splits: dict[str, list[Item]] = {split: [] for split in SIZES}
    for split, items in splits.items():
        domains = [name for name, kind in DOMAINS.items() for _ in range(round(kind.share * 100))]
        while len(items) < SIZES[split]:
            item = world.item(world.draw(domains), split)
            if frozenset(item.triples) not in done:
                done.add(frozenset(item.triples))
                world.sets.update({triple[0] for triple in item.triples})
                items.append(item)
    return splits


# --------------------------------------------------------------------------------------------
# Checks and output
# --------------------------------------------------------------------------------------------


def require(condition: bool, message: str) -> None:
    """Fail loudly when a promise of the data set is broken."""
    if not condition:
        raise AssertionError(message)


def column(items: Iterable[Item], place: int) -> set[str]:
    """Return all subjects (place 0), relations (1) or values (2) of some items."""
    return {triple[place] for item in items for triple in item.triples}


def terms(item: Item) -> set[str]:
    """Return the relations, the values and the single words of names and values."""
    whole = column([item], 1) | column([item], 2)
    return whole | {word for name in column([item], 0) | column([item], 2) for word in name.split()}


def words(items: Iterable[Item]) -> set[str]:
    """Return the word types of the texts."""
    return {word.strip(".") for item in items for word in item.text.split()}


def new_subjects(splits: dict[str, list[Item]]) -> tuple[int, int]:
    """Count the test subjects that training does not name, not even as a value, and all."""
    named = column(splits["train"], 0) | column(splits["train"], 2)
    subjects = column(splits["test"], 0)
    return len(subjects - named), len(subjects)


def check(splits: dict[str, list[Item]]) -> None:
    """Check every promise about the splits."""
    everything = [item for items in splits.values() for item in items]
    for split, count in SIZES.items():
        require(len(splits[split]) == count, f"{split}: {len(splits[split])} items")
    require(len({frozenset(i.triples) for i in everything}) == len(everything), "a set comes twice")
    require(len({item.text for item in everything}) == len(everything), "a text comes twice")
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        both = column(splits[one], 0) & column(splits[other], 0)
        require(not both, f"subjects in {one} and {other}: {sorted(both)}")
    new, count = new_subjects(splits)
    require(new >= MIN_NEW * count, f"only {new} of {count} test subjects are new")
    require(len(words(everything)) <= MAX_WORDS, f"{len(words(everything))} word types")
    check_world(everything)
    check_seen(splits["train"], everything)
    for item in everything:
        check_text(item)


def check_world(items: Sequence[Item]) -> None:
    """Check that every subject has few sets and one value per relation."""
    facts: dict[tuple[str, str], str] = {}
    for name, relation, value in (triple for item in items for triple in item.triples):
        first = facts.setdefault((name, relation), value)
        require(first == value, f"{relation} of {name}: {first} and {value}")
    sets = Counter(name for item in items for name in column([item], 0))
    for name, count in sets.items():
        most = MAX_CITY_SETS if name in CITIES else MAX_SETS
        require(count <= most, f"{name!r} is in {count} sets")


def check_seen(train: Sequence[Item], everything: Sequence[Item]) -> None:
    """Check that training has each relation, value and word often, and each value diversely."""
    seen = Counter(term for item in train for term in terms(item))
    for term in set().union(*map(terms, everything)) | set(CITIES):
        require(seen[term] >= MIN_SEEN, f"{term!r} is in {seen[term]} training sets")
    pairs = {(triple[0], triple[2]) for item in train for triple in item.triples}
    for value, count in Counter(value for _, value in pairs).items():
        require(count >= MIN_SUBJECTS, f"{value!r} has {count} subjects in training")


def check_text(item: Item) -> None:
    """Check that a text says every name and value and has one or two sentences."""
    require(1 <= len(item.triples) <= 4, f"size of {item}")
    for name, relation, value in item.triples:
        said = value in item.text or (relation == "country" and COUNTRIES[value] in item.text)
        require(said and name in item.text, f"{name!r} or {value!r} is not in {item.text!r}")
    require(item.text.count(".") in (1, 2), f"sentences of {item.text!r}")


def write(splits: dict[str, list[Item]], out: Path, seed: int) -> None:
    """Write the splits as JSON lines, the triples of each line in shuffled order."""
    rng = random.Random(seed + 1)
    out.mkdir(parents=True, exist_ok=True)
    for split, items in splits.items():
        lines = []
        for item in rng.sample(items, len(items)):
            triples = rng.sample(item.triples, len(item.triples))
            row = {"triples": triples, "text": item.text}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def report(splits: dict[str, list[Item]]) -> None:
    """Print the counts of the data set."""
    everything = [item for items in splits.values() for item in items]
    print({split: len(items) for split, items in splits.items()})
    for place, column_name in enumerate(("subjects", "relations", "values")):
        print(f"{column_name}: {len(column(everything, place))}")
    sets = Counter(name for item in splits["train"] for name in column([item], 0))
    for kind, cities in (("other subjects", False), ("cities", True)):
        counts = Counter(count for name, count in sets.items() if (name in CITIES) == cities)
        print(f"{kind} by training sets: {sorted(counts.items())}")
    print("test subjects that training does not name: {} of {}".format(*new_subjects(splits)))
    seen = Counter(sorted(term for item in splits["train"] for term in terms(item)))
    print("rarest in training:", seen.most_common()[-6:])
    for split, items in splits.items():
        linked = sum(len(column([item], 0)) > 1 for item in items)
        sizes = sorted(Counter(len(item.triples) for item in items).items())
        print(f"{split}: set sizes {sizes}, {linked} with the country of a city")
    longest = max(everything, key=lambda item: len(item.text.split()))
    print(f"word types in the texts: {len(words(everything))}")
    print(f"longest text, {len(longest.text.split())} words: {longest.text}")


def main() -> None:
    """Build, check and write the data set."""
    parser = argparse.ArgumentParser(description="Make the facts starter data set.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write to")
    parser.add_argument("--seed", type=int, default=11, help="random seed")
    arguments = parser.parse_args()
    splits = build(arguments.seed)
    report(splits)
    check(splits)
    write(splits, arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
