"""Sony's Model Compression Toolkit, in an environment of its own; nothing of this project.

Usage: python mct_script.py ROW CASE OUT.tflite SEED
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 32
GPTQ_EPOCHS = 50


def main() -> None:
    import keras
    import model_compression_toolkit as mct

    row, folder, written, seed = sys.argv[1], *map(Path, sys.argv[2:4]), int(sys.argv[4])
    keras.utils.set_random_seed(seed)
    model = keras.models.load_model(folder / "model.h5", compile=False)
    arrays = [np.load(file) for file in sorted(folder.glob("calibration_*.npy"))]

    def batches() -> Iterator[list[Any]]:
        for start in range(0, len(arrays[0]) - BATCH + 1, BATCH):
            yield [array[start : start + BATCH] for array in arrays]

    platform = mct.get_target_platform_capabilities(tpc_version="1.0", device_type="tflite")
    if row == "mct-gptq":
        config = mct.gptq.get_keras_gptq_config(n_epochs=GPTQ_EPOCHS, use_hessian_based_weights=False)
        found, _ = mct.gptq.keras_gradient_post_training_quantization(
            model, batches, gptq_config=config, target_platform_capabilities=platform
        )
    else:
        found, _ = mct.ptq.keras_post_training_quantization(
            model, batches, target_platform_capabilities=platform
        )
    mct.exporter.keras_export_model(
        found,
        str(written),
        serialization_format=mct.exporter.KerasExportSerializationFormat.TFLITE,
        quantization_format=mct.exporter.QuantizationFormat.INT8,
    )


if __name__ == "__main__":
    main()
