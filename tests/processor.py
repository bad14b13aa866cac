"""The switch between the two kinds of processor: MULTISEQ_ONEDNN=1 or 0 says how all tests run.

Without it they run as the library does on this processor. Every test passes either way:

    MULTISEQ_ONEDNN=0 pytest && MULTISEQ_ONEDNN=1 pytest
"""

from __future__ import annotations

import os

__all__ = ["force"]


def force() -> None:
    """Take oneDNN for matrix products, and its layout of weights, or do not, where the switch is set."""
    chosen = os.environ.get("MULTISEQ_ONEDNN")
    if chosen is None:
        return
    if chosen not in ("0", "1"):
        raise ValueError(f"MULTISEQ_ONEDNN: got {chosen!r}, expected 0 or 1")
    from multiseq.nn import linear

    linear._is_faster = lambda: chosen == "1"
