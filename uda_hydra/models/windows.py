"""Windows that cover an image."""

from __future__ import annotations


def starts(side: int, length: int, step: int) -> list[int]:
    """Where the windows along a side begin, ``step`` apart; the last one is moved to its end."""
    last = max(side - length, 0)
    return [*range(0, last, step), last]
