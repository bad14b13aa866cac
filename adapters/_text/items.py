"""What text adapters share: how users write a text, and how a text is shown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiseq.adapters._text.words import bag_of_words
from multiseq.protocols import Level, Mark, Part

__all__ = ["TextItems"]


class TextItems:
    """Methods of adapters whose items are strings or lists of words, and whose examples have ``names``."""

    quick_to_prepare = True
    warned = False
    """Whether the warning about texts that are cut was given."""
    json_form = '"I saw it" or {"text": "I saw it"}'

    def warn_of_windows(self, total: int, what: str, window: int, num: int, overlap: int = 0) -> None:
        """Warn, for the first text that is cut, how long it is and into how many windows it is cut."""
        if self.warned or num < 2:
            return
        self.warned = True
        overlapping = f"that overlap by {overlap:,} {what}s" if overlap else "one after another"
        warnings.warn(
            f"a text has {total:,} {what}s, and the model reads {window:,} at once: texts as long as this "
            f"are cut into windows (this one into {num:,}) {overlapping}, and their predictions are joined",
            stacklevel=3,
        )

    def names(self, example: Any) -> list[str]:
        """The words, or the texts of the pieces."""
        return list(example.names)

    def spellings(self, example: Any) -> list[str]:
        """The words or pieces, which a decoder may copy."""
        return list(example.names)

    def content(self, item: Any) -> Any:
        """The item itself: the text, or the list of words."""
        return item

    def parse(self, text: str, folder: Path) -> str:
        """Parse an argument of the command line: the text is the item."""
        return text

    @staticmethod
    def stand_in(item: Any) -> str:
        """A short stand-in for a long text in an example of a command."""
        return "YOUR TEXT"

    def show(
        self, item: Any, examples: Sequence[Any], marks: Sequence[Mark], focus: int | None
    ) -> list[Part]:
        """The text. If its vectors have labels, nothing: then they are shown as words with labels."""
        return [] if marks else [item if isinstance(item, str) else " ".join(item)]

    def baseline_vectors(self, example: Any) -> Sequence[str]:
        """The words, or the texts of the pieces."""
        names: Sequence[str] = example.names
        return names

    def baseline_item(self, item: Any, examples: Sequence[Any], level: Level) -> list[str]:
        """The bag of words of the text."""
        return bag_of_words(item if isinstance(item, str) else " ".join(item))
