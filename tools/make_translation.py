"""Make the starter data set "translation": short English sentences with their Chinese.

The sentences are composed from the small grammar and lexicon in this script. A pattern is a
function that composes one random sentence pair; the selectional tables (who does what with what,
and where) keep nonsense out. One English sentence has exactly one Chinese translation. Some
(verb, object) and (noun, adjective) pairs never occur in training, only in development and test.

Usage: python tools/make_translation.py [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "multiseq" / "starter" / "translation"
SIZES = {"train": 2000, "dev": 150, "test": 250}
TRIES = 12000
MIN_SEEN = 8
MIN_WORDS, MAX_WORDS = 3, 10
HELD_OUT_VERB_OBJECT = 16
HELD_OUT_NOUN_ADJECTIVE = 40

Key = tuple[str, str, str]

# --------------------------------------------------------------------------------------------
# Lexicon
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noun:
    """A countable noun with its measure word and the adjectives that suit it."""

    one: str
    many: str
    zh: str
    measure: str
    attributes: tuple[str, ...]
    predicates: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """The forms of an English verb."""

    base: str
    third: str
    past: str
    ing: str


@dataclass(frozen=True)
class Subject:
    """Somebody who does something; ``kind`` is one of I, you, one, many."""

    en: str
    zh: str
    kind: str
    head: str = ""
    pronoun: tuple[str, str] = ("", "")
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Act:
    """A verb with its object as something one does in general."""

    verb: Verb
    many: str
    one: str
    zh: str
    noun: str
    places: tuple[str, ...]
    bars: frozenset[str]

    @property
    def keys(self) -> frozenset[Key]:
        """Return the (verb, object) pair."""
        return frozenset({("vo", self.verb.base, self.noun)} if self.noun else ())

    def form(self, verb_form: str, single: bool = False) -> str:
        """Write the act with the given form of the verb."""
        return f"{verb_form} {self.one if single else self.many}".strip()


@dataclass(frozen=True)
class Pair:
    """A sentence pair with its pattern and the word pairs that may be held out."""

    en: str
    zh: str
    pattern: str = ""
    keys: frozenset[Key] = field(default_factory=frozenset)


# singular, plural, Chinese, measure word, adjectives before the noun, adjectives after "is"
NOUN_TABLE = """
apple apples 苹果 个 red,green,big big,small,expensive,cheap
banana bananas 香蕉 根 yellow,green,big big,small,expensive,cheap
egg eggs 鸡蛋 个 white,big,small big,small,expensive,cheap
cake cakes 蛋糕 个 big,small big,small,expensive,cheap
book books 书 本 new,old,red,blue new,old,expensive,cheap,heavy,interesting
novel novels 小说 本 new new,long,interesting
newspaper newspapers 报纸 份 new,old new,old,interesting
letter letters 信 封 - long,interesting
movie movies 电影 部 new new,old,long,interesting
shirt shirts 衬衫 件 red,blue,white,green,new new,old,expensive,cheap,clean,beautiful,big,small
coat coats 大衣 件 red,blue,black,green,new new,old,expensive,cheap,clean,beautiful,heavy,long
scarf scarves 围巾 条 red,blue,white,yellow,beautiful new,old,expensive,cheap,beautiful,long
hat hats 帽子 顶 red,blue,white,black,yellow new,old,expensive,cheap,beautiful,big,small
car cars 汽车 辆 red,white,black,new,old new,old,expensive,cheap,clean,big,small
bike bikes 自行车 辆 red,blue,black,new,old new,old,expensive,cheap,heavy
table tables 桌子 张 big,small,new,old new,old,expensive,cheap,clean,heavy,big,small,long
chair chairs 椅子 把 red,new,old,small new,old,expensive,cheap,clean,heavy
bed beds 床 张 big,small,new,old new,old,expensive,cheap,clean,big,small
phone phones 手机 部 new,old,white,black new,old,expensive,cheap
computer computers 电脑 台 new,old,white,black new,old,expensive,cheap,heavy
umbrella umbrellas 雨伞 把 red,blue,black,yellow,big new,old,expensive,cheap,big,small
cup cups 杯子 个 red,blue,white,big,small new,old,clean,big,small,beautiful
bag bags 包 个 red,blue,black,big,small new,old,expensive,cheap,heavy,big,small
box boxes 箱子 个 red,white,big,small heavy,big,small,clean,old
key keys 钥匙 把 new,old new,old,small
pen pens 钢笔 支 red,blue,black,new new,old,expensive,cheap
map maps 地图 张 new,old new,old,big,expensive
photo photos 照片 张 old,beautiful old,beautiful,interesting
ticket tickets 票 张 - expensive,cheap
dog dogs 狗 只 small,white,black big,small,clever,beautiful,friendly
cat cats 猫 只 small,white,black big,small,clever,beautiful
bird birds 鸟 只 small,white,black,yellow big,small,beautiful
horse horses 马 匹 big,white,black big,clever,beautiful,strong
flower flowers 花 朵 red,white,yellow,beautiful beautiful
tree trees 树 棵 big,small,old big,beautiful
shop shops 商店 家 big,small,new big,small,new,clean
restaurant restaurants 饭馆 家 big,small,new big,small,new,clean,expensive
hotel hotels 酒店 家 big,small,new big,small,new,clean,expensive
"""

VERB_TABLE = """
eat eats ate eating
drink drinks drank drinking
read reads read reading
write writes wrote writing
watch watches watched watching
learn learns learned learning
speak speaks spoke speaking
play plays played playing
cook cooks cooked cooking
wash washes washed washing
buy buys bought buying
draw draws drew drawing
see sees saw seeing
find finds found finding
lose loses lost losing
sell sells sold selling
borrow borrows borrowed borrowing
swim swims swam swimming
sing sings sang singing
sleep sleeps slept sleeping
work works worked working
rest rests rested resting
drive drives drove driving
"""

# verb; Chinese verb; objects; places; objects are "plural:singular:Chinese:noun[:bars]"
ACT_TABLE = """
eat|吃|noodles::面条 rice::米饭 bread::面包 fish::鱼 meat::肉 dumplings::饺子 \
apples:an_apple:苹果:apple bananas:a_banana:香蕉:banana \
|kitchen restaurant park
drink|喝|tea::茶 coffee::咖啡::minor milk::牛奶 water::水 juice::果汁 beer::啤酒::minor\
|kitchen restaurant garden
read|看|books:a_book:书:book newspapers:a_newspaper:报纸:newspaper:minor \
novels:a_novel:小说:novel|library garden park room
write|写|letters:a_letter:信:letter|library garden room office
watch|看|movies:a_movie:电影:movie television::电视|room hotel
learn|学习|Chinese::中文 English::英语 French::法语 music::音乐|library school
speak|说|Chinese::中文 English::英语 French::法语|office school
play|踢|football::足球::elder|park school
play|打|basketball::篮球::elder tennis::网球::elder|park school
play|弹|the_piano::钢琴:piano|room school
cook|做|noodles::面条 fish::鱼 rice::米饭 dumplings::饺子|kitchen
wash|洗|clothes::衣服 shirts:a_shirt:衬衫:shirt cups:a_cup:杯子:cup \
apples:an_apple:苹果:apple|kitchen
buy|买|bread::面包 milk::牛奶 fish::鱼 meat::肉 clothes::衣服 flowers::花:flower \
apples::苹果:apple books::书:book|shop market
draw|画|horses:a_horse:马:horse flowers:a_flower:花:flower birds:a_bird:鸟:bird \
trees:a_tree:树:tree cats:a_cat:猫:cat|garden park room
swim|游泳|-|-
sing|唱歌|-|garden park room
sleep|睡觉|-|room hotel
work|工作|-|office hospital library garden
rest|休息|-|garden park room hotel
drive|开车|-|-
"""
BARS = {"work": {"minor", "elder"}, "drive": {"minor"}}
SKILLS = {"swim", "drive", "play", "speak", "draw"}
ROUTINES = {"eat", "drink", "read", "watch", "learn", "play", "cook", "buy", "swim", "sing",
            "work"}  # fmt: skip
LIKED = ROUTINES | {"draw", "write", "sleep", "drive"}
WANTED = {"eat", "drink", "read", "watch", "learn", "play", "cook", "buy", "swim", "sing", "dance",
          "sleep", "rest", "draw"}  # fmt: skip
PLANNED = {"eat", "cook", "wash", "buy", "read", "watch", "play", "swim", "work", "rest", "write",
           "draw"}  # fmt: skip
ONGOING = {"eat", "drink", "read", "write", "watch", "learn", "play", "cook", "wash", "draw",
           "buy", "swim", "sing", "sleep", "work", "rest", "drive"}  # fmt: skip
FORBIDDEN = {"eat", "drink", "play", "sing", "sleep"}

# verb, Chinese verb, countable objects (for one, two, three ... or "that")
DEED_TABLE = """
eat|吃|apple banana egg cake
buy|买|apple banana egg cake book novel shirt coat scarf hat car bike table chair \
bed phone computer umbrella cup bag box pen map ticket dog cat horse flower
read|看|book novel newspaper letter
write|写|letter
watch|看|movie
see|看见|dog cat bird horse
find|找到|key phone bag umbrella ticket pen cat photo map
lose|弄丢|key phone bag umbrella ticket hat pen scarf photo
sell|卖|car bike horse table computer book bed
draw|画|horse flower bird tree cat dog
wash|洗|shirt coat cup apple car
borrow|借|book novel umbrella bike map chair
"""
ADULT_OBJECTS = {"car", "table", "bed", "computer", "newspaper", "coat"}
FARM_OBJECTS = {"horse"}
NO_ATTRIBUTE = {"eat": {"big", "small"}}
# one has or buys at most two of these, and loses or finds at most two of anything
FEW = {"car", "bed", "computer", "phone", "movie", "novel", "dog", "cat", "horse", "bike", "table"}
FEW_VERBS = {"lose", "find", "borrow", "sell"}

# mass nouns served in something
SERVED = {
    "drink": [
        ("cup", "cups", "杯", "tea", "茶"),
        ("cup", "cups", "杯", "coffee", "咖啡"),
        ("bottle", "bottles", "瓶", "milk", "牛奶"),
        ("bottle", "bottles", "瓶", "water", "水"),
        ("bottle", "bottles", "瓶", "juice", "果汁"),
        ("bottle", "bottles", "瓶", "beer", "啤酒"),
    ],
    "eat": [
        ("bowl", "bowls", "碗", "rice", "米饭"),
        ("bowl", "bowls", "碗", "noodles", "面条"),
        ("bowl", "bowls", "碗", "dumplings", "饺子"),
    ],
}

ATTRIBUTES = {
    "red": "红色的", "blue": "蓝色的", "white": "白色的", "black": "黑色的", "green": "绿色的",
    "yellow": "黄色的", "big": "大", "small": "小", "new": "新", "old": "旧", "beautiful": "漂亮的",
}  # fmt: skip
OLD_TREE = {("tree", "old"): "老"}
# adjective, comparative, Chinese
PREDICATES = {
    "big": ("bigger", "大"), "small": ("smaller", "小"),
    "expensive": ("more expensive", "贵"), "cheap": ("cheaper", "便宜"),
    "new": ("newer", "新"), "old": ("older", "旧"),
    "heavy": ("heavier", "重"), "interesting": ("more interesting", "有意思"),
    "long": ("longer", "长"), "clean": ("cleaner", "干净"), "beautiful": ("", "漂亮"),
    "clever": ("", "聪明"), "strong": ("stronger", "强壮"), "friendly": ("", "友好"),
    "tall": ("taller", "高"), "young": ("younger", "年轻"),
    "busy": ("", "忙"), "happy": ("", "高兴"), "sad": ("", "难过"),
    "tired": ("", "累"), "hungry": ("", "饿"), "thirsty": ("", "渴"), "angry": ("", "生气"),
}  # fmt: skip
PERSON_ADJECTIVES = ["tall", "young", "busy", "happy", "sad", "tired", "hungry", "thirsty",
                     "angry", "clever", "strong", "friendly"]  # fmt: skip
STATES = {"busy", "happy", "sad", "tired", "hungry", "thirsty", "angry"}

NUMBERS = [("two", "两"), ("three", "三"), ("four", "四"), ("five", "五")]
PAST_TIMES = [("yesterday", "昨天"), ("last night", "昨天晚上"), ("this morning", "今天早上"),
              ("last week", "上周")]  # fmt: skip
FUTURE_TIMES = [("tomorrow", "明天"), ("tonight", "今天晚上"), ("next week", "下周")]
HABIT_TIMES = [("every day", "每天"), ("every morning", "每天早上"),
               ("every evening", "每天晚上")]  # fmt: skip

PLACES = {
    "library": "图书馆", "park": "公园", "kitchen": "厨房", "office": "办公室", "garden": "花园",
    "restaurant": "饭馆", "school": "学校", "hospital": "医院", "shop": "商店", "market": "市场",
    "hotel": "酒店", "museum": "博物馆", "station": "车站", "bank": "银行",
    "room": "房间",
}  # fmt: skip
PUBLIC = ["library", "park", "school", "hospital", "market", "station", "bank",
          "hotel", "restaurant"]  # fmt: skip
AT = {"restaurant", "office", "shop", "market", "station", "bank"}
CITIES = {"Beijing": "北京", "Paris": "巴黎", "London": "伦敦"}
COUNTRIES = {"China": "中国", "Japan": "日本", "France": "法国"}
FOODS = {"Chinese food": "中国菜", "Japanese food": "日本菜", "French food": "法国菜"}

KIN = {
    "father": ("爸爸", "he", ""), "mother": ("妈妈", "she", ""), "brother": ("哥哥", "he", ""),
    "sister": ("姐姐", "she", ""), "grandfather": ("爷爷", "he", "elder farm"),
    "grandmother": ("奶奶", "she", "elder"), "uncle": ("叔叔", "he", "farm"),
    "aunt": ("阿姨", "she", ""), "son": ("儿子", "he", "minor"),
    "daughter": ("女儿", "she", "minor"),
}  # fmt: skip
OWNERS = {"my": "我", "his": "他", "her": "她"}
NAMES = {"Anna": ("安娜", "she"), "Mary": ("玛丽", "she"), "Lily": ("莉莉", "she"),
         "Tom": ("汤姆", "he"), "David": ("大卫", "he"), "Peter": ("彼得", "he")}  # fmt: skip
PEOPLE = {"teacher": "老师", "doctor": "医生", "nurse": "护士", "driver": "司机",
          "farmer": "农民", "waiter": "服务员"}  # fmt: skip
CLOSE = {"my friend": "我的朋友", "my neighbor": "我的邻居", "our teacher": "我们的老师",
         "our neighbor": "我们的邻居", "their boss": "他们的老板", "her boss": "她的老板",
         "his friend": "他的朋友"}  # fmt: skip
MANY = {"the students": "学生们", "the children": "孩子们", "my parents": "我父母",
        "their parents": "他们的父母", "we": "我们", "they": "他们"}  # fmt: skip
PRONOUNS = {"he": "他", "she": "她", "they": "他们", "we": "我们", "I": "我", "you": "你"}
OBJECT_FORMS = {"me": "我", "him": "他", "her": "她", "us": "我们", "them": "他们"}


def parse_nouns() -> dict[str, Noun]:
    """Read the noun table."""
    nouns = {}
    for row in NOUN_TABLE.strip().splitlines():
        one, many, zh, measure, before, after = row.split()
        attributes = () if before == "-" else tuple(before.split(","))
        nouns[one] = Noun(one, many, zh, measure, attributes, tuple(after.split(",")))
    return nouns


def parse_verbs() -> dict[str, Verb]:
    """Read the verb table."""
    rows = [row.split() for row in VERB_TABLE.strip().splitlines()]
    return {row[0]: Verb(*row) for row in rows}


def parse_acts(verbs: dict[str, Verb]) -> list[Act]:
    """Read the table of acts."""
    acts = []
    for row in ACT_TABLE.strip().splitlines():
        base, zh, objects, places_of_act = row.split("|")
        places = tuple(place for place in places_of_act.split() if place in PLACES)
        for spec in objects.split():
            many, one, noun_zh, noun, bars = ([*spec.split(":"), "", "", "", ""])[:5]
            if many == "-":
                many, noun = "", ""
            else:
                noun = noun or many
            barred = frozenset(BARS.get(base, set()) | ({bars} if bars else set()))
            many, one = many.replace("_", " "), (one or many).replace("_", " ")
            acts.append(Act(verbs[base], many, one, zh + noun_zh, noun, places, barred))
    return acts


def parse_deeds() -> list[tuple[str, str, str]]:
    """Read the table of deeds as (verb, Chinese verb, noun)."""
    deeds: list[tuple[str, str, str]] = []
    for row in DEED_TABLE.strip().splitlines():
        base, zh, objects = row.split("|")
        deeds.extend((base, zh, noun) for noun in objects.split())
    return deeds


NOUNS = parse_nouns()
VERBS = parse_verbs()
ACTS = parse_acts(VERBS)
DEEDS = parse_deeds()


def kin(owner: str, owner_zh: str, name: str) -> Subject:
    """Make a member of somebody's family; Chinese says this without 的."""
    zh, pronoun, flags = KIN[name]
    both = (pronoun, PRONOUNS[pronoun])
    return Subject(f"{owner} {name}", owner_zh + zh, "one", name, both, frozenset(flags.split()))


FAMILY = [kin(en, zh, name) for en, zh in OWNERS.items() for name in KIN]
YOUR_FAMILY = [kin("your", "你", name) for name in KIN]
NAMED = [Subject(en, zh, "one", en, (p, PRONOUNS[p])) for en, (zh, p) in NAMES.items()]
DEFINITE = [
    Subject(f"the {en}", zh, "one", en, flags=frozenset({"farm"} if en == "farmer" else ()))
    for en, zh in PEOPLE.items()
]
RELATED = [Subject(en, zh, "one", en.split()[1]) for en, zh in CLOSE.items()]
SINGLE = [Subject(p, PRONOUNS[p], "one", "", (p, PRONOUNS[p])) for p in ("he", "she")]
SPEAKER = Subject("I", "我", "I", "", ("I", "我"))
LISTENER = Subject("you", "你", "you")
PLURAL = [
    Subject(
        en,
        zh,
        "many",
        en.split()[-1] if " " in en else "",
        ("we", "我们") if en == "we" else ("they", "他们"),
        frozenset({"minor"} if en in ("the students", "the children") else ()),
    )
    for en, zh in MANY.items()
]

# --------------------------------------------------------------------------------------------
# Small pieces of grammar
# --------------------------------------------------------------------------------------------


def inside(place: str) -> str:
    """Say "in the garden", "at the office", "at school"."""
    if place == "school":
        return "at school"
    return f"{'at' if place in AT else 'in'} the {place}"


