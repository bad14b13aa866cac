"""Pictures and sounds: how an adapter shows an item to people, on the page that `multiseq report` writes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mark", "Part", "Picture", "Sound"]


@dataclass(frozen=True, slots=True)
class Mark:
    """The label and the prediction of one vector, to be shown with an item.

    Args:
        name: What the vector stands for: a word, a time, an atom.
        label: The true label as a text; empty if it has none.
        predicted: The prediction as a text.
        wrong: Whether they differ. A vector without a label is not wrong.
    """

    name: str
    label: str
    predicted: str
    wrong: bool

    @property
    def text(self) -> str:
        """Both in one text: ``NOUN`` if they agree or there is no label, otherwise ``NOUN → VERB``."""
        return f"{self.label} → {self.predicted}" if self.wrong else self.predicted


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing.

    Args:
        svg: The ``<svg>`` element. A page shows it as an image, so nothing in it can run.
        text: What it shows, for those who cannot see it.
    """

    svg: str
    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording.

    Args:
        data: The content of a sound file.
        kind: Its media type, for example ``audio/flac``.
        text: What it is.
    """

    data: bytes
    kind: str
    text: str


Part = str | Picture | Sound
"""What an item is shown as: a list of texts, drawings and recordings."""
