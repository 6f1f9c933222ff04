"""A full-integer .tflite of two kilobytes, built from the schema, and this machine as a device over ssh."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from counting import ABOUT, INPUT, OUTPUT, counted, draw

from deploy.manifest import Manifest, digest_of, write_manifest
from deploy.monitor.measures import null_of

Edit = Callable[[Any], None]

# Two of the convolution's 36 weights are zero, and half of the dense layer's 192.
CONV_KERNEL = np.where(np.arange(36) % 18 == 0, 0, np.arange(36) % 7 + 1).astype(np.int8).reshape(4, 3, 3, 1)
DENSE_KERNEL = np.tile(np.array([3, 0], np.int8), 96).reshape(3, 64)


def _tensor(name: str, shape: list[int], kind: int, buffer: int = 0, scales: Any = (), zero: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    if len(scales):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray(scales, np.float32)
        tensor.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: str, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, kind), options
    return operator


def tiny_model() -> Any:
    """Return an int8 classifier of 4x4x1 images: convolution, reshape, dense, softmax over three classes."""
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.subgraphs = 3, "tiny", [graph]
    constants = [
        CONV_KERNEL,
        np.zeros(4, np.int32),
        np.array([1, 64], np.int32),
        DENSE_KERNEL,
        np.zeros(3, np.int32),
    ]
    model.buffers = [schema.BufferT() for _ in range(len(constants) + 2)]
    for buffer, constant in zip(model.buffers[1:], [*constants, np.zeros(16, np.uint8)], strict=True):
        buffer.data = constant.view(np.uint8).ravel()
    model.metadata = [schema.MetadataT()]
    model.metadata[0].name, model.metadata[0].buffer = "min_runtime_version", 6
    for code in (schema.BuiltinOperator.CONV_2D, 22, schema.BuiltinOperator.FULLY_CONNECTED, 25):
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 3 if code == schema.BuiltinOperator.CONV_2D else 1
        model.operatorCodes = [*(model.operatorCodes or []), entry]

    kernel_scales = [0.01, 0.02, 0.03, 0.04]
    graph.tensors = [
        _tensor("image", [1, 4, 4, 1], int8, 0, [1 / 255], -128),
        _tensor("conv/kernel", [4, 3, 3, 1], int8, 1, kernel_scales),
        _tensor("conv/bias", [4], int32, 2, [scale / 255 for scale in kernel_scales]),
        _tensor("conv/relu", [1, 4, 4, 4], int8, 0, [0.02], -128),
        _tensor("shape", [2], int32, 3),
        _tensor("flat", [1, 64], int8, 0, [0.02], -128),
        _tensor("dense/kernel", [3, 64], int8, 4, [0.01]),
        _tensor("dense/bias", [3], int32, 5, [0.0002]),
        _tensor("dense/logits", [1, 3], int8, 0, [0.1], 4),
        _tensor("probabilities", [1, 3], int8, 0, [1 / 256], -128),
    ]
    graph.tensors[0].shapeSignature = [-1, 4, 4, 1]
    convolution, softmax = schema.Conv2DOptionsT(), schema.SoftmaxOptionsT()
    convolution.strideW = convolution.strideH = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    softmax.beta = 1.0
    graph.operators = [
        _operator(0, [0, 1, 2], [3], "Conv2DOptions", convolution),
        _operator(1, [3, 4], [5], "ReshapeOptions", schema.ReshapeOptionsT()),
        _operator(2, [5, 6, 7], [8], "FullyConnectedOptions", schema.FullyConnectedOptionsT()),
        _operator(3, [8], [9], "SoftmaxOptions", softmax),
    ]
    graph.inputs, graph.outputs = [0], [9]
    return model


def pack(model: Any) -> bytes:
    """Return the file of a schema object."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="session")
def analysed(tmp_path_factory):
    """What a build finds in the sources of this project, which takes seconds."""
    from pipeline.dependencies import Dependencies

    found = tmp_path_factory.mktemp("analysed") / "sources.json"
    Dependencies(found).of("pipeline.run")
    return found


@pytest.fixture(scope="session")
def tiny_tflite() -> bytes:
    """The file, undamaged."""
    return pack(tiny_model())


