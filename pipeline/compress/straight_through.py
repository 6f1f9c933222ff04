"""Training with quantized weights and activations: the straight-through estimator.

Rounding has no useful gradient. The gradient with respect to the rounded value is taken for that with respect
to the value itself (Bengio et al., 2013, arXiv:1308.3432).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.compress import quantizers
from pipeline.training.kernels import kernels_of
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.samples import Samples
    from pipeline.training.kernels import Kernel

RANGE_SAMPLES = 64
MIN_HIGH = 1e-6  # fake quantization needs a range that is not empty


class LatentKernel:
    """The float weights behind the quantized ones of a kernel, which are what is trained."""

    def __init__(self, kernel: Kernel, bits: int | str, spans_all: bool, pruned: bool) -> None:
        """Quantize the kernel.

        Args:
            kernel: is quantized whenever the optimizer is not at work.
            bits: 2 to 8, "ternary" or "binary"; with 8 only pruned weights are restored.
            spans_all: whether the scales span all weights; else they have the least squared error.
            pruned: whether weights that are zero must stay zero.
        """
        self._kernel, self._bits, self._spans_all = kernel, bits, spans_all
        self._latent = kernel.columns()
        self._kept = self._latent != 0 if pruned else None
        self._scales = quantizers.mse_scales(self._latent, bits) if isinstance(bits, int) else None
        self._quantize()

    def update(self) -> None:
        """Apply the optimizer's update of the quantized weights to the latent ones, and quantize again."""
        self._latent += self._kernel.columns() - self._quantized
        if self._kept is not None:
            self._latent *= self._kept
        self._quantize()

    def _quantize(self) -> None:
        self._quantized = self._levels().weights
        self._kernel.assign(self._quantized)

    def _levels(self) -> quantizers.Levels:
        if self._bits == "binary":
            return quantizers.binary(self._latent)
        if self._bits == "ternary":
            return quantizers.ternary(self._latent, self._kept)
        assert isinstance(self._bits, int)
        assert self._scales is not None
        if self._bits == quantizers.INT8:
            return quantizers.Levels(self._latent, np.ones_like(self._scales))
        if self._spans_all:
            self._scales = quantizers.max_scales(self._latent, self._bits)
        else:  # one step of the search in each step of the training, from where the last one ended
            codes = quantizers.uniform(self._latent, self._scales, self._bits).codes
            self._scales = quantizers.refitted(self._latent, codes, self._scales)
        return quantizers.uniform(self._latent, self._scales, self._bits)


def updating(kernels: Iterable[LatentKernel]) -> Any:
    """Return a Keras callback that updates latent weights after every batch.

    The optimizer sees gradients with respect to quantized weights. The update of Adam does not depend on the
    weights themselves, so added to the latent ones it is what BinaryConnect does (Courbariaux et al., 2015,
    arXiv:1511.00363, algorithm 1).
    """
    import tf_keras

    kernels = tuple(kernels)

    def update(batch: int, logs: Any) -> None:
        for kernel in kernels:
            kernel.update()

    return tf_keras.callbacks.LambdaCallback(on_batch_end=update)


def keeping_zeros(network: Any, names: Iterable[str]) -> Any:
    """Return a Keras callback that sets weights of pruned layers back to zero after every batch.

    Args:
        names: of the layers; what is zero in their kernels now stays zero.
    """
    return updating(
        LatentKernel(kernel, quantizers.INT8, spans_all=False, pruned=True)
        for name in names
        for kernel in kernels_of(network.get_layer(name))
    )


@cache
def _rounded_output() -> Any:
    tf = tensorflow()
    import tf_keras

    class RoundedOutput(tf_keras.layers.Wrapper):  # type: ignore[misc]
        """Round the output of a layer, which is never negative, to levels of a trained range.

        The range is trained as in PACT (Choi et al., 2018, arXiv:1805.06085): its end gets the gradients of
        the values above it. ``quantizers.rounded_activations`` has the arithmetic.
        """

        def __init__(self, layer: Any, bits: int, high: float) -> None:
            super().__init__(layer, name=layer.name)
            self.bits, self.first_high = bits, high

        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.high = self.add_weight(
                "high",
                shape=(),
                initializer=tf_keras.initializers.Constant(self.first_high),
                constraint=lambda high: tf.maximum(high, MIN_HIGH),
            )

        def call(self, inputs: Any) -> Any:
            outputs = self.layer(inputs)
            return tf.quantization.fake_quant_with_min_max_vars(outputs, 0.0, self.high, num_bits=self.bits)

    return RoundedOutput


def with_rounded_outputs(model: Any, bits: Mapping[str, int], samples: Samples, seed: int) -> Any:
    """Return a copy of ``model`` that rounds the outputs of some layers.

    Args:
        bits: of each layer whose output is to be rounded.
        samples: to start with ranges of least squared error.
    """
    import tf_keras

    chosen = samples.choose(RANGE_SAMPLES, seed).model_inputs()
    probe = tf_keras.Model(model.inputs, [model.get_layer(name).get_output_at(0) for name in bits])
    found = probe.predict_on_batch(chosen[0] if len(chosen) == 1 else chosen)
    observed = dict(zip(bits, found if len(bits) > 1 else [found], strict=True))
    wrap = _rounded_output()

    def clone(layer: Any) -> Any:
        twin = layer.__class__.from_config(layer.get_config())
        if layer.name not in bits:
            return twin
        high = quantizers.mse_high(observed[layer.name], bits[layer.name])
        return wrap(twin, bits[layer.name], max(high, MIN_HIGH))

    copy = tf_keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        unwrapped(copy.get_layer(layer.name)).set_weights(layer.get_weights())
    return copy


def unwrapped(layer: Any) -> Any:
    """Return the layer inside, if its output is rounded."""
    return layer.layer if isinstance(layer, _rounded_output()) else layer


def trained_highs(model: Any) -> dict[str, float]:
    """Return the end of the range of each rounded output, by the layer's name."""
    return {layer.name: float(layer.high) for layer in model.layers if isinstance(layer, _rounded_output())}
