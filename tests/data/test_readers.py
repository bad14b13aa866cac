"""Readers: every format on a file that a person can read, gzipped, in other encodings, and with mistakes."""

from __future__ import annotations

import gzip
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multiseq.adapters.speech import AudioFile
from multiseq.data import READERS, DataError, Records, readers
from multiseq.data.bad_rows import BadRowError, BadRows
from multiseq.data.conll import has_columns, layout_of
from multiseq.data.conllu import fill
from multiseq.data.formats import FORMATS, PATHS
from multiseq.data.readers import (
    read_conll,
    read_conllu,
    read_json_lines,
    read_labelled,
    read_lines,
    read_networks,
    read_rdkit_logp,
    read_recordings,
    read_table,
    read_triples,
)
from multiseq.data.readers.text import check_features
from multiseq.runs.sources import TOLD

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, gzipped where its name ends in .gz."""

    def file(name: str, content: str | bytes) -> Path:
        raw = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
        return path

    return file


def lines_of(records: Records) -> list[int]:
    return [int(where.rpartition(":")[2]) for where in records.locations]


# --- texts ----------------------------------------------------------------------------------------


def word(number: str, form: str, tag: str) -> str:
    return "\t".join([number, form, form.lower(), tag, "_", "_", "0", "root", "_", "_"]) + "\n"


def test_conllu(write: Write) -> None:
    first = f"# a comment\n{word('1-2', 'Im', '_')}{word('1', 'I', 'PRON')}{word('2', 'am', 'AUX')}"
    path = write("a.conllu", f"{first}\n\n{word('1', 'Go', 'VERB')}{word('1.1', 'x', 'X')}")
    records = read_conllu(path)
    assert records.items == [["I", "am"], ["Go"]]
    assert records.column("upos") == [["PRON", "AUX"], ["VERB"]]
    assert records.column("lemma") == [["i", "am"], ["go"]]
    assert records.column("xpos") == [[None, None], [None]]
    assert records.column("deprel") == [["root", "root"], ["root"]]
    assert lines_of(records) == [1, 7]


def test_features_of_a_treebank_are_labels(write: Write) -> None:
    rows = [("1", "Dogs", "Number=Plur"), ("2", "bark", "_"), ("3", "me", "Case=Acc|Number=Sing")]
    path = write("a.conllu", "".join(f"{i}\t{w}\t_\tX\t_\t{f}\t_\t_\t_\tSpaceAfter=No\n" for i, w, f in rows))
    assert read_conllu(path).column("feats") == [["Number=Plur", "_", "Case=Acc|Number=Sing"]]
    assert read_conllu(path, columns=["Number", "upos"]).column("Number") == [["Plur", "_", "Sing"]]
    with pytest.raises(
        DataError, match="no column 'number'; there are lemma, upos, xpos, feats, deprel, misc"
    ):
        read_conllu(path, columns=["number"]).column("number")
    small = read_conllu(path, columns=["Typo", "Number[psor]", "misc.Gloss"])  # a file may have none of them
    assert small.column("Typo") == small.column("Number[psor]") == [["_", "_", "_"]]
    assert "misc.Gloss" not in small.columns  # MISC is not annotated
    with pytest.raises(
        DataError, match=r"a\.conllu: no word to train on has 'Typo'; there are Case, Number$"
    ):
        check_features(small, ["upos", "Typo"])


def treebank(*cells: tuple[str, str, str]) -> str:
    """A sentence with a word for each (XPOS, FEATS, MISC)."""
    rows = [f"{i}\tw\t_\tX\t{x}\t{f}\t0\tdep\t_\t{m}\n" for i, (x, f, m) in enumerate(cells, 1)]
    return "".join(rows) + "\n"


def test_no_features_is_a_label_unless_the_column_is_not_annotated(write: Write) -> None:
    other = treebank(("NN", "Case=Nom", "_"))  # what a column is, the whole file says
    path = write("a.conllu", treebank(("_", "_", "_"), ("NN", "_", "_")) + other)
    records = read_conllu(path, columns=["Case"])
    assert records.column("feats") == [["_", "_"], ["Case=Nom"]]
    assert records.column("Case") == [["_", "_"], ["Nom"]]
    assert records.column("xpos") == [[None, "NN"], ["NN"]]
    bare = read_conllu(write("b.conllu", treebank(("_", "_", "_"), ("NN", "_", "SpaceAfter=No"))))
    assert bare.column("feats") == bare.column("misc") == [[None, None]]


def test_entries_of_misc_are_labels(write: Write) -> None:
    words = [("_", "Gloss=x", "Gloss=lamp|SpaceAfter=No"), ("_", "_", "SpaceAfter=No"), ("_", "_", "Lang=en")]
    records = read_conllu(write("a.conllu", treebank(*words)), columns=["misc.Gloss", "misc.SpaceAfter"])
    assert records.column("misc") == [["Gloss=lamp", "_", "Lang=en"]]
    assert records.column("misc.Gloss") == [["lamp", "_", "_"]]
    assert records.column("misc.SpaceAfter") == [["No", "No", "_"]]
    message = r"a\.conllu: no word has the feature 'Lang' in FEATS, .* expected \"misc\.Lang\""
    with pytest.raises(DataError, match=message):
        read_conllu(write("a.conllu", treebank(*words)), columns=["Lang"])


@pytest.mark.parametrize(
    ("column", "label", "feats", "misc"),
    [
        ("feats", ["Number=Sing", "case=Nom"], "case=Nom|Number=Sing", "SpaceAfter=No|Lang=en"),
        ("feats", ["Case=Nom", "Case=Acc"], "Case=Acc,Nom", "SpaceAfter=No|Lang=en"),
        ("feats", "Number=Plur|Case=Nom", "Case=Nom|Number=Plur", "SpaceAfter=No|Lang=en"),
        ("feats", [], "_", "SpaceAfter=No|Lang=en"),
        ("feats", "_", "_", "SpaceAfter=No|Lang=en"),
        ("Case", "Acc", "Case=Acc|Mood=Ind", "SpaceAfter=No|Lang=en"),
        ("Case", "_", "Mood=Ind", "SpaceAfter=No|Lang=en"),
        ("Aspect", "Imp", "Aspect=Imp|Case=Nom|Mood=Ind", "SpaceAfter=No|Lang=en"),
        (
            "Number[psor]",
            ["Sing", "Plur"],
            "Case=Nom|Mood=Ind|Number[psor]=Plur,Sing",
            "SpaceAfter=No|Lang=en",
        ),
        ("misc", ["Gloss=a", "Lang=de"], "Mood=Ind|Case=Nom", "SpaceAfter=No|Lang=de|Gloss=a"),
        ("misc", "_", "Mood=Ind|Case=Nom", "SpaceAfter=No"),
        ("misc.Lang", "de", "Mood=Ind|Case=Nom", "SpaceAfter=No|Lang=de"),
        ("misc.Lang", "_", "Mood=Ind|Case=Nom", "SpaceAfter=No"),
        ("misc.SpaceAfter", "_", "Mood=Ind|Case=Nom", "Lang=en"),
    ],
)
def test_a_label_is_put_into_a_word(column: str, label: str | list[str], feats: str, misc: str) -> None:
    fields = ["1", "w", "w", "X", "_", "Mood=Ind|Case=Nom", "0", "root", "_", "SpaceAfter=No|Lang=en"]
    fill(fields, column, label)
    assert fields == ["1", "w", "w", "X", "_", feats, "0", "root", "_", misc]


def test_features_have_names_and_values() -> None:
    fields = ["1", "w", "w", "X", "_", "Mood=Ind|Bare", "0", "root", "_", "_"]
    fill(fields, "Case", "Nom")
    assert fields[5] == "Bare|Case=Nom|Mood=Ind"  # what the file had stays
    with pytest.raises(ValueError, match=r"got the label 'Case' for FEATS, expected NAME=VALUE"):
        fill(fields, "feats", ["Mood=Ind", "Case"])


def test_a_table_with_tabs_has_no_quotes(write: Write) -> None:
    records = read_table(write("a.tsv", 'text\tlabel\tage\n"Hi", she said\tup\t\n\n\tdown\t3\n'))
    assert records.items == ['"Hi", she said', ""]
    assert records.columns == {"label": ["up", "down"], "age": [None, "3"]}
    assert lines_of(records) == [2, 4]


def test_a_table_with_commas_has_quotes(write: Write) -> None:
    records = read_table(
        write("a.csv", 'label,review\nup,"one, ""two""\nand three"\ndown,four\n'), input="review"
    )
    assert records.items == ['one, "two"\nand three', "four"]
    assert records.columns == {"label": ["up", "down"]}
    assert lines_of(records) == [2, 4]  # where each row begins


def test_only_the_columns_that_are_used_are_kept(write: Write) -> None:
    path = write("a.csv", "a,text,b,c\n1,x,,3\n")
    assert read_table(path, columns=["c", "b"]).columns == {"b": [None], "c": ["3"]}
    assert read_table(path, columns=["c", "d"]).columns == {"a": ["1"], "b": [None], "c": ["3"]}


def test_a_cell_may_be_a_book(write: Write) -> None:
    book = "word " * 40_000  # more than the 131,072 characters that Python's csv takes by itself
    assert read_table(write("a.csv", f"text,label\n{book},up\n")).items == [book]


def test_two_files_of_lines(write: Write) -> None:
    records = read_lines(write("a.en", "one\r\ntwo\n"), target=write("a.de", "eins\nzwei"))
    assert records.items == ["one", "two"]
    assert records.columns == {"target": ["eins", "zwei"]}
    assert lines_of(records) == [1, 2]


TAGGED = "-DOCSTART- -X- O O\n\nEU NNP  B-NP B-ORG\nrejects VBZ B-VP O\n\n# id 7\n# # O _\nü\u00a0 X O O"


def test_words_with_their_tags(write: Write) -> None:
    for content in (TAGGED, TAGGED.replace("\n", "\r\n")):
        records = read_conll(write("a.txt", content))
        assert records.items == [["EU", "rejects"], ["#", "ü\u00a0"]]
        assert records.columns == {
            "pos": [["NNP", "VBZ"], ["#", "X"]],
            "chunk": [["B-NP", "B-VP"], ["O", "O"]],
            "ner": [["B-ORG", "O"], [None, "O"]],
        }
        assert lines_of(records) == [3, 6]
    pairs = read_conll(write("b.txt", "New York\tB-LOC\nis\tO\n\n\nI\tO\n"))
    assert (pairs.items, pairs.columns) == ([["New York", "is"], ["I"]], {"tag": [["B-LOC", "O"], ["O"]]})
    assert list(read_conll(write("c.txt", "I PRP B-NP\n")).columns) == ["pos", "tag"]


def test_other_columns_of_words(write: Write) -> None:
    german = read_conll(write("a.txt", "Eine ein ART I-NC O\nLampe Lampe NN I-NC I-MISC\n"))
    assert german.items == [["Eine", "Lampe"]]
    assert german.columns == {
        "lemma": [["ein", "Lampe"]],
        "pos": [["ART", "NN"]],
        "chunk": [["I-NC", "I-NC"]],
        "ner": [["O", "I-MISC"]],
    }
    names = ["ner", "word", "more"]
    named = read_conll(write("b.txt", "# a list of ours\n\nO I x\n# . y\n\n# 5 x\n"), column_names=names)
    assert named.items == [["I", "."], ["5"]]
    assert named.columns == {"ner": [["O", "#"], ["#"]], "more": [["x", "y"], ["x"]]}
    with pytest.raises(DataError, match=r"b\.txt:3: got 3 columns, expected the 2 of column_names"):
        read_conll(write("b.txt", "# a list of ours\n\nO I x\n"), column_names=["word", "tag"])


def test_numbered_words(write: Write) -> None:
    rows = "#\thttp://a.b [2009-10-17]\n1\t2009\tO\tO\n2\tBonn\tB-LOC\tO\n\n1\tBonner\tB-LOCderiv\tB-LOC\n"
    records = read_conll(write("a.tsv", rows))
    assert records.items == [["2009", "Bonn"], ["Bonner"]]
    assert records.columns == {"ner": [["O", "B-LOC"], ["B-LOCderiv"]], "nested": [["O", "O"], ["B-LOC"]]}
    numbers = read_conll(
        write("b.txt", "1 CD B-NP O\n\n1 CD B-NP O\n3 CD B-NP O\n")
    )  # words that are numbers
    assert numbers.items == [["1"], ["1", "3"]]
    for first, items in (
        ("1 CD B-NP\n2 CD I-NP\n", [["1", "2"]]),  # one sentence of two words does not show it
        ("1 CD B-NP\n2 CD I-NP\n\nI PRP B-NP\ngo VB B-VP\n", [["1", "2"], ["I", "go"]]),
        ("1 I B-NP\n2 go B-VP\n3 . O\n", [["I", "go", "."]]),
    ):
        assert read_conll(write("c.txt", first)).items == items
    pairs = read_conll(write("d.txt", "1 CD\n2 CD\n\n1 CD\n2 CD\n3 CD\n"))  # of two columns, one is a tag
    assert pairs.items == [["1", "2"], ["1", "2", "3"]]
    assert pairs.columns == {"tag": [["CD", "CD"], ["CD", "CD", "CD"]]}
    with pytest.raises(DataError, match=r"e\.txt:1: got 5 columns, expected a word and its tag"):
        read_conll(write("e.txt", "1 a b c d\n2 a b c d\n\n1 a b c d\n"))


def test_words_without_tags_may_be_numbered() -> None:
    names = {
        "1 a\n2 b\n\n1 c\n": ("id", "word"),
        "1 CD\n2 CD\n\nI PRP\n": ("word", "tag"),
        "1\n2\n3\n": ("word",),
    }
    for content, expected in names.items():
        assert layout_of(content.splitlines(), with_tags=False).names == expected


def test_a_comment_has_other_columns_than_words(write: Write) -> None:
    content = "# a comment\n#\nI X\n# SYM\n\n# the next one\n# SYM\n5 X\n"
    records = read_conll(write("a.txt", content))
    assert records.items == [["I", "#"], ["#", "5"]]
    assert records.columns == {"tag": [["X", "SYM"], ["SYM", "X"]]}
    assert lines_of(records) == [1, 6]
    tabs = read_conll(write("b.txt", "# one two\n#\tSYM\nNew York\tB-LOC\n"))
    assert (tabs.items, tabs.columns) == ([["#", "New York"]], {"tag": [["SYM", "B-LOC"]]})
    assert read_conll(write("c.txt", "# SYM\n\n# NN\n")).items == [["#"], ["#"]]
    tags = read_conll(write("d.txt", "# id = 3\n#id NN\nI PRP\n#text NN\n# id\nsee VB\n"))
    assert tags.items == [["#id", "I", "#text", "#", "see"]]
    assert tags.columns == {"tag": [["NN", "PRP", "NN", "id", "VB"]]}
    four = read_conll(write("e.txt", "# id = 3\nI PRP O O\n"))  # as many columns, but a comment
    assert four.items == [["I"]]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("I PRP\ngo TO\n\nGo NN\n", True),
        ("I XX\ngo YY\n", False),
        ("I NN\nto TO\nit NN\nto TO\n. .\n", True),  # one sentence
        (
            "Yes .\nNo .\nThanks !\n",
            "got lines of 2 columns with known labels, but no sentence of several lines",
        ),
        ("Yes .\nNo .\nOh .\nAh .\nSo .\n", "no sentence of several lines"),  # the same label everywhere
        ("Yes .\n\nNo .\n\n", "no sentence of several lines"),  # sentences of one word are texts, perhaps
        ("I XX\ngo YY\n\nGo XX\n", "with empty lines between them, but no known label"),
    ],
)
def test_words_with_tags_or_texts(lines: str, expected: bool | str) -> None:
    if isinstance(expected, bool):
        assert has_columns(lines.splitlines(keepends=True), ["NN", "TO", "PRP", "."]) is expected
        return
    with pytest.raises(ValueError, match=expected):
        has_columns(lines.splitlines(keepends=True), ["NN", "TO", "PRP", "."])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a X\nb\n", "a.txt:2: got 1 columns, expected a word and its tag, or word, pos, chunk and ner"),
        ("a X\n\nb Y Z\n", "a.txt:3: got 3 columns, expected 2 as in the lines before"),
        ("a 1 2 3 4 5\n", "a.txt:1: got 6 columns, expected a word and its tag"),
        ("a X Y\n# 5 X Y\n", "a.txt:2: got 4 columns, expected 3 as in the lines before"),
        ("a\tX\n\tY\n", "a.txt:2: got no word in the first column"),
    ],
)
def test_a_line_with_a_wrong_number_of_columns(write: Write, content: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_conll(write("a.txt", content))
    bad = BadRows()
    kept = read_conll(write("a.txt", f"good X\n\n{content}"), reject=bad.add).items
    assert ["good"] in kept
    assert len(bad.rows) == 1


def test_labelled_lines(write: Write) -> None:
    records = read_labelled(write("a.txt", "NUM:date When was it ?\n\nHUM Who\n"))
    assert records.items == ["When was it ?", "Who"]
    assert records.columns == {"label": ["NUM:date", "HUM"], "coarse": ["NUM", "HUM"]}
    assert lines_of(records) == [1, 3]
    assert read_labelled(write("b.txt", "a b\tc d\n"), separator="\t").column("label") == ["a b"]


@pytest.mark.parametrize(
    ("lines", "labels", "texts"),
    [
        ("a\tb c\nd\te f\n", ["a", "d"], ["b c", "e f"]),
        ("a x\tb c\nd\te f\n", ["a x", "d"], ["b c", "e f"]),  # each line has a tab
        ("a\tb c\nd e f\n", ["a", "d"], ["b c", "e f"]),
        ("a b\tc\nd e\n", ["a", "d"], ["b\tc", "e"]),
        ("a what is __label__ ?\nb x\nc y\n", ["a", "b", "c"], ["what is __label__ ?", "x", "y"]),
        ("a __label__x\nb x\nc y\n", ["a", "b", "c"], ["__label__x", "x", "y"]),  # a text about fastText
    ],
)
def test_labels_end_at_a_blank_or_a_tab(
    write: Write, lines: str, labels: list[str], texts: list[str]
) -> None:
    records = read_labelled(write("a.txt", lines))
    assert (records.column("label"), records.items) == (labels, texts)


def test_one_bad_line_does_not_change_how_the_others_are_read(write: Write) -> None:
    lines = ["very good\tI like it"] * 9
    path = write("a", "\n".join([*lines, "a broken line"]))
    with pytest.raises(DataError, match=r"a:10: got 'a broken line', expected a label, '\\t' and a text"):
        read_labelled(path)
    for bad in ("\tno label", "good\t", "good\t  "):
        with pytest.raises(DataError, match=r"a:10: got .* expected a label"):
            read_labelled(write("a", "\n".join([*lines, bad])))
    read = read_labelled(write("a", "\n".join(lines)))
    assert (read.columns["label"][0], read.items[0]) == ("very good", "I like it")


def test_lines_of_fasttext_have_labels_at_any_place(write: Write) -> None:
    lines = [
        "__label__a __label__b:c how  much\n",
        "__label__a\td e\r\n",
        "e\t__label__f\u00a0g \n",
        "how __label__a to\tbake __label__h\n",
        "\n",
        " __label__a x__label__y __label__ z\n",
    ]
    path = write("a.txt", "".join(lines))
    for records in (read_labelled(path), read_labelled(path, separator="\t")):
        assert records.items == ["how  much", "d e", "e", "how to\tbake", "x__label__y __label__ z"]
        assert records.column("label") == [
            ["__label__a", "__label__b:c"],
            "__label__a",
            "__label__f\u00a0g",
            ["__label__a", "__label__h"],
            "__label__a",
        ]
        assert records.column("coarse")[0] == ["__label__a", "__label__b"]
        assert lines_of(records) == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("line", "lacks"), [("bread and knives", "label"), ("__label__a __label__b", "text")]
)
def test_a_line_of_fasttext_without_a_label_or_a_text(write: Write, line: str, lacks: str) -> None:
    path = write("a.txt", f"{line}\n__label__up so good\nso bad __label__down\n")
    message = rf"a\.txt:1: got '{line}' without a {lacks}, expected labels and a text, as in __label__NAME"
    with pytest.raises(DataError, match=message):
        read_labelled(path)
    bad = BadRows()
    records = read_labelled(path, reject=bad.add)
    assert (records.items, records.column("label")) == (
        ["so good", "so bad"],
        ["__label__up", "__label__down"],
    )
    assert [row.raw for row in bad.rows] == [line]


def test_json_lines(write: Write) -> None:
    records = read_json_lines(write("a.jsonl", '{"x": [1], "a": 1}\n\n{"b": null, "x": "é"}\n'), input="x")
    assert records.items == [[1], "é"]
    assert records.columns == {"a": [1, None], "b": [None, None]}
    assert lines_of(records) == [1, 3]


# --- recordings and graphs ------------------------------------------------------------------------


def test_recordings_lie_beside_the_table_or_elsewhere(write: Write, tmp_path: Path) -> None:
    path = write("list.tsv", "clip\tspeaker\na.wav\tAda\nb.wav\tBen\n")
    records = read_recordings(path, input="clip")
    assert records.items == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert records.columns == {"speaker": ["Ada", "Ben"]}
    (tmp_path / "audio").mkdir()
    assert read_recordings(path, input="clip", audio=tmp_path / "audio").items[0] == str(
        tmp_path / "audio/a.wav"
    )
    tar = write("clips.tar", b"")
    assert read_recordings(path, input="clip", audio=tar).items[0] == AudioFile(str(tar), "a.wav")


def test_segments_are_those_of_each_recording(write: Write) -> None:
    path = write("list.tsv", "file\na.wav\nb.wav\nc.wav\n")
    segments = write("s.csv", "f,from,to,phone\na.wav,0,0.5,x\nb.wav,0,1,\na.wav,0.5,1,y\n")
    records = read_recordings(path, segments=segments)
    assert records.column("segments") == [[(0.0, 0.5, "x"), (0.5, 1.0, "y")], [(0.0, 1.0, None)], None]


NODES = """
net,split,node,age,city,buys
A,train,0,20,Ur,no
A,train,1,30,7,
B,test,0,40.5,8,yes
""".lstrip()
EDGES = """
net,source,target,kind,years
A,0,1,friend,2
A,1,0,friend,3
""".lstrip()


def networks(write: Write, nodes: str = NODES, edges: str = EDGES, *features: str) -> Records:
    chosen = list(features or ("age", "city"))
    return read_networks(write("nodes.csv", nodes), edges=write("edges.csv", edges), features=chosen)


def test_networks(write: Write) -> None:
    records = networks(write)
    assert records.items == [
        {
            "nodes": {"age": [20.0, 30.0], "city": ["Ur", "7"]},  # one word makes all of them categories
            "edges": [(0, 1), (1, 0)],
            "edge_columns": {"kind": ["friend", "friend"], "years": [2.0, 3.0]},
        },
        {"nodes": {"age": [40.5], "city": ["8"]}, "edges": [], "edge_columns": {}},
    ]
    assert records.columns == {"split": [["train", "train"], ["test"]], "buys": [["no", None], ["yes"]]}
    assert lines_of(records) == [2, 4]


def test_the_rows_of_a_graph_need_not_lie_together(write: Write) -> None:
    records = networks(write, "net,node,age\nA,0,1\nB,0,2\nA,1,3\n", "net,source,target\n", "age")
    assert [item["nodes"]["age"] for item in records.items] == [[1.0, 3.0], [2.0]]
    assert records.columns == {}


KNOWN = {
    "nodes": {"age": "numbers", "city": "categories"},
    "edges": {"kind": "categories", "years": "categories"},
}


def test_what_a_column_holds_is_not_guessed_where_it_is_known(write: Write) -> None:
    nodes, edges = NODES.replace("Ur", "07"), EDGES
    paths = write("nodes.csv", nodes), write("edges.csv", edges)
    features = ["age", "city"]
    guessed = read_networks(paths[0], edges=paths[1], features=features)
    assert guessed.items[0]["nodes"]["city"] == [7.0, 7.0]
    records = read_networks(paths[0], edges=paths[1], features=features, kinds=KNOWN)
    assert records.items[0]["nodes"] == {"age": [20.0, 30.0], "city": ["07", "7"]}
    assert records.items[0]["edge_columns"] == {"kind": ["friend", "friend"], "years": ["2", "3"]}
    write("nodes.csv", nodes.replace("30", "old"))
    with pytest.raises(DataError, match=r"nodes\.csv:3: column 'age' has 'old' .* numbers, as in training"):
        read_networks(paths[0], edges=paths[1], features=features, kinds=KNOWN)


def test_molecules_are_distinct_and_in_one_part_each(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdkit import RDConfig

    path = write("few.smi", "CCO ethanol\nOCC the same\n\nC(C no molecule\nC methane\n")
    monkeypatch.setattr(RDConfig, "RDDataDir", str(path.parent))
    records = read_rdkit_logp(Path("few.smi"))
    assert (records.items, lines_of(records)) == (["CCO", "C"], [1, 5])
    assert records.column("logp") == pytest.approx([-0.0014, 0.6361], abs=1e-4)  # as RDKit prints them
    assert sum(len(records.of_split(part).items) for part in ("train", "dev", "test")) == 2


# --- of all formats -------------------------------------------------------------------------------


NO_OPTIONS = {(name, key) for name, keys in TOLD.items() for key in keys} | {("folders", "suffixes")}
"""What readers are told and recipes cannot say."""


def test_formats_are_those_of_the_readers() -> None:
    for name, reader in READERS.items():
        options = {
            key: parameter.default is parameter.empty
            for key, parameter in inspect.signature(reader).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and (name, key) not in NO_OPTIONS
        }
        assert FORMATS[name] == options
    assert set(FORMATS) == set(READERS)
    paths = {
        k
        for r in READERS.values()
        for k, p in inspect.signature(r).parameters.items()
        if "Path" in p.annotation
    }
    assert paths == {"path", "target", "others", *PATHS}


def test_all_readers_are_public() -> None:
    assert {reader.__name__ for reader in READERS.values()} | {"READERS"} == set(readers.__all__)


SMALL: dict[str, tuple[str, Any]] = {
    "a.conllu": (word("1", "é", "X"), read_conllu),
    "a.conll": ("é X\n", read_conll),
    "a.tsv": ("text\tlabel\né\tup\n", read_table),
    "a.csv": ("text,label\né,up\n", read_table),
    "a.txt": ("up é\n", read_labelled),
    "a.jsonl": ('{"text": "é"}\n', read_json_lines),
}


@pytest.mark.parametrize("name", SMALL)
def test_gzipped_or_with_a_byte_order_mark_is_the_same(write: Write, name: str) -> None:
    content, read = SMALL[name]
    plain = read(write(name, content))
    assert plain.items in (["é"], [["é"]])
    for other in (write(f"{name}.gz", content), write(f"bom-{name}", "\ufeff" + content)):
        found = read(other)
        assert (found.items, found.columns) == (plain.items, plain.columns)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_other_encodings(write: Write, encoding: str) -> None:
    def path(content: str) -> Path:
        return write("file.csv", content.encode(encoding))

    assert read_table(path("text,label\né,up\n"), encoding=encoding).items == ["é"]
    assert read_labelled(path("up é\n"), encoding=encoding).items == ["é"]
    both = path("é\n")
    assert read_lines(both, target=both, encoding=encoding).column("target") == ["é"]


# --- parts of a file ------------------------------------------------------------------------------


def test_rows_of_a_part_by_any_of_its_names() -> None:
    parts = ["train", "val", "dev", "valid", "test", "validation"]
    records = Records(list("abcdef"), {"split": list(parts)}, [f"f:{i}" for i in range(6)])
    assert [records.of_split(part).items for part in ("train", "dev", "test")] == [
        ["a"],
        ["b", "c", "d", "f"],
        ["e"],
    ]
    assert records.of_split("dev").locations == ["f:1", "f:2", "f:3", "f:5"]


@pytest.mark.parametrize("wrong", ["Test", "validate", None, 3, ["train", "Test"]])
def test_another_name_of_a_part_is_an_error(wrong: Any) -> None:
    records = Records(["a", "b"], {"split": ["train", wrong]}, ["f:2", "f:3"])
    with pytest.raises(
        DataError, match=r"^f:3: got the split '\w+', expected train, dev \(or val, valid\) or test"
    ):
        records.of_split("train")


def test_members_of_several_parts(write: Write) -> None:
    nodes = "net,split,node,age,buys\nA,train,0,1,no\nA,test,1,2,yes\nA,val,2,3,no\nB,train,0,4,yes\n"
    path = write("nodes.csv", nodes)
    records = read_networks(path, edges=write("edges.tsv", "net\tsource\ttarget\n"), features=["age"])
    train, dev, test = (records.of_split(part) for part in ("train", "dev", "test"))
    assert train.column("buys") == [["no", None, None], ["yes"]]
    assert dev.column("buys") == [[None, None, "no"]]
    assert test.column("buys") == [[None, "yes", None]]
    assert test.items == [records.items[0]]  # all nodes are seen
    assert records.column("buys") == [["no", "yes", "no"], ["yes"]]


def test_one_label_cannot_be_shared_out_among_members_of_several_parts() -> None:
    columns = {"split": [["train", "test"]], "size": ["big"], "tags": [None]}
    records = Records(["ab"], columns, ["f:2"])
    with pytest.raises(DataError, match=r"f:2: size: got one value for members of the splits test, train"):
        records.of_split("train")
    same = Records(["ab"], {**columns, "split": [["train", "train"]]}, ["f:2"])
    assert same.of_split("train").column("size") == ["big"]


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(DataError, match="f: no column 'b'; there are a"):
        Records(["x"], {"a": [1]}, ["f:2"]).column("b")


# --- mistakes -------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, str, str]] = {
    "column": (
        "a.tsv",
        "txt\tlabel\nx\tup\n",
        r"1: no column 'text' \(did you mean 'txt'\?\) for the input; there are txt, label",
    ),
    "commas": (
        "a.tsv",
        "text,label\nx,up\n",
        "1: .* there are text,label .one column; if commas separate",
    ),
    "cells": ("a.tsv", "text\tlabel\nx\tup\ny\n", "3: got 1 cells, expected 2 as in the header"),
    "empty": ("a.tsv", "", " empty, expected a header line"),
    "blank": ("a.csv", "\ntext,label\n", " empty, expected a header line"),
    "twice": ("a.csv", "text,label,label\n", "1: got two columns 'label', expected different names"),
    "quote": (
        "a.csv",
        'text,label\nx,up\n"y,up\nz,up\n',
        "3: not valid CSV.* expected quotes in pairs",
    ),
    "after": ("a.csv", 'text,label\n"x"y,up\n', "2: not valid CSV"),
    "return": ("a.csv", "text,label\nx,up\ry,up\n", "2: not valid CSV.* end in a newline"),
}


@pytest.mark.parametrize("case", TABLES)
def test_mistakes_in_tables(write: Write, case: str) -> None:
    name, content, message = TABLES[case]
    with pytest.raises(DataError, match=f"{name}:{message}"):
        read_table(write(name, content))


def test_the_encoding_to_give_is_named(write: Write) -> None:
    for raw, encoding in (
        (b"text\ncaf\xe9 au lait\n", "latin-1"),
        (b"text\n5 \x80 for \x93caf\xe9\x94\n", "cp1252"),
    ):
        with pytest.raises(DataError, match=rf'a\.tsv:2: not utf-8 .* as in encoding = "{encoding}"'):
            read_table(write("a.tsv", raw))
        assert "caf\u00e9" in read_table(write("a.tsv", raw), encoding=encoding).items[0]


def test_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tsv: no such file"):
        read_table(tmp_path / "none.tsv")
    path = write("a.tsv", b"text\n\xe9\n")
    with pytest.raises(DataError, match=r'a\.tsv:2: not utf-8 \(byte 5\).* as in encoding = "latin-1"'):
        read_table(path)
    with pytest.raises(DataError, match=r"a\.tsv: got the encoding 'utf-9', expected utf-8, latin-1"):
        read_table(path, encoding="utf-9")
    packed = gzip.compress(b"text\n" + bytes(range(1, 9)) * 9)
    for broken in (packed[:-12], packed[:10] + b"\xff" + packed[11:]):
        (tmp_path / "a.tsv.gz").write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.tsv\.gz: cannot be read: "):
            read_table(tmp_path / "a.tsv.gz")


def test_mistakes_in_texts(write: Write) -> None:
    for bad in ("", "I1", "1-", "\u00b2"):
        with pytest.raises(
            DataError, match=rf"a\.conllu:2: got '{bad}' in the first column, expected the number"
        ):
            read_conllu(write("a.conllu", word("1", "x", "X") + word(bad, "y", "X")))
    with pytest.raises(DataError, match=r"a\.conllu:2: got 1 columns, expected the 10 of CoNLL-U"):
        read_conllu(write("a.conllu", f"{word('1', 'x', 'X')}2 y\n"))
    with pytest.raises(DataError, match=r"a\.en: 2 lines, but .*a\.de has 1; expected aligned lines"):
        read_lines(write("a.en", "a\nb\n"), target=write("a.de", "a\n"))
    with pytest.raises(
        DataError, match=r"a\.txt:2: got 'down', expected a label, a blank or a tab and a text"
    ):
        read_labelled(write("a.txt", "up x\ndown\n"))
    with pytest.raises(DataError, match=r"a\.txt:2: got 'down', expected a label, ';' and a text"):
        read_labelled(write("a.txt", "up;x\ndown\n"), separator=";")
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    for array in (json.dumps(rows), json.dumps(rows, indent=1)):
        with pytest.raises(DataError, match=r"a\.json: got one JSON array, .* orient=\"records\"") as no:
            read_json_lines(write("a.json", array))
        assert not isinstance(no.value, BadRowError)  # no advice to leave rows out
    with pytest.raises(DataError, match=r"a\.csv: got 'text,label' in its .* format = \"table\"$"):
        read_json_lines(write("a.csv", "text,label\na,x\n"))
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON: "):
        read_json_lines(write("a.jsonl", '{"text": "a"}\n{"text"\n'))
    for row in ("[1]", '{"txt": "a"}'):
        with pytest.raises(DataError, match=r"a\.jsonl:1: expected an object with the field 'text'"):
            read_json_lines(write("a.jsonl", row))


def test_mistakes_in_recordings(write: Write, tmp_path: Path) -> None:
    path = write("list.tsv", "file\na.wav\n")
    with pytest.raises(DataError, match=r"nowhere: no such file or folder, expected the recordings"):
        read_recordings(path, audio=tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"s\.tsv:1: got columns f, from, to, expected file, start, end, label"
    ):
        read_recordings(path, segments=write("s.tsv", "f\tfrom\tto\na\t0\t1\n"))
    with pytest.raises(DataError, match=r"s\.tsv:2: got times '0' and 'end', expected seconds"):
        read_recordings(path, segments=write("s.tsv", "f\tfrom\tto\tphone\na\t0\tend\tx\n"))


GRAPHS: dict[str, tuple[str, str, str]] = {
    "twice": ("nodes", "net,node,age\nA,1,5\nA,1,6\n", "3: got node '1' twice, expected different names"),
    "no name": ("nodes", "net,node,age\nA, ,5\n", "2: got a node without a name, expected different"),
    "feature": ("nodes", "net,node,ag\nA,0,5\n", "1: no feature 'age' .*'ag'.*expected .*node, age"),
    "first": (
        "nodes",
        "node,net,age\n0,A,5\n0,B,6\n",
        "3: got node '0' twice, .* name the graph in",
    ),
    "gap": ("nodes", "net,node,age\nA,0,5\nA,1,\n", "3: column 'age' has '' among numbers, expected fin"),
    "nan": ("nodes", "net,node,age\nA,0,nan\nA,1,0\n", "2: column 'age' has 'nan' among numbers"),
    "edge gap": ("edges", "net,source,target,km\nA,0,1,3\nA,1,0,inf\n", "3: column 'km' has 'inf' among"),
    "source": ("edges", "source,target\n0,1\n", "1: got the columns source, .* name, then source, target"),
    "graph": ("edges", "net,source,target\nC,0,1\n", "2: got graph 'C', which has no nodes"),
    "end": ("edges", "net,source,target\nA,0,2\n", "2: got node '2' of 'A', expected one of its 2 nodes"),
    "sign": ("edges", "net,source,target\nA,²,0\n", "2: got node '²' of 'A', expected one of its 2 nodes"),
}


def test_nodes_have_names(write: Write) -> None:
    """Of one graph or of several, with or without the usual names of columns."""
    nodes = write("nodes.csv", "node,age,buys\nAda,20,yes\n Bob ,30,\n0,40,no\n")
    edges = write("edges.csv", "source,target,since\nBob,Ada,1999\n0, Bob,2001\n")
    records = read_networks(nodes, edges=edges, features=["age"])
    assert records.items == [
        {
            "nodes": {"age": [20.0, 30.0, 40.0]},
            "edges": [(1, 0), (2, 1)],
            "edge_columns": {"since": [1999.0, 2001.0]},
            "names": ["Ada", "Bob", "0"],
        }
    ]
    assert records.columns == {"buys": [["yes", None, "no"]]}
    people = write("people.csv", "name;age;buys\nAda;20;yes\nBob;30;\n0;40;no\n")
    friends = write("friends.csv", "from;to;since\nBob;Ada;1999\n0;Bob;2001\n")
    assert read_networks(people, edges=friends, features=["age"]).items == records.items
    nodes = write("nodes.csv", "net,node,age\nA,Ada,20\nB,Ada,30\nA,Bob,40\n")
    edges = write("edges.csv", "net,from,to\nA,Bob,Ada\n")
    first, second = read_networks(nodes, edges=edges, features=["age"]).items
    assert (first["names"], first["edges"], second["names"]) == (["Ada", "Bob"], [(1, 0)], ["Ada"])
    edges = write("edges.csv", "net,from,to\nA,Bobb,Ada\n")
    with pytest.raises(DataError, match=r"edges\.csv:2: got node 'Bobb' of 'A', expected one .*'Bob'"):
        read_networks(nodes, edges=edges, features=["age"])


def test_triples(write: Write) -> None:
    header = "fact;head;relation;tail;text\n"
    rows = "1;Ada;job;baker;\n2;Bob;city;Oslo;Bob is in Oslo.\n1;Ada;city;Rome;Ada is a baker in Rome.\n"
    path = write("facts.csv", header + rows)
    records = read_triples(path)
    assert records.items == [[("Ada", "job", "baker"), ("Ada", "city", "Rome")], [("Bob", "city", "Oslo")]]
    assert records.columns == {"fact": ["1", "2"], "text": ["Ada is a baker in Rome.", "Bob is in Oslo."]}
    assert records.locations == [f"{path}:2", f"{path}:3"]
    assert (
        read_triples(write("f.csv", (header + rows).replace("head;relation;tail", "s;p;o"))).items
        == records.items
    )
    rejected: list[str] = []
    for row, message in (
        ("1;Ada;;baker;", "5: got an empty cell in head, relation, tail"),
        (
            "1;a;b;c;Other.",
            "5: got text 'Other.' for graph '1', expected 'Ada is a baker in Rome.' as before",
        ),
    ):
        with pytest.raises(DataError, match=rf"facts\.csv:{message}"):
            read_triples(write("facts.csv", f"{header}{rows}{row}\n"))
        rejected.clear()
        left = read_triples(path, reject=lambda place, reason, raw: rejected.append(place))
        assert left.items == records.items[1:]  # of a graph with a bad row, nothing is left
        assert (left.columns["fact"], left.locations) == (["2"], [f"{path}:3"])
        assert rejected == [f"{path}:5", f"{path}:2", f"{path}:4"]
    with pytest.raises(DataError, match=r"facts\.csv:1: got the columns head, .* expected the graph's name"):
        read_triples(write("facts.csv", "head,relation,tail\na,b,c\n"))


def test_numbers_of_networks_with_a_decimal_comma(write: Write) -> None:
    nodes = write("nodes.csv", "net;node;size;kind\nA;0;1.234,5;v1.2\nA;1;-3;v1\n")
    edges = write("edges.csv", "net;source;target;km\nA;0;1;0,25\n")
    [graph] = read_networks(nodes, edges=edges, features=["size", "kind"], decimal=",").items
    assert graph["nodes"] == {"size": [1234.5, -3.0], "kind": ["v1.2", "v1"]}
    assert graph["edge_columns"] == {"km": [0.25]}


@pytest.mark.parametrize("case", GRAPHS)
def test_mistakes_in_networks(write: Write, case: str) -> None:
    kind, content, message = GRAPHS[case]
    files = {"nodes": "net,node,age\nA,0,5\nA,1,6\n", "edges": "net,source,target\n", kind: content}
    nodes, edges = write("nodes.csv", files["nodes"]), write("edges.csv", files["edges"])
    with pytest.raises(DataError, match=f"{kind}.csv:{message}"):
        read_networks(nodes, edges=edges, features=["age"])


@pytest.mark.parametrize("feature", ["net", "node"])
def test_names_and_numbers_of_nodes_are_no_features(write: Write, feature: str) -> None:
    with pytest.raises(DataError, match=rf"expected the graph's name, then node, {feature}"):
        networks(write, NODES, EDGES, feature)


def test_cells_that_are_all_empty_are_categories(write: Write) -> None:
    records = networks(write, "net,node,age\nA,0,\nA,1,\n", "net,source,target\n", "age")
    assert records.items[0]["nodes"] == {"age": ["", ""]}


def test_molecules_that_rdkit_does_not_have() -> None:
    with pytest.raises(DataError, match=r"none\.smi: no such file in this RDKit; reinstall it"):
        read_rdkit_logp(Path("none.smi"))


def test_a_list_of_recordings_from_windows(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "1.wav").write_bytes(b"")
    (tmp_path / "ben\\2.wav").write_bytes(b"")  # elsewhere a name may hold a backslash
    (tmp_path / "list.csv").write_text("file\nanna\\1.wav\nben\\2.wav\n")
    items = read_recordings(tmp_path / "list.csv").items
    assert items == [str(tmp_path / "anna" / "1.wav"), str(tmp_path / "ben\\2.wav")]
