"""Make the starter data set "facts": small sets of triples with an English text that says them.

Everything is invented here: people, cities, countries, books, dishes, football clubs and
companies. A handful of real cities serve only as places where invented people live or invented
books are set. The wording is fixed by the set of relations, and the order of the facts in the
text is fixed as well; the triples themselves are written in shuffled order, since they are a set.

Usage: python tools/make_facts.py [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Triple = tuple[str, str, str]
Facts = dict[str, str]

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "multiseq" / "starter" / "facts"
SIZES = {"train": 1450, "dev": 100, "test": 250}
SHARES = {"person": 0.31, "city": 0.15, "book": 0.20, "dish": 0.14, "club": 0.20}
SIZE_WEIGHTS = {1: 0.14, 2: 0.30, 3: 0.31, 4: 0.25}
MIN_SEEN = 5

# --------------------------------------------------------------------------------------------
# The invented world
# --------------------------------------------------------------------------------------------

COUNTRIES = {
    "Norvia": "Norvian",
    "Velmaria": "Velmarian",
    "Estoria": "Estorian",
    "Caldenia": "Caldenian",
}

CITIES = [
    "Tarvel",
    "Brondal",
    "Orrin",
    "Kessen",
    "Mirfold",
    "Ashby-on-Oss",
    "Veldrin",
    "Harrowick",
    "Lunder",
    "Pellow",
    "Sarnholt",
    "Dovrin",
    "Castrel",
    "Embry",
    "Faldoon",
    "Grimsholm",
    "Ivarra",
    "Jastow",
    "Quenby",
    "Rostel",
    "Thornmere",
    "Umberlee",
    "Wexholm",
    "Zarnow",
]
REAL_CITIES = ["Oslo", "Lisbon", "Vienna", "Dublin", "Prague", "Geneva"]

WOMEN = [
    "Marta Lind", "Elsa Brook", "Nadia Feron", "Ingrid Sallow", "Clara Vesten", "Ruth Okonel",
    "Leila Marsh", "Sofia Dantry", "Agnes Thorley", "Yuna Tamako", "Petra Holvic", "Irene Castow",
    "Helga Munt", "Rosa Delvane", "Fiona Brackett", "Anya Korvin", "Greta Sund", "Lucia Ferrant",
    "Mona Hadley", "Tessa Wickram", "Vera Alstead",
]  # fmt: skip
MEN = [
    "Jonas Berrow", "Karl Ostby", "Amir Delacour", "Peter Hallow", "Hugo Vantreen", "Samuel Orde",
    "Diego Marrant", "Felix Norling", "Oscar Tillen", "Kenji Morado", "Viktor Strell",
    "Emil Grantham", "Leon Baskett", "Rafael Corvo", "Ivan Petrick", "Tomas Lundy", "Noah Ferris",
    "Malik Sanders", "Arthur Quill", "Bruno Castell", "Simon Weldrake",
]  # fmt: skip

PROFESSIONS: dict[str, list[str]] = {
    "nurse": ["Saint Olin Hospital"],
    "surgeon": ["Saint Olin Hospital"],
    "pharmacist": ["Saint Olin Hospital"],
    "teacher": ["Fennick College"],
    "librarian": ["Fennick College"],
    "historian": ["Fennick College"],
    "university lecturer": ["Fennick College"],
    "baker": ["Kestrin Foods"],
    "chemist": ["Kestrin Foods", "Saint Olin Hospital"],
    "engineer": ["Ostrel Motors", "Quillon Software"],
    "mechanic": ["Ostrel Motors", "Brisco Airlines"],
    "electrician": ["Ostrel Motors"],
    "programmer": ["Quillon Software", "Pellworth Bank"],
    "accountant": ["Pellworth Bank", "Kestrin Foods"],
    "lawyer": ["Pellworth Bank", "Quillon Software"],
    "editor": ["Tamsin Press"],
    "translator": ["Tamsin Press"],
    "photographer": ["Tamsin Press"],
    "pilot": ["Brisco Airlines"],
}
BIRTH_YEARS = ["1948", "1953", "1957", "1961", "1966", "1970", "1974", "1979", "1983", "1990"]
LANGUAGES = ["French", "Spanish", "Arabic", "Mandarin", "Russian", "Swahili", "Italian", "Dutch"]
HOBBIES = [
    "chess", "gardening", "sailing", "hiking", "pottery", "cycling", "birdwatching", "knitting",
    "fencing", "archery",
]  # fmt: skip

RIVERS = ["Oss", "Lunna", "Merrin", "Sorrow", "Amberle", "Elmwater"]
POPULATIONS = ["8,000", "15,000", "32,000", "60,000", "95,000", "140,000", "280,000", "500,000"]
CITY_YEARS = ["1086", "1147", "1239", "1312", "1405", "1568", "1633", "1720"]
LANDMARKS = ["cathedral", "castle", "lighthouse", "botanical garden", "opera house", "old harbour",
             "clock tower", "stone bridge"]  # fmt: skip
PRODUCTS = ["glass", "cheese", "paper", "furniture", "wool", "wine", "steel", "porcelain"]

BOOKS = [
    "The Bells of Tarvel", "Nine Empty Rooms", "Letters to a Lighthouse Keeper", "Salt on the Snow",
    "The Cartographer's Apprentice", "A Winter Without Clocks", "The Orange Umbrella Club",
    "Under the Copper Roof", "The Last Ferry to Embry", "Three Spoons of Rain",
    "The Beekeeper's Alibi", "A Map of Small Hours", "Where the Herons Wait",
    "The Glassblower's Daughters", "Half a Mile of String", "The Moth and the Magistrate",
    "Songs for an Empty Station", "The Painter of Rostel", "Twelve Days in the Attic",
    "The Paper Admiral", "Wolves at the Toll Gate", "An Apple for the Hangman",
    "The Slow Train to Jastow", "Every Eleventh Tuesday", "The Tinker's Crown",
    "Behind the Blue Ledger", "A Crow Named Wednesday", "The Salt Merchant's Secret",
    "Footsteps in the Granary", "The Quiet Side of the Hill",
]  # fmt: skip
AUTHORS = ["Ada Morwen", "Ellis Tranter", "Johanna Prewitt", "Bram Oldacre", "Selma Ruskov",
           "Ignace Dorlin", "Maud Kettering", "Paolo Vienti"]  # fmt: skip
GENRES = ["crime novel", "historical novel", "fantasy novel", "ghost story", "love story",
          "adventure story", "children's book", "espionage novel"]  # fmt: skip
BOOK_YEARS = ["1928", "1936", "1954", "1968", "1977", "1985", "1996", "2004"]
PAGES = ["96", "148", "212", "256", "304", "368", "420", "512"]
AWARDS = ["Larkmoor Prize", "Copper Quill", "Harbour Medal", "Ember Award"]

# Invented dishes by course, each with an ingredient, a taste and a serving temperature that fit.
DISHES: dict[str, list[tuple[str, str, str, str]]] = {
    "soup": [
        ("Borelka", "beetroot", "sour", "cold"), ("Tarrik", "lentils", "spicy", "hot"),
        ("Oshenka", "fish", "salty", "hot"), ("Vellmatta", "mushrooms", "mild", "hot"),
        ("Kumbrel", "potatoes", "mild", "hot"),
    ],
    "main course": [
        ("Zharuma", "lamb", "spicy", "hot"), ("Plovnik", "rice", "mild", "hot"),
        ("Gratchino", "potatoes", "salty", "hot"), ("Sardova", "fish", "smoky", "hot"),
        ("Hennika", "chicken", "spicy", "hot"), ("Morovash", "lamb", "smoky", "hot"),
        ("Pirella", "rice", "spicy", "hot"), ("Chandrel", "chicken", "mild", "hot"),
    ],
    "starter": [
        ("Funghetta", "mushrooms", "salty", "cold"), ("Rubanka", "beetroot", "sour", "cold"),
        ("Lentara", "lentils", "mild", "cold"), ("Halvikka", "fish", "smoky", "cold"),
        ("Tibrosh", "chicken", "smoky", "cold"), ("Ostavel", "potatoes", "sour", "cold"),
    ],
    "dessert": [
        ("Melovka", "apples", "sweet", "hot"), ("Plumarra", "plums", "sour", "cold"),
        ("Amarvel Snow", "almonds", "sweet", "cold"), ("Risolina", "rice", "sweet", "cold"),
        ("Appelunde", "apples", "sour", "hot"), ("Prunette", "plums", "sweet", "hot"),
        ("Nuttavara", "almonds", "sweet", "cold"), ("Orchadel", "apples", "sweet", "cold"),
    ],
}  # fmt: skip
OCCASIONS = ["weddings", "birthdays", "New Year", "harvest festivals", "Sunday lunch"]

CLUBS = [
    "Northgate Rovers", "Iron Hill United", "Riverside Athletic", "Saint Brannoc", "Blackfen Town",
    "Union Marlow", "Red Lantern", "Dynamo Vostel", "Coppergate Wanderers", "Old Mill Rangers",
    "Lakeshore Albion", "Sporting Ferrol Bay", "Highmoor City", "Star of the East", "Hollow Oak",
    "Foundry Lane", "Windmill Park", "Harbour Boys", "Tannery Road", "Royal Alder", "Viking Sund",
    "Eastbrook County", "Concordia Hale", "White Stag", "Meadow Vale", "Kingsbridge Orient",
    "Aurora Nord", "Granite Athletic",
]  # fmt: skip
LEAGUES = ["Northern League", "Coastal League", "National Division", "Amber League"]
CLUB_YEARS = ["1889", "1897", "1903", "1911", "1920", "1932", "1946", "1958"]
COLOURS = ["red", "green", "sky blue", "orange", "black", "purple", "yellow"]
SPONSORS = ["Kestrin Foods", "Ostrel Motors", "Quillon Software", "Pellworth Bank",
            "Brisco Airlines"]  # fmt: skip
MASCOTS = ["bear", "otter", "wolf", "eagle", "fox", "owl", "stag"]
CAPACITIES = ["4,000", "9,500", "12,000", "18,000", "25,000", "41,000"]

# Words that start with a vowel letter but not with a vowel sound.
CONSONANT_SOUND = ("university", "european", "one-")


@dataclass(frozen=True)
class Entity:
    """A subject of the data set with all that is true of it."""

    name: str
    domain: str
    pronoun: str
    facts: tuple[tuple[str, str], ...]

    def triples(self) -> list[Triple]:
        """Return the facts as triples, in the fixed order of the relations."""
        return [(self.name, relation, value) for relation, value in self.facts]


@dataclass(frozen=True)
class Item:
    """One line of a data file: a set of triples in fixed order and its text."""

    triples: tuple[Triple, ...]
    text: str
    domain: str


def deal(rng: random.Random, values: Sequence[str], count: int) -> list[str]:
    """Deal ``values`` out evenly to ``count`` takers in random order."""
    dealt: list[str] = []
    while len(dealt) < count:
        dealt.extend(rng.sample(list(values), len(values)))
    return dealt[:count]


def deal_apart(rng: random.Random, values: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Deal ``values`` out so that no taker gets what it already has in ``taken``."""
    while True:
        dealt = deal(rng, values, len(taken))
        if all(new != old for new, old in zip(dealt, taken, strict=True)):
            return dealt


