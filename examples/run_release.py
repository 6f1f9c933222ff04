"""Run a release on this machine and compare its answers with the golden ones.

Usage: python examples/run_release.py build/release/fashion-resnet8-1.0.0-arm64

Needs numpy and ai-edge-litert only, as a board would.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(folder: Path) -> int:
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    inputs = np.load(folder / "golden_inputs.npy")
    expected = np.load(folder / "golden_outputs.npy")

    interpreter = Interpreter(str(next(folder.glob("*.tflite"))), num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    output_index = interpreter.get_output_details()[0]["index"]

    outputs = []
    for sample in inputs:
        interpreter.set_tensor(input_index, sample[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(output_index)[0])
    same = int((np.array(outputs) == expected).all(axis=1).sum())

    scale, zero_point = model["output"]["scale"], model["output"]["zero_point"]
    scores = (np.array(outputs, np.float32) - zero_point) * scale
    for sample in range(3):
        best = int(scores[sample].argmax())
        print(f"sample {sample}: {model['labels'][best]} ({scores[sample][best]:.0%})")
    print(f"{same} of {len(expected)} golden outputs are equal to the bit")
    return 0 if same == len(expected) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
