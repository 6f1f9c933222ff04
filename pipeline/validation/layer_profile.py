"""What int8 does to each layer: the error of its outputs, and its values in float and in int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.errors import InputError
from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.simulation import dequantized, exact_constants, require_simulated
from pipeline.flatbuffer.weights import kernels
from pipeline.training_history import Histogram
from pipeline.validation.layer_errors import BINS, LayerError, grouped, layer_errors
from pipeline.validation.model_under_test import ModelUnderTest
from pipeline.validation.sensitivity import affordable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.flatbuffer import TfliteModel
    from pipeline.validation.layer_errors import Group
    from pipeline.validation.model_under_test import InputSpec

SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """One layer, or one of the model's inputs.

    Attributes:
        layer: its name in the user's model; of an input, its name.
        error: of its outputs; None if nothing that it gives to others is in steps.
        float_weights: of its largest kernel before it was rounded; None if that is unknown.
        weights: of the same kernel as int8 stores it; None without one.
    """

    layer: str
    error: LayerError | None
    float_weights: Histogram | None = None
    weights: Histogram | None = None


@dataclass(frozen=True, kw_only=True)
class LayerProfiles:
    """All layers, in the order of execution.

    Attributes:
        samples: on which the errors were measured.
        exact_weights: whether the errors include the rounding of weights: their float values are known.
        problem: why nothing was measured; "" if it was.
    """

    samples: int = 0
    exact_weights: bool = False
    layers: tuple[LayerProfile, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class ProfiledLayers(Artifact):
    """The profiles of a model's layers."""

    found: LayerProfiles


def profile_layers(
    model: Source,
    data: Dataset,
    original: Source | None = None,
    *,
    inputs: InputSpec,
    layers: dict[str, str],
    out: Path,
) -> ProfiledLayers:
    """Compare the layers of a model with the same operators in float, on test samples.

    Args:
        original: the float file that it was quantized from, if known.
        layers: as for ``user_layers``.

    Raises:
        StageError: a runtime crashed or hung.
    """
    flat = ModelUnderTest.of(model).flat
    try:
        require_simulated(flat, flat.description or "the model")
        exact = exact_constants(flat, ModelUnderTest.of(original).flat) if original else {}
    except InputError as error:
        return ProfiledLayers(folder=out, found=LayerProfiles(problem=str(error)))
    groups = grouped(flat, user_layers(flat, layers))
    samples = inputs.samples(data).choose(affordable(flat, 1, SAMPLES), inputs.seed)
    values = samples.model_inputs()
    errors = layer_errors(flat, exact, groups, values)
    return ProfiledLayers(
        folder=out,
        found=LayerProfiles(
            samples=len(values[0]),
            exact_weights=bool(exact),
            layers=tuple(
                LayerProfile(layer=group.layer, error=error, **_weights(flat, exact, group))
                for group, error in zip(groups, errors, strict=True)
            ),
        ),
    )


def _weights(
    flat: TfliteModel, exact: Mapping[int, NDArray[np.float32]], group: Group
) -> dict[str, Histogram | None]:
    """Return the histograms of a group's largest kernel, over one range."""
    of_group = [
        tensor
        for index, tensor in kernels(flat.subgraphs[0]).items()
        if index in group.operators and tensor.is_readable
    ]
    if not of_group:
        return {}
    kernel = max(of_group, key=lambda tensor: tensor.elements)
    rounded = dequantized(flat, kernel) if kernel.scales else flat.constant(kernel)
    before = exact.get(kernel.index)
    both = rounded if before is None else np.concatenate([rounded.ravel(), before.ravel()])
    reach = float(both.min()), float(both.max())

    def histogram(values: NDArray[np.float32]) -> Histogram:
        counts, edges = np.histogram(values, BINS, reach)
        return Histogram(
            layer=group.layer,
            of="weights",
            low=float(edges[0]),
            high=float(edges[-1]),
            counts=tuple(counts.tolist()),
        )

    return {"float_weights": None if before is None else histogram(before), "weights": histogram(rounded)}
