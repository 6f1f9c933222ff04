"""The first program of every child process: it ends with its parent, and nothing it started outlives it.

This file is run as a program, before anything else is imported. Besides the standard library it needs only
modules of the pipeline that need no more. Up to three processes follow one another:

- the *keeper*, the parent's own child. It waits for the worker, then kills whatever the worker left behind;
- the *init* process of a new process namespace, where code that is not the pipeline's own is confined;
- the *worker*, which imports the pipeline and does the work (``pipeline.isolation.sandbox.work``).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PROCESSES = 64 + 4 * (os.cpu_count() or 1)
"""Maximum number of concurrent processes of a confined worker, without threads."""

_POLL_S = 0.05
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 22, 24  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    1,
    2,
    4,
    8,
    4096,
    1 << 14,
    1 << 18,
)
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 1  # linux/mount.h
# For each architecture: seccomp's identifier, and the number of socket(); io_uring could make sockets, too.
_SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_IO_URING_SETUP = 425
_EVERY_CAPABILITY = frozenset(range(64))
# What a data function of root keeps: rights on other users' files, users and ports (linux/capability.h). With
# others, root undoes a mount, reads another process's memory, or makes a device of the whole disk.
_KEPT_BY_ROOT = frozenset({0, 1, 3, 4, 5, 6, 7, 10})

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent ends; end now if it has already ended.

    Args:
        parent: the process that started this one.
        by: the signal to send.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Undo ``die_with_parent``."""
    _libc.prctl(_PR_SET_PDEATHSIG, 0)


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())
    )


def _set_read_only(target: str, *, read_only: bool) -> None:
    """Change every mount below ``target``."""
    attributes = (ctypes.c_uint64 * 4)(*((_ATTR_RDONLY, 0) if read_only else (0, _ATTR_RDONLY)), 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    path = os.fsencode(target)
    _call(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, ctypes.byref(attributes), size))


def _enter(rules: dict[str, Any]) -> None:
    """Move this process into namespaces of its own.

    Raises:
        OSError: the kernel refuses it to this user.
    """
    user, group = os.geteuid(), os.getegid()
    # Root needs no user namespace for these, and would lose its rights on other users' files in one.
    own_user = user != 0 or not rules["network"]
    flags = _NEWNS | _NEWPID | _NEWIPC | (_NEWUSER if own_user else 0) | (0 if rules["network"] else _NEWNET)
    _call(_libc.unshare(flags))
    if own_user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _mount("", "/", "", _MS_REC | _MS_PRIVATE)
    if rules["writable"] is not None:
        for folder in rules["writable"]:
            _mount(folder, folder, "", _MS_BIND | _MS_REC)
        _set_read_only("/", read_only=True)
        for folder in rules["writable"]:
            _set_read_only(folder, read_only=False)
        if Path("/dev/shm").is_dir():  # noqa: S108 - hides it
            _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=256m")  # noqa: S108
    for file in rules["hidden"]:
        _mount("/dev/null", file, "", _MS_BIND)


def _refusal(rules: dict[str, Any]) -> str:
    """Try it in a process that ends at once: what the kernel says, ``""`` where it allows it."""
    trial = os.fork()
    if trial == 0:
        code = 1
        try:
            _enter(rules)
            code = 0
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(trial, 0)[1])
    return "" if code == 0 else os.strerror(code) if code > 0 else "killed"


def _forbid_sockets() -> bool:
    """Ask the kernel to refuse new sockets to this process and its children; False if it cannot."""
    name, number = _SOCKET.get(platform.machine(), (0, 0))
    if not name:
        return False
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 0, 4, name),  # another architecture: rejected
        (load, 0, 0, 0),
        (at_least, 2, 0, 0x40000000),  # the x32 interface: rejected
        (equal, 1, 0, number),
        (equal, 0, 1, _IO_URING_SETUP),
        (answer, 0, 0, 0x00050000 | 13),  # fails with EACCES
        (answer, 0, 0, 0x7FFF0000),  # allowed
    ]
    words = b"".join(
        code.to_bytes(2, sys.byteorder) + bytes((yes, no)) + value.to_bytes(4, sys.byteorder)
        for code, yes, no, value in program
    )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    made = Program(len(program), words)
    return bool(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(made), 0, 0) == 0)


