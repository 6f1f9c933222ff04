"""What an engineer writes with TensorFlow and TF-MOT alone, after their tutorials; nothing of this project.

Usage: python keras_scripts.py ROW CASE OUT.tflite SEED

``CASE`` is a folder with the Keras model, the arrays and the settings; see ``cases.py``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TF-MOT needs Keras 2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


class Case:
    """The model, its data and how it is trained.

    Args:
        folder: of the case.
        seed: of the order of the training samples.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        import tf_keras

        tf_keras.utils.set_random_seed(seed)
        self.folder = folder
        self.settings: dict[str, Any] = json.loads((folder / "case.json").read_text())
        self.model = tf_keras.models.load_model(folder / "model.h5", compile=False)

    def arrays(self, name: str) -> list[NDArray[Any]]:
        """Return the arrays ``NAME_0.npy`` and so on: one for each input or output."""
        return [np.load(file) for file in sorted(self.folder.glob(f"{name}_*.npy"))]

    def losses(self) -> list[Any]:
        import tf_keras

        kinds = {
            "categorical": tf_keras.losses.CategoricalCrossentropy,
            "binary": tf_keras.losses.BinaryCrossentropy,
        }
        return [
            kinds[loss["name"]](from_logits=loss["from_logits"])
            if loss["name"] in kinds
            else tf_keras.losses.MeanSquaredError()
            for loss in self.settings["losses"]
        ]

    def steps(self, stage: str) -> int:
        """Return how many batches a stage of the training has."""
        plan = self.settings["training"][stage]
        return int(plan["epochs"] * -(-plan["samples"] // plan["batch_size"]))

    def fit(self, model: Any, stage: str, callbacks: tuple[Any, ...] = ()) -> None:
        """Train on the labels: Adam, its learning rate decaying to zero along a cosine."""
        import tf_keras

        plan = self.settings["training"][stage]
        rate = tf_keras.optimizers.schedules.CosineDecay(plan["learning_rate"], self.steps(stage))
        model.compile(tf_keras.optimizers.Adam(rate), loss=self.losses())
        rows = np.random.default_rng(0).permutation(len(self.arrays("y_train")[0]))[: plan["samples"]]
        inputs, targets = ([array[rows] for array in self.arrays(name)] for name in ("x_train", "y_train"))
        model.fit(
            inputs, targets, batch_size=plan["batch_size"], epochs=plan["epochs"], callbacks=list(callbacks),
            verbose=2,
        )  # fmt: skip


def converter_of(model: Any) -> Any:
    """Return the converter of a function with a fixed batch of 1, as a device infers."""
    import tensorflow as tf

    specs = [tf.TensorSpec((1, *x.shape[1:]), x.dtype, name=f"input_{i}") for i, x in enumerate(model.inputs)]
    function = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x), training=False))
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(*specs)], model)


def float_file(model: Any) -> bytes:
    return bytes(converter_of(model).convert())


def int8_file(model: Any, case: Case) -> bytes:
    """Convert to full-integer int8 with the calibration samples as the representative data set."""
    import tensorflow as tf

    converter = converter_of(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: representative(case)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def representative(case: Case) -> Iterator[Any]:
    arrays = case.arrays("calibration")
    for index in range(len(arrays[0])):
        sample = [array[index : index + 1] for array in arrays]
        yield {f"input_{i}": each for i, each in enumerate(sample)} if len(sample) > 1 else sample


def float_given(case: Case) -> bytes:
    """TFLiteConverter without optimizations."""
    return float_file(case.model)


def float_tuned(case: Case) -> bytes:
    """Fine-tuned in float on the labels with the settings of quantization-aware training."""
    case.fit(case.model, "quantize")
    return float_file(case.model)


def tflite_ptq(case: Case) -> bytes:
    """TFLiteConverter's post-training full-integer quantization."""
    return int8_file(case.model, case)


def tfmot_qat(case: Case) -> bytes:
    """``quantize_model``, training on the labels, conversion."""
    model = quantized(case.model)
    case.fit(model, "quantize")
    return int8_file(model, case)


def tfmot_prune_qat(case: Case) -> bytes:
    """``prune_low_magnitude``, training, ``strip_pruning``, sparsity-preserving QAT, training, conversion."""
    import tensorflow_model_optimization as tfmot

    pruned = prune(case)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    model = quantized(pruned, scheme)
    case.fit(model, "quantize")
    return int8_file(model, case)


def tfmot_prune_ptq(case: Case) -> bytes:
    """``prune_low_magnitude``, training, ``strip_pruning``, post-training quantization."""
    return int8_file(prune(case), case)


def quantized(model: Any, scheme: Any = None) -> Any:
    """Wrap the whole model for quantization-aware training, or the layers that TF-MOT supports."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    quantization = tfmot.quantization.keras
    schemes = [] if scheme is None else [scheme]
    try:
        return quantization.quantize_apply(quantization.quantize_annotate_model(model), *schemes)
    except (RuntimeError, ValueError) as error:
        print(f"not the whole model: {error}", flush=True)
    registry = quantization.default_8bit.Default8BitQuantizeRegistry()

    def annotate(layer: Any) -> Any:
        return quantization.quantize_annotate_layer(layer) if registry.supports(layer) else layer

    return quantization.quantize_apply(tf_keras.models.clone_model(model, clone_function=annotate), *schemes)


def prune(case: Case) -> Any:
    """Return the model trained with PolynomialDecay to the sparsity, in the layers with many weights.

    The sparsity rises in the first half of the training; the second half recovers the accuracy.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    plan = case.settings["training"]["prune"]
    sparsity = tfmot.sparsity.keras
    schedule = sparsity.PolynomialDecay(
        initial_sparsity=0.0, final_sparsity=plan["sparsity"], begin_step=0,
        end_step=case.steps("prune") // 2, frequency=20,
    )  # fmt: skip
    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    exempt = (tf_keras.layers.DepthwiseConv2D, tf_keras.layers.Conv2DTranspose)

    def wrap(layer: Any) -> Any:
        is_large = isinstance(layer, kinds) and np.prod(layer.kernel.shape) >= plan["min_kernel_weights"]
        if not is_large or isinstance(layer, exempt):
            return layer
        return sparsity.prune_low_magnitude(layer, pruning_schedule=schedule)

    wrapped = tf_keras.models.clone_model(case.model, clone_function=wrap)
    case.fit(wrapped, "prune", (sparsity.UpdatePruningStep(),))
    return sparsity.strip_pruning(wrapped)


SCRIPTS: dict[str, Callable[[Case], bytes]] = {
    "float": float_given,
    "float-tuned": float_tuned,
    "tflite-ptq": tflite_ptq,
    "tfmot-qat": tfmot_qat,
    "tfmot-prune-qat": tfmot_prune_qat,
    "tfmot-prune-ptq": tfmot_prune_ptq,
}


def main() -> None:
    row, folder, written, seed = sys.argv[1:]
    Path(written).write_bytes(SCRIPTS[row](Case(Path(folder), int(seed))))


if __name__ == "__main__":
    main()
