"""Which Python a service runs: the one that answered for the version on the device."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import DeployError, RefusedError, TransportError
from deploy.install import scripts
from deploy.install.versions import prune, rollback, status
from deploy.manifest import digest_of
from deploy.transports.local import LocalTransport
from deploy.transports.transport import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable

UNCHECKED = {"python": "/nowhere/python3", "without_health_check": True}


@pytest.fixture
def pythons(tmp_path: Path) -> Callable[[str], str]:
    """A function that makes another Python, as wrappers do: this one under a name of its own."""

    def make(name: str) -> str:
        path = tmp_path / name / "python3"
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        path.chmod(0o755)
        return str(path)

    return make


def proved(device: Any, release: Path) -> str | None:
    """The Python that a service runs a version with; None for the usual one."""
    link = device.home / "python" / digest_of(release)
    return os.readlink(link) if link.is_symlink() else None  # noqa: PTH115  as the unit reads it


def test_it_is_the_one_that_answered_the_golden_vectors(
    device: Any, old: Path, new: Path, pythons: Callable[[str], str]
) -> None:
    first, second = pythons("first"), pythons("second")
    device.install(old, python=first)
    device.install(new, python=second)
    assert (proved(device, old), proved(device, new)) == (first, second)

    rollback("tiny", LocalTransport(), device.options(python=second), lambda _: None)
    assert (proved(device, old), proved(device, new)) == (second, second)

    assert not device.install(old, python=first).is_new
    assert proved(device, old) == first


def test_a_name_becomes_a_whole_path(
    device: Any, old: Path, pythons: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = Path(pythons("bin"))
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")
    device.install(old, python="python3")
    assert proved(device, old) == str(python)

    with pytest.raises(DeployError, match="'bin/python3' is not a Python on a device"):
        device.install(old, python="bin/python3")


def test_later_commands_use_the_one_of_the_active_version(
    device: Any, old: Path, new: Path, pythons: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Path(pythons("bare"))
    bare.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", f"{bare.parent}:{os.environ['PATH']}")
    with pytest.raises(RefusedError, match="no Python to check the model with"):
        device.install(old, python=None)
    python = pythons("own")
    device.install(old, python=python)

    device.install(new, python=None)
    assert proved(device, new) == python
    assert status("tiny", LocalTransport(), device.options(python=None)).healthy
    rollback("tiny", LocalTransport(), device.options(python=None), lambda _: None)
    assert device.active == digest_of(old)

    Path(python).unlink()  # it is gone: then the usual one is
    assert status("tiny", LocalTransport(), device.options(python=None)).healthy is None


def test_without_a_check_it_is_the_usual_one_and_the_note_says_so(device: Any, old: Path) -> None:
    device.install(old)
    assert proved(device, old) == sys.executable

    done = device.install(old, **UNCHECKED)

    assert proved(device, old) is None
    (note,) = done.notes
    assert note.startswith("nothing was checked on the device, as --without-health-check says")
    assert note.endswith("; a service runs it with /usr/bin/python3")


def test_it_goes_with_the_version(
    device: Any, old: Path, new: Path, bad: Path, derive: Any, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="is not healthy there"):
        device.install(bad)
    for release in (old, new, derive(tmp_path / "third", version="1.3", counter=4)):
        device.install(release)
    prune("tiny", LocalTransport(), device.options())
    assert {path.name for path in (device.home / "python").iterdir()} == {
        path.name for path in (device.home / "releases").iterdir()
    }


def test_it_is_kept_before_the_version_becomes_active(
    device: Any, old: Path, new: Path, pythons: Callable[[str], str]
) -> None:
    first, second = pythons("first"), pythons("second")
    device.install(old, python=first)
    seen = []

    def on_step(step: str) -> None:
        if step == "switch":
            seen.append((device.active, proved(device, old), proved(device, new)))

    device.install(new, python=second, on_step=on_step)
    assert seen == [(digest_of(old), first, second)]


class Service(LocalTransport):
    """This machine as one on which the release's service is enabled."""

    def __init__(self, *, is_root: bool) -> None:
        self.is_root, self.restarts = is_root, 0

    def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
        if argv[0] == "systemctl":
            self.restarts += 1
            return CommandResult(0, b"", "")
        result = super().run(argv, timeout_s=timeout_s)
        out = result.out.replace(b"\nunit=\n", b"\nunit=enabled\n")
        lines = [
            (b"user=0" if self.is_root else b"user=1000") if line.startswith(b"user=") else line
            for line in out.split(b"\n")
        ]
        return CommandResult(result.status, b"\n".join(lines), result.err)


def test_a_service_of_an_active_version_takes_another_python_up_at_its_next_start(
    device: Any, old: Path, pythons: Callable[[str], str]
) -> None:
    transport = Service(is_root=True)
    assert device.install(old, transport).notes == ()
    assert transport.restarts == 1
    assert device.install(old, transport).notes == ()
    (note,) = device.install(old, transport, python=pythons("other")).notes
    assert note.startswith("tiny.service runs it with another Python from its next start on; there: ")


def test_a_python_in_a_home_is_named_where_a_service_would_run_it(device: Any, old: Path) -> None:
    class Home(Service):
        def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
            argv = [sys.executable if word == "/home/pi/venv/bin/python3" else word for word in argv]
            result = super().run(argv, timeout_s=timeout_s)
            found = f"\npython={sys.executable}\n".encode()
            return CommandResult(
                result.status, result.out.replace(found, b"\npython=/home/pi/venv/bin/python3\n"), result.err
            )

    notes = device.install(old, Home(is_root=False)).notes
    assert notes[-1] == (
        "tiny.service cannot run /home/pi/venv/bin/python3: it may not enter homes; make that Python "
        "elsewhere, such as in /opt, and deploy with --python"
    )


@pytest.mark.parametrize("said", ["perhaps", "changed\nchanged"])
def test_an_answer_about_it_is_read_strictly(device: Any, old: Path, said: str) -> None:
    class Talking(LocalTransport):
        def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
            result = super().run(argv, timeout_s=timeout_s)
            if scripts.RECORD not in "".join(argv):
                return result
            assert b"changed" in result.out
            return CommandResult(0, result.out.replace(b"changed", said.encode()), "")

    with pytest.raises(TransportError, match="its answer has"):
        device.install(old, Talking())
    assert device.active is None
