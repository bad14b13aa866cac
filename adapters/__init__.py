"""Adapters: from raw text, audio and graphs to vector sets; one file for each modality.

The files lie in `adapters/` at the top of the repository and are imported as `multiseq.adapters`.
"""

from typing import TYPE_CHECKING

if __name__ != "multiseq.adapters":
    # A class imported under two names is two classes, and isinstance() between them is false.
    raise ImportError(
        f"this package was imported as {__name__!r}, but its name is 'multiseq.adapters': "
        "write `import multiseq.adapters`"
    )

from multiseq._lazy import lazy_names

__all__ = ["TextAdapter", "SpeechAdapter", "GraphAdapter", "NeighborhoodAdapter", "FusedAdapter"]

if TYPE_CHECKING:
    from multiseq.adapters.fused import FusedAdapter
    from multiseq.adapters.graph import GraphAdapter
    from multiseq.adapters.neighborhood import NeighborhoodAdapter
    from multiseq.adapters.speech import SpeechAdapter
    from multiseq.adapters.text import TextAdapter
else:
    _HOMES = {
        "TextAdapter": "multiseq.adapters.text",
        "SpeechAdapter": "multiseq.adapters.speech",
        "GraphAdapter": "multiseq.adapters.graph",
        "NeighborhoodAdapter": "multiseq.adapters.neighborhood",
        "FusedAdapter": "multiseq.adapters.fused",
    }
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
