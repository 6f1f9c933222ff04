"""Signed releases, a small one with its programs as processes, and what the command says of damage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy import device
from deploy.errors import SignatureError
from deploy.keys import generate_key
from deploy.manifest import Manifest, digest_of, write_manifest
from deploy.signing import sign, verify

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN = 16
LABELS = ("left", "right", 'a "third", \\ and é')


def contract(name: str, shape: list[int], scale: float, zero_point: int, **more: Any) -> dict[str, Any]:
    """One entry of a manifest's ``inputs`` or ``outputs``."""
    about = {"name": name, "shape": shape, "dtype": "int8", "scale": scale, "zero_point": zero_point}
    return {**about, "range": None, **more}


def preprocessing(scale: float = 1 / 255) -> dict[str, Any]:
    return {
        "resize": None,
        "indices": False,
        "reverse_channels": False,
        "scale": [scale],
        "offset": [0.0],
    }


def answers(tflite: bytes, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The model's output tensors (n, ...) to its input tensors (n, ...)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for sample in zip(*inputs, strict=True):
        for detail, values in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], values[np.newaxis])
        interpreter.invoke()
        found.append([interpreter.get_tensor(d["index"])[0] for d in interpreter.get_output_details()])
    return [np.stack(arrays) for arrays in zip(*found, strict=True)]


def write_release(
    folder: Path,
    tflite: bytes,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    labels: tuple[str, ...] = LABELS,
    **changes: Any,
) -> Path:
    """Write a release: what a device has of one."""
    folder.mkdir(parents=True)
    name = "tiny-1.0-arm64.tflite"
    (folder / name).write_bytes(tflite)
    for file in device.FILES:
        shutil.copyfile(Path(device.__file__).with_name(file), folder / file)
    rng = np.random.default_rng(7)
    golden = [rng.integers(-128, 128, (GOLDEN, *c["shape"][1:])).astype(c["dtype"]) for c in inputs]
    for index, array in enumerate(golden):
        np.save(folder / f"golden_input_{index}.npy", array)
    for index, array in enumerate(answers(tflite, golden)):
        np.save(folder / f"golden_output_{index}.npy", array)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    facts = {
        "name": "tiny",
        "version": "1.0",
        "target": "arm64",
        "counter": 1,
        "created": None,
        "expires": None,
        "devices": ["rpi4"],
        "machine": "any",
        "android_abi": "arm64-v8a",
        "runtimes": [
            {"package": "ai-edge-litert", "least": "1.0.1"},
            {"package": "tflite-runtime", "least": "2.14.0"},
        ],
        "format": "int8",
        "inputs": inputs,
        "outputs": outputs,
        "labels": labels,
        "tolerance_steps": 1,
        "golden": GOLDEN,
        "model": name,
        "files": files,
    }
    write_manifest(Manifest.model_validate(facts | changes), folder)
    return folder


def classifier() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The contract of the tiny model: (1, 4, 4, 1) to three classes."""
    image = contract("image", [1, 4, 4, 1], 1 / 255, -128, preprocessing=preprocessing())
    return [image], [
        contract("class", [1, 3], 1 / 256, -128, task="classification", logits=False),
    ]


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, tiny_tflite: bytes) -> Path:
    """The release of the tiny model; read it only."""
    return write_release(tmp_path_factory.mktemp("released") / "tiny-1.0-arm64", tiny_tflite, *classifier())


@pytest.fixture
def release_folder(released: Path, tmp_path: Path) -> Path:
    """A release of one's own, as a build leaves it."""
    return Path(shutil.copytree(released, tmp_path / released.name))


@pytest.fixture
def installed(released: Path, tmp_path: Path) -> Path:
    """The same on a device: ``ROOT/tiny/releases/DIGEST``, which ``ROOT/tiny/current`` points to."""
    root = tmp_path / "root" / "tiny"
    folder = root / "releases" / digest_of(released)
    shutil.copytree(released, folder)
    (root / "current").symlink_to(f"releases/{folder.name}")
    return folder


@pytest.fixture(scope="session")
def sum_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a model that adds two vectors of four."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.subgraphs = 3, "sum", [graph]
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 2
    model.operatorCodes = [code]
    graph.tensors = []
    for name, scale in (("a", 0.5), ("b", 0.5), ("sum", 1.0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 4], schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.zeros(1, np.int64)
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1], [2]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.AddOptions,
        schema.AddOptionsT(),
    )
    graph.operators, graph.inputs, graph.outputs = [operator], [0, 1], [2]
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    ports = [contract(name, [1, 4], 0.5, 0, preprocessing=preprocessing(1.0)) for name in ("a", "b")]
    return write_release(
        tmp_path_factory.mktemp("released") / "sum",
        bytes(builder.Output()),
        ports,
        [contract("sum", [1, 4], 1.0, 0, task="regression", logits=False)],
        (),
    )