def inside_zh(place: str) -> str:
    """Say the same in Chinese."""
    return f"在{PLACES[place]}{'' if place == 'station' else '里'}"


def pick_subject(rng: random.Random, groups: Sequence[tuple[float, Sequence[Subject]]]) -> Subject:
    """Pick a subject, first its group by weight."""
    return rng.choice(rng.choices([g for _, g in groups], [w for w, _ in groups])[0])


def any_subject(rng: random.Random) -> Subject:
    """Pick the subject of a statement."""
    groups = [(0.12, [SPEAKER]), (0.12, SINGLE), (0.18, NAMED), (0.28, FAMILY), (0.1, DEFINITE),
              (0.08, RELATED), (0.12, PLURAL)]  # fmt: skip
    return pick_subject(rng, groups)


def asked_subject(rng: random.Random) -> Subject:
    """Pick the subject of a question."""
    others = [s for s in PLURAL if s.en in ("they", "the students", "the children")]
    groups = [(0.25, [LISTENER]), (0.15, SINGLE), (0.2, NAMED), (0.25, YOUR_FAMILY),
              (0.08, DEFINITE), (0.07, others)]  # fmt: skip
    return pick_subject(rng, groups)


def one_person(rng: random.Random) -> Subject:
    """Pick a person in the third person singular who is not a pronoun."""
    groups = [(0.35, NAMED), (0.4, FAMILY), (0.15, DEFINITE), (0.1, RELATED)]
    return pick_subject(rng, groups)


def be(subject: Subject) -> str:
    """Return the form of "be" in the present."""
    return {"I": "am", "one": "is"}.get(subject.kind, "are")


def have(subject: Subject) -> str:
    """Return the form of "have" in the present."""
    return "has" if subject.kind == "one" else "have"


def do(subject: Subject) -> str:
    """Return the form of "do" in the present."""
    return "does" if subject.kind == "one" else "do"


def present(subject: Subject, base: str, third: str) -> str:
    """Return the form of a verb in the present."""
    return third if subject.kind == "one" else base


def article(phrase: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def spell(*words: str) -> str:
    """Join English parts and write the first letter large."""
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:]


def statement(keys: Iterable[Key], en: Sequence[str], zh: Sequence[str]) -> Pair:
    """Make a statement."""
    return Pair(spell(*en) + ".", "".join(zh) + "。", keys=frozenset(keys))


def question(keys: Iterable[Key], en: Sequence[str], zh: Sequence[str]) -> Pair:
    """Make a question."""
    return Pair(spell(*en) + "?", "".join(zh) + "？", keys=frozenset(keys))


@dataclass(frozen=True)
class Phrase:
    """A noun phrase in both languages."""

    en: str
    zh: str
    many: bool
    keys: frozenset[Key] = frozenset()


def attribute_zh(noun: str, adjective: str) -> str:
    """Translate an adjective before a noun."""
    return OLD_TREE.get((noun, adjective), ATTRIBUTES[adjective])


def attribute(rng: random.Random, noun: Noun, chance: float, barred: set[str]) -> str:
    """Pick an adjective to put before ``noun``, or none."""
    fitting = [a for a in noun.attributes if a not in barred]
    return rng.choice(fitting) if fitting and rng.random() < chance else ""


def counted(
    rng: random.Random,
    name: str,
    chance: float = 0.5,
    barred: set[str] | None = None,
    few: bool = False,
) -> Phrase:
    """Make "a red book", "two books" and so on."""
    noun = NOUNS[name]
    adjective = attribute(rng, noun, chance, barred or set())
    before = f"{adjective} " if adjective else ""
    zh = (attribute_zh(name, adjective) if adjective else "") + noun.zh
    keys = frozenset({("adj", name, adjective)} if adjective else ())
    if rng.random() < 0.4:
        return Phrase(article(before + noun.one), f"一{noun.measure}{zh}", False, keys)
    number, number_zh = rng.choice(NUMBERS[:1] if few or name in FEW else NUMBERS)
    return Phrase(f"{number} {before}{noun.many}", f"{number_zh}{noun.measure}{zh}", True, keys)


def served(rng: random.Random, kind: str) -> tuple[Phrase, str]:
    """Make "two cups of tea" and so on; also return the name of what is served."""
    one, many, measure, thing, thing_zh = rng.choice(SERVED[kind])
    if rng.random() < 0.4:
        return Phrase(f"a {one} of {thing}", f"一{measure}{thing_zh}", False), thing
    number, number_zh = rng.choice(NUMBERS)
    return Phrase(f"{number} {many} of {thing}", f"{number_zh}{measure}{thing_zh}", True), thing


def pointed(name: str, word: str) -> Phrase:
    """Make "this book" or "that book"."""
    noun = NOUNS[name]
    zh = {"this": "这", "that": "那"}[word] + noun.measure + noun.zh
    return Phrase(f"{word} {noun.one}", zh, False)


def suits(subject: Subject, noun: str) -> bool:
    """Tell whether ``subject`` is likely to deal with ``noun``."""
    if noun in FARM_OBJECTS:
        return "farm" in subject.flags or subject.en in ("he", "they", "we")
    return not ("minor" in subject.flags and noun in ADULT_OBJECTS)


