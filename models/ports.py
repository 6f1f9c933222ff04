"""Inputs and outputs of a model, as far as they matter for data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        name: of the InputLayer, or of the layer that gives the output.
        shape: of one sample, without the batch; None is an open length.
        dtype: ``"float32"``, or an integer's for an input that takes indices.
        integers: whether an input of numbers has an integer dtype in the model, so that raw values go in as
            they are: pixels of uint8.
        activation: what the last layer applies to an output: ``"softmax"``, ``"sigmoid"``, ``"linear"``, ...;
            ``""`` where that is unknown, and for inputs.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    activation: str = ""
    integers: bool = False

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape, where no length is open any more."""
        return tuple(length or 1 for length in self.shape)


def classes_of(output: Port) -> int | None:
    """Return how long an output's last axis is; None if that is open."""
    return output.shape[-1] if output.shape else 1


def describe(output: Port) -> str:
    """Return a few words for an output, such as ``one sigmoid output`` or ``4 softmax outputs``."""
    kind = f"{output.activation} " if output.activation else ""
    if output.shape in ((), (1,)):
        return f"one {kind}output"
    if len(output.shape) == 1 and output.shape[0] is not None:
        return f"{output.shape[0]} {kind}outputs"
    sizes = " x ".join("any" if length is None else str(length) for length in output.shape)
    return f"{sizes} {kind}outputs"
