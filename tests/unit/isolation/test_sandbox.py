"""Work in a child process: what comes back, and what becomes of a child that crashes, hangs or is orphaned.

A child imports what it runs by name, so these tests run functions of the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import operator
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, InputError, PipelineError, StageError
from pipeline.isolation import confinement, sandbox
from pipeline.isolation.sandbox import Confinement
from pipeline.targets import get_target


def run(function, *arguments, timeout_s=60.0, **options):
    return sandbox.run("convert", function, *arguments, timeout_s=timeout_s, **options)


def test_the_result_comes_back_from_another_process():
    assert run(operator.add, [1], [2]) == [1, 2]
    assert run(os.getpid) != os.getpid()


def test_an_error_of_the_pipeline_passes_as_it_is():
    with pytest.raises(ConfigError, match="unknown target 'amr64'; did you mean 'arm64'"):
        run(get_target, "amr64")


def test_any_other_error_names_the_stage_its_kind_and_its_first_line():
    with pytest.raises(StageError, match=r"^convert: ValueError: invalid literal .*; run again with --debug"):
        run(int, "x")


def test_a_full_disk_comes_with_how_to_go_on():
    with pytest.raises(StageError, match=r"^convert: the disk is full; free space, or choose another folder"):
        run(exec, "with open('/dev/full', 'w') as full: full.write('x')")


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
    parent = f"from pipeline.isolation import sandbox; sandbox.run('x', exec, {child!r}, timeout_s=600)"
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


def gone(pid, seconds=10.0):
    """Wait until a process has ended."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} outlived its parent"
        time.sleep(0.02)


def start_parent(child, rules="None"):
    """Start a process that runs ``child`` in a child of its own."""
    run = f"sandbox.run('x', exec, {child!r}, timeout_s=60, rules={rules})"
    parent = f"from pipeline.isolation import sandbox; {run}"
    return subprocess.Popen([sys.executable, "-c", parent])