def act_for(rng: random.Random, subject: Subject, verbs: set[str]) -> Act:
    """Pick an act that ``subject`` is likely to do; first the verb, then the object."""
    fitting = [a for a in ACTS if a.verb.base in verbs and not a.bars & subject.flags]
    weights = [1.0 if a.noun else 1.5 for a in fitting]
    return rng.choices(fitting, weights)[0]


def deed_for(rng: random.Random, subject: Subject) -> tuple[str, str, str]:
    """Pick a deed that ``subject`` is likely to do."""
    while True:
        base = rng.choice(sorted({deed[0] for deed in DEEDS}))
        deed = rng.choice([d for d in DEEDS if d[0] == base])
        harmless = deed[0] in ("see", "draw") or suits(subject, deed[2])
        if harmless and not (deed[0] in ("write", "sell") and "minor" in subject.flags):
            return deed


# --------------------------------------------------------------------------------------------
# Patterns
# --------------------------------------------------------------------------------------------


def past_count(rng: random.Random) -> Pair:
    """My sister bought two red books yesterday."""
    who = any_subject(rng)
    time, time_zh = rng.choice(PAST_TIMES)
    if rng.random() < 0.25:
        base = rng.choice(["drink", "eat"])
        what, thing = served(rng, base)
        if thing in ("beer", "coffee") and "minor" in who.flags:
            return past_count(rng)
        zh = {"drink": "喝", "eat": "吃"}[base]
        key = ("vo", base, thing)
    else:
        base, zh, name = deed_for(rng, who)
        what = counted(rng, name, 0.5, NO_ATTRIBUTE.get(base), base in FEW_VERBS)
        key = ("vo", base, name)
    if base in ("eat", "drink"):
        time, time_zh = rng.choice(PAST_TIMES[:3])
    en = [who.en, VERBS[base].past, what.en, time]
    return statement({key, *what.keys}, en, [who.zh, time_zh, zh, "了", what.zh])


def past_negative(rng: random.Random) -> Pair:
    """He did not drink coffee yesterday."""
    who = any_subject(rng)
    time, time_zh = rng.choice(PAST_TIMES)
    if rng.random() < 0.4:
        base, zh, name = deed_for(rng, who)
        what = pointed(name, "that")
        en, done = f"{base} {what.en}", zh + what.zh
        keys = frozenset({("vo", base, name)})
    else:
        act = act_for(rng, who, PLANNED | {"sleep", "drink", "sing"})
        en, done, keys = act.form(act.verb.base), act.zh, act.keys
    return statement(keys, [who.en, "did not", en, time], [who.zh, time_zh, "没", done])


def experience(rng: random.Random) -> Pair:
    """My father has been to Beijing. Have you ever eaten Japanese food?"""
    options = [(f"been to {en}", f"去过{zh}") for en, zh in (CITIES | COUNTRIES).items()]
    options += [(f"eaten {en}", f"吃过{zh}") for en, zh in FOODS.items()]
    options += [("seen that movie", "看过那部电影"), ("ridden a horse", "骑过马"),
                ("read that novel", "看过那本小说"), ("read this book", "看过这本书")]  # fmt: skip
    en, zh = rng.choice(options)
    form = rng.choice(["yes", "never", "ever"])
    if form == "ever":
        who = asked_subject(rng)
        return question((), [have(who), who.en, "ever", en], [who.zh, zh, "吗"])
    who = any_subject(rng)
    if form == "never":
        return statement((), [who.en, have(who), "never", en], [who.zh, "从来没", zh])
    return statement((), [who.en, have(who), en], [who.zh, zh])


def progressive(rng: random.Random) -> Pair:
    """My mother is reading a newspaper in the garden."""
    who = any_subject(rng)
    act = act_for(rng, who, ONGOING - {"speak"})
    en = [who.en, be(who), act.form(act.verb.ing, single=True)]
    if act.places and rng.random() < 0.6:
        place = rng.choice(act.places)
        zh = [who.zh, "正" + inside_zh(place), act.zh]
        return statement(act.keys, [*en, inside(place)], zh)
    return statement(act.keys, en, [who.zh, "正在", act.zh])


def future(rng: random.Random) -> Pair:
    """We will not play football tomorrow."""
    who = any_subject(rng)
    time, time_zh = rng.choice(FUTURE_TIMES)
    negative = rng.random() < 0.4
    modal, modal_zh = ("will not", "不会") if negative else ("will", "会")
    if not negative and rng.random() < 0.4:
        name = rng.choice([n for b, _, n in DEEDS if b == "buy" and suits(who, n)])
        what = counted(rng, name, barred={"old"})
        keys = {("vo", "buy", name), *what.keys}
        en = [who.en, modal, "buy", what.en, time]
        return statement(keys, en, [who.zh, time_zh, modal_zh, "买", what.zh])
    act = act_for(rng, who, PLANNED)
    en = [who.en, modal, act.form(act.verb.base), time]
    return statement(act.keys, en, [who.zh, time_zh, modal_zh, act.zh])


def habit(rng: random.Random) -> Pair:
    """She drinks tea every morning. He often eats fish. I do not eat meat."""
    who = any_subject(rng)
    act = act_for(rng, who, ROUTINES - {"buy"} if rng.random() < 0.8 else {"buy", "eat", "drink"})
    form = rng.choice(["time", "time", "often", "not"])
    verb = present(who, act.verb.base, act.verb.third)
    if form == "time":
        time, time_zh = rng.choice(HABIT_TIMES)
        return statement(act.keys, [who.en, act.form(verb), time], [who.zh, time_zh, act.zh])
    if form == "often":
        return statement(act.keys, [who.en, "often", act.form(verb)], [who.zh, "经常", act.zh])
    if act.verb.base not in ("eat", "drink", "read", "watch") or act.noun == "water":
        return habit(rng)
    en = [who.en, do(who), "not", act.form(act.verb.base)]
    return statement(act.keys, en, [who.zh, "不", act.zh])


def yes_no(rng: random.Random) -> Pair:
    """Do you eat meat? Did your sister buy that coat? Can he swim? Is Anna busy?"""
    who = asked_subject(rng)
    form = rng.choice(["do", "did", "can", "want", "be"])
    if form == "be":
        adjective = rng.choice(PERSON_ADJECTIVES)
        keys = {("adj", who.head, adjective)} if who.head else set()
        return question(keys, [be(who), who.en, adjective], [who.zh, PREDICATES[adjective][1], "吗"])
    if form == "did":
        base, zh, name = deed_for(rng, who)
        what = pointed(name, "that")
        key = ("vo", base, name)
        return question({key}, ["did", who.en, base, what.en], [who.zh, zh, "了", what.zh, "吗"])
    verbs = {"do": {"eat", "drink", "read", "watch"}, "can": SKILLS, "want": WANTED}[form]
    act = act_for(rng, who, verbs)
    doing = act.form(act.verb.base)
    if form == "can":
        return question(act.keys, ["can", who.en, doing], [who.zh, "会", act.zh, "吗"])
    wish, wish_zh = ("want to", "想") if form == "want" else ("", "")
    return question(act.keys, [do(who), who.en, wish, doing], [who.zh, wish_zh, act.zh, "吗"])


WHAT_VERBS = {"eat": "吃", "drink": "喝", "read": "看", "write": "写", "buy": "买", "draw": "画",
              "wash": "洗", "learn": "学习"}  # fmt: skip


def ask_what(rng: random.Random) -> Pair:
    """What did your father buy yesterday? What is he eating? What does Tom want to drink?"""
    who = asked_subject(rng)
    base = rng.choice(sorted(WHAT_VERBS))
    zh, verb = WHAT_VERBS[base], VERBS[base]
    form = rng.choice(["did", "ing", "want"])
    if form == "did" and base != "learn":
        time, time_zh = rng.choice(PAST_TIMES)
        en = ["what did", who.en, base, time]
        return question((), en, [who.zh, time_zh, zh, "了什么"])
    if form == "ing":
        return question((), ["what", be(who), who.en, verb.ing], [who.zh, "正在", zh, "什么"])
    return question((), ["what", do(who), who.en, "want to", base], [who.zh, "想", zh, "什么"])


