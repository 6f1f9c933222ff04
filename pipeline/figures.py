"""Numbers for people: how two of them compare, and times with digits that mean something."""

from __future__ import annotations

SAME = 0.0005
"""A relative difference that no figure shows."""
MIN_TIMES = 1.1
"""Factors from which a change is "1.1x", and below which it is in per cent."""


def compared(ratio: float, less: str, more: str, digits: int = 2) -> str:
    """Return how a figure differs from its reference: "3.09x fewer", "26x larger", "0.3 % more" or "equal".

    Args:
        ratio: the reference divided by the figure.
        less: the word if the figure is the lower one, such as "smaller".
        more: the word if it is the higher one.
        digits: decimal places of a factor below 10.
    """
    factor, word = (ratio, less) if ratio >= 1 else (1 / ratio, more)
    if factor >= MIN_TIMES:
        return f"{factor:,.{0 if factor >= 10 else digits}f}x {word}"
    share = abs(1 / ratio - 1)
    return "equal" if share < SAME else f"{share * 100:.1f} % {word}"


def microseconds(value: float) -> str:
    """Return a time with two significant digits or more, such as "0.45", "7.1", "12.3" and "1,234"."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