@pytest.fixture(scope="session")
def tiny_tflite_with() -> Callable[[Edit], bytes]:
    """A function that returns the file after ``edit`` changed the schema's ``ModelT``."""

    def build(edit: Edit) -> bytes:
        model = tiny_model()
        edit(model)
        return pack(model)

    return build


@pytest.fixture(scope="session")
def store_dataset() -> Callable[..., Any]:
    """A function that stores arrays as a data set: one input and one output, if nothing else is said."""
    from models.data.held_out import Kinship, hold_out, set_aside
    from pipeline.artifacts import Dataset

    def store(
        folder: Any, inputs: Any, target: Any = None, *, task: str = "classification", test: int = 0
    ) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = inputs if isinstance(inputs, list) else [inputs]
        samples = len(arrays[0])
        data = Dataset(
            folder=folder,
            tasks=(task,),
            classes=("a", "b", "c"),
            shapes=tuple(array.shape[1:] for array in arrays),
            train_samples=samples - test,
            test_samples=test,
        )
        for index, array in enumerate(arrays):
            np.save(data.input(index), array)
        if target is not None:
            np.save(data.target(0), target)
        every = np.arange(samples)
        train, tested = np.split(every, [samples - test])
        kinship = Kinship(np.zeros_like(every), every.astype(np.uint64), None, 0, by_time=False)
        fit, held_out = hold_out(train, kinship, seed=0)
        aside, rest = set_aside(tested, every < 0, kinship, seed=0)
        for split, rows in {
            "train": train, "fit": fit, "held_out": held_out, "test": tested, "aside": aside, "rest": rest,
        }.items():  # fmt: skip
            np.save(data.rows(split), rows)
        return data

    return store


@pytest.fixture(scope="session")
def prepared_model() -> Callable[..., Any]:
    """A function that describes a prepared model of one input and one output, and its Keras model."""
    from models.ports import Port
    from pipeline.artifacts import PreparedModel, Transform

    def describe(folder: Any, **changes: Any) -> Any:
        facts = {
            "folder": folder,
            "inputs": (Port("input", (5,)),),
            "outputs": (Port("output", (3,), activation="softmax"),),
            "tasks": ("classification",),
            "from_logits": (False,),
            "preprocessing": (Transform(reason="declared"),),
        }
        return PreparedModel(**(facts | changes))

    return describe


@pytest.fixture(scope="session")
def write_release() -> Callable[..., Path]:
    """A function that writes an unsigned release into a folder: ``tiny`` 1.2.3, if nothing else is said.

    ``changes`` are to its manifest, ``texts`` further files; the model is not a real one, unless given.
    """
    from deploy.bundle import release_name, write_bundle
    from deploy.manifest import Input, Manifest, Output, Preprocessing, Resize, RuntimeNeed

    def write(
        folder: Path, texts: Any = None, model_bytes: bytes = b"TFL3 no real model", **changes: Any
    ) -> Path:
        called = {"name": "tiny", "version": "1.2.3", "target": "arm64"} | changes
        name = release_name(called["name"], called["version"], called["target"])
        tensor = {"dtype": "int8", "scale": 1 / 255, "zero_point": -128}
        steps = Preprocessing(
            resize=Resize(size=(2, 2), interpolation="bilinear"),
            indices=False, reverse_channels=False, scale=(0.5,), offset=(-1.0,),
        )  # fmt: skip
        facts = {
            "counter": 1002003500,
            "created": None,
            "expires": None,
            "devices": ("rpi4", "rpi5"),
            "machine": "aarch64",
            "android_abi": "arm64-v8a",
            "runtimes": (RuntimeNeed(package="ai-edge-litert", least="1.0.1"),),
            "format": "int8",
            "inputs": (Input(name="image", shape=(1, 2, 2, 1), preprocessing=steps, **tensor),),
            "outputs": (Output(name="classes", shape=(1, 2), task="classification", logits=False, **tensor),),
            "labels": ("cat", "dög"),
            "tolerance_steps": 1,
            "golden": 3,
            "model": f"{name}.tflite",
            "files": {},
        }
        (release := folder / name).mkdir(parents=True)
        (folder / "model").write_bytes(model_bytes)
        arrays = {
            "golden_input_0": np.arange(12, dtype=np.int8).reshape(3, 2, 2, 1),
            "golden_output_0": np.arange(6, dtype=np.int8).reshape(3, 2),
        }
        papers = {"c/model.h": "#pragma once\n", "report.json": '{"seconds": 1}\n'} | (texts or {})
        write_bundle(release, Manifest(**(called | facts | changes)), folder / "model", arrays, papers)
        (folder / "model").unlink()
        return release

    return write


