"""Capabilities of runtimes and requirements of their packages; measurements depend only on these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.runtimes.messages import Placement
    from pipeline.targets import Package

SILENCE_S = 180.0
SLOW_SILENCE_S = 900.0
"""Seconds without a sign of life after which a worker counts as hung: many times what it needs, since other
processes may keep the cores busy. Emulated cores and devices are slow."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Capabilities of a runtime.

    Attributes:
        times: whose latency its clock measures, this host's or a device's; None if its times mean nothing.
        counts: whether it counts instructions.
        batches: whether several samples may go into a model at a time.
        delegates: placements that nodes may have besides ``"builtin"``.
        limits: whether limits of this host's kernel on the worker act on the model, not on an emulator.
        workers: how many may run at a time; None for as many as there are cores.
        silence_s: seconds without a sign of life after which a worker counts as hung.
    """

    delegates: tuple[Placement, ...]
    times: Literal["host", "device"] | None = None
    counts: bool = False
    batches: bool = True
    limits: bool = False
    workers: int | None = None
    silence_s: float = SILENCE_S


@dataclass(frozen=True, kw_only=True)
class RuntimePackage:
    """A package that runs models.

    Attributes:
        distribution: its name on PyPI.
        delegates: as in ``Capabilities``, on a 64-bit processor.
        numpy_below: the first major version of numpy that it does not work with; None if it works with all.
        reference_bits: whether devices return the bits of TFLite's reference kernels, which need not be this
            host's, instead of the host's.
    """

    distribution: str
    delegates: tuple[Placement, ...]
    numpy_below: int | None = None
    reference_bits: bool = False


PACKAGES: dict[Package, RuntimePackage] = {
    "litert": RuntimePackage(distribution="ai-edge-litert", delegates=("xnnpack-int8", "xnnpack-float")),
    "tflite-runtime": RuntimePackage(
        distribution="tflite-runtime", delegates=("xnnpack-float",), numpy_below=2, reference_bits=True
    ),
}
"""In order of preference, for devices with several."""