def make_people(rng: random.Random) -> list[Entity]:
    """Invent the people."""
    names = [(name, "She") for name in WOMEN] + [(name, "He") for name in MEN]
    count = len(names)
    professions = deal(rng, list(PROFESSIONS), count)
    years = deal(rng, BIRTH_YEARS, count)
    born = deal(rng, CITIES + REAL_CITIES, count)
    homes = deal_apart(rng, CITIES + REAL_CITIES, born)
    languages = deal(rng, LANGUAGES, count)
    hobbies = deal(rng, HOBBIES, count)
    people = []
    for i, (name, pronoun) in enumerate(names):
        facts = (
            ("profession", professions[i]),
            ("employer", rng.choice(PROFESSIONS[professions[i]])),
            ("birthplace", born[i]),
            ("birth year", years[i]),
            ("city", homes[i]),
            ("language", languages[i]),
            ("hobby", hobbies[i]),
        )
        people.append(Entity(name, "person", pronoun, facts))
    return people


def make_simple(
    rng: random.Random, domain: str, names: Sequence[str], values: dict[str, Sequence[str]]
) -> list[Entity]:
    """Invent entities whose values are independent of each other."""
    dealt = {relation: deal(rng, pool, len(names)) for relation, pool in values.items()}
    return [
        Entity(name, domain, "It", tuple((relation, dealt[relation][i]) for relation in values))
        for i, name in enumerate(names)
    ]


def make_dishes(rng: random.Random) -> list[Entity]:
    """Invent the dishes."""
    rows = [(course, *row) for course, dishes in DISHES.items() for row in dishes]
    origins = deal(rng, list(COUNTRIES), len(rows))
    occasions = deal(rng, OCCASIONS, len(rows))
    return [
        Entity(
            name,
            "dish",
            "It",
            (
                ("course", course),
                ("origin", origins[i]),
                ("main ingredient", ingredient),
                ("taste", taste),
                ("serving temperature", temperature),
                ("occasion", occasions[i]),
            ),
        )
        for i, (course, name, ingredient, taste, temperature) in enumerate(rows)
    ]


def make_world(rng: random.Random) -> list[Entity]:
    """Invent all entities."""
    cities = make_simple(
        rng,
        "city",
        CITIES,
        {
            "country": list(COUNTRIES),
            "river": RIVERS,
            "founding year": CITY_YEARS,
            "population": POPULATIONS,
            "landmark": LANDMARKS,
            "product": PRODUCTS,
        },
    )
    books = make_simple(
        rng,
        "book",
        BOOKS,
        {
            "genre": GENRES,
            "author": AUTHORS,
            "publication year": BOOK_YEARS,
            "setting": CITIES + REAL_CITIES,
            "number of pages": PAGES,
            "award": AWARDS,
        },
    )
    clubs = make_simple(
        rng,
        "club",
        CLUBS,
        {
            "home town": CITIES,
            "league": LEAGUES,
            "year of foundation": CLUB_YEARS,
            "stadium capacity": CAPACITIES,
            "shirt colour": COLOURS,
            "mascot": MASCOTS,
            "sponsor": SPONSORS,
        },
    )
    return make_people(rng) + cities + books + make_dishes(rng) + clubs


