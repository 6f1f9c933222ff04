"""Whatever fails at whichever operation, the device has a whole version, and the next deploy succeeds.

Hashes judge here, without the device's Python, so that every case is tried. The same faults with the golden
vectors answered after each are in benchmarks/deploy/faults.py, of which a part is run at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import DeployError
from deploy.install.versions import rollback
from deploy.manifest import digest_of
from deploy.transports.faulty import Fault, Faulty
from deploy.transports.local import LocalTransport

ROOT = Path(__file__).resolve().parents[4]
KINDS = ("lost", "lost after", "cut", "full", "truncated", "corrupt")
QUICK = {"python": "/nowhere/python3", "without_health_check": True}


def deploy(device: Any, release: Path, fault: Fault) -> Faulty:
    transport = Faulty(LocalTransport(), fault)
    with suppress(DeployError):
        device.install(release, transport, **QUICK)
    return transport


def sample(operations: list[str]) -> list[int]:
    """The number of every operation, but of the pushes, which are alike, the first, one, and the last."""
    pushes = [at for at, what in enumerate(operations, 1) if what.startswith("push")]
    others = [at for at in range(1, len(operations) + 1) if at not in pushes]
    return sorted({*others, pushes[0], pushes[len(pushes) // 2], pushes[-1]})


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "upgrade"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_in_a_deploy_the_device_has_a_whole_version(
    device: Any, old: Path, new: Path, tmp_path: Path, kind: Any, first: bool, lasts: bool
) -> None:
    before = tmp_path / "before"
    if first:
        before.mkdir()
    else:
        device.install(old, **QUICK)
        device.root.rename(before)

    def begin() -> None:
        shutil.rmtree(device.root, ignore_errors=True)
        shutil.copytree(before, device.root, symlinks=True)

    begin()
    for at in sample(deploy(device, new, Fault()).done):
        begin()
        deploy(device, new, Fault(kind, at=at, lasts=lasts, seed=at))
        assert first or device.active is not None
        device.require_whole(old, new)
        device.install(new, **QUICK)
        assert device.active == digest_of(new)
        device.require_whole(old, new)
        assert {path.name for path in device.home.iterdir()} <= {
            *("current", "highest", "previous", "python", "releases", "state")
        }


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("kind", ["lost", "lost after"])
def test_whatever_fails_in_a_rollback_the_device_has_a_whole_version(
    device: Any, old: Path, new: Path, kind: Any, lasts: bool
) -> None:
    options = device.options(**QUICK)
    for at in range(1, 12):
        shutil.rmtree(device.root, ignore_errors=True)
        device.install(old, **QUICK)
        device.install(new, **QUICK)
        transport = Faulty(LocalTransport(), Fault(kind, at=at, lasts=lasts))
        with suppress(DeployError):
            rollback("tiny", transport, options, lambda _: None)
        assert device.active is not None
        device.require_whole(old, new)
        device.install(new, **QUICK)
        device.require_whole(old, new)


def test_whatever_is_killed_or_cut_the_active_version_answers_its_golden_vectors(
    released: Path, tmp_path: Path
) -> None:
    program = [sys.executable, ROOT / "benchmarks/deploy/faults.py", released, "--to", "local://"]
    program += [
        "--root",
        tmp_path / "device",
        "--python",
        sys.executable,
        "--every",
        "9",
        "--kinds",
        "lost after",
        "corrupt",
        "killed",
    ]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken devices" in done.stdout