def ask_where(rng: random.Random) -> Pair:
    """Where is my key? Where does your brother work?"""
    if rng.random() < 0.4:
        name = rng.choice(
            [
                "key",
                "phone",
                "bag",
                "umbrella",
                "ticket",
                "hat",
                "pen",
                "map",
                "cup",
                "cat",
                "dog",
                "scarf",
            ]
        )
        owner, owner_zh = rng.choice([*OWNERS.items(), ("your", "你")])
        return question((), ["where is", owner, name], [owner_zh, "的", NOUNS[name].zh, "在哪里"])
    who = asked_subject(rng)
    if rng.random() < 0.3:
        return question((), ["where", be(who), who.en], [who.zh, "在哪里"])
    act = act_for(rng, who, {"learn", "play", "buy", "swim", "work"})
    en = ["where", do(who), who.en, act.form(act.verb.base)]
    return question(act.keys, en, [who.zh, "在哪里", act.zh])


def ask_who(rng: random.Random) -> Pair:
    """Who bought that coat? Who is singing in the garden? Who can swim?"""
    form = rng.choice(["past", "ing", "can"])
    if form == "past":
        base, zh, name = deed_for(rng, SINGLE[0])
        what = pointed(name, "that")
        key = ("vo", base, name)
        return question({key}, ["who", VERBS[base].past, what.en], ["谁", zh, "了", what.zh])
    act = act_for(rng, SPEAKER, SKILLS if form == "can" else ONGOING)
    if form == "can":
        return question(act.keys, ["who can", act.form(act.verb.base)], ["谁会", act.zh])
    doing = act.form(act.verb.ing, single=True)
    if not act.places:
        return question(act.keys, ["who is", doing], ["谁正在", act.zh])
    place = rng.choice(act.places)
    return question(act.keys, ["who is", doing, inside(place)], ["谁正" + inside_zh(place), act.zh])


def possession(rng: random.Random) -> Pair:
    """This is my umbrella. Those are Anna's keys. That blue coat is my father's."""
    animate = {"dog", "cat", "horse", "bird", "tree", "shop", "hotel"}
    names = [n for n in NOUNS if n not in animate | {"restaurant", "movie", "egg", "apple", "banana"}]
    noun = NOUNS[rng.choice(names)]
    owners = [(f"{s.en}'s", s.zh) for s in NAMED + FAMILY + DEFINITE]
    form = rng.choice(["is", "are", "whole"])
    if form == "whole":
        adjective = attribute(rng, noun, 0.7, set())
        keys = {("adj", noun.one, adjective)} if adjective else set()
        owner, owner_zh = rng.choice(owners)
        word, word_zh = rng.choice([("this", "这"), ("that", "那")])
        zh = [word_zh, noun.measure, ATTRIBUTES.get(adjective, ""), noun.zh, "是", owner_zh, "的"]
        return statement(keys, [word, adjective, noun.one, "is", owner], zh)
    small = [("my", "我"), ("your", "你"), ("his", "他"), ("her", "她"), ("our", "我们")]
    owner, owner_zh = rng.choice(rng.choice([small, owners]))
    near = rng.random() < 0.5
    if form == "is":
        word, zh_word, thing = ("this", "这", noun.one) if near else ("that", "那", noun.one)
    else:
        word, zh_word, thing = ("these", "这些", noun.many) if near else ("those", "那些", noun.many)
    return statement((), [word, form, owner, thing], [zh_word, "是", owner_zh, "的", noun.zh])


OWNABLE = [
    "book",
    "shirt",
    "coat",
    "scarf",
    "hat",
    "car",
    "bike",
    "table",
    "chair",
    "bed",
    "phone",
    "computer",
    "umbrella",
    "cup",
    "bag",
    "box",
    "key",
    "pen",
    "map",
    "photo",
    "ticket",
    "dog",
    "cat",
    "horse",
    "bird",
]


def having(rng: random.Random) -> Pair:
    """My uncle has two horses. Tom does not have a car. Does she have a bike?"""
    asking = rng.random() < 0.25
    who = asked_subject(rng) if asking else any_subject(rng)
    name = rng.choice([n for n in OWNABLE if suits(who, n)])
    noun = NOUNS[name]
    if asking:
        en = [do(who), who.en, "have", article(noun.one)]
        return question((), en, [who.zh, "有", noun.zh, "吗"])
    if rng.random() < 0.3:
        en = [who.en, do(who), "not have", article(noun.one)]
        return statement((), en, [who.zh, "没有", noun.zh])
    what = counted(rng, name, 0.6)
    return statement(what.keys, [who.en, have(who), what.en], [who.zh, "有", what.zh])


def degree(rng: random.Random, adjective: str) -> tuple[str, str]:
    """Say an adjective after "be" to some degree."""
    zh = PREDICATES[adjective][1]
    word = rng.choice(["", "very", "not", "too"])
    if word == "too" and adjective not in ("big", "small", "expensive", "heavy", "long", "busy",
                                           "tired", "old"):  # fmt: skip
        word = "very"
    if word == "not" and adjective == "interesting":
        return "not interesting", "没有意思"
    pattern = {"": "很{}", "very": "非常{}", "not": "不{}", "too": "太{}了"}[word]
    return f"{word} {adjective}".strip(), pattern.format(zh)


def adjective_person(rng: random.Random) -> Pair:
    """My mother is very busy today."""
    who = any_subject(rng)
    adjective = rng.choice(PERSON_ADJECTIVES)
    if adjective == "young" and "elder" in who.flags:
        return adjective_person(rng)
    keys = {("adj", who.head, adjective)} if who.head else set()
    en, zh = degree(rng, adjective)
    if adjective in STATES and rng.random() < 0.5:
        return statement(keys, [who.en, be(who), en, "today"], [who.zh, "今天", zh])
    return statement(keys, [who.en, be(who), en], [who.zh, zh])


def adjective_thing(rng: random.Random) -> Pair:
    """This coat is too expensive. Her bag is heavy."""
    name = rng.choice([n for n in NOUNS if NOUNS[n].predicates])
    adjective = rng.choice(NOUNS[name].predicates)
    en, zh = degree(rng, adjective)
    keys = {("adj", name, adjective)}
    if name in OWNABLE and rng.random() < 0.5:
        owners = [*OWNERS.items(), ("your", "你"), *((f"{s.en}'s", s.zh) for s in NAMED)]
        owner, owner_zh = rng.choice(owners)
        return statement(keys, [owner, name, "is", en], [owner_zh, "的", NOUNS[name].zh, zh])
    what = pointed(name, rng.choice(["this", "that"]))
    return statement(keys, [what.en, "is", en], [what.zh, zh])


def comparison(rng: random.Random) -> Pair:
    """Tom is taller than my brother. This bag is not as heavy as that bag."""
    if rng.random() < 0.5:
        one, other = one_person(rng), one_person(rng)
        while one.head == other.head:
            other = one_person(rng)
        first, second = Phrase(one.en, one.zh, False), Phrase(other.en, other.zh, False)
        adjectives = [a for a in PERSON_ADJECTIVES if PREDICATES[a][0]]
        related = one in FAMILY and other in FAMILY and one.en.split()[0] == other.en.split()[0]
        if related or "elder" in one.flags:
            adjectives.remove("young")
        adjective = rng.choice(adjectives)
        keys = {("adj", one.head, adjective)}
    else:
        noun = NOUNS[rng.choice([n for n in NOUNS if n not in ("flower", "photo")])]
        compared = [a for a in noun.predicates if PREDICATES[a][0]]
        first, second = pointed(noun.one, "this"), pointed(noun.one, "that")
        if rng.random() < 0.5:
            first, second = second, first
        adjective = rng.choice(compared)
        keys = {("adj", noun.one, adjective)}
    more, zh = PREDICATES[adjective]
    form = rng.choice(["more", "more", "much", "not"])
    if form == "not":
        en = [first.en, "is not as", adjective, "as", second.en]
        return statement(keys, en, [first.zh, "没有", second.zh, zh])
    much, much_zh = ("much", "得多") if form == "much" else ("", "")
    en = [first.en, "is", much, more, "than", second.en]
    return statement(keys, en, [first.zh, "比", second.zh, zh, much_zh])


