"""WebNLG: sets of facts from DBpedia with one or more texts about each, in files of XML.

Names are made readable by one rule. Underscores become spaces. Quotes around a name are dropped, with the
type or language behind them (``"Drake Stevens"@en``, ``"1983-01-02"^^xsd:date``). The words of a relation,
which are written together, are separated: ``alternativeName`` becomes "alternative name".

Source: Gardent et al. 2017 (https://aclanthology.org/W17-3518).
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from multiseq.data.bad_rows import Reject, stop
from multiseq.data.formats import SPLITS
from multiseq.data.records import DataError
from multiseq.data.text_files import no_such_file, unpacked

__all__ = ["Entry", "entries_of", "readable_facts", "readable_name", "readable_relation"]


@dataclass(frozen=True)
class Entry:
    """A set of facts and the texts about it.

    Args:
        place: The file, and which entry of it.
        split: The folder ``train``, ``dev`` or ``test`` that the file is in; "" if it is in none.
        category: The kind of its topic, such as "Airport".
        eid: Its number in the file.
        facts: (subject, relation, object) of each fact, readable.
        texts: The texts that are not empty.
    """

    place: str
    split: str
    category: str
    eid: str
    facts: list[tuple[str, str, str]]
    texts: list[str]


def readable_name(name: str) -> str:
    """The name of an entity, or a value, as people write it.

    >>> readable_name("George_Kapitan"), readable_name('"Drake Stevens"@en'), readable_name('"2"^^xsd:int')
    ('George Kapitan', 'Drake Stevens', '2')
    """
    name = name.strip().replace("_", " ")
    quoted = re.fullmatch(r'"(.*)"(@[\w-]+|\^\^\S+)?', name, re.DOTALL)
    return (quoted[1] if quoted else name).strip()


def readable_relation(relation: str) -> str:
    """The name of a relation in separate words, in small letters but for abbreviations.

    >>> readable_relation("alternativeName"), readable_relation("LCCN_number"), readable_relation("isbn")
    ('alternative name', 'LCCN number', 'isbn')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", readable_name(relation))
    return " ".join(word if word.isupper() else word.lower() for word in spaced.split())


def readable_facts(facts: Any) -> Any:
    """Facts as DBpedia writes them, with readable names. What is readable, or no list of facts, stays.

    >>> readable_facts([("Alan_Bean", "birthPlace", '"Wheeler, Texas"@en')])
    [('Alan Bean', 'birth place', 'Wheeler, Texas')]
    """
    if not isinstance(facts, list) or not all(_is_fact(fact) for fact in facts):
        return facts
    return [(readable_name(s), readable_relation(relation), readable_name(o)) for s, relation, o in facts]


def _is_fact(fact: Any) -> bool:
    return isinstance(fact, list | tuple) and len(fact) == 3 and all(isinstance(part, str) for part in fact)


def entries_of(path: Path, unpack_limit: int | None = None, reject: Reject = stop) -> Iterator[Entry]:
    """The entries of an archive (``.tar``, ``.tar.gz``, ``.tar.xz``), of all files in a folder, or of a file.

    Args:
        path: The archive, the folder, or a file that ends in ``.xml``.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about an entry with a fact that is no triple.

    Raises:
        DataError: There is no such file, it is no archive, or a file in it is no WebNLG file.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*.xml")):
            yield from _entries(file.read_bytes(), f"{file}", file.relative_to(path).parts, reject)
    elif not path.is_file():
        raise no_such_file(path)
    elif path.suffix.lower() == ".xml":
        # Its folder may be 2triples, and the one above that train.
        yield from _entries(path.read_bytes(), f"{path}", path.parts[-3:], reject)
    else:
        yield from _of_archive(path, unpack_limit, reject)


def _of_archive(path: Path, unpack_limit: int | None, reject: Reject) -> Iterator[Entry]:
    try:
        with unpacked(path, unpack_limit) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
            for member in archive:
                if member.isfile() and member.name.lower().endswith(".xml"):
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    parts = PurePosixPath(member.name).parts
                    yield from _entries(content.read(), f"{path}: {member.name}", parts, reject)
    except tarfile.TarError as error:
        raise DataError(f"{path}: {error}, expected a .tar archive, a folder or a .xml file") from error


def _entries(content: bytes, place: str, parts: tuple[str, ...], reject: Reject) -> Iterator[Entry]:
    split = next((part for part in parts if part in SPLITS), "")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise DataError(f"{place}: {error}, expected XML") from error
    entries = root.findall("entries/entry")
    if not entries:
        raise DataError(f"{place}: got <{root.tag}> without <entries> of <entry>, expected a file of WebNLG")
    for number, entry in enumerate(entries, start=1):
        where = f"{place}: entry {entry.get('eid') or number}"
        triples = [triple.text or "" for triple in entry.findall("modifiedtripleset/mtriple")]
        wrong = [triple for triple in triples if triple.count(" | ") != 2]
        if wrong:
            reject(where, f'got the fact {wrong[0]!r}, expected "subject | relation | object"', str(triples))
            continue
        facts = readable_facts([triple.split(" | ") for triple in triples])
        texts = [text for lex in entry.findall("lex") if (text := _text_of(lex))]
        category = entry.get("category") or ""
        yield Entry(where, split, category, entry.get("eid") or str(number), facts, texts)


def _text_of(lex: ElementTree.Element) -> str:
    """The text of a ``<lex>``: its child ``<text>``, or, in later versions, its own."""
    inner = lex.find("text")
    return " ".join(((lex if inner is None else inner).text or "").split())
