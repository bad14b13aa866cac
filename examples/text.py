"""Text: one encoder for token classification, sequence classification and sequence to sequence.

The tasks are the part of speech of every word, the sentiment of a comment, and a translation into Chinese.

python examples/text.py [COMMENTS.csv [FOLDER]]            (about a minute on two cores)
COMMENTS.csv is a file of your own with the columns text and label; FOLDER has a pretrained model.
"""

import os
import sys
from importlib.resources import files
from pathlib import Path

from multiseq import (
    ClassTarget,
    DecoderHead,
    Encoder,
    Model,
    SetHead,
    Source,
    Task,
    TextAdapter,
    TextTarget,
    VectorHead,
    evaluate,
    pretrained_text,
    split,
    train,
)
from multiseq.data.readers import read_conllu, read_table

STEPS = 10 if os.environ.get("MULTISEQ_QUICK") else 500
starter = Path(str(files("multiseq") / "starter"))


def sources(part: str, own: str) -> list[Source]:
    """Read the train or test split: three files and tasks with one adapter. Your own table is divided."""
    words = read_conllu(starter / f"pos/{part}.conllu")
    comments = read_table(Path(own or starter / f"sentiment/{part}.tsv"), input="text")
    texts, labels = comments.items, comments.column("label")
    rows = split(texts, labels=labels, test=0.2, seed=0)[part] if own else range(len(texts))
    pairs = read_table(starter / f"translation/{part}.tsv", input="english")
    return [
        Source("text", words.items, {"pos": words.column("upos")}),
        Source("text", [texts[i] for i in rows], {"sentiment": [labels[i] for i in rows]}),
        Source("text", pairs.items, {"translation": pairs.column("chinese")}),
    ]


def build(data: list[Source], start: str) -> Model:
    """Build the model, from scratch or from a pretrained start. Labels come from the training data."""
    words, comments, pairs = data
    tags = [tag for tags in words.targets["pos"] for tag in tags]
    chinese = TextTarget.fit(pairs.targets["translation"], unit="character")
    if start:
        adapter, encoder = pretrained_text(start)
    else:
        print("from scratch; python -m benchmarks.accuracy.minilm FOLDER fetches a pretrained model")
        adapter = TextAdapter.fit([i for s in data for i in s.items], dim=96)
        encoder = Encoder(dim=96, depth=3, heads=4)
    tasks = {
        "pos": Task("text", VectorHead(encoder.dim, ClassTarget.fit(tags))),
        "sentiment": Task("text", SetHead(encoder.dim, ClassTarget.fit(comments.targets["sentiment"]))),
        "translation": Task("text", DecoderHead(encoder.dim, chinese, depth=2, heads=4)),
    }
    return Model({"text": adapter}, encoder, tasks)


if __name__ == "__main__":
    own, start = [*sys.argv[1:], "", ""][:2]
    data = sources("train", own)
    model = train(build(data, start), data, steps=STEPS, max_vectors=1500, lr=2e-3, ema_decay=0.98)
    for source in sources("test", own):
        for task in source.targets:
            score = evaluate(model, [source], task=task)
            print(f"{score.cell:15} {task:12} {score.metric} {score.value:.3f}")

    print([tag.label for tag in model.predict("pos", [["I", "saw", "a", "saw"]])[0]])
    print(model.predict("sentiment", ["Cheap, but it never let me down."])[0])
    print(model.predict("translation", ["My sister bought two red books yesterday."], num_beams=5)[0])
