"""One self-attention encoder for text, speech and graphs.

Everything public is importable from here. The names are lazy: `import multiseq` loads neither torch
nor any library of one modality; the first use of a name imports the module that defines it.
"""

from typing import TYPE_CHECKING

from multiseq._lazy import lazy_names

__version__ = "0.1.0"

__all__ = [
    "VectorSets",
    "attend",
    "Encoder",
    "TextAdapter",
    "SpeechAdapter",
    "GraphAdapter",
    "FusedAdapter",
    "VectorHead",
    "SetHead",
    "CTCHead",
    "DecoderHead",
    "ClassTarget",
    "LabelsTarget",
    "NumberTarget",
    "TextTarget",
    "Task",
    "Source",
    "Model",
    "train",
    "evaluate",
    "save",
    "load",
]

# Editors and mypy read the imports; _HOMES says the same at run time, and a test compares them.
if TYPE_CHECKING:
    from multiseq.adapters import FusedAdapter, GraphAdapter, SpeechAdapter, TextAdapter
    from multiseq.attention import attend
    from multiseq.checkpoint import load, save
    from multiseq.ctc import CTCHead
    from multiseq.encoder import Encoder
    from multiseq.heads import SetHead, VectorHead
    from multiseq.metrics import evaluate
    from multiseq.model import Model
    from multiseq.sequence import DecoderHead
    from multiseq.targets import ClassTarget, LabelsTarget, NumberTarget
    from multiseq.tasks import Source, Task
    from multiseq.text_target import TextTarget
    from multiseq.training import train
    from multiseq.vectors import VectorSets
else:
    _HOMES = {
        "VectorSets": "multiseq.vectors",
        "attend": "multiseq.attention",
        "Encoder": "multiseq.encoder",
        "TextAdapter": "multiseq.adapters",
        "SpeechAdapter": "multiseq.adapters",
        "GraphAdapter": "multiseq.adapters",
        "FusedAdapter": "multiseq.adapters",
        "VectorHead": "multiseq.heads",
        "SetHead": "multiseq.heads",
        "CTCHead": "multiseq.ctc",
        "DecoderHead": "multiseq.sequence",
        "ClassTarget": "multiseq.targets",
        "LabelsTarget": "multiseq.targets",
        "NumberTarget": "multiseq.targets",
        "TextTarget": "multiseq.text_target",
        "Task": "multiseq.tasks",
        "Source": "multiseq.tasks",
        "evaluate": "multiseq.metrics",
        "save": "multiseq.checkpoint",
        "Model": "multiseq.model",
        "train": "multiseq.training",
        "load": "multiseq.checkpoint",
    }
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
