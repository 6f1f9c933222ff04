"""A signed release of a model that runs, and folders of this machine as devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy import device
from deploy.bundle import write_bundle
from deploy.keys import generate_key
from deploy.manifest import Manifest
from deploy.signing import sign

ROOT = "/this/device"
# adb's words on this machine: a serial is a folder beside the program, which the device calls /this/device.
ADB = f"""#!/bin/sh
here=$(dirname "$0")
if [ "$1" = devices ]; then
    echo "List of devices attached"
    for folder in "$here"/*/; do printf '%s\\tdevice\\n' "$(basename "$folder")"; done
    exit
fi
serial=$2
[ -d "$here/$serial" ] || {{ echo "error: device '$serial' not found" >&2; exit 1; }}
echo "$serial" >> "$here/log"
shift 2
case $1 in
features) echo shell_v2;;
shell) exec sh -c "$(printf '%s' "$3" | sed "s|{ROOT}|$here/$serial|g")";;
push) cp "$2" "$3";;
pull) cp "$2" "$3";;
esac
"""


@pytest.fixture(scope="session")
def signed_release(tmp_path_factory, tiny_tflite):
    """A function that writes a signed release of a model that runs: ``tiny`` in some version."""
    from ai_edge_litert.interpreter import Interpreter

    folder = tmp_path_factory.mktemp("releases")
    generate_key(folder / "release.key", folder / "release.pub")
    (folder / "model").write_bytes(tiny_tflite)
    golden = np.random.default_rng(0).integers(-128, 128, (4, 4, 4, 1)).astype(np.int8)
    interpreter = Interpreter(model_content=tiny_tflite, num_threads=1)
    interpreter.allocate_tensors()
    answers = []
    for sample in golden:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    programs = {name: Path(device.__file__).with_name(name).read_text() for name in device.FILES}
    steps = {"resize": None, "indices": False, "reverse_channels": False, "scale": [1 / 255], "offset": [0.0]}
    tensor = {"dtype": "int8", "zero_point": -128}

    def write(version="1.0.0", counter=1_000_000, wrong=0):
        path = folder / f"{counter}-{wrong}" / f"tiny-{version}-arm64"
        if path.exists():
            return path
        path.mkdir(parents=True)
        manifest = Manifest.model_validate(
            {
                "name": "tiny", "version": version, "target": "arm64", "counter": counter,
                "created": None, "expires": None, "devices": ["rpi4"],
                "machine": "any", "android_abi": "any", "format": "int8",
                "runtimes": [{"package": "ai-edge-litert", "least": "1.0.1"}],
                "inputs": [{"name": "image", "shape": [1, 4, 4, 1], "scale": 1 / 255, **tensor,
                            "preprocessing": steps}],
                "outputs": [{"name": "class", "shape": [1, 3], "scale": 1 / 256, **tensor,
                             "task": "classification", "logits": False}],
                "labels": ["a", "b", "c"], "tolerance_steps": 1, "golden": 4,
                "model": f"tiny-{version}-arm64.tflite", "files": {},
            }
        )  # fmt: skip
        arrays = {"golden_input_0": golden, "golden_output_0": np.stack(answers) + np.int8(wrong)}
        write_bundle(path, manifest, folder / "model", arrays, programs)
        sign(path, folder / "release.key")
        return path

    return write


@pytest.fixture
def adb_devices(tmp_path, monkeypatch):
    """A folder of devices: three of them."""
    folder = tmp_path / "devices"
    for serial in ("one", "two", "three"):
        (folder / serial).mkdir(parents=True)
    program = folder / "adb"
    program.write_text(ADB)
    program.chmod(0o755)
    monkeypatch.setenv("ADB", str(program))
    return folder
