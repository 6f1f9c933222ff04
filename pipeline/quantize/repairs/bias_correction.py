"""Bias correction: remove the mean of the error that quantization adds to each output channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.quantize.repairs.kernels import Kernel
    from pipeline.quantize.repairs.moments import Moments


def correct_bias(kernel: Kernel, quantized: NDArray[np.float32], found: Moments) -> NDArray[np.float32]:
    """Return the bias with which the int8 model's outputs have the float model's means.

    This is empirical bias correction (Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D; also
    Finkelstein et al. 2019, arXiv:1906.03193). Before the activation function, an output channel has the mean
    ``E[y] + b`` in the float model and ``q E[x]`` without its bias in the int8 model, with the inputs ``x``
    that this has once all kernels before it were corrected. So the new bias is ``b + E[y] - q E[x]``.

    Args:
        kernel: of the float model.
        quantized: the weights of the int8 model as real numbers, (groups, channels, products).
        found: moments of the kernel's inputs.

    Returns:
        Float32 (output channels,).
    """
    shift = found.outputs - np.einsum("gcp,gp->gc", quantized, found.inputs)
    corrected: NDArray[np.float32] = (kernel.bias + shift.ravel()).astype(np.float32)
    return corrected