# --------------------------------------------------------------------------------------------
# Wording
# --------------------------------------------------------------------------------------------


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    vowel = noun[0].lower() in "aeiou" and not noun.lower().startswith(CONSONANT_SOUND)
    return f"{'an' if vowel else 'a'} {noun}"


def place(city: str, country: str | None) -> str:
    """Name a city, with its country where that is one of the facts."""
    return f"the {COUNTRIES[country]} city of {city}" if country else city


def head_and_phrases_person(facts: Facts, country: str | None) -> tuple[str | None, list[str]]:
    """Word the facts about a person."""
    head = with_article(facts["profession"]) if "profession" in facts else None
    phrases = []
    if head and "employer" in facts:
        head += f" at {facts['employer']}"
    elif "employer" in facts:
        phrases.append(f"works for {facts['employer']}")
    if "birthplace" in facts or "birth year" in facts:
        where = f" in {facts['birthplace']}" if "birthplace" in facts else ""
        when = f" in {facts['birth year']}" if "birth year" in facts else ""
        phrases.append(f"was born{where}{when}")
    if "city" in facts:
        phrases.append(f"lives in {place(facts['city'], country)}")
    if "language" in facts:
        phrases.append(f"speaks {facts['language']}")
    if "hobby" in facts:
        phrases.append(f"enjoys {facts['hobby']}")
    return head, phrases


def filled(patterns: dict[str, str], facts: Facts) -> list[str]:
    """Word each fact that has a pattern, in the order of the patterns."""
    return [pattern.format(facts[r]) for r, pattern in patterns.items() if r in facts]