def wait_for(path, process):
    while not (path.exists() and path.read_text().endswith(" ")):
        assert process.poll() is None
        time.sleep(0.02)
    return [int(word) for word in path.read_text().split()]


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_child_dies_with_a_parent_that_is_killed_at_any_moment(delay, tmp_path):
    marker = tmp_path / "marker"
    child = f"import time; time.sleep(2); open({str(marker)!r}, 'w').close()"
    process = start_parent(f"import os; os.environ['MARK'] = {str(tmp_path)!r}\n{child}")
    while not list(Path(f"/proc/{process.pid}/task/{process.pid}").glob("children")) or not (
        Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ):
        assert process.poll() is None
    (keeper,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    time.sleep(delay)
    process.kill()
    process.wait()

    gone(keeper)
    assert not marker.exists()


DETACHED = """
import os, subprocess, time
command = ["sleep", "60"]
detached = subprocess.Popen(command, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(60)
open({path!r}, "w").write(" ".join(map(str, [os.getpid(), detached.pid])) + " ")
{then}
"""


def sleepers(session_of):
    """Processes of this machine whose environment has the mark of a test."""
    mark, found = f"EDGE_TEST={session_of}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture
def marked(tmp_path, monkeypatch):
    """Count the processes that children of this test have left."""
    monkeypatch.setenv("EDGE_TEST", str(tmp_path))
    return lambda: [pid for pid in sleepers(tmp_path) if pid != os.getpid()]


CONFINED = {
    "plain": None,
    "data": Confinement("data.py:load", network=True),
    "trusted": Confinement("m.keras", network=False, writable=()),
}
REFUSED = "Operation not permitted"


@pytest.fixture(params=["namespaces", "no namespaces"])
def kernel(request, monkeypatch, tmp_path):
    """A kernel that lets an ordinary user make namespaces, and one that does not."""
    if request.param == "no namespaces":
        text = Path(confinement.__file__).read_text()
        entering = "def _enter(rules: dict[str, Any]) -> None:\n"
        assert entering in text
        refusing = tmp_path / "confinement.py"
        refusing.write_text(text.replace(entering, f"{entering}    raise OSError(1, '')\n", 1))
        monkeypatch.setattr(confinement, "__file__", str(refusing))
    return request.param


@pytest.mark.parametrize("rules", CONFINED)
@pytest.mark.parametrize("then", ["", "os._exit(0)", "os.kill(os.getpid(), 9)", "time.sleep(60)"])
def test_nothing_that_a_child_started_and_detached_outlives_it(rules, then, kernel, marked, tmp_path):
    rule = CONFINED[rules]
    path = tmp_path / "writable" / "pids"
    path.parent.mkdir()
    if rules == "trusted":
        rule = replace(rule, writable=(path.parent,))
    with contextlib.suppress(PipelineError):
        run(exec, DETACHED.format(path=str(path), then=then), rules=rule, timeout_s=3)

    assert path.exists()
    assert marked() == []


def test_nothing_that_a_child_detached_outlives_a_killed_parent(kernel, marked, tmp_path):
    program = DETACHED.format(path=str(tmp_path / "pids"), then="time.sleep(60)")
    rules = "sandbox.Confinement('x', network=True)"
    process = start_parent(program, rules)
    wait_for(tmp_path / "pids", process)
    assert marked()
    process.kill()
    process.wait()

    deadline = time.monotonic() + 10
    while marked():
        assert time.monotonic() < deadline, "a detached process outlived the build"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        ("import sys; sys.exit(0)", InputError, r"data.py:load called sys.exit\(0\); return the result"),
        ("import os; os._exit(0)", InputError, "data.py:load ended the process with exit code 0; return"),
        ("import os; os._exit(3)", InputError, "data.py:load ended the process with exit code 3; return"),
        ("import os; os.closerange(0, 99)", InputError, "data.py:load ended the process with exit code 1"),
        ("import ctypes; ctypes.string_at(0)", StageError, "data.py:load was killed by SIGSEGV; it crashed"),
        ("import os; os.abort()", StageError, "data.py:load was killed by SIGABRT; it crashed"),
        ("raise KeyboardInterrupt", StageError, "KeyboardInterrupt: no message"),
        ("class Odd(BaseException): ...\nraise Odd('x')", StageError, "Odd: x"),
        ("while True: pass", InputError, "data.py:load: no result after 3 s; let it end, or allow more time"),
    ],
)
def test_every_way_out_of_code_of_somebody_else_is_one_clear_error(program, error, message, kernel, capfd):
    with pytest.raises(error, match=message):
        run(exec, program, rules=CONFINED["data"], timeout_s=3)
    assert capfd.readouterr() == ("", "")


def test_a_child_that_starts_hundreds_of_processes_is_ended(marked, kernel):
    program = (
        "import subprocess, time\nfor _ in range(500): subprocess.Popen(['sleep', '60'])\ntime.sleep(60)"
    )
    with pytest.raises(InputError, match=r"m.keras started more than \d+ processes; start fewer"):
        run(exec, program, rules=CONFINED["trusted"])
    assert marked() == []


HOARDING = {
    "one process": "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))",
    "its children": """
import os, time
for _ in range(8):
    if os.fork() == 0:
        hoard = bytearray(100_000_000)
        time.sleep(60)
time.sleep(60)
""",
    "shared memory": """
import mmap
shared = mmap.mmap(-1, 1_000_000_000)
for place in range(0, len(shared), 4096): shared[place] = 1
import time; time.sleep(60)
""",
}
LITTLE = {name: rule and replace(rule, memory_bytes=400_000_000) for name, rule in CONFINED.items()}


@pytest.mark.parametrize(
    ("rules", "program"),
    [
        ("data", "one process"),
        ("trusted", "one process"),
        ("data", "its children"),
        ("data", "shared memory"),
    ],
)
def test_a_child_that_allocates_without_end_is_ended_with_one_line(rules, program, kernel, marked):
    with pytest.raises(InputError, match=r"used more than 400 MB of memory; build it where there is more$"):
        run(exec, HOARDING[program], rules=LITTLE[rules])
    assert marked() == []


