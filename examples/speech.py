"""Speech: frame classification, speaker identification and speech recognition with one encoder.

The tasks are the phoneme of every frame, who speaks, and what is said. Each clip is encoded once for all.

python examples/speech.py          (about a minute and a half on two cores)
"""

import os
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from multiseq import (
    ClassTarget,
    CTCHead,
    Encoder,
    Model,
    SetHead,
    Source,
    SpeechAdapter,
    Task,
    TextTarget,
    VectorHead,
    evaluate,
    train,
)
from multiseq.data.readers import read_recordings

DIM = 96
STEPS = 10 if os.environ.get("MULTISEQ_QUICK") else 800
clips = Path(str(files("multiseq") / "starter" / "clips"))


def sources(split: str) -> list[Source]:
    """Read the starter clips of one split ("train" or "test"), with three labels for each clip."""
    records = read_recordings(
        clips / "manifest.tsv", input="clip", audio=clips / "clips.tar", segments=clips / "phones.tsv"
    )
    chosen = records.of_split(split)
    labels = {"phonemes": "segments", "speaker": "speaker", "recognition": "text"}
    return [Source("speech", chosen.items, {task: chosen.column(name) for task, name in labels.items()})]


def build(data: list[Source]) -> Model:
    """Build the model: three heads read the same encoded clip."""
    source = data[0]
    phones = [phone for segments in source.targets["phonemes"] for _, _, phone in segments]
    words = TextTarget.fit(source.targets["recognition"], unit="piece", vocab_size=120)
    return Model(
        adapters={"speech": SpeechAdapter.fit(source.items, dim=DIM)},
        encoder=Encoder(dim=DIM, depth=3, heads=4),
        tasks={
            "phonemes": Task("speech", VectorHead(DIM, ClassTarget.fit(phones)), "frame_accuracy"),
            "speaker": Task("speech", SetHead(DIM, ClassTarget.fit(source.targets["speaker"]))),
            "recognition": Task("speech", CTCHead(DIM, words), "word_error_rate"),
        },
    )


if __name__ == "__main__":
    data = sources("train")
    model = train(build(data), data, steps=STEPS, max_vectors=2000, lr=3e-3, ema_decay=0.98)
    test = sources("test")[0]
    for task in test.targets:
        score = evaluate(model, [test], task=task)
        print(f"{score.cell:15} {task:12} {score.metric} {score.value:.3f}")

    clip = test.items[0]
    frames = [frame.label for frame in model.predict("phonemes", [clip])[0]]
    print(" ".join(phone for phone, _ in groupby(frames)))
    print(model.predict("speaker", [clip])[0], "| said to be", test.targets["speaker"][0])
    print(
        model.predict("recognition", [clip], num_beams=8)[0], "| said to be", test.targets["recognition"][0]
    )
