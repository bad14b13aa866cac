"""Graphs: node classification, graph regression and graph to text with one encoder.

The tasks are who in a network of friends buys a product, how lipophilic a molecule is (logP), and a text
that states a list of facts.

python examples/graph.py           (about a minute and a half on two cores)
"""

import os
from importlib.resources import files
from pathlib import Path

from multiseq import (
    ClassTarget,
    DecoderHead,
    Encoder,
    GraphAdapter,
    Model,
    NumberTarget,
    SetHead,
    Source,
    Task,
    TextTarget,
    VectorHead,
    evaluate,
    train,
)
from multiseq.data.readers import read_json_lines, read_networks, read_rdkit_logp

DIM = 96
STEPS = 10 if os.environ.get("MULTISEQ_QUICK") else 400
starter = Path(str(files("multiseq") / "starter"))
FEATURES = ["age", "city", "job", "hobby", "spending"]


def sources(split: str) -> list[Source]:
    """Read one split: networks from two tables, molecules that come with RDKit, facts from JSON lines."""
    folder = starter / "networks"
    members = read_networks(folder / "nodes.tsv", edges=folder / "edges.tsv", features=FEATURES)
    networks, molecules = members.of_split(split), read_rdkit_logp(Path("NCI/first_5K.smi")).of_split(split)
    facts = read_json_lines(starter / f"facts/{split}.jsonl", input="triples")
    return [
        Source("networks", networks.items, {"buyers": networks.column("buys")}),
        Source("molecules", molecules.items, {"logp": molecules.column("logp")}),
        Source("triples", facts.items, {"facts": facts.column("text")}),
    ]


def build(data: list[Source]) -> Model:
    """Build the model: one adapter for each of the three kinds of graphs, and one shared encoder."""
    stems = {s.adapter_name: GraphAdapter.fit(s.items, dim=DIM, directed=False) for s in data}
    logp = NumberTarget.fit(data[1].targets["logp"], unit="logP (higher: more lipophilic)")
    texts = TextTarget.fit(data[2].targets["facts"], unit="piece", vocab_size=1000)
    return Model(
        adapters=stems,
        encoder=Encoder(dim=DIM, depth=3, heads=4),
        tasks={
            "buyers": Task("networks", VectorHead(DIM, ClassTarget(["no", "yes"]))),
            "logp": Task("molecules", SetHead(DIM, logp, pool="sum")),
            "facts": Task("triples", DecoderHead(DIM, texts, depth=2, heads=4), "bleu"),
        },
    )


if __name__ == "__main__":
    data = sources("train")
    model = train(build(data), data, steps=STEPS, max_vectors=2000, lr=2e-3, ema_decay=0.98, temperature=3.0)
    for source in sources("test"):
        for task in source.targets:
            score = evaluate(model, [source], task=task)
            print(f"{score.cell:15} {task:12} {score.metric} {score.value:.3f}")

    print(model.predict("logp", ["CC(=O)Oc1ccccc1C(=O)O"])[0])
    facts = [["Emil Grantham", "profession", "baker"], ["Emil Grantham", "hobby", "pottery"]]
    print(model.predict("facts", [facts], num_beams=5)[0])