def test_memory_that_forked_processes_share_counts_once(kernel):
    program = "import os, time; hoard = bytearray(150_000_000)\nif os.fork(): os.fork()\ntime.sleep(2)"
    run(exec, program, rules=LITTLE["data"])


def test_where_memory_runs_short_the_kernel_ends_code_of_others_first(kernel):
    program = "int(open('/proc/self/oom_score_adj').read())"
    assert run(eval, program, rules=CONFINED["data"]) == 1000
    with pytest.raises(
        StageError, match="killed by SIGKILL; if memory ran out: build it where there is more"
    ):
        run(exec, "import os; os.kill(os.getpid(), 9)", rules=CONFINED["data"])


def test_what_is_not_enforced_is_a_note(kernel):
    notes = []
    run(operator.add, 1, 2, rules=CONFINED["trusted"], notes=notes)
    expected = [
        f"m.keras ran without namespaces ({REFUSED}): processes that it detaches may outlive the build"
    ]
    assert [note[: len(expected[0])] for note in notes] == (expected if kernel == "no namespaces" else [])


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX"])
def test_a_trusted_model_has_no_network(family, kernel):
    with pytest.raises(StageError, match="PermissionError"):
        run(exec, f"import socket; socket.socket(socket.{family})", rules=CONFINED["trusted"])
    run(exec, f"import socket; socket.socket(socket.{family}).close()", rules=CONFINED["data"])


def test_a_trusted_model_writes_to_its_own_folder_only(tmp_path):
    (own := tmp_path / "own").mkdir()
    rules = replace(CONFINED["trusted"], writable=(own,))
    run(exec, f"open({str(own / 'file')!r}, 'w').close()", rules=rules)
    with pytest.raises(StageError, match="Read-only file system"):
        run(exec, f"open({str(tmp_path / 'file')!r}, 'w').close()", rules=rules)


def test_a_trusted_model_sees_no_process_of_yours():
    seen = run(eval, "sorted(name for name in __import__('os').listdir('/proc') if name.isdigit())",
               rules=CONFINED["trusted"])  # fmt: skip
    assert seen == ["1", "2"]


def test_a_key_file_is_empty_to_code_of_somebody_else(tmp_path):
    (key := tmp_path / "release.key").write_text("secret")
    program = f"__import__('subprocess').run(['umount', {str(key)!r}]) and open({str(key)!r}).read()"
    for rules in (CONFINED["data"], CONFINED["trusted"]):
        with sandbox.hiding(key):
            assert run(eval, program, rules=rules) == ""
    assert run(eval, program) == "secret"


def test_no_child_inherits_a_signing_variable(monkeypatch):
    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_KEY", "secret key")
    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_PASSWORD", "secret word")
    for rules in CONFINED.values():
        assert "secret" not in str(run(eval, "dict(__import__('os').environ)", rules=rules))


def test_an_answer_that_would_run_code_in_the_parent_is_not_read(tmp_path):
    marker = tmp_path / "marker"
    forged = f"""
import builtins, os, pickle
class Forged:
    def __reduce__(self):
        return open, ({str(marker)!r}, "w")
for number in range(3, 256):
    try:
        os.write(number, pickle.dumps(("returned", Forged())))
    except OSError:
        pass
os._exit(0)
"""
    with pytest.raises(StageError, match="its answer cannot be read: unexpected "):
        run(exec, forged, rules=CONFINED["data"])
    assert not marker.exists()


def test_endless_output_neither_fills_memory_nor_hangs():
    program = "while True: print('x' * 10000)"
    with pytest.raises(InputError) as caught:
        run(exec, program, rules=CONFINED["data"], timeout_s=2)
    assert "no result after 2 s" in str(caught.value)


def subclasses(kind):
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in subclasses(below))]


@pytest.mark.parametrize("kind", subclasses(PipelineError))
def test_every_error_survives_the_way_between_processes(kind):
    error = kind("convert", "it broke", "mend it") if issubclass(kind, StageError) else kind("it broke")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert str(again) == str(error)
