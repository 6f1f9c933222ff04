"""Statistics of batch normalizations after a change of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.samples import Samples

NORM_SAMPLES = 256


def estimate_norms(network: Any, samples: Samples) -> None:
    """Estimate the statistics of the batch normalizations again, whose inputs have lost some summands.

    The moving averages would need hundreds of training steps for it.
    """
    import tf_keras

    norms = [each for each in network.layers if isinstance(each, tf_keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    inputs = samples.choose(NORM_SAMPLES, seed=0).model_inputs()
    network(inputs[0] if len(inputs) == 1 else inputs, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