@pytest.fixture
def with_columns() -> Callable[[Path, Path], Path]:
    """Copy the release that adds two vectors, and name its columns: a to d, and e to h."""

    def name(release: Path, folder: Path) -> Path:
        copy = Path(shutil.copytree(release, folder / release.name))
        manifest = json.loads((copy / "manifest.json").read_text())
        for port, columns in zip(manifest["inputs"], ("abcd", "efgh"), strict=True):
            port["columns"] = list(columns)
        write_manifest(Manifest.model_validate(manifest), copy)
        return copy

    return name


@pytest.fixture
def picture_release(installed: Path) -> Path:
    """The installed release of the tiny model, for pictures of any size."""
    manifest = json.loads((installed / "manifest.json").read_text())
    resize = {"size": [4, 4], "interpolation": "bilinear"}
    manifest["inputs"][0]["preprocessing"]["resize"] = resize
    write_manifest(Manifest.model_validate(manifest), installed)
    return installed


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hidden(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """A function that returns an environment in which packages are not installed."""

    def hide(*packages: str) -> dict[str, str]:
        folder = tmp_path / "hidden"
        for package in packages:
            (folder / package).mkdir(parents=True)
            (folder / package / "__init__.py").write_text(f"raise ImportError('no {package}')\n")
        return {**os.environ, "PYTHONPATH": str(folder)}

    return hide


@pytest.fixture
def runner() -> Run:
    """Run a release's ``runner.py`` as a device does, in a process of its own."""

    def run(folder: Path, *words: Any, options: tuple[str, ...] = (), **more: Any) -> Any:
        command = [sys.executable, *options, folder / "runner.py", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)

    return run


@dataclass(frozen=True)
class Signed:
    """A signed release, another one of the same name by the same key, and the keys."""

    release: Path
    other: Path
    key: Path
    public: Path
    stranger: Path


def signed_in(folder: Path) -> Signed:
    return Signed(
        release=folder / "one" / "tiny-1.2.3-arm64",
        other=folder / "two" / "tiny-1.2.4-arm64",
        key=folder / "release.key",
        public=folder / "release.pub",
        stranger=folder / "stranger.key",
    )


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory, write_release: Callable[..., Path]) -> Path:
    """What ``signed`` is copied from."""
    folder = tmp_path_factory.mktemp("originals")
    for name in ("release", "stranger"):
        generate_key(folder / f"{name}.key", folder / f"{name}.pub")
    for release in (
        write_release(folder / "one"),
        write_release(folder / "two", {"c/model.h": "// other\n"}, version="1.2.4", counter=1_002_004),
    ):
        sign(release, folder / "release.key")
    return folder


@pytest.fixture
def signed(originals: Path, tmp_path: Path) -> Signed:
    """Two signed releases that a test may do anything to."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return signed_in(tmp_path)


@pytest.fixture(scope="module")
def copied(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Two signed releases for tests that put back what they changed."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(originals, folder, dirs_exist_ok=True)
    return signed_in(folder)


@pytest.fixture
def listing() -> Callable[[Path], dict[str, Any]]:
    """A function that says what is in a folder, and when each was last changed."""

    def look(folder: Path) -> dict[str, Any]:
        paths = [Path(root) / name for root, *both in os.walk(folder) for names in both for name in names]
        about = {str(path): path.lstat() for path in paths}
        return {path: (found.st_mode, found.st_size, found.st_mtime_ns) for path, found in about.items()}

    return look


@pytest.fixture
def refusal(
    signed: Signed, tmp_path: Path, pipeline: Callable[..., Any], listing: Callable[..., Any]
) -> Callable[[Any], str]:
    """Do something to a signed release, and return what `pipeline verify` says: one line, exit code 6.

    The damage takes ``signed`` and may return the path of another folder to verify. Nothing is written.
    """

    def refuse(damage: Callable[[Signed], Any]) -> str:
        elsewhere = damage(signed)
        folder = elsewhere if isinstance(elsewhere, Path) else signed.release
        before = listing(tmp_path)
        ended = pipeline("verify", folder, "--public-key", signed.public)
        assert (ended.code, ended.out) == (6, "")
        assert ended.message.isprintable()
        assert listing(tmp_path) == before
        with pytest.raises(SignatureError):
            verify(folder, signed.public)
        return ended.message

    return refuse
