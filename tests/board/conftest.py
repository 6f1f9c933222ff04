"""The emulated board, provisioned once for all tests, and a small model to run on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from deploy.transports.ssh import SshAddress
    from pipeline.emulation.board.board import Board
    from pipeline.emulation.board.image import BoardImage


@pytest.fixture(scope="session")
def image() -> BoardImage:
    from pipeline.emulation.board.provisioning import provision_image

    return provision_image()


@pytest.fixture(scope="session")
def board(image: BoardImage, openssh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """One board for all tests, over ssh and adb, with a disk that outlives its power."""
    from pipeline.emulation.board.board import Board
    from pipeline.targets import get_device

    assert image.adb.is_file()
    assert openssh.is_dir()
    disk = tmp_path_factory.mktemp("disk") / "lasting.ext4"
    with Board(get_device("rpi4"), adb=True, disk=disk) as board:
        yield board


@pytest.fixture(scope="session")
def adb_server(image: BoardImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An adb server for the tests alone, which ``adb_program()`` then uses; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADB", str(image.adb))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        home = {**os.environ, "HOME": str(tmp_path_factory.mktemp("home"))}  # where it keeps its key
        subprocess.run([image.adb, "start-server"], env=home, capture_output=True, check=True, timeout=60)
        yield port
        subprocess.run([image.adb, "kill-server"], capture_output=True, check=True, timeout=60)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 model of two layers: (n, 8, 8, 1) to (n, 3)."""
    from pipeline.training.tfmot import tensorflow

    tf = tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    net = tf_keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    converter.representative_dataset = lambda: (
        [rng.uniform(-1, 1, (1, 8, 8, 1)).astype(np.float32)] for _ in range(16)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = tmp_path_factory.mktemp("board") / "tiny.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter's own
        path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="session")
def inputs() -> list[NDArray[Any]]:
    return [np.random.default_rng(1).integers(-128, 128, (80, 8, 8, 1)).astype(np.int8)]


@pytest.fixture(scope="session")
def write_release(model: Path) -> Callable[..., Path]:
    """A function that writes a release of ``model`` for a board, unsigned; returns its folder.

    ``flip`` spoils its golden answers.
    """
    from ai_edge_litert.interpreter import Interpreter

    from deploy import device
    from deploy.bundle import release_name, write_bundle
    from deploy.device.observe import Observer
    from deploy.device.unit import service_unit
    from deploy.manifest import Manifest

    def write(folder: Path, name: str, version: str, *, flip: int = 0) -> Path:
        interpreter = Interpreter(str(model), num_threads=1)
        interpreter.allocate_tensors()
        ports = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        golden = np.random.default_rng(3).integers(-128, 128, (8, 8, 8, 1)).astype(np.int8)
        found = []
        for sample in golden:
            interpreter.set_tensor(ports[0]["index"], sample[np.newaxis])
            interpreter.invoke()
            found.append(interpreter.get_tensor(ports[1]["index"])[0])
        answers = np.stack(found).astype(np.int8)
        steps = {
            "resize": None, "indices": False, "reverse_channels": False, "scale": [1.0], "offset": [0.0]
        }  # fmt: skip
        kinds = {"image": {"preprocessing": steps}, "class": {"task": "regression", "logits": False}}
        image, output = (
            {
                "name": name,
                "shape": [int(size) for size in port["shape"]],
                "dtype": "int8",
                "scale": float(port["quantization"][0]),
                "zero_point": int(port["quantization"][1]),
                "range": None,
                **more,
            }
            for (name, more), port in zip(kinds.items(), ports, strict=True)
        )
        full_name = release_name(name, version, "arm64")
        about = {"name": name, "version": version, "target": "arm64", "inputs": [image], "outputs": [output]}
        facts = about | {
            "counter": int(version.replace(".", "")),
            "created": None,
            "expires": None,
            "devices": ["rpi4"],
            "machine": "aarch64",
            "android_abi": "arm64-v8a",
            "runtimes": [{"package": "ai-edge-litert", "least": "1.0.1"}],
            "format": "int8",
            "labels": [],
            "tolerance_steps": 1,
            "golden": len(golden),
            "model": f"{full_name}.tflite",
            "files": {},
        }
        manifest = Manifest.model_validate_json(json.dumps(facts))
        observer = Observer(about)
        for sample, answer in zip(golden, answers, strict=True):
            observer.see([sample[np.newaxis]], [answer[np.newaxis]])
        texts: dict[str, str | bytes] = {
            file: Path(device.__file__).with_name(file).read_bytes() for file in device.FILES
        }
        texts |= {
            f"{name}.service": service_unit(manifest),
            "baseline.json": json.dumps(observer.statistics()),
        }
        arrays = {"golden_input_0": golden, "golden_output_0": answers ^ flip}
        (release := folder / full_name).mkdir(parents=True)
        write_bundle(release, manifest, model, arrays, texts)
        return release

    return write


@pytest.fixture
def pi(board: Board) -> SshAddress:
    """The board as its ordinary user ``pi`` reaches it, who may write to the own home alone."""
    make = (
        "grep -q ^pi: /etc/passwd || echo pi:x:1000:1000::/home/pi:/bin/bash >> /etc/passwd; "
        "mkdir -p /home/pi && chown 1000:1000 /home/pi && chmod 755 /run/board /data/local/tmp && "
        "chmod 644 /run/board/authorized_keys"
    )
    made = board.run(["sh", "-c", make])
    assert made.status == 0, made.err
    return replace(board.address, user="pi")