def _drop_rights(rules: dict[str, Any]) -> None:
    """Leave the worker no right with which it could undo its confinement."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kept = _KEPT_BY_ROOT if rules["network"] and os.geteuid() == 0 else frozenset()
    dropped = _EVERY_CAPABILITY - kept
    for capability in dropped:
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of 0 to 31 and of 32 to 63
    _call(_libc.capget(header, sets))
    for index in range(6):
        for bit in range(32):
            if bit + 32 * (index // 3) in dropped:
                sets[index] &= ~(1 << bit) & 0xFFFFFFFF
    _call(_libc.capset(header, sets))
    if not rules["network"]:
        _forbid_sockets()


class Keeper:
    """Starts the worker, and leaves no process behind."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.rules: dict[str, Any] | None = options["rules"]
        self.confined = False
        self.child = 0

    def report(self, **message: Any) -> None:
        os.write(self.options["status"], json.dumps(message).encode() + b"\n")

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.end)
        die_with_parent(self.options["parent"], signal.SIGTERM)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        refused = "" if self.rules is None else _refusal(self.rules)
        self.report(refused=refused)
        if os.read(0, 1) != b"g":  # the parent does not go on
            os._exit(0)
        if self.rules is not None and not refused:
            _enter(self.rules)
            self.confined = True
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        alive, held = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(held)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if select.select([alive], [], [], 0)[0]:  # the keeper has died before
                os._exit(1)
            os.close(alive)
            self.init() if self.confined else self.work()
        status = self.watch(self.child, _descendants)
        if status is not None and not self.confined:
            self.report(ended=status)
        self.kill_all()
        os._exit(0)

    def init(self) -> None:
        """Be the first process of the namespace: when it ends, the kernel kills all others."""
        everything: Callable[[], list[int]] = _processes
        try:
            _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        except OSError:  # fails in some containers; then the outer /proc stays visible, and the keeper counts
            everything = list
        worker = os.fork()
        if worker == 0:
            self.work()
        status = self.watch(worker, everything)
        if status is not None:
            self.report(ended=status)
        os._exit(0)

    def watch(self, worker: int, everything: Callable[[], list[int]]) -> int | None:
        """Reap what ends until the worker does, or until all of them are too many or use too much memory.

        Args:
            worker: the process.
            everything: gives it and all that it started.

        Returns:
            How the worker ended, as ``os.waitpid`` has it; None if there was too much.
        """
        while True:
            done, status = os.waitpid(-1, os.WNOHANG)
            if done == worker:
                return status
            if done:
                continue
            began = time.monotonic()
            if self.rules is not None and (found := _excess(self.rules, everything())):
                self.report(**found)
                return None
            # The more processes there are, the longer the look takes: it gets a twentieth of a processor.
            signal.sigtimedwait({signal.SIGCHLD}, max(_POLL_S, 19 * (time.monotonic() - began)))

    def work(self) -> None:
        """Become the worker, with the interpreter's paths as the parent has them."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.close(self.options["status"])
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.rules is not None:
            # Where memory is short, the kernel ends this process and not the build.
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
            _drop_rights(self.rules)
            self.restrict_files(self.rules["files"])
        if not self.options.get("imported"):
            import site

            site.main()
        sys.path[:] = self.options["path"]
        from importlib import import_module

        work = import_module(self.options["module"]).work
        work(Path(self.options["scratch"]), self.options["result"])
        os._exit(0)

    def restrict_files(self, files: dict[str, Any] | None) -> None:
        """Leave the worker the files that it may read, where Landlock has to see to that."""
        if files is None or (self.confined and files["writable"] is None):  # already hidden
            return
        from pipeline.isolation.landlock import Access, restrict

        own = ["/dev/shm"] if self.confined else []  # noqa: S108 - one of its own
        restrict(Access(files["readable"], files["writable"] and files["writable"] + own, files["hidden"]))

    def kill_all(self) -> None:
        """Kill this process's children and, as orphans are handed to it, theirs."""
        while True:
            for pid in [self.child] if self.confined else _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.005)

    def end(self, *_: Any) -> None:
        if self.child or not self.confined:
            self.kill_all()
        os._exit(1)


def _excess(rules: dict[str, Any], pids: list[int]) -> dict[str, int]:
    """Return the exceeded limits, by their names in an answer."""
    from pipeline.isolation.memory import used_bytes

    if len(pids) > MAX_PROCESSES:
        return {"processes": MAX_PROCESSES}
    limit = rules["memory"]
    return {"memory": limit} if used_bytes(pids, limit) > limit else {}


def _processes() -> list[int]:
    """Return all visible processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are enough


def _parents() -> dict[int, int]:
    """Return the parent of every process in sight."""
    found = {}
    for pid in _processes():
        try:
            fields = Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        found[pid] = int(fields[1])
    return found


def _children() -> list[int]:
    """Return all child processes."""
    return [pid for pid, parent in _parents().items() if parent == os.getpid()]


def _descendants() -> list[int]:
    """Return the children of this process, theirs, and so on."""
    below: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        below.setdefault(parent, []).append(pid)
    found: list[int] = []
    new = [os.getpid()]
    while new:
        new = [child for pid in new for child in below.get(pid, ())]
        found += new
    return found


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    sys.path[:] = [*options["path"], options["packages"]]  # site may have added it in another way
    Keeper(options).run()
