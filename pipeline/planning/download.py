"""How many zeros a download of a given size needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.download import compress
from pipeline.artifacts import Artifact
from pipeline.compress.weights_config import WeightsConfig
from pipeline.isolation.child import in_child
from pipeline.planning.untrained import pruned
from pipeline.quantize.metadata import METADATA_BYTES
from pipeline.quantize.tflite import untrained_files
from pipeline.training.keras_io import open_model, start_tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import KerasModel
    from pipeline.run import Run
    from pipeline.sections import MethodSection

HALVINGS = 5
MOST = 0.95
TRAINED = 1.03
"""Weights that were trained for quantization compress a little less."""


@dataclass(frozen=True, kw_only=True)
class NeededZeros(Artifact):
    """The share of zeros that a download needs; 0 if none, or if zeros alone cannot reach it."""

    share: float


def zeros_for_download(model: KerasModel, *, config: WeightsConfig, most: int, out: Path) -> NeededZeros:
    """Search for the least share of zeros with which the int8 file is small enough, without training.

    Args:
        config: says which weights may become zero.
        most: bytes of the download, metadata included.

    Raises:
        StageError: the model does not convert to int8.
    """
    start_tensorflow(0)

    def download(share: float) -> int:
        amount = config.model_copy(update={"sparsity": share})
        file = untrained_files(pruned(open_model(model.model), model, amount))[1]
        return round(TRAINED * len(compress(file))) + METADATA_BYTES

    if download(0.0) <= most:
        return NeededZeros(share=0.0)
    least = download(MOST)
    if least > most:
        note = (
            f"[gates] download_bytes: zeros alone do not reach {most:,} bytes: about {least:,} are left with "
            f"{MOST:.0%} of them; add channels or clusters to [[compress]]"
        )
        return NeededZeros(share=0.0, notes=(note,))
    low, high = 0.0, MOST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if download(middle) <= most else (middle, high)
    return NeededZeros(share=high)


def with_needed_zeros(
    settings: MethodSection, model: KerasModel, most: int | None, run: Run
) -> MethodSection:
    """Return a step's settings with the zeros that a limit of the download needs, if it searches for them.

    Args:
        most: bytes of the download; None: any.

    Raises:
        PipelineError: a stage could not finish.
    """
    if most is None or not isinstance(settings, WeightsConfig):
        return settings
    if settings.min_sparsity or not settings.is_searched:
        return settings
    needed = run.step(in_child(zeros_for_download), model, config=settings, most=most)
    return settings.model_copy(update={"min_sparsity": needed.share})