def head_and_phrases_city(facts: Facts, country: str | None) -> tuple[str | None, list[str]]:
    """Word the facts about a city."""
    head = f"a city in {facts['country']}" if "country" in facts else None
    patterns = {
        "river": "lies on the river {}",
        "founding year": "was founded in {}",
        "population": "has {} inhabitants",
        "landmark": "is known for its {}",
        "product": "produces {}",
    }
    return head, filled(patterns, facts)


def head_and_phrases_book(facts: Facts, country: str | None) -> tuple[str | None, list[str]]:
    """Word the facts about a book."""
    head = with_article(facts["genre"]) if "genre" in facts else None
    phrases = []
    if head and "author" in facts:
        head += f" by {facts['author']}"
    elif "author" in facts:
        phrases.append(f"was written by {facts['author']}")
    phrases += filled({"publication year": "was published in {}"}, facts)
    if "setting" in facts:
        phrases.append(f"is set in {place(facts['setting'], country)}")
    phrases += filled({"number of pages": "has {} pages", "award": "won the {}"}, facts)
    return head, phrases


def head_and_phrases_dish(facts: Facts, country: str | None) -> tuple[str | None, list[str]]:
    """Word the facts about a dish."""
    head = None
    if "course" in facts or "origin" in facts:
        head = with_article(facts.get("course", "dish"))
        head += f" from {facts['origin']}" if "origin" in facts else ""
    patterns = {
        "main ingredient": "is made with {}",
        "taste": "has a {} taste",
        "serving temperature": "is served {}",
        "occasion": "is eaten at {}",
    }
    return head, filled(patterns, facts)


def head_and_phrases_club(facts: Facts, country: str | None) -> tuple[str | None, list[str]]:
    """Word the facts about a football club."""
    head = None
    if "home town" in facts:
        head = f"a football club from {place(facts['home town'], country)}"
    phrases = filled(
        {
            "league": "competes in the {}",
            "year of foundation": "was founded in {}",
            "stadium capacity": "plays in a stadium with {} seats",
            "shirt colour": "wears {} shirts",
        },
        facts,
    )
    if "mascot" in facts:
        phrases.append(f"has {with_article(facts['mascot'])} as its mascot")
    return head, phrases + filled({"sponsor": "is sponsored by {}"}, facts)


WORDING: dict[str, Callable[[Facts, str | None], tuple[str | None, list[str]]]] = {
    "person": head_and_phrases_person,
    "city": head_and_phrases_city,
    "book": head_and_phrases_book,
    "dish": head_and_phrases_dish,
    "club": head_and_phrases_club,
}
LINKS = {"person": "city", "book": "setting", "club": "home town"}


def conjoin(phrases: Sequence[str]) -> str:
    """Join one or two verb phrases; a passive auxiliary is said once only."""
    if len(phrases) == 1:
        return phrases[0]
    first, second = phrases
    for auxiliary in ("is ", "was "):
        if first.startswith(auxiliary) and second.startswith(auxiliary):
            second = second.removeprefix(auxiliary)
    return f"{first} and {second}"


def compose(entity: Entity, head: str | None, phrases: Sequence[str]) -> str:
    """Make one or two sentences out of a head noun phrase and up to four verb phrases."""
    if head is None:
        sentences = [f"{entity.name} {conjoin(phrases[:2])}."]
        rest = phrases[2:]
    else:
        pronoun = "who" if entity.domain == "person" else "that"
        clause = f" {pronoun} {phrases[0]}" if phrases else ""
        sentences = [f"{entity.name} is {head}{clause}."]
        rest = phrases[1:]
    if rest:
        sentences.append(f"{entity.pronoun} {conjoin(rest)}.")
    return " ".join(sentences)


def make_item(entity: Entity, triples: Sequence[Triple]) -> Item:
    """Make the item for some triples of ``entity`` and perhaps the country of its city."""
    facts = {relation: value for name, relation, value in triples if name == entity.name}
    linked = [value for name, _, value in triples if name != entity.name]
    head, phrases = WORDING[entity.domain](facts, linked[0] if linked else None)
    return Item(tuple(triples), compose(entity, head, phrases), entity.domain)


# --------------------------------------------------------------------------------------------
# Splitting
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """Triples that training never sees, apart for development and test."""

    dev: frozenset[Triple]
    test: frozenset[Triple]


