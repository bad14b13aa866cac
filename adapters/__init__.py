"""Adapters turn raw text, audio and graphs into vector sets. Each modality has its own file.

The files are in the folder `adapters/` at the top of the repository. Import them as `multiseq.adapters`.
"""

from typing import TYPE_CHECKING

if __name__ != "multiseq.adapters":
    # If a class is imported under two module names, Python makes two classes and isinstance() fails.
    raise ImportError(
        f"this package was imported as {__name__!r}, but its name is 'multiseq.adapters': "
        "write `import multiseq.adapters`"
    )

from multiseq._lazy import lazy_names

__all__ = [
    "TextAdapter",
    "PretrainedTextAdapter",
    "SpeechAdapter",
    "GraphAdapter",
    "NeighborhoodAdapter",
    "FusedAdapter",
]

if TYPE_CHECKING:
    from multiseq.adapters.fused import FusedAdapter
    from multiseq.adapters.graph import GraphAdapter
    from multiseq.adapters.neighborhood import NeighborhoodAdapter
    from multiseq.adapters.pretrained_text import PretrainedTextAdapter
    from multiseq.adapters.speech import SpeechAdapter
    from multiseq.adapters.text import TextAdapter
else:
    _HOMES = {
        "TextAdapter": "multiseq.adapters.text",
        "PretrainedTextAdapter": "multiseq.adapters.pretrained_text",
        "SpeechAdapter": "multiseq.adapters.speech",
        "GraphAdapter": "multiseq.adapters.graph",
        "NeighborhoodAdapter": "multiseq.adapters.neighborhood",
        "FusedAdapter": "multiseq.adapters.fused",
    }
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