SSHD = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME={folder} PATH={folder}/device:/usr/bin:/bin
"""
SSHD_ACCOUNT = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
CLIENT = """\
IdentityFile {folder}/client_key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile none
"""


@dataclass(frozen=True)
class SshDevice:
    """This machine, logged in to over ssh; its programs are those in ``folder/device`` before all others."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"


def accounts(folder: Path) -> dict[str, str]:
    """Give sshd an account to drop its rights to, and the folder for that, which it needs as root."""
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + SSHD_ACCOUNT)
    (folder / "group").write_text(Path("/etc/group").read_text())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return {"NSS_WRAPPER_PASSWD": str(folder / "passwd"), "NSS_WRAPPER_GROUP": str(folder / "group")}


@pytest.fixture(scope="session")
def sshd(openssh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshDevice]:
    """A real sshd for the length of the tests."""
    folder = tmp_path_factory.mktemp("sshd")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        device = SshDevice(folder, probe.getsockname()[1])
    for name in ("host_key", "client_key"):
        subprocess.run(
            [openssh / "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
            check=True,
            timeout=60,
        )
    (folder / "device").mkdir()
    python = folder / "device" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder, port=device.port))
    (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
    log = folder / "log"
    with log.open("wb") as said:
        command = [openssh / "sshd", "-D", "-r", "-e", "-f", folder / "sshd_config"]
        server = subprocess.Popen(command, stderr=said, env=os.environ | accounts(folder))
    try:
        for _ in range(100):
            if "Server listening" in log.read_text() or server.poll() is not None:
                break
            time.sleep(0.05)
        assert server.poll() is None, f"sshd does not run here: {log.read_text().strip()}"
        yield device
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def ssh_device(
    sshd: SshDevice, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> SshDevice:
    """A device whose key is known, for the ssh of this machine as its user has configured it."""
    programs = tmp_path_factory.mktemp("programs")
    for name in ("ssh",):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {sshd.folder}/ssh_config "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    key = (sshd.folder / "host_key.pub").read_text()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {key}")
    return sshd


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release's folder: its manifest and its baseline."""
    folder = tmp_path_factory.mktemp("release") / "ripeness-1.0.0-arm64"
    folder.mkdir()
    images, answers = draw(3000, 0)
    places = np.array_split(np.arange(3000), 100)
    parts = [counted(images[at], answers[at]) for at in places]
    null = {
        side: [null_of([part[side][0]["values"] for part in parts], [len(at) for at in places])]
        for side in ("inputs", "outputs")
    }
    null["outputs"][0]["accuracy"] = 0.9
    baseline = json.dumps(counted(images, answers) | {"null": null})
    (folder / "baseline.json").write_text(baseline)
    manifest = Manifest(
        **ABOUT,
        counter=1,
        created=None,
        expires=None,
        devices=("rpi4",),
        machine="aarch64",
        android_abi="arm64-v8a",
        runtimes=({"package": "ai-edge-litert", "least": "2.0.0"},),
        format="int8",
        inputs=(INPUT,),
        outputs=(OUTPUT,),
        labels=("a", "b", "c"),
        tolerance_steps=1,
        golden=64,
        model="ripeness-1.0.0-arm64.tflite",
        files={"baseline.json": hashlib.sha256(baseline.encode()).hexdigest()},
    )
    write_manifest(manifest, folder)
    return folder


@pytest.fixture
def seen(release, tmp_path):
    """Write what a device saw, and return the file."""

    def write(name="seen.json", count=600, seed=1, brightness=0.0, latency_us=900.0, changes=None, **more):
        plain = (
            counted(*draw(count, seed, brightness), digest_of(release), latency_us) | more | (changes or {})
        )
        (tmp_path / name).write_text(json.dumps(plain))
        return str(tmp_path / name)

    return write
