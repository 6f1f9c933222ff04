"""Settings of selective precision."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from pipeline.sections import Section

AUTO = "auto"


class PrecisionConfig(Section):
    """Layers that compute in a wider format than int8.

    Attributes:
        layers: names of Keras layers, also with the wildcards ``*`` and ``?``; "auto" for the cheapest ones
            with which the model passes the accuracy gates on held-out samples; none for int8 throughout.
        width: their format; "auto" for the one with the fewest instructions, then bytes, that is right on
            the target's runtimes. "int16" has int8 weights and int16 activations (16x8).
    """

    layers: tuple[str, ...] = ()
    width: Literal["auto", "float16", "float32", "int16"] = "auto"

    @property
    def searches(self) -> bool:
        """Whether the layers are to be found."""
        return self.layers == (AUTO,)

    @field_validator("layers")
    @classmethod
    def _check_auto(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        if AUTO in layers and len(layers) > 1:
            msg = '"auto" stands alone; leave out the other layers'
            raise ValueError(msg)
        return layers
