"""Text: one encoder for token classification, sequence classification and sequence to sequence.

The tasks are the part of speech of every word, the sentiment of a comment, and a translation into Chinese.

python examples/text.py            (about a minute on two cores)
"""

import os
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
    train,
)
from multiseq.data.readers import read_conllu, read_table

DIM = 96
STEPS = 10 if os.environ.get("MULTISEQ_QUICK") else 500
starter = Path(str(files("multiseq") / "starter"))


def sources(split: str) -> list[Source]:
    """Read the starter data of one split ("train" or "test"): three files and tasks with one adapter."""
    words = read_conllu(starter / f"pos/{split}.conllu")
    comments = read_table(starter / f"sentiment/{split}.tsv", input="text")
    pairs = read_table(starter / f"translation/{split}.tsv", input="english")
    return [
        Source("text", words.items, {"pos": words.column("upos")}),
        Source("text", comments.items, {"sentiment": comments.column("label")}),
        Source("text", pairs.items, {"translation": pairs.column("chinese")}),
    ]


def build(data: list[Source]) -> Model:
    """Build the model. Vocabularies and labels come from the training data."""
    words, comments, pairs = data
    tags = [tag for tags in words.targets["pos"] for tag in tags]
    chinese = TextTarget.fit(pairs.targets["translation"], unit="character")
    return Model(
        adapters={"text": TextAdapter.fit([i for s in data for i in s.items], dim=DIM)},
        encoder=Encoder(dim=DIM, depth=3, heads=4),
        tasks={
            "pos": Task("text", VectorHead(DIM, ClassTarget.fit(tags))),
            "sentiment": Task("text", SetHead(DIM, ClassTarget.fit(comments.targets["sentiment"]))),
            "translation": Task("text", DecoderHead(DIM, chinese, depth=2, heads=4)),
        },
    )


if __name__ == "__main__":
    data = sources("train")
    model = train(build(data), data, steps=STEPS, max_vectors=1500, lr=2e-3, ema_decay=0.98)
    for source in sources("test"):
        for task in source.targets:
            score = evaluate(model, [source], task=task)
            print(f"{score.cell:15} {task:12} {score.metric} {score.value:.3f}")

    sentence = ["I", "saw", "a", "saw"]
    tags = model.predict("pos", [sentence])[0]
    print(" ".join(f"{word}/{tag.label}" for word, tag in zip(sentence, tags, strict=True)))
    print(model.predict("sentiment", ["Cheap, but it never let me down."])[0])
    print(model.predict("translation", ["My sister bought two red books yesterday."], num_beams=5)[0])