SPOTS = {
    "on the table": ("桌子上", "cup book key phone apple egg newspaper map pen cake letter "
                     "banana photo computer bag ticket hat cat"),
    "under the table": ("桌子下面", "cat dog box bag"),
    "under the bed": ("床下面", "cat box bag book key"),
    "on the bed": ("床上", "shirt coat cat book bag phone hat scarf newspaper"),
    "in the room": ("房间里", "table chair bed computer box"),
    "at the office": ("办公室里", "table chair computer phone map umbrella"),
    "in the kitchen": ("厨房里", "table chair egg apple cup cake"),
    "in the garden": ("花园里", "tree bird cat dog flower chair table bike"),
    "in the park": ("公园里", "tree bird dog"),
    "in the box": ("箱子里", "book cup hat photo shirt letter scarf map"),
    "in the bag": ("包里", "book key phone pen ticket map apple umbrella letter egg cup"),
    "behind the school": ("学校后面", "tree bike car shop"),
    "behind the hospital": ("医院后面", "tree car restaurant hotel"),
    "next to the station": ("车站旁边", "shop hotel restaurant"),
    "next to the museum": ("博物馆旁边", "shop hotel restaurant tree"),
    "next to the bed": ("床旁边", "chair table box"),
}  # fmt: skip
MOVABLE = {"cup", "book", "key", "phone", "newspaper", "map", "pen", "cake", "letter",
           "photo", "computer", "bag", "ticket", "hat", "cat", "dog", "box", "shirt",
           "coat", "scarf", "umbrella", "bike", "car"}  # fmt: skip


def existence(rng: random.Random) -> Pair:
    """There are two cats under the table. There are no chairs in the room."""
    spot = rng.choice(sorted(SPOTS))
    spot_zh, names = SPOTS[spot]
    name = rng.choice(names.split())
    noun = NOUNS[name]
    roll = rng.random()
    if roll < 0.2:
        return statement((), ["there are no", noun.many, spot], [spot_zh, "没有", noun.zh])
    if roll < 0.35 and name not in ("hotel", "restaurant", "shop", "bed", "computer"):
        return statement((), ["there are many", noun.many, spot], [spot_zh, "有很多", noun.zh])
    what = counted(rng, name, 0.4)
    verb = "are" if what.many else "is"
    return statement(what.keys, ["there", verb, what.en, spot], [spot_zh, "有", what.zh])


def location(rng: random.Random) -> Pair:
    """My key is on the table. Her grandmother is in the garden."""
    if rng.random() < 0.35:
        who = any_subject(rng)
        place = rng.choice(["library", "park", "kitchen", "office", "garden", "restaurant",
                            "school", "hospital", "shop", "hotel", "room", "bank"])  # fmt: skip
        return statement((), [who.en, be(who), inside(place)], [who.zh, inside_zh(place)])
    spot = rng.choice([s for s in sorted(SPOTS) if set(SPOTS[s][1].split()) & MOVABLE])
    spot_zh, names = SPOTS[spot]
    name = rng.choice([n for n in names.split() if n in MOVABLE])
    owners = [*OWNERS.items(), ("your", "你"), *((f"{s.en}'s", s.zh) for s in NAMED)]
    owner, owner_zh = rng.choice(owners)
    return statement((), [owner, name, "is", spot], [owner_zh, "的", NOUNS[name].zh, "在", spot_zh])


def ability(rng: random.Random) -> Pair:
    """My sister can play the piano. He cannot come tomorrow."""
    who = any_subject(rng)
    modal, negation = rng.choice([("can", ""), ("cannot", "不")])
    if rng.random() < 0.6:
        act = act_for(rng, who, SKILLS)
        en = [who.en, modal, act.form(act.verb.base)]
        return statement(act.keys, en, [who.zh, negation, "会", act.zh])
    time, time_zh = rng.choice([*FUTURE_TIMES, ("today", "今天")])
    other = rng.choice(NAMED + [s for s in FAMILY if s.en.startswith("my")])
    deed, deed_zh = rng.choice([("come", "来"), (f"help {other.en}", f"帮助{other.zh}"),
                                ("work", "工作"), ("go to school", "去学校")])  # fmt: skip
    wrong = {"work": "minor" in who.flags, "go to school": "minor" not in who.flags}
    if wrong.get(deed, other.head == who.head):
        return ability(rng)
    return statement((), [who.en, modal, deed, time], [who.zh, time_zh, negation, "能", deed_zh])


def wish(rng: random.Random) -> Pair:
    """Tom wants to learn French. She does not like to swim."""
    who = any_subject(rng)
    form = rng.choice(["want", "want", "go", "like"])
    verb, third, zh = ("like", "likes", "喜欢") if form == "like" else ("want", "wants", "想")
    if rng.random() < 0.3:
        said, zh = f"{do(who)} not {verb}", "不" + zh
    else:
        said = present(who, verb, third)
    if form == "go":
        options = {f"the {p}": PLACES[p] for p in PUBLIC if p not in ("hospital", "school")}
        place, place_zh = rng.choice([*(options | CITIES | COUNTRIES).items()])
        return statement((), [who.en, said, f"to go to {place}"], [who.zh, zh, "去", place_zh])
    act = act_for(rng, who, LIKED if form == "like" else WANTED)
    time, time_zh = ("", "")
    if form == "want" and act.verb.base != "learn" and rng.random() < 0.3:
        time, time_zh = rng.choice([("tomorrow", "明天"), ("tonight", "今天晚上")])
    en = [who.en, said, "to", act.form(act.verb.base), time]
    return statement(act.keys, en, [who.zh, time_zh, zh, act.zh])


def because(rng: random.Random) -> Pair:
    """Anna is happy because she bought a new car."""
    groups = [(0.15, [SPEAKER]), (0.15, SINGLE), (0.3, NAMED), (0.3, FAMILY), (0.1, PLURAL)]
    who = pick_subject(rng, groups)
    pro, pro_zh = who.pronoun
    adjective = rng.choice(["happy", "happy", "sad", "tired", "hungry"])
    keys: set[Key] = {("adj", who.head, adjective)} if who.head else set()
    if adjective == "happy":
        names = ["car", "bike", "phone", "computer", "dog", "cat", "coat", "hat", "bag", "pen"]
        name = rng.choice([n for n in names if suits(who, n)])
        adjectives = [a for a in NOUNS[name].attributes if a != "old"]
        chosen = rng.choice(adjectives)
        keys |= {("vo", "buy", name), ("adj", name, chosen)}
        en = f"bought {article(f'{chosen} {name}')}"
        zh = f"买了一{NOUNS[name].measure}{ATTRIBUTES[chosen]}{NOUNS[name].zh}"
    elif adjective == "sad":
        name = rng.choice(["key", "phone", "bag", "ticket", "photo", "hat", "umbrella", "scarf"])
        keys |= {("vo", "lose", name)}
        en, zh = f"lost {article(name)}", f"弄丢了一{NOUNS[name].measure}{NOUNS[name].zh}"
    elif adjective == "tired":
        en, zh = rng.choice([("did not sleep last night", "昨天晚上没睡觉"),
                             ("did not rest yesterday", "昨天没休息")])  # fmt: skip
    else:
        time, time_zh = rng.choice([("yesterday", "昨天"), ("this morning", "今天早上")])
        meal, meal_zh = rng.choice([("bread", "面包"), ("noodles", "面条"), ("rice", "米饭")])
        keys |= {("vo", "eat", meal)}
        en, zh = f"did not eat {meal} {time}", f"{time_zh}没吃{meal_zh}"
    state = PREDICATES[adjective][1]
    return statement(
        keys,
        [who.en, be(who), adjective, "because", pro, en],
        [who.zh, "很", state, "，因为", pro_zh, zh],
    )