def hold_out(world: Sequence[Entity], rng: random.Random) -> HeldOut:
    """Choose triples to hold out: two per entity for test, one per two entities for dev.

    A triple is held out only while its value stays with at least one further subject.
    """
    left = Counter((relation, value) for e in world for _, relation, value in e.triples())
    values = Counter(value for e in world for _, _, value in e.triples())
    dev: set[Triple] = set()
    test: set[Triple] = set()
    for number, entity in enumerate(world):
        triples = entity.triples()
        rng.shuffle(triples)
        wanted = [test, test] + ([dev] if number % 2 else [])
        for triple in triples:
            _, relation, value = triple
            if wanted and left[relation, value] > 1 and values[value] > 2:
                left[relation, value] -= 1
                values[value] -= 1
                wanted.pop(0).add(triple)
    return HeldOut(frozenset(dev), frozenset(test))


def candidates(entity: Entity, countries: dict[str, Triple]) -> list[Item]:
    """List all items of 1 to 4 triples about ``entity``."""
    items = []
    for size in range(1, 5):
        for triples in itertools.combinations(entity.triples(), size):
            items.append(make_item(entity, triples))
            link = LINKS.get(entity.domain)
            places = [value for _, relation, value in triples if relation == link]
            if size < 4 and places and places[0] in countries:
                items.append(make_item(entity, (*triples, countries[places[0]])))
    return items


def share_out(total: int) -> dict[str, int]:
    """Share ``total`` items out to the domains."""
    shares = {domain: round(total * share) for domain, share in SHARES.items()}
    shares["person"] += total - sum(shares.values())
    return shares


def pick(pools: dict[str, list[list[Item]]], total: int, rng: random.Random) -> list[Item]:
    """Pick ``total`` items, the domains by share and the entities of a domain in turn."""
    picked: list[Item] = []
    for domain, count in share_out(total).items():
        queues = [list(pool) for pool in pools[domain] if pool]
        rng.shuffle(queues)
        taken: list[Item] = []
        while len(taken) < count:
            queues = [queue for queue in queues if queue]
            if not queues:
                raise ValueError(f"not enough items for {domain}: {len(taken)} of {count}")
            for queue in queues[: count - len(taken)]:
                taken.append(queue.pop(choose(queue, rng)))
        picked.extend(taken)
    return picked


def choose(queue: Sequence[Item], rng: random.Random) -> int:
    """Choose the place of one item, the number of triples by ``SIZE_WEIGHTS``."""
    sizes = sorted({len(item.triples) for item in queue})
    size = rng.choices(sizes, [SIZE_WEIGHTS[s] for s in sizes])[0]
    return rng.choice([i for i, item in enumerate(queue) if len(item.triples) == size])


def half_held_out(item: Item, held: frozenset[Triple]) -> bool:
    """Tell whether at least half of the triples of ``item`` are in ``held``."""
    return 2 * sum(triple in held for triple in item.triples) >= len(item.triples)


def build(seed: int) -> dict[str, list[Item]]:
    """Build the three splits."""
    rng = random.Random(seed)
    world = make_world(rng)
    held = hold_out(world, rng)
    countries = {e.name: e.triples()[0] for e in world if e.domain == "city"}
    pools: dict[str, dict[str, list[list[Item]]]] = {
        split: {domain: [] for domain in SHARES} for split in SIZES
    }
    for entity in world:
        items = candidates(entity, countries)
        both = held.dev | held.test
        chosen = {
            "train": [i for i in items if not both.intersection(i.triples)],
            "dev": [
                i
                for i in items
                if held.dev.intersection(i.triples) and not held.test.intersection(i.triples)
            ],
            "test": [
                i
                for i in items
                if half_held_out(i, held.test) and not held.dev.intersection(i.triples)
            ],
        }
        for split, part in chosen.items():
            pools[split][entity.domain].append(part)
    splits = {split: pick(pools[split], count, rng) for split, count in SIZES.items()}
    for items in splits.values():
        rng.shuffle(items)
    return splits


