"""Vendor compilers: they turn a quantized .tflite into the file that one kind of target runs."""

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
    """Compile the model for the target; return the model itself if the target has no compiler.

    Args:
        step: runs a stage or returns its cached result.

    Raises:
        StageError: the compiler failed.
    """
    if target.compiler is None:
        return quantized
    return step(COMPILERS[target.compiler], quantized, target=target)
