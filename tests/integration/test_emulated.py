"""Models on the emulated devices, against the host: bits, instruction counts, and the cores' identity."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.emulation.emulator import provision
from pipeline.emulation.sysroots import SYSROOTS
from pipeline.errors import StageError
from pipeline.runtimes.environment import check_emulator
from pipeline.runtimes.runtime import emulated_runtime, host_runtime, reference_runtime
from pipeline.runtimes.session import InstructionCount, Session
from pipeline.targets import get_device, load_devices

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.emulation.emulator import Emulator

CONVERT = """
import sys
import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

tf_keras.utils.set_random_seed(1)
inputs = layers.Input((16, 16, 3))
x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu")(x)
x = layers.Add()([layers.Conv2D(16, 1)(x), x])
x = layers.GlobalAveragePooling2D()(x)
model = tf_keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
samples = np.random.default_rng(1).normal(size=(32, 1, 16, 16, 3)).astype(np.float32)

converter = tf.lite.TFLiteConverter.from_keras_model(model)
open(sys.argv[1] + "/float.tflite", "wb").write(converter.convert())
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([sample] for sample in samples)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
open(sys.argv[1] + "/int8.tflite", "wb").write(converter.convert())
"""

pytestmark = pytest.mark.xdist_group("emulated")

DEVICES = [name for name, device in load_devices().items() if not device.is_host]
ON_XNNPACK = [name for name in DEVICES if get_device(name).runtime == "litert"]

SAMPLES = np.random.default_rng(2).integers(-128, 128, (8, 16, 16, 3), dtype=np.int8)


@pytest.fixture(scope="module")
def emulators() -> dict[str, Emulator]:
    """Return every emulator by the architecture of its devices."""
    return {arch: provision(arch) for arch in SYSROOTS}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with float.tflite and int8.tflite: a small network with a residual."""
    folder = tmp_path_factory.mktemp("models")
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", CONVERT, str(folder)], env=environment, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def on_host(models: Path) -> np.ndarray:
    with Session(host_runtime("litert"), models / "int8.tflite") as session:
        return session.run([SAMPLES])[0]


@pytest.mark.parametrize("name", ON_XNNPACK)
def test_a_device_gives_the_hosts_bits_on_xnnpack(
    name: str, emulators: dict[str, Emulator], models: Path, on_host: np.ndarray
) -> None:
    with Session(emulated_runtime(get_device(name)), models / "int8.tflite") as session:
        details = session.describe()
        [outputs] = session.run([SAMPLES])
    placements = {node.op: node.placement for node in details.nodes}
    assert placements["CONV_2D"] == placements["DEPTHWISE_CONV_2D"] == "xnnpack-int8"
    assert placements["SOFTMAX"] == "builtin"
    np.testing.assert_array_equal(outputs, on_host)


def test_a_32_bit_device_runs_builtin_kernels_that_agree_with_the_reference_ones(
    emulators: dict[str, Emulator], models: Path
) -> None:
    # x86's own builtin kernels would not do: they are the ones that stray from the reference.
    with Session(reference_runtime(), models / "int8.tflite") as session:
        [expected] = session.run([SAMPLES])
    with Session(emulated_runtime(get_device("armv7")), models / "int8.tflite") as session:
        details = session.describe()
        [outputs] = session.run([SAMPLES])
        blocks = list(session.soak_blocks([SAMPLES], [len(SAMPLES)] * 3))
    assert {node.placement for node in details.nodes} == {"builtin"}
    assert details.partitions == 0
    np.testing.assert_allclose(outputs.astype(int), expected.astype(int), rtol=0, atol=1)
    assert sum(block.mismatches for block in blocks) == 0
    assert blocks[-1].open_files == blocks[0].open_files


@pytest.mark.parametrize(("name", "cheaper"), [("rpi5", "int8"), ("armv7", "float")])
def test_counts_agree_between_runs_far_closer_than_a_gate_looks(
    name: str, cheaper: str, emulators: dict[str, Emulator], models: Path
) -> None:
    def count() -> tuple[InstructionCount, InstructionCount]:
        with Session(emulated_runtime(get_device(name)), models / "int8.tflite") as session:
            quantized = session.count_instructions([SAMPLES], runs=3)
            session.load(models / "float.tflite")
            return quantized, session.count_instructions([SAMPLES.astype(np.float32)], runs=3)

    first, second = count(), count()
    for one, other in zip(first, second, strict=True):
        assert other.instructions == pytest.approx(one.instructions, rel=1e-4)
    quantized, baseline = first
    assert (quantized.instructions < baseline.instructions) == (cheaper == "int8")
    for found in first:
        assert found.instructions > 10_000
        assert 0 < found.store_bytes < found.load_bytes


@pytest.mark.parametrize("name", DEVICES)
def test_the_guest_sees_the_devices_own_cpuinfo(name: str, emulators: dict[str, Emulator]) -> None:
    device = get_device(name)
    emulator = emulators[device.arch]
    code = "import os; print(open('/proc/cpuinfo').read() + os.uname().machine, end='')"
    answer = subprocess.run(
        [*emulator.command(device, "/dev/null"), "-c", code],
        env=emulator.sysroot.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout == device.cpuinfo_text() + device.arch


@pytest.mark.parametrize("name", ["rpi4", "armv7"])
def test_the_guest_sees_its_own_files_and_not_this_machines(
    name: str, emulators: dict[str, Emulator]
) -> None:
    device = get_device(name)
    emulator = emulators[device.arch]
    code = "import os; print(os.stat('/usr/lib').st_ino, sorted(os.listdir('/site')), end='')"
    answer = subprocess.run(
        [*emulator.command(device, "/dev/null"), "-c", code],
        env=emulator.sysroot.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    root = emulator.device_root(device)
    site = sorted(path.name for path in (root / "site").iterdir())
    assert answer.stdout == f"{(root / 'usr/lib').stat().st_ino} {site}"


def test_threads_share_no_counter(emulators: dict[str, Emulator], models: Path) -> None:
    runtime = emulated_runtime(get_device("rpi4"))
    with (
        Session(runtime, models / "int8.tflite", threads=2) as session,
        pytest.raises(StageError, match="cannot count"),
    ):
        session.count_instructions([SAMPLES])


@pytest.mark.parametrize("arch", SYSROOTS)
def test_a_provisioned_emulator_is_whole_and_left_as_it_is(arch: str, emulators: dict[str, Emulator]) -> None:
    emulator = emulators[arch]
    manifests = [bundle.folder / "manifest.json" for bundle in emulator.bundles]
    made = [manifest.stat().st_mtime_ns for manifest in manifests]
    assert list(emulator.damaged_files(hashes=True)) == []
    assert provision(arch) == emulator
    assert [manifest.stat().st_mtime_ns for manifest in manifests] == made


@pytest.mark.parametrize("arch", SYSROOTS)
def test_the_doctor_finds_an_emulator_that_answers(arch: str, emulators: dict[str, Emulator]) -> None:
    check = check_emulator(arch)
    assert check.problem is None
    devices = [name for name in DEVICES if get_device(name).arch == arch]
    assert check.found.endswith(", ".join(devices)) or "not needed" in check.found
