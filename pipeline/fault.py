"""Faults that are injected into running models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that was injected into a running model, and its outcome.

    Attributes:
        environment: where, e.g. ``"emulated board, cortex-a72, 2 cores, 512 MiB"``.
        action: what was done, e.g. ``"memory.max 40 MiB"``.
        outcome: the result, e.g. ``"killed by the kernel for memory"``.
        passed: whether the model behaved as it has to.
    """

    environment: str
    action: str
    outcome: str
    passed: bool