def therefore(rng: random.Random) -> Pair:
    """Tom is thirsty, so he wants to drink water."""
    groups = [(0.15, [SPEAKER]), (0.15, SINGLE), (0.3, NAMED), (0.3, FAMILY), (0.1, PLURAL)]
    who = pick_subject(rng, groups)
    pro, pro_zh = who.pronoun
    adjective, verbs = rng.choice([("hungry", {"eat"}), ("thirsty", {"drink"}),
                                   ("tired", {"sleep", "rest"})])  # fmt: skip
    act = act_for(rng, who, verbs)
    keys = set(act.keys) | ({("adj", who.head, adjective)} if who.head else set())
    verb = present(Subject(pro, pro_zh, who.kind), "want", "wants")
    return statement(
        keys,
        [who.en, be(who), f"{adjective},", "so", pro, verb, "to", act.form(act.verb.base)],
        [who.zh, "很", PREDICATES[adjective][1], "，所以", pro_zh, "想", act.zh],
    )


def request(rng: random.Random) -> Pair:
    """Please give me two cups of tea. Please do not sing in the library."""
    form = rng.choice(["give", "give", "serve", "buy", "not", "wait", "open", "help"])
    if form in ("give", "buy"):
        names = "apple egg banana book pen map ticket cup key chair umbrella newspaper"
        name = rng.choice([n for n in names.split() if form == "give" or n not in ("key",)])
        what = counted(rng, name, 0.3)
        keys = set(what.keys)
        if form == "buy":
            return statement(keys | {("vo", "buy", name)}, ["please buy", what.en], ["请买", what.zh])
        whom, whom_zh = rng.choice([*OBJECT_FORMS.items()])
        return statement(keys, ["please give", whom, what.en], ["请给", whom_zh, what.zh])
    if form == "serve":
        what, _ = served(rng, rng.choice(["drink", "eat"]))
        whom, whom_zh = rng.choice([*OBJECT_FORMS.items()])
        return statement((), ["please give", whom, what.en], ["请给", whom_zh, what.zh])
    if form == "not":
        act = act_for(rng, SPEAKER, FORBIDDEN)
        place = rng.choice(["library", "museum", "office", "hospital"])
        en = ["please do not", act.form(act.verb.base), inside(place)]
        return statement(act.keys, en, ["请不要" + inside_zh(place), act.zh])
    if form == "wait":
        place = rng.choice(sorted(PLACES))
        deed, deed_zh = rng.choice([("wait", "等"), ("rest", "休息")])
        return statement((), ["please", deed, inside(place)], ["请" + inside_zh(place), deed_zh])
    if form == "open":
        things = [("door", "门"), ("window", "窗户"), ("box", "箱子"), ("bag", "包")]
        thing, thing_zh = rng.choice(things)
        measure = "扇" if thing in ("door", "window") else "个"
        words = [("the", ""), ("this", "这" + measure), ("that", "那" + measure)]
        words += [] if measure == "扇" else [("my", "我的"), ("his", "他的"), ("her", "她的")]
        word, word_zh = rng.choice(words)
        verb, verb_zh = rng.choice([("open", "打开"), ("close", "关上")])
        negation, negation_zh = rng.choice([("", ""), ("do not", "不要")])
        en = ["please", negation, verb, word, thing]
        return statement((), en, ["请", negation_zh, verb_zh, word_zh, thing_zh])
    other = rng.choice(NAMED + FAMILY + RELATED[:4])
    return statement((), ["please help", other.en], ["请帮助", other.zh])


def travel(rng: random.Random) -> Pair:
    """My father goes to the office by bus every day. We went to Beijing by train last week."""
    who = any_subject(rng)
    ways = [
        ("by bus", "坐公交车"),
        ("by taxi", "坐出租车"),
        ("by bike", "骑自行车"),
        ("by car", "开车"),
    ]
    near = [("to school" if p == "school" else f"to the {p}", PLACES[p]) for p in PUBLIC]
    near += [("to the office", "办公室")] if "minor" not in who.flags else []
    far = [(f"to {en}", zh) for en, zh in CITIES.items()]
    form = rng.choice(["daily", "past", "future"])
    if form == "daily":
        local = [p for p in near if p[1] in ("办公室", "学校", "公园", "图书馆", "市场")]
        way, place = rng.choice(ways), rng.choice(local)
    else:
        way, place = rng.choice([(rng.choice(ways), rng.choice(near)),
                                 (rng.choice([("by train", "坐火车"), ("by plane", "坐飞机")]),
                                  rng.choice(far))])  # fmt: skip
    if "minor" in who.flags and way[0] == "by car":
        way = ways[0]
    if "elder" in who.flags and way[0] == "by bike":
        way = ways[0]
    if form == "daily":
        time, time_zh = rng.choice(HABIT_TIMES[:2])
        verb, verb_zh = present(who, "go", "goes"), f"{way[1]}去{place[1]}"
    elif form == "past":
        time, time_zh = rng.choice([PAST_TIMES[0], *PAST_TIMES[2:]])
        verb, verb_zh = "went", f"{way[1]}去了{place[1]}"
    else:
        time, time_zh = rng.choice([FUTURE_TIMES[0], FUTURE_TIMES[2]])
        verb, verb_zh = "will go", f"会{way[1]}去{place[1]}"
    return statement((), [who.en, verb, place[0], way[0], time], [who.zh, time_zh, verb_zh])


GIFTS = [
    "book",
    "novel",
    "scarf",
    "hat",
    "pen",
    "umbrella",
    "cup",
    "bag",
    "phone",
    "bike",
    "dog",
    "cat",
    "flower",
    "map",
]


def giving(rng: random.Random) -> Pair:
    """Anna gave my mother two red scarves yesterday."""
    who = any_subject(rng)
    others: list[tuple[str, str, str]] = [(en, zh, "") for en, zh in OBJECT_FORMS.items()]
    others += [(s.en, s.zh, s.head) for s in [*NAMED, *FAMILY, *RELATED[:3]]]
    same = {"I": ("me", "us"), "we": ("us", "me"), "they": ("them",), "he": ("him",),
            "she": ("her",)}.get(who.en, ())  # fmt: skip
    whom, whom_zh, head = rng.choice([o for o in others if o[0] not in same])
    if head and head == who.head:
        return giving(rng)
    name = rng.choice(GIFTS)
    what = counted(rng, name, 0.5, {"old"})
    time, time_zh = rng.choice(PAST_TIMES)
    return statement(
        what.keys,
        [who.en, "gave", whom, what.en, time],
        [who.zh, time_zh, "送了", whom_zh, what.zh],
    )


Maker = Callable[[random.Random], Pair]
PATTERNS: dict[str, tuple[float, Sequence[Maker]]] = {
    "past": (1.3, [past_count]),
    "past negative": (1.0, [past_negative]),
    "experience": (1.0, [experience]),
    "progressive": (1.8, [progressive]),
    "future": (1.1, [future]),
    "habit": (1.5, [habit]),
    "yes-no question": (1.2, [yes_no]),
    "wh-question": (1.3, [ask_what, ask_where, ask_who]),
    "possession": (0.7, [possession]),
    "having": (0.8, [having]),
    "adjective": (1.4, [adjective_person, adjective_thing]),
    "comparison": (1.1, [comparison]),
    "existence": (1.2, [existence]),
    "location": (0.9, [location]),
    "ability": (0.9, [ability]),
    "wish": (1.1, [wish]),
    "reason": (1.1, [because, therefore]),
    "request": (1.1, [request]),
    "travel": (0.8, [travel]),
    "giving": (0.7, [giving]),
}

# --------------------------------------------------------------------------------------------
# Splitting
# --------------------------------------------------------------------------------------------


def words(pair: Pair) -> list[str]:
    """Split the English side into words; "Anna's" gives "anna" and "'s"."""
    return re.findall(r"'s|[a-z]+", pair.en.lower())


def units(pair: Pair) -> set[str]:
    """Return the English words and the Chinese characters of a pair."""
    return set(words(pair)) | set(pair.zh)


