"""litert-quantizer's static int8 of a float .tflite, in an environment of its own; nothing of this project.

Usage: python litert_script.py ROW CASE OUT.tflite SEED
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    folder, written = map(Path, sys.argv[2:4])
    model = folder / "float.tflite"
    [name] = Interpreter(str(model)).get_signature_list() or [None]
    runner = Interpreter(str(model)).get_signature_runner(name)
    names = list(runner.get_input_details())
    arrays = [np.load(file) for file in sorted(folder.glob("calibration_*.npy"))]
    given: dict[str, Any] = dict(zip(sorted(names), arrays, strict=True))
    samples = [
        {name: values[index : index + 1] for name, values in given.items()} for index in range(len(arrays[0]))
    ]
    quantizing = quantizer.Quantizer(str(model), recipe.static_wi8_ai8())
    calibrated = quantizing.calibrate({name: samples})
    written.write_bytes(bytes(quantizing.quantize(calibrated).quantized_model))


if __name__ == "__main__":
    main()
