"""Training of weights that share values."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.training.kernels import Kernel, kernels_of
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pipeline.compress.codebooks import Codebooks


class Sharing(NamedTuple):
    """How the weights of a kernel share values.

    Attributes:
        codes: int32, of the kernel's shape: weights of one code share their value.
        fixed: bool (values,), those that are not trained.
    """

    codes: NDArray[np.int32]
    fixed: NDArray[np.bool_]

    @classmethod
    def of(cls, books: Codebooks, kernel: Kernel) -> Sharing:
        """Return the sharing of codebooks whose codes are in the order of the kernel's columns."""
        codes = books.codes.reshape(kernel.columns().shape)
        return cls(kernel.in_shape(codes), books.fixed)

    def averaged(self, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a kernel with the mean of the weights of each code in their place; fixed ones as zero."""
        codes, count = self.codes.ravel(), len(self.fixed)
        sums = np.bincount(codes, kernel.ravel().astype(np.float64), minlength=count)
        means = np.where(self.fixed, 0.0, sums / np.bincount(codes, minlength=count))
        return np.asarray(means[self.codes], np.float32)


@cache
def _shared_kernel() -> Any:
    tf = tensorflow()
    import tf_keras

    class SharedKernel(tf_keras.layers.Wrapper):  # type: ignore[misc]
        """Train the values that the weights of a layer's kernel share, instead of single weights.

        The gradient of a value is the sum of the gradients of its weights (Han et al., 2016,
        arXiv:1510.00149, section 3.2). The kernel stays the variable, and each weight gets the gradient of
        its value, so that weights that are equal stay equal under an optimizer that treats each of them
        alike.
        """

        def __init__(self, layer: Any, sharing: Sharing) -> None:
            super().__init__(layer, name=layer.name)
            self.sharing = sharing

        def call(self, inputs: Any) -> Any:
            [kernel] = kernels_of(self.layer)
            attribute = next(key for key, value in self.layer.__dict__.items() if value is kernel.variable)
            # Past Keras's own assignment, which would look for a new weight in it.
            self.layer.__dict__[attribute] = self._with_sums(tf.convert_to_tensor(kernel.variable))
            try:
                return self.layer(inputs)
            finally:
                self.layer.__dict__[attribute] = kernel.variable

        def _with_sums(self, kernel: Any) -> Any:
            codes = tf.constant(self.sharing.codes)
            trained = tf.constant(~self.sharing.fixed, kernel.dtype)

            @tf.custom_gradient  # type: ignore[untyped-decorator]
            def shared(weights: Any) -> Any:
                def gradient(of_weights: Any) -> Any:
                    sums = tf.math.unsorted_segment_sum(of_weights, codes, len(self.sharing.fixed))
                    return tf.gather(sums * trained, codes)

                return tf.identity(weights), gradient

            return shared(kernel)

    return SharedKernel


def with_shared_weights(model: Any, sharing: Mapping[str, Sharing]) -> Any:
    """Return a copy of ``model`` that trains shared values in the kernels of some layers, by name.

    Its weights are in the order of those of ``model``.
    """
    import tf_keras

    wrap = _shared_kernel()

    def clone(layer: Any) -> Any:
        twin = layer.__class__.from_config(layer.get_config())
        return wrap(twin, sharing[layer.name]) if layer.name in sharing else twin

    copy = tf_keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy
