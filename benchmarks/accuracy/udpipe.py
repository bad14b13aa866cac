"""UDPipe 1 beside ours: parts of speech of English-EWT, words given.

    pip install ufal.udpipe
    python -m benchmarks.accuracy.udpipe --data FOLDER_OF_UD_ENGLISH_EWT

UDPipe (Straka and Straková 2017, https://aclanthology.org/K17-3009) trains its tagger with its own default
options on the same words and tags: an averaged perceptron with features of the neighbouring words. It gets
the tag alone, without lemmas and features of the treebank.
"""

from __future__ import annotations

from collections.abc import Mapping
from tempfile import NamedTemporaryFile
from typing import Any

from benchmarks.accuracy.beside import Items, Plan, compare, words_and_tags
from multiseq.requires import need

ITERATIONS = 20
"""UDPipe's default."""


def udpipe(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train UDPipe's tagger; the accuracy on test."""
    library: Any = need("ufal.udpipe", package="ufal.udpipe")
    sentences = {
        split: [_sentence(library, *pair) for pair in words_and_tags(splits[split])] for split in splits
    }
    error = library.ProcessingError()
    options = f"models=1;iterations={1 if plan.quick else ITERATIONS};provide_lemma=0;use_lemma=0"
    trained = library.Trainer.train(
        "morphodita_parsito",
        library.Sentences(sentences["train"]),
        library.Sentences(sentences["dev"]),
        "none",
        options,
        "none",
        error,
    )
    if error.occurred():
        raise RuntimeError(f"UDPipe: {error.message}")
    with NamedTemporaryFile() as file:
        file.write(trained)
        file.flush()
        model = library.Model.load(file.name)
    right = total = 0
    for words, tags in words_and_tags(splits["test"]):
        sentence = _sentence(library, words, [None] * len(words))
        model.tag(sentence, library.Model.DEFAULT)
        found = [sentence.words[i].upostag for i in range(1, len(words) + 1)]
        right += sum(a == b for a, b in zip(found, tags, strict=True))
        total += len(words)
    return right / total


def _sentence(library: Any, words: list[str], tags: list[str | None]) -> Any:
    sentence = library.Sentence()
    for form, tag in zip(words, tags, strict=True):
        word = sentence.addWord(form)
        word.upostag = tag or ""
    return sentence


if __name__ == "__main__":
    compare(__doc__, "english-pos", {"UDPipe 1": udpipe})
