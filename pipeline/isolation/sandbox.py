"""Run a function in a child process, so that a crash there is an error here.

A child is *confined* where it runs code that is not the pipeline's own: see :class:`Confinement`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import platform
import selectors
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pipeline.errors
from deploy.keys import SECRETS, secret
from pipeline.errors import (
    FULL_DISK,
    InputError,
    PipelineError,
    StageCrashedError,
    StageError,
    StageKilledError,
    StageTimeoutError,
    ToolchainError,
    cause_of,
    leaf_errors_mapped,
)
from pipeline.event_file import recording, relaying
from pipeline.isolation import confinement, forkserver, landlock
from pipeline.isolation.memory import machine_bytes
from pipeline.progress import track
from pipeline.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

EVENTS = "events.jsonl"
LOG_BYTES = 64 << 10
MAX_ANSWER_BYTES = 64 << 20
MEMORY_SHARE = 0.75
END_S = 10.0
"""Seconds that the keeper has to kill what the worker left behind."""

_DEFAULTS = {"TF_ENABLE_ONEDNN_OPTS": "1"} if platform.machine() == "x86_64" else {}
"""TensorFlow has oneDNN off on processors without VNNI, where training takes 1.8 times as long without it."""

DEBUG_HINT = "run again with --debug for the traceback"
_hidden: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Confinement:
    """Permissions of a child that runs foreign code.

    Where the kernel lets this user make namespaces, the child and everything that it starts die together and
    neither see nor trace other processes. Elsewhere what the child started is killed with it as far as it is
    found. There are never more than ``confinement.MAX_PROCESSES`` of them. The files of ``hiding`` are out of
    reach with namespaces or Landlock, and a child with neither is not started; whatever else is missing is
    in a note.

    Attributes:
        source: whose code it is, as errors name it, e.g. ``data.py:load``.
        network: whether it may use the network. Where not, no socket can be made, with namespaces or without.
        writable: the only folders it may write to; None for all that the user may write to.
        readable: what it may read besides Python, the system and ``writable``; None for all that the user may
            read. This takes Landlock.
        memory_bytes: what it and all that it starts may use together; by default MEMORY_SHARE of what this
            process may use. Checked many times a second; memory that runs short before ends the child, too.
        advice: how its owner makes it use less.
    """

    source: str
    network: bool
    writable: tuple[Path, ...] | None = None
    readable: tuple[Path, ...] | None = None
    memory_bytes: int | None = None
    advice: str = "build it where there is more"


@contextmanager
def hiding(*files: Path) -> Iterator[None]:
    """Keep files, such as a private key, out of reach of confined children for the length of the block."""
    global _hidden
    before, _hidden = _hidden, tuple(file.resolve() for file in files if file.is_file())
    try:
        yield
    finally:
        _hidden = before


def run(
    stage: str,
    function: Callable[..., T],
    *arguments: Any,
    timeout_s: float | None,
    returns: tuple[type, ...] = (),
    rules: Confinement | None = None,
    notes: list[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Call ``function(*arguments)`` in a fresh process and return what it returned.

    Args:
        stage: what to call the work in an error.
        function: importable by name; its arguments are pickled.
        timeout_s: seconds until the child is killed; None for as long as it takes.
        returns: the classes in a result under ``rules`` besides Python's own; no other is unpickled.
        rules: what a child may do that runs code that is not the pipeline's own.
        notes: gets a note where the kernel does not let this user enforce ``rules``.
        environment: variables of the child besides this process's own.

    Raises:
        InputError: the code that ``rules.source`` names left the process, took too long or used too much.
        PipelineError: raised by ``function`` itself.
        StageError: the child raised another error, or was killed by a signal.
        StageTimeoutError: it took too long.
        ToolchainError: the signing key cannot be hidden from the code that ``rules.source`` names.
    """
    with scratch("sandbox") as folder, track(stage):
        child = _Child(folder, rules, environment or {})
        try:
            refused = child.refusal()
            note = "" if rules is None else _unconfined(rules, refused, landlocked=landlock.version() > 0)
            if note and notes is not None:
                notes.append(note)
            (folder / "task").write_bytes(pickle.dumps((function, arguments)))
            # Code that is not the pipeline's own could write anything, so its events are not relayed.
            with relaying(folder / EVENTS) if rules is None else nullcontext():
                answer = child.answer(timeout_s)
            result: T = _result(stage, answer, child, returns, rules, timeout_s)
            return result
        except StageError as error:
            error.add_note(child.log.decode(errors="replace"))  # for --debug
            raise
        finally:
            child.end()


