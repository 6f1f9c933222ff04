"""Random variations of training samples, as the configuration declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StageError
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.artifacts import ModelArtifact
    from pipeline.training_config import AugmentationConfig

    Arrays = list[NDArray[Any]]

STAGE = "training"


def check_augmentation(model: ModelArtifact, config: AugmentationConfig) -> None:
    """Reject variations that would make targets wrong.

    Raises:
        StageError: positions of the input would move and those of the target would not, or an input that is
            to be moved is not an image, or none is of real numbers.
    """
    problem = ""
    if config.moves and any(TASKS[task].aim is None or _has_positions(task) for task in model.tasks):
        tasks = ", ".join(model.tasks)
        problem = f"mirror and shift suit targets that are classes of whole images, not the task {tasks}"
    elif config.moves and not any(len(port.shape) == 3 for port in model.inputs):
        problem = "mirror and shift need an input of images (height, width, channels)"
    elif config.noise and all(transform.indices for transform in model.preprocessing):
        problem = "noise does not suit inputs of indices"
    if problem:
        raise StageError(STAGE, problem, "remove it from training.augmentation")


def augmented(
    inputs: Arrays, model: ModelArtifact, config: AugmentationConfig, rng: np.random.Generator
) -> Arrays:
    """Return variations of a batch of the model's inputs, (n, ...) each, in the same dtypes.

    Args:
        rng: draws for each sample.
    """
    found = []
    for values, transform in zip(inputs, model.preprocessing, strict=True):
        varied = values
        if values.ndim == 4:
            varied = _shifted(_mirrored(varied, config.mirror, rng), config.shift, rng)
        if config.noise and not transform.indices:
            noise = rng.normal(0, config.noise * float(values.std()), values.shape)
            varied = (varied + noise).astype(values.dtype)
        found.append(varied)
    return found


def _mirrored(images: NDArray[Any], mirror: str, rng: np.random.Generator) -> NDArray[Any]:
    """Mirror each image (n, height, width, channels) with a probability of one half for each axis."""
    for axis, names in ((2, ("horizontal", "both")), (1, ("vertical", "both"))):
        if mirror in names:
            chosen = rng.random(len(images)) < 0.5
            images = np.where(chosen[:, None, None, None], np.flip(images, axis), images)
    return images


def _shifted(images: NDArray[Any], pixels: int, rng: np.random.Generator) -> NDArray[Any]:
    """Move each image by up to so many pixels in each direction, and repeat its border."""
    if not pixels:
        return images
    count, height, width, _ = images.shape
    moves = rng.integers(-pixels, pixels + 1, (2, count, 1))
    rows = np.clip(np.arange(height) + moves[0], 0, height - 1)
    columns = np.clip(np.arange(width) + moves[1], 0, width - 1)
    moved: NDArray[Any] = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def _has_positions(task: str) -> bool:
    """Return whether a target has places of its own that would have to move with the input."""
    return TASKS[task].has_positions or TASKS[task].located or not TASKS[task].of_classes
