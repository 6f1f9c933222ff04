"""Work in a child process: what comes back, and what becomes of a child that crashes, hangs or is orphaned.

A child imports what it runs by name, so these tests run functions of the standard library.
"""

from __future__ import annotations

import ctypes
import operator
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import sandbox
from pipeline.errors import ConfigError, PipelineError, StageError
from pipeline.targets import get_target


def run(function, *arguments, timeout_s=60.0):
    return sandbox.run("convert", function, *arguments, timeout_s=timeout_s)


def test_the_result_comes_back_from_another_process():
    assert run(operator.add, [1], [2]) == [1, 2]
    assert run(os.getpid) != os.getpid()


def test_an_error_of_the_pipeline_passes_as_it_is():
    with pytest.raises(ConfigError, match="unknown target 'amr64': did you mean 'arm64'"):
        run(get_target, "amr64")


def test_any_other_error_names_the_stage_its_kind_and_its_first_line():
    with pytest.raises(StageError, match=r"^convert: ValueError: invalid literal .*; run again with --debug"):
        run(int, "x")


def test_a_result_that_cannot_be_sent_is_an_error_and_no_hang():
    with pytest.raises(StageError, match="pickle"):
        run(eval, "lambda: 0")


def test_a_segmentation_fault_is_named():
    with pytest.raises(StageError, match="convert: the child process was killed by SIGSEGV"):
        run(ctypes.string_at, 0)


def test_an_exit_in_native_code_is_named():
    with pytest.raises(StageError, match="exit code 7"):
        run(os._exit, 7)


def test_what_the_child_printed_is_kept_for_debugging_and_not_shown(capfd):
    program = "import os; os.write(1, b'native chatter'); os._exit(1)"
    with pytest.raises(StageError) as caught:
        run(exec, program)

    assert "native chatter" in caught.value.__notes__[0]
    assert capfd.readouterr() == ("", "")


def test_a_child_that_takes_too_long_is_killed(tmp_path):
    program = (
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(StageError, match="no result after 20 s; allow more time"):
        run(exec, program, timeout_s=20)

    assert time.monotonic() - began < 300
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_a_child_dies_with_its_parent(tmp_path):
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(600)"
    parent = f"from pipeline import sandbox; sandbox.run('x', exec, {child!r}, timeout_s=600)"
    process = subprocess.Popen([sys.executable, "-c", parent])
    while not (pid.exists() and pid.read_text().endswith(" ")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()

    deadline = time.monotonic() + 60
    while Path(f"/proc/{int(pid.read_text())}").exists():
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def subclasses(kind):
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in subclasses(below))]


@pytest.mark.parametrize("kind", subclasses(PipelineError))
def test_every_error_survives_the_way_between_processes(kind):
    error = kind("convert", "it broke", "mend it") if issubclass(kind, StageError) else kind("it broke")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert str(again) == str(error)
