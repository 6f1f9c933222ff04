"""A lock on a device: one installation at a time, and none that is dead keeps others out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import RefusedError, TransportError
from deploy.install import lock as module
from deploy.install.device import place, probe
from deploy.install.lock import Lock, this_machine
from deploy.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = {"python": "/nowhere/python3", "without_health_check": True}
DEAD = 999_999_999


def hold(device: Any, owner: str, minutes: float = 0) -> Path:
    """Leave the lock of another installation there, ``minutes`` after its last step."""
    lock: Path = device.home / ".lock"
    incoming = device.home / "releases" / ".incoming-other"
    for folder in (lock, incoming):
        folder.mkdir(parents=True)
    (lock / "holder").write_text("other\n")
    (lock / "owner").write_text(f"{owner}\n")
    for folder in (lock, incoming):
        age(folder, minutes)
    return lock


def age(folder: Path, minutes: float) -> None:
    when = folder.stat().st_mtime - 60 * minutes
    os.utime(folder, (when, when))


def elsewhere(monkeypatch: pytest.MonkeyPatch, call: Callable[[], str]) -> str:
    """What ``call`` returns in another container of this machine: the same kernel, other processes."""

    class InAContainer(type(Path())):  # type: ignore[misc]
        def readlink(self) -> Path:
            return Path("pid:[4026539999]") if str(self) == "/proc/self/ns/pid" else super().readlink()

    with monkeypatch.context() as patch:
        patch.setattr(module, "Path", InAContainer)
        return call()


def test_processes_of_two_containers_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_machine() == this_machine()
    assert elsewhere(monkeypatch, this_machine) != this_machine()


@pytest.mark.parametrize("flags", [["--pid", "--fork"]])
def test_a_pid_namespace_is_another_machine(flags: list[str]) -> None:
    program = "from deploy.install.lock import this_machine; print(this_machine())"
    import sys

    command = ["unshare", "--user", "--map-root-user", *flags, sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ran.returncode == 0:  # where the kernel lets a user make one
        assert ran.stdout.strip() != this_machine()


def test_a_lock_of_another_container_is_held_whatever_its_number_is_here(
    device: Any, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = hold(device, f"{elsewhere(monkeypatch, this_machine)}:{DEAD}")
    with pytest.raises(RefusedError, match="installed to by somebody else"):
        device.install(old, **QUICK)
    age(lock, 16)
    age(device.home / "releases" / ".incoming-other", 16)
    device.install(old, **QUICK)
    assert not lock.exists()


def test_a_lock_of_a_process_that_is_gone_is_taken_over_at_once(device: Any, old: Path) -> None:
    lock = hold(device, f"{this_machine()}:{DEAD}")
    device.install(old, **QUICK)
    assert not lock.exists()


def test_a_push_keeps_its_lock_young(device: Any, old: Path) -> None:
    lock = hold(device, "elsewhere:7", minutes=60)
    (device.home / "releases" / ".incoming-other" / "file").write_text("x")
    with pytest.raises(RefusedError, match="installed to by somebody else"):
        device.install(old, **QUICK)
    assert lock.exists()


@pytest.mark.parametrize("said", ["", "x", "a:b:c", "²:²", f"x:{'9' * 5000}", "\x1b[2J:7", "x:-1"])
def test_a_lock_with_nonsense_in_it_is_held(device: Any, old: Path, said: str) -> None:
    hold(device, said)
    with pytest.raises((RefusedError, TransportError)) as caught:
        device.install(old, **QUICK)
    assert str(caught.value).isprintable()
    device.install(old, **QUICK, break_lock=True)


def test_every_step_makes_the_lock_young(device: Any, old: Path) -> None:
    """An installation in which each step takes longer than a lock may be old is never taken over."""
    ages: list[float] = []

    class Slow(LocalTransport):
        def run(self, argv: Any, *, timeout_s: float = 120.0) -> Any:
            ran = super().run(argv, timeout_s=timeout_s)
            self.wait()
            return ran

        def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
            super().push(local, remote, timeout_s=timeout_s)
            self.wait()

        def wait(self) -> None:
            lock = device.home / ".lock"
            if lock.is_dir():
                folders = [lock, *(device.home / "releases").glob(".incoming-*")]
                ages.append(min(lock.stat().st_ctime - folder.stat().st_mtime for folder in folders))
                for folder in folders:
                    age(folder, 14)

    device.install(old, Slow())
    assert len(ages) > 10
    assert max(ages) < 15 * 60


def test_an_installation_whose_lock_was_taken_over_ends(device: Any, old: Path, new: Path) -> None:
    device.install(old, **QUICK)

    def take_over(step: str) -> None:
        if step == "read hashes back":
            (device.home / ".lock" / "holder").write_text("other\n")

    with pytest.raises(RefusedError, match="installed to by somebody else"):
        device.install(new, on_step=take_over, **QUICK)
    device.require_whole(old)
    shutil.rmtree(device.home / ".lock")
    device.install(new, **QUICK)


def test_a_refreshed_lock_is_young(device: Any, old: Path) -> None:
    transport, options = LocalTransport(), device.options()
    device.root.mkdir()
    state = probe(transport, "tiny", options)
    with Lock(transport, place(state, "tiny"), state) as lock:
        folder = device.home / ".lock"
        os.utime(folder, (0, 0))
        lock.refresh()
        assert folder.stat().st_mtime > 0
        (folder / "holder").write_text("other\n")
        with pytest.raises(RefusedError, match="installed to by somebody else"):
            lock.refresh()
