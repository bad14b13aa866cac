"""One self-attention encoder for text, speech and graphs.

All public names can be imported from here. They are lazy: `import multiseq` loads neither torch nor a library
for text, speech or graphs. The first use of a name imports the module that defines it.
"""

from typing import TYPE_CHECKING

from multiseq._lazy import lazy_names
from multiseq._version import __version__ as __version__

__all__ = [
    "VectorSets",
    "attend",
    "Encoder",
    "PretrainedEncoder",
    "pretrained_text",
    "pretrained_speech",
    "TextAdapter",
    "PretrainedTextAdapter",
    "SpeechAdapter",
    "GraphAdapter",
    "NeighborhoodAdapter",
    "FusedAdapter",
    "VectorHead",
    "SetHead",
    "CTCHead",
    "DecoderHead",
    "JointHead",
    "ClassTarget",
    "MultiLabelTarget",
    "NumberTarget",
    "TextTarget",
    "Task",
    "Source",
    "Model",
    "Ensemble",
    "Stream",
    "Label",
    "LabelSet",
    "Number",
    "Text",
    "Embedding",
    "Score",
    "Settings",
    "split",
    "folds",
    "train",
    "evaluate",
    "calibrate",
    "save",
    "load",
    "push_to_hub",
]

# Editors and mypy read these imports. At run time _HOMES has the same content; a test compares the two.
if TYPE_CHECKING:
    from multiseq.adapters import (
        FusedAdapter,
        GraphAdapter,
        NeighborhoodAdapter,
        PretrainedTextAdapter,
        SpeechAdapter,
        TextAdapter,
    )
    from multiseq.checkpoint import load, save
    from multiseq.data.splits import folds, split
    from multiseq.ensemble import Ensemble
    from multiseq.heads.ctc import CTCHead
    from multiseq.heads.decoder import DecoderHead
    from multiseq.heads.joint import JointHead
    from multiseq.heads.per_set import SetHead
    from multiseq.heads.per_vector import VectorHead
    from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
    from multiseq.heads.text_target import TextTarget
    from multiseq.model import Embedding, Model
    from multiseq.nn.attention import attend
    from multiseq.nn.encoder import Encoder
    from multiseq.pretrained.encoder import PretrainedEncoder
    from multiseq.results import Label, LabelSet, Number, Text
    from multiseq.runs.publish import push_to_hub
    from multiseq.starts.speech import pretrained_speech
    from multiseq.starts.text import pretrained_text
    from multiseq.streaming.stream import Stream
    from multiseq.tasks import Source, Task
    from multiseq.training.confidence import calibrate
    from multiseq.training.evaluation import Score, evaluate
    from multiseq.training.loop import train
    from multiseq.training.settings import Settings
    from multiseq.vectors import VectorSets
else:
    _HOMES = {
        "VectorSets": "multiseq.vectors",
        "attend": "multiseq.nn.attention",
        "Encoder": "multiseq.nn.encoder",
        "PretrainedEncoder": "multiseq.pretrained.encoder",
        "pretrained_text": "multiseq.starts.text",
        "pretrained_speech": "multiseq.starts.speech",
        "TextAdapter": "multiseq.adapters",
        "PretrainedTextAdapter": "multiseq.adapters",
        "SpeechAdapter": "multiseq.adapters",
        "GraphAdapter": "multiseq.adapters",
        "NeighborhoodAdapter": "multiseq.adapters",
        "FusedAdapter": "multiseq.adapters",
        "VectorHead": "multiseq.heads.per_vector",
        "SetHead": "multiseq.heads.per_set",
        "CTCHead": "multiseq.heads.ctc",
        "DecoderHead": "multiseq.heads.decoder",
        "JointHead": "multiseq.heads.joint",
        "ClassTarget": "multiseq.heads.targets",
        "MultiLabelTarget": "multiseq.heads.targets",
        "NumberTarget": "multiseq.heads.targets",
        "TextTarget": "multiseq.heads.text_target",
        "Task": "multiseq.tasks",
        "Source": "multiseq.tasks",
        "evaluate": "multiseq.training.evaluation",
        "calibrate": "multiseq.training.confidence",
        "save": "multiseq.checkpoint",
        "Model": "multiseq.model",
        "Ensemble": "multiseq.ensemble",
        "Stream": "multiseq.streaming.stream",
        "Embedding": "multiseq.model",
        "Label": "multiseq.results",
        "LabelSet": "multiseq.results",
        "Number": "multiseq.results",
        "Text": "multiseq.results",
        "Score": "multiseq.training.evaluation",
        "Settings": "multiseq.training.settings",
        "train": "multiseq.training.loop",
        "split": "multiseq.data.splits",
        "folds": "multiseq.data.splits",
        "load": "multiseq.checkpoint",
        "push_to_hub": "multiseq.runs.publish",
    }
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
