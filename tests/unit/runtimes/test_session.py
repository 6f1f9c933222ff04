"""Sessions with real workers: what they answer, and what becomes of one that crashes or hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, StageError
from pipeline.runtimes.host import HostRuntime
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Node, Session, Tensor

LITERT = host_runtime("litert")
SAMPLES = np.arange(12, dtype=np.int8).reshape(3, 4)

READY = "print('{\"ok\": {}}', flush=True); "
LOADED = (
    READY
    + 'input(); print(\'{"ok": {"inputs": [], "outputs": [], "ops": [], '
    + '"dtypes": {}, "init_us": 1}}\', flush=True); input(); '
)


@dataclass(frozen=True)
class Scripted(HostRuntime):
    """A runtime whose worker is a line of Python."""

    code: str = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


def scripted(code: str) -> Scripted:
    return Scripted("litert", "1", code=code)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("package", ["litert", "tflite-runtime"])
def test_run_infers_every_sample_in_the_models_own_dtype(package: str, addition: Path) -> None:
    with Session(host_runtime(package), addition) as session:
        [outputs] = session.run([SAMPLES])
    assert outputs.dtype == np.int8
    np.testing.assert_array_equal(outputs, SAMPLES + np.array([1, 2, 3, 4], np.int8))


def test_describe_lists_tensors_and_where_each_node_runs(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        details = session.describe()
    assert details.inputs == (Tensor("x", (1, 4), "int8", 1.0, 0),)
    assert details.nodes == (Node(0, "ADD", ("int8", "int8"), ("int8",), "xnnpack-int8"),)
    assert details.partitions == 1
    assert details.init_us > 0


def test_the_runtime_without_int8_kernels_in_xnnpack_says_builtin(addition: Path) -> None:
    with Session(host_runtime("tflite-runtime"), addition) as session:
        assert [node.placement for node in session.describe().nodes] == ["builtin"]


def test_time_keeps_loading_and_the_first_inference_apart(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        timing = session.time([SAMPLES], runs=7, warmup_runs=2)
    assert len(timing.latencies_us) == 7
    assert min(timing.init_us, timing.first_us, *timing.latencies_us) > 0


def test_soak_sees_constant_outputs_and_no_growth(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        blocks = list(session.soak_blocks([SAMPLES], [120] * 5))
    assert [(block.inferences, block.mismatches) for block in blocks] == [(120, 0)] * 5
    assert blocks[0].open_files == blocks[-1].open_files
    assert blocks[-1].memory_bytes - blocks[1].memory_bytes < 4096 * 360


def test_load_replaces_the_model_in_the_same_worker(addition: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tflite"
    again.write_bytes(addition.read_bytes())
    with Session(LITERT, addition) as session:
        session.load(again, threads=2)
        assert len(session.run([SAMPLES])[0]) == 3


@pytest.mark.parametrize(
    "inputs",
    [[SAMPLES.astype(np.float32)], [SAMPLES[:, :3]], [SAMPLES[:0]], [SAMPLES, SAMPLES], []],
    ids=["dtype", "shape", "no samples", "too many", "none"],
)
def test_arrays_that_the_model_does_not_take_are_refused(inputs: list[np.ndarray], addition: Path) -> None:
    with Session(LITERT, addition) as session, pytest.raises(InputError, match=r"takes int8 \(n, 4\), not"):
        session.run(inputs)


def test_a_model_that_the_runtime_refuses_is_bad_input(tmp_path: Path) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("not a model")
    with pytest.raises(InputError, match=r"litert .* cannot load .*text.tflite"), Session(LITERT, text):
        pass


def test_the_host_does_not_count_instructions(addition: Path) -> None:
    with Session(LITERT, addition) as session, pytest.raises(StageError, match="cannot count"):
        session.count_instructions([SAMPLES])


def test_a_worker_that_crashes_is_named_by_its_signal(addition: Path) -> None:
    runtime = scripted(READY + "input(); import os; os.kill(os.getpid(), 11)")
    with pytest.raises(StageError, match=r"killed by SIGSEGV on addition.tflite"), Session(runtime, addition):
        pass


def test_a_worker_that_cannot_start_is_named_by_its_last_words(addition: Path) -> None:
    runtime = scripted("raise ImportError('no numpy here')")
    with (
        pytest.raises(StageError, match="exit code 1: ImportError: no numpy here"),
        Session(runtime, addition),
    ):
        pass


def test_a_worker_that_hangs_is_killed_at_the_time_out(addition: Path) -> None:
    began = time.monotonic()
    with Session(scripted(LOADED + "\nwhile True: pass"), addition, timeout_s=10) as session:
        with pytest.raises(StageError, match="no answer in 10 s"):
            session.run([])
        worker = session._worker
    assert time.monotonic() - began < 300
    assert worker.returncode == -signal.SIGKILL


def test_a_worker_that_gives_signs_of_life_may_take_longer_than_the_time_out(addition: Path) -> None:
    slow = "\nimport time\nfor _ in range(24): time.sleep(0.25); print('{\"alive\": true}', flush=True)"
    with Session(
        scripted(LOADED + slow + "\nprint('{\"ok\": {}}', flush=True)"), addition, timeout_s=5
    ) as session:
        assert session._ask("anything") == {}


def test_a_long_request_gives_signs_of_life(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        began, session.timeout_s = time.monotonic(), 3.0
        inferences = 350_000
        while time.monotonic() - began <= session.timeout_s:  # a faster machine needs more of them
            began, inferences = time.monotonic(), 2 * inferences
            assert next(session.soak_blocks([SAMPLES], [inferences])).mismatches == 0


def test_soak_blocks_go_on_where_the_one_before_ended(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        blocks = list(session.soak_blocks([SAMPLES], [2, 1, 4]))
        whole = next(session.soak_blocks([SAMPLES], [7]))
    assert [block.inferences for block in blocks] == [2, 1, 4]
    assert blocks[0].output_sha256 != blocks[1].output_sha256 == blocks[2].output_sha256
    assert whole.output_sha256 == blocks[2].output_sha256
    assert sum(block.mismatches for block in blocks) == 0


def test_interpreters_side_by_side_give_the_same_outputs(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        found = session.run_concurrent([SAMPLES], interpreters=3, inferences=30)
        alone = next(session.soak_blocks([SAMPLES], [30]))
    assert found.mismatches == 0
    assert set(found.output_sha256) == {alone.output_sha256}


def test_a_worker_lives_with_less(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        session.limit(headroom_bytes=64 << 20, cores=1, nice=5)
        limits = Path(f"/proc/{session._worker.pid}/limits").read_text()
        assert len(os.sched_getaffinity(session._worker.pid)) == 1
        assert len(session.run([SAMPLES])[0]) == 3
    data = next(line for line in limits.splitlines() if line.startswith("Max data size"))
    assert int(data.split()[3]) < 4 << 30


def test_a_worker_that_dies_between_requests_is_an_error_of_the_next(addition: Path) -> None:
    with Session(LITERT, addition) as session:
        session._worker.kill()
        session._worker.wait()
        with pytest.raises(StageError, match="SIGKILL"):
            session.run([SAMPLES])


def test_a_chatty_worker_neither_blocks_nor_confuses(addition: Path) -> None:
    chatter = "import sys; sys.stderr.write('x' * 10**6); "
    with Session(scripted(chatter + LOADED + "print('{\"ok\": {}}', flush=True)"), addition) as session:
        assert session._ask("anything") == {}


def test_nothing_stays_behind(addition: Path, temporary_folder: Path) -> None:
    with Session(LITERT, addition) as session:
        worker = session._worker
    assert worker.returncode == 0
    assert list(temporary_folder.iterdir()) == []


def test_a_hung_worker_dies_with_its_parent(addition: Path) -> None:
    """The worker spins with its input unread, so only the kernel can tell it that the parent is gone."""
    parent = f"""
import sys
from pathlib import Path
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
import numpy as np
with Session(host_runtime("litert"), Path({str(addition)!r})) as session:
    print(session._worker.pid, flush=True)
    next(session.soak_blocks([np.zeros((1, 4), np.int8)], [10**9]))
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 60
    while _is_alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z" and os.getpid() != process
