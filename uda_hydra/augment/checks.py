"""What the options of an augmentation may be; ValueError names the key."""

from __future__ import annotations

from numbers import Real


def check(name: str, holds: bool, wanted: str, value: object) -> None:
    """Raise ValueError unless an option is what is ``wanted``."""
    if not holds:
        raise ValueError(f"augmentation.{name} must be {wanted}, got {value}")


def check_probabilities(**values: float) -> None:
    """Each in [0, 1]."""
    for name, value in values.items():
        check(name, 0 <= value <= 1, "a probability, 0 to 1", value)


def check_ranges(**spans: list[float] | None) -> None:
    """Each from a smallest to a largest number, or None."""
    for name, span in spans.items():
        ordered = span is None or (_are(Real, span) and 0 < span[0] <= span[1])
        check(name, ordered, "[smallest, largest], both positive", span)


def check_sizes(**sizes: list[int] | None) -> None:
    """Each a width and a height in pixels, or None."""
    for name, size in sizes.items():
        fits = size is None or (_are(int, size) and min(size) > 0)
        check(name, fits, "[width, height] in pixels", size)


def _are(kind: type, pair: list) -> bool:
    return len(pair) == 2 and all(isinstance(value, kind) for value in pair)