def compose_pool(rng: random.Random) -> dict[str, list[Pair]]:
    """Compose many sentence pairs for every pattern, each English and Chinese side once."""
    meaning: dict[str, str] = {}
    seen_zh: set[str] = set()
    pools: dict[str, list[Pair]] = {}
    for pattern, (_, makers) in PATTERNS.items():
        pools[pattern] = []
        for i in range(TRIES):
            made = makers[i % len(makers)](rng)
            pair = Pair(made.en, made.zh, pattern, made.keys)
            known = meaning.setdefault(pair.en, pair.zh)
            require(known == pair.zh, f"two translations of {pair.en!r}: {known} {pair.zh}")
            if pair.zh not in seen_zh and MIN_WORDS <= len(pair.en.split()) <= MAX_WORDS:
                seen_zh.add(pair.zh)
                pools[pattern].append(pair)
    return pools


def hold_out(pools: dict[str, list[Pair]], rng: random.Random) -> frozenset[Key]:
    """Choose the word pairs that training never sees.

    Both halves of a held-out pair must stay with at least two other partners.
    """
    uses = Counter(key for pool in pools.values() for pair in pool for key in pair.keys)
    keys = sorted(key for key, count in uses.items() if count >= 8)
    rng.shuffle(keys)
    partners = Counter((kind, half) for kind, *halves in keys for half in halves)
    wanted = {"vo": HELD_OUT_VERB_OBJECT, "adj": HELD_OUT_NOUN_ADJECTIVE}
    held = set()
    for key in keys:
        kind, first, second = key
        if wanted[kind] and partners[kind, first] > 2 and partners[kind, second] > 2:
            held.add(key)
            wanted[kind] -= 1
            partners[kind, first] -= 2
            partners[kind, second] -= 1
    require(not any(wanted.values()), f"too few pairs to hold out: {wanted}")
    return frozenset(held)


def share_out(total: int) -> dict[str, int]:
    """Share ``total`` sentences out to the patterns."""
    weight = sum(share for share, _ in PATTERNS.values())
    shares = {name: round(total * share / weight) for name, (share, _) in PATTERNS.items()}
    shares["past"] += total - sum(shares.values())
    return shares


def pick(pool: list[Pair], count: int, counts: Counter[str], rng: random.Random, rivals: int) -> list[Pair]:
    """Pick ``count`` pairs and remove them from ``pool``; of some rivals take the rarest words."""
    picked: list[Pair] = []
    for _ in range(count):
        if not pool:
            raise ValueError(f"too few sentences: {len(picked)} of {count}")
        places = rng.sample(range(len(pool)), min(rivals, len(pool)))
        best = max(places, key=lambda i: rarity(pool[i], counts))
        pool[best], pool[-1] = pool[-1], pool[best]
        picked.append(pool.pop())
        counts.update(units(picked[-1]))
    return picked


def rarity(pair: Pair, counts: Counter[str]) -> float:
    """Say how rare the words of a pair have been so far, the rarest above all."""
    marks = sorted(1 / (1 + counts[unit]) for unit in units(pair))
    return marks[-1] + sum(marks) / len(marks)


def build(seed: int) -> tuple[dict[str, list[Pair]], frozenset[Key]]:
    """Build the three splits."""
    rng = random.Random(seed)
    pools = compose_pool(rng)
    held = hold_out(pools, rng)
    plain = {name: [p for p in pool if not p.keys & held] for name, pool in pools.items()}
    novel = {name: [p for p in pool if p.keys & held] for name, pool in pools.items()}
    splits: dict[str, list[Pair]] = {split: [] for split in SIZES}
    counts: Counter[str] = Counter()
    for name, count in share_out(SIZES["train"]).items():
        splits["train"] += pick(plain[name], count, counts, rng, rivals=250)
    common = {unit for unit, count in counts.items() if count >= MIN_SEEN}
    for split in ("test", "dev"):
        for name, count in share_out(SIZES[split]).items():
            new = [p for p in novel[name] if units(p) <= common]
            old = [p for p in plain[name] if units(p) <= common]
            half = min(len(new), round(count * 0.6))
            chosen = pick(new, half, Counter(), rng, rivals=6)
            chosen += pick(old, count - half, Counter(), rng, rivals=6)
            splits[split] += chosen
            novel[name] = [p for p in novel[name] if p not in chosen]
            plain[name] = [p for p in plain[name] if p not in chosen]
    for pairs in splits.values():
        rng.shuffle(pairs)
    return splits, held


# --------------------------------------------------------------------------------------------
# Checks and output
# --------------------------------------------------------------------------------------------


def require(condition: bool, message: str) -> None:
    """Fail loudly when a promise of the data set is broken."""
    if not condition:
        raise AssertionError(message)


def check(splits: dict[str, list[Pair]], held: frozenset[Key]) -> None:
    """Check every promise about the splits."""
    everything = [pair for pairs in splits.values() for pair in pairs]
    for split, count in SIZES.items():
        require(len(splits[split]) == count, f"{split}: {len(splits[split])} pairs")
    for side in ("en", "zh"):
        texts = [getattr(pair, side) for pair in everything]
        require(len(set(texts)) == len(texts), f"a sentence occurs twice ({side})")
    train = splits["train"]
    require(not any(pair.keys & held for pair in train), "a held-out pair occurs in training")
    counts = Counter(unit for pair in train for unit in units(pair))
    patterns = Counter(pair.pattern for pair in train)
    for pair in splits["dev"] + splits["test"]:
        rare = [unit for unit in units(pair) if counts[unit] < MIN_SEEN]
        require(not rare, f"{pair.en!r} has words rare in training: {rare}")
        require(patterns[pair.pattern] >= MIN_SEEN, f"pattern {pair.pattern!r} is rare")
    new = sum(bool(pair.keys & held) for pair in splits["test"])
    require(4 * new >= len(splits["test"]), f"only {new} test pairs have a held-out word pair")
    for pair in everything:
        check_form(pair)


def check_form(pair: Pair) -> None:
    """Check the length and the spelling of a pair."""
    require(MIN_WORDS <= len(pair.en.split()) <= MAX_WORDS, f"length of {pair.en!r}")
    require("  " not in pair.en and "\t" not in pair.en + pair.zh, f"spaces in {pair.en!r}")
    require(not re.search(r"[A-Za-z ]", pair.zh), f"Latin letters in {pair.zh!r}")
    require(not re.search(r"\ba [aeiou]|\ban [^aeiou]", pair.en), f"article in {pair.en!r}")
    ends = (pair.en[-1], pair.zh[-1])
    require(ends in ((".", "。"), ("?", "？")), f"full stop of {pair.en!r}")


def write(splits: dict[str, list[Pair]], out: Path) -> None:
    """Write the splits as tables of two columns."""
    out.mkdir(parents=True, exist_ok=True)
    for split, pairs in splits.items():
        lines = ["english\tchinese\n", *(f"{pair.en}\t{pair.zh}\n" for pair in pairs)]
        (out / f"{split}.tsv").write_text("".join(lines), encoding="utf-8", newline="\n")


def report(splits: dict[str, list[Pair]], held: frozenset[Key]) -> None:
    """Print the counts of the data set."""
    everything = [pair for pairs in splits.values() for pair in pairs]
    counts = Counter(word for pair in splits["train"] for word in words(pair))
    types = {word for pair in everything for word in words(pair)}
    characters = {character for pair in everything for character in pair.zh}
    longest = max(everything, key=lambda pair: len(pair.en.split()))
    longest_zh = max(everything, key=lambda pair: len(pair.zh))
    new = sum(bool(pair.keys & held) for pair in splits["test"])
    print({split: len(pairs) for split, pairs in splits.items()})
    print(f"English word types: {len(types)}; Chinese characters: {len(characters)}")
    print("rare in training:", {w: counts[w] for w in sorted(types) if counts[w] < MIN_SEEN})
    print(f"held-out word pairs: {len(held)}; test pairs with one: {new}")
    print(f"longest: {len(longest.en.split())} words: {longest.en}")
    print(f"longest: {len(longest_zh.zh)} characters: {longest_zh.zh}")
    print("patterns in training:", dict(Counter(pair.pattern for pair in splits["train"])))


def main() -> None:
    """Build, check and write the data set."""
    parser = argparse.ArgumentParser(description="Make the translation starter data set.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="random seed")
    arguments = parser.parse_args()
    splits, held = build(arguments.seed)
    check(splits, held)
    write(splits, arguments.out)
    report(splits, held)


if __name__ == "__main__":
    main()