def _unconfined(rules: Confinement, refused: str, *, landlocked: bool) -> str:
    """Return what is not enforced, ``""`` where all is.

    Raises:
        ToolchainError: the signing key would be within reach.
    """
    secret_names = [str(file) for file in _hidden] + [name for name in SECRETS if secret(name)]
    if refused and not landlocked and secret_names:
        msg = (
            f"{secret_names[0]}: code in {rules.source} could read this key, because the kernel allows "
            f"neither namespaces ({refused}) nor Landlock here; build without a key, then sign with: "
            "pipeline release --key"
        )
        raise ToolchainError(msg)
    missing = []
    if refused:
        missing.append("processes that it detaches may outlive the build")
    if refused and not landlocked and rules.writable is not None:
        missing.append("it can write wherever you can")
    if not landlocked and rules.readable is not None:
        missing.append("it can read what you can")
    without = [f"namespaces ({refused})"] * bool(refused) + ["Landlock"] * (not landlocked)
    return f"{rules.source} ran without {' and '.join(without)}: {'; '.join(missing)}" if missing else ""


class _Child:
    """A keeper and its worker (``pipeline.isolation.confinement``), with the pipes to them."""

    def __init__(self, folder: Path, rules: Confinement | None, own: Mapping[str, str]) -> None:
        self.log = b""
        self.ended: int | None = None
        self.excess: dict[str, int] = {}
        self._status = b""
        self._answer = b""
        ours: dict[str, int] = {}
        theirs: dict[str, int] = {}
        for name in ("status", "result", "log"):
            ours[name], theirs[name] = os.pipe()
        options = {
            "path": sys.path,
            "packages": str(Path(pipeline.errors.__file__).parents[1]),
            "module": __name__,
            "scratch": str(folder),
            "rules": rules and {
                "network": rules.network,
                "writable": _folders(folder, rules.writable),
                "hidden": [str(file) for file in _hidden],
                "files": _files(rules, folder) if landlock.version() else None,
                "memory": rules.memory_bytes or int(MEMORY_SHARE * machine_bytes()),
            },
        }  # fmt: skip
        given = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environment = _DEFAULTS | given | dict(own)
        if rules is not None and rules.readable is not None:  # the user's own folder is not accessible
            environment |= {"HOME": str(folder), "KERAS_HOME": str(folder / "keras")}
        environment |= {"TMPDIR": str(folder)}  # removed even if the child is killed
        forked = forkserver.fork(options, environment, theirs) if rules is None else None
        self._keeper = forked or _started(options, environment, theirs)
        for descriptor in theirs.values():
            os.close(descriptor)
        self._pipes = ours
        self._selector = selectors.DefaultSelector()
        for name, descriptor in ours.items():
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, name)

    def refusal(self) -> str:
        """Why the child is not confined, ``""`` where it is or need not be."""
        while b"\n" not in self._status and self._read(None):
            pass
        line = self._status.partition(b"\n")[0]
        return str(json.loads(line)["refused"]) if line else "the child did not start"

    def answer(self, timeout_s: float | None) -> bytes | None:
        """Start the worker; returns what it sent, None on time-out."""
        assert self._keeper.stdin is not None
        try:
            self._keeper.stdin.write(b"g")
            self._keeper.stdin.close()
        except BrokenPipeError:
            pass  # it has died, which the pipes say as well
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._status.count(b"\n") < 2:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or len(self._answer) > MAX_ANSWER_BYTES:
                return None
            if not self._read(left):
                break
        while self._read(0):
            pass
        for line in self._status.splitlines()[1:]:
            message = json.loads(line)
            self.ended = message.pop("ended", self.ended)
            self.excess |= message
        return self._answer

    def _read(self, timeout_s: float | None) -> bool:
        """Read the pipes; returns False if there is nothing, or if the status pipe has ended."""
        found = False
        for key, _ in self._selector.select(timeout_s):
            chunk = os.read(key.fd, 1 << 16)
            found = found or bool(chunk)
            if key.data == "status":
                self._status += chunk
            elif key.data == "result":
                self._answer += chunk
            else:
                self.log = (self.log + chunk)[-LOG_BYTES:]
            if not chunk:
                self._selector.unregister(key.fd)
        return found or (timeout_s != 0 and self._pipes["status"] in self._selector.get_map())

    def end(self) -> None:
        """Leave no process behind."""
        self._keeper.terminate()
        try:
            self._keeper.wait(END_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._selector.close()
        for descriptor in self._pipes.values():
            os.close(descriptor)


def _started(
    options: dict[str, Any], environment: dict[str, str], pipes: dict[str, int]
) -> subprocess.Popen[bytes]:
    """Start a keeper in a new interpreter."""
    own = {"parent": os.getpid(), "status": pipes["status"], "result": pipes["result"]}
    return subprocess.Popen(
        [sys.executable, "-S", "-P", confinement.__file__, json.dumps(options | own)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=pipes["log"],
        stderr=pipes["log"],  # native code prints a lot, which matters only when it fails
        pass_fds=(pipes["status"], pipes["result"]),
        start_new_session=True,  # Ctrl-C is for this process, which ends the child
    )


def _folders(scratch_folder: Path, writable: tuple[Path, ...] | None) -> list[str] | None:
    return None if writable is None else [str(path.resolve()) for path in (scratch_folder, *writable)]


def _files(rules: Confinement, folder: Path) -> dict[str, list[str] | None]:
    """Return the files that a child may open, as a ``landlock.Access``."""
    writable = _folders(folder, rules.writable)
    readable = ["/"] if rules.readable is None else [*landlock.python_files(), *map(str, rules.readable)]
    return {
        "readable": readable,
        "writable": None if writable is None else [*writable, *landlock.DEVICES],
        "hidden": [str(file) for file in _hidden],
    }


def _result(
    stage: str,
    answer: bytes | None,
    child: _Child,
    returns: Sequence[type],
    rules: Confinement | None,
    timeout_s: float | None,
) -> Any:
    """Return the worker's result, or raise its error."""
    own: Callable[[str, str, str], PipelineError] = StageError if rules is None else _of_source
    source = "the child process" if rules is None else rules.source
    if answer is None:
        cause = f"{source}: no result after {timeout_s:.0f} s"
        if rules is not None and rules.network:
            raise own(stage, cause, "let it end, or allow more time: [data] timeout_s")
        raise StageTimeoutError(stage, cause, "allow more time, or use a smaller model")
    if "processes" in child.excess:
        raise own(stage, f"{source} started more than {child.excess['processes']} processes", "start fewer")
    if "memory" in child.excess and rules is not None:
        most = f"{child.excess['memory'] / 1e6:,.0f} MB"
        raise own(stage, f"{source} used more than {most} of memory", rules.advice)
    if answer:
        try:
            kind, value = pickle.loads(answer) if rules is None else _Reader(answer, returns).load()  # noqa: S301
        except Exception as error:
            cause = f"{source}: its answer cannot be read: {error}"
            raise StageError(stage, cause, DEBUG_HINT) from error
        if kind == "returned":
            return value
        if isinstance(value, PipelineError):
            raise value
        if kind == "left":
            raise own(stage, f"{source} {value}", "return the result instead")
        hint = FULL_DISK.get(kind, DEBUG_HINT) if isinstance(kind, int) else DEBUG_HINT
        raise StageError(stage, str(value), hint)
    raise _ending(stage, source, child.ended, rules)


def _ending(stage: str, source: str, status: int | None, rules: Confinement | None) -> PipelineError:
    """Return the error for a worker that ended without an answer."""
    code = None if status is None else os.waitstatus_to_exitcode(status)
    hint = f"{'it' if rules else 'this model'} crashed: run again with --debug for what it printed"
    if code is None or code < 0:
        cause = f"{source} was killed" + ("" if code is None else f" by {signal.Signals(-code).name}")
        if code == -signal.SIGKILL:
            advice = rules.advice if rules else "free some, or use a smaller model"
            return StageKilledError(stage, cause, f"if memory ran out: {advice}")
        return (StageError if rules else StageCrashedError)(stage, cause, hint)
    cause = f"{source} ended the process with exit code {code}"
    if rules is not None:
        return _of_source(stage, cause, "return the result instead")
    return StageError(stage, cause, hint)


def _of_source(stage: str, cause: str, hint: str) -> InputError:
    return InputError(f"{cause}; {hint}")


class _Reader(pickle.Unpickler):
    """Reads an answer that foreign code may have written: only expected classes are allowed."""

    def __init__(self, answer: bytes, returns: Sequence[type]) -> None:
        super().__init__(io.BytesIO(answer))
        errors = [kind for kind in vars(pipeline.errors).values() if isinstance(kind, type)]
        allowed = [*returns, *(kind for kind in errors if issubclass(kind, PipelineError))]
        self._allowed = {(kind.__module__, kind.__qualname__): kind for kind in allowed}

    def find_class(self, module: str, name: str) -> type:
        try:
            return self._allowed[module, name]
        except KeyError:
            msg = f"unexpected {module}.{name}"
            raise pickle.UnpicklingError(msg) from None


def work(folder: Path, result: int) -> None:
    """Do the task in ``folder`` and write the answer; this is what runs in the worker."""
    path = folder / "task"
    task = path.read_bytes()
    path.unlink()
    try:
        function, arguments = pickle.loads(task)  # noqa: S301 - the parent wrote it
        with recording(folder / EVENTS), leaf_errors_mapped():
            answer: Any = ("returned", function(*arguments))
        sent = pickle.dumps(answer)
    except PipelineError as error:
        error.__cause__ = None
        sent = pickle.dumps(("raised", error))
    except SystemExit as error:
        sent = pickle.dumps(("left", f"called sys.exit({error.code!r:.60})"))
    except BaseException as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines()
        number = error.errno if isinstance(error, OSError) else 0
        text = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
        if isinstance(error, OSError) and number in FULL_DISK:
            text = f"{error.filename}: {cause_of(error)}" if error.filename else cause_of(error)
        sent = pickle.dumps((number, text))
    with os.fdopen(result, "wb") as stream:
        stream.write(sent)
