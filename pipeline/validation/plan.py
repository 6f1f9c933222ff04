"""Which measurements there are; each gate's row says which of them it needs."""

from __future__ import annotations

from typing import Literal

Measurement = Literal[
    "accuracy",
    "cross-runtime",
    "devices",
    "parity",
    "shift",
    "stability",
    "faults",
    "latency",
    "regression",
    "board",
    "times",
    "operators",
    "layers",
]
"""No gate needs the last three: host times for each thread count, the cost of each operator, and the error of
each layer. They are measured if all gates are asked.
"""
