"""Vendor compilers: a step from a quantized .tflite to the file that one kind of target runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.artifacts import QuantizedModel
    from pipeline.targets import Target

COMPILERS: dict[str, Callable[..., QuantizedModel]] = {}
"""Stages ``(quantized, *, target, out) -> QuantizedModel``, by the name in a row of ``targets.toml``."""


def compile_for(
    target: Target, quantized: QuantizedModel, step: Callable[..., QuantizedModel]
) -> QuantizedModel:
    """Return the model as the target's compiler makes it, or the model itself if the target has no compiler.

    Args:
        step: runs a stage, or finds what it made before.

    Raises:
        StageError: the compiler failed.
    """
    if target.compiler is None:
        return quantized
    return step(COMPILERS[target.compiler], quantized, target=target)