# --------------------------------------------------------------------------------------------
# Checks and output
# --------------------------------------------------------------------------------------------


def require(condition: bool, message: str) -> None:
    """Fail loudly when a promise of the data set is broken."""
    if not condition:
        raise AssertionError(message)


def triple_set(items: Iterable[Item]) -> set[Triple]:
    """Return all triples of some items."""
    return {triple for item in items for triple in item.triples}


def check(splits: dict[str, list[Item]]) -> None:
    """Check every promise about the splits."""
    everything = [item for items in splits.values() for item in items]
    for split, count in SIZES.items():
        require(len(splits[split]) == count, f"{split}: {len(splits[split])} items")
    sets = [frozenset(item.triples) for item in everything]
    require(len(set(sets)) == len(sets), "a set of triples occurs twice")
    require(len({item.text for item in everything}) == len(sets), "a text occurs twice")
    seen = triple_set(splits["train"])
    for split in ("dev", "test"):
        for item in splits[split]:
            require(bool(set(item.triples) - seen), f"{split}: nothing new in {item.triples}")
        check_seen(splits["train"], splits[split])
    used = [triple for item in splits["test"] for triple in item.triples]
    for triples in (used, list(set(used))):
        new = sum(triple not in seen for triple in triples)
        require(2 * new >= len(triples), f"only {new} of {len(triples)} test triples are new")
    for item in everything:
        check_text(item)


def check_seen(train: Sequence[Item], others: Sequence[Item]) -> None:
    """Check that all subjects, relations and values are known from training."""
    for position in range(3):
        counts = Counter(t for item in train for t in {tr[position] for tr in item.triples})
        for triple in triple_set(others):
            name = triple[position]
            require(counts[name] >= MIN_SEEN, f"{name!r} occurs {counts[name]} times in train")


def check_text(item: Item) -> None:
    """Check that a text says every value and has one or two sentences."""
    require(1 <= len(item.triples) <= 4, f"size of {item}")
    for name, relation, value in item.triples:
        word = COUNTRIES[value] if relation == "country" and value not in item.text else value
        require(word in item.text, f"{value!r} is not said in {item.text!r}")
        require(name in item.text, f"{name!r} is not named in {item.text!r}")
    require(item.text.count(".") in (1, 2), f"sentences of {item.text!r}")


def write(splits: dict[str, list[Item]], out: Path, seed: int) -> None:
    """Write the splits as JSON lines, the triples of each line in shuffled order."""
    rng = random.Random(seed + 1)
    out.mkdir(parents=True, exist_ok=True)
    for split, items in splits.items():
        lines = []
        for item in items:
            triples = rng.sample(item.triples, len(item.triples))
            row = {"triples": triples, "text": item.text}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def report(splits: dict[str, list[Item]]) -> None:
    """Print the counts of the data set."""
    everything = [item for items in splits.values() for item in items]
    triples = triple_set(everything)
    seen = triple_set(splits["train"])
    used = [triple for item in splits["test"] for triple in item.triples]
    words = {word.strip(".,") for item in everything for word in item.text.split()}
    longest = max(everything, key=lambda item: len(item.text.split()))
    print({split: len(items) for split, items in splits.items()})
    for number, part in enumerate(("subjects", "relations", "values")):
        print(f"{part}: {len({triple[number] for triple in triples})}")
    print(f"new test triples: {sum(triple not in seen for triple in used)} of {len(used)}")
    print(f"linked sets: {sum(len({t[0] for t in i.triples}) > 1 for i in everything)}")
    print("set sizes:", {s: Counter(len(i.triples) for i in splits[s]) for s in splits})
    print(f"word types in the texts: {len(words)}")
    print(f"longest text, {len(longest.text.split())} words: {longest.text}")


def main() -> None:
    """Build, check and write the data set."""
    parser = argparse.ArgumentParser(description="Make the facts starter data set.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write to")
    parser.add_argument("--seed", type=int, default=11, help="random seed")
    arguments = parser.parse_args()
    splits = build(arguments.seed)
    check(splits)
    write(splits, arguments.out, arguments.seed)
    report(splits)


if __name__ == "__main__":
    main()
