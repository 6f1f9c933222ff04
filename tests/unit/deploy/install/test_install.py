"""Installing on this machine as a device: what is active is always whole, healthy and meant."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import DeployError, RefusedError, SignatureError, TransportError
from deploy.install.lock import this_machine
from deploy.install.options import Options
from deploy.install.versions import list_versions, prune, rollback, status
from deploy.layouts import device_files
from deploy.manifest import RuntimeNeed, digest_of, read_manifest
from deploy.transports.faulty import Fault, Faulty
from deploy.transports.local import LocalTransport

EARLIER = Path(__file__).with_name("release_without_columns.tar.xz")
NO_PYTHON = "/nowhere/python3"


def quiet(_: str) -> None:
    pass


def test_a_first_install_makes_the_release_active_and_healthy(device: Any, old: Path) -> None:
    steps: list[str] = []
    done = device.install(old, on_step=steps.append)

    assert (done.is_new, done.before, done.previous) == (True, None, None)
    assert device.active == digest_of(old) == done.digest
    installed = {path.name for path in (device.home / "current").iterdir()}
    assert installed == set(device_files(read_manifest(old)))
    assert not (device.home / "previous").is_symlink()
    assert steps[-5:] == [
        *("read hashes back", "settle", "check its health", "switch", "check through current")
    ]
    assert sorted(path.name for path in device.home.iterdir()) == [
        *("current", "highest", "python", "releases", "state")
    ]
    assert device.health()["healthy"]


def test_a_release_of_an_earlier_version_still_deploys(device: Any, new: Path, tmp_path: Path) -> None:
    """Its manifest has no names of columns and no raw ranges, and its programs are those of that time."""
    with tarfile.open(EARLIER) as archive:
        archive.extractall(tmp_path, filter="data")
    earlier = tmp_path / "tiny-1.0-arm64"
    assert "columns" not in (earlier / "manifest.json").read_text()

    assert device.install(earlier).is_new
    assert device.health()["healthy"]
    assert device.install(new).before == digest_of(earlier)
    assert rollback("tiny", LocalTransport(), device.options(), quiet).digest == digest_of(earlier)
    assert device.health()["healthy"]


def test_the_active_version_again_switches_nothing(device: Any, old: Path) -> None:
    device.install(old)
    transport = Faulty(LocalTransport(), Fault())

    assert not device.install(old, transport).is_new
    assert not [done for done in transport.done if done.startswith("push")]


def test_an_upgrade_keeps_the_version_before_to_go_back_to(device: Any, old: Path, new: Path) -> None:
    device.install(old)
    assert device.install(new).before == digest_of(old)
    assert (device.home / "previous").readlink().name == digest_of(old)

    done = rollback("tiny", LocalTransport(), device.options(), quiet)

    assert done.digest == device.active == digest_of(old)
    assert (device.home / "previous").readlink().name == digest_of(new)


def test_there_is_no_rollback_without_a_version_before(device: Any, old: Path) -> None:
    device.install(old)
    with pytest.raises(DeployError, match="no previous version of tiny"):
        rollback("tiny", LocalTransport(), device.options(), quiet)


def test_a_rollback_to_a_version_that_is_not_healthy_is_refused(device: Any, old: Path, new: Path) -> None:
    device.install(old)
    device.install(new)
    (device.home / "previous" / "predict.py").write_text("broken")

    with pytest.raises(RefusedError, match="not healthy"):
        rollback("tiny", LocalTransport(), device.options(), quiet)
    assert device.active == digest_of(new)


def test_an_unhealthy_release_is_never_active_and_does_not_stay(device: Any, old: Path, bad: Path) -> None:
    device.install(old)
    with pytest.raises(RefusedError, match=r"tiny-1\.2-arm64 is not healthy there: .*golden"):
        device.install(bad)

    assert device.active == digest_of(old)
    assert [path.name for path in (device.home / "releases").iterdir()] == [digest_of(old)]


class Spoiling(LocalTransport):
    """A disk on which a file changes as soon as it is in use."""

    def __init__(self, home: Path, digest: str) -> None:
        self.home, self.digest = home, digest

    def run(self, argv: Any, *, timeout_s: float = 120.0) -> Any:
        result = super().run(argv, timeout_s=timeout_s)
        current = self.home / "current"
        if current.is_symlink() and current.readlink().name == self.digest:
            (current / "predict.py").write_text("broken")
        return result


def test_what_fails_after_the_switch_is_taken_back(device: Any, old: Path, new: Path) -> None:
    device.install(old)
    with pytest.raises(RefusedError, match=f"{digest_of(old)[:12]} is active again"):
        device.install(new, Spoiling(device.home, digest_of(new)))
    assert device.active == digest_of(old)
    assert device.health()["healthy"]

    device.install(new)
    assert device.active == digest_of(new)
    assert device.health()["healthy"]


def test_a_first_version_that_fails_after_the_switch_leaves_none_active(device: Any, old: Path) -> None:
    with pytest.raises(RefusedError, match="none is active, as before"):
        device.install(old, Spoiling(device.home, digest_of(old)))
    assert device.active is None


def test_damage_to_the_active_version_is_repaired(device: Any, old: Path) -> None:
    device.install(old)
    (device.home / "current" / "predict.py").write_text("x")
    device.install(old)
    device.require_whole(old)


def test_an_older_release_is_refused_unless_allowed(device: Any, old: Path, new: Path) -> None:
    device.install(new)
    with pytest.raises(
        SignatureError, match=r"counter 2, and tiny-1\.0-arm64 has 1: older.*--allow-downgrade"
    ):
        device.install(old)
    assert device.active == digest_of(new)

    device.install(old, allow_downgrade=True)
    assert device.active == digest_of(old)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"machine": "riscv64"}, "the release is for riscv64"),
        (
            {"runtimes": (RuntimeNeed(package="ai-edge-litert", least="99.0"),)},
            r"needed is ai-edge-litert >= 99",
        ),
    ],
)
def test_what_a_device_cannot_run_is_refused_before_anything_is_written(
    device: Any, derive: Any, tmp_path: Path, facts: dict[str, Any], said: str
) -> None:
    transport = Faulty(LocalTransport(), Fault())
    with pytest.raises(RefusedError, match=said):
        device.install(derive(tmp_path / "release", **facts), transport)
    assert transport.count == 1
    assert not device.root.exists()


def test_too_little_space_is_refused_before_anything_is_written(
    device: Any, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.install.device.SPARE_BYTES", 1 << 60)
    with pytest.raises(RefusedError, match="are free below"):
        device.install(old)
    assert not device.root.exists()


@pytest.mark.parametrize("root", ["/tmp/../x", "relative", "/a\nb", "-rf", "/data/local/tmp/../../x"])
def test_a_root_that_leads_elsewhere_is_refused_here(root: str) -> None:
    with pytest.raises(DeployError, match="is not a path on a device"):
        Options(root=root)


@pytest.mark.parametrize("root", ["a b", "$(touch x)", "a;touch x", "-rf", "'", "a\\b", "été"])
def test_a_root_with_an_odd_name_is_only_a_name(device: Any, old: Path, tmp_path: Path, root: str) -> None:
    device.install(old, root=str(tmp_path / root))
    assert (tmp_path / root / "tiny" / "current").is_dir()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["a;reboot", "$(x)", "-rf", "a\nb", "../x", "", "."])
def test_a_hostile_name_is_refused_here(device: Any, name: str) -> None:
    transport = Faulty(LocalTransport(), Fault())
    with pytest.raises(DeployError, match="is not a release's name"):
        status(name, transport, device.options())
    assert transport.count == 0


def test_a_device_without_python_needs_a_benchmark_or_a_word(device: Any, old: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="--benchmark, or go without any proof by --without-health-check"):
        device.install(old, python=NO_PYTHON)
    program = tmp_path / "benchmark_model"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.words"\n')
    program.chmod(0o755)

    done = device.install(old, python=NO_PYTHON, benchmark=str(program))

    assert "answers were not checked" in done.notes[0]
    assert ".tflite" in (tmp_path / "benchmark_model.words").read_text()
    shutil.rmtree(device.root)
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(RefusedError, match="benchmark_model does not run"):
        device.install(old, python=NO_PYTHON, benchmark=str(program))
    assert device.active is None
    assert "nothing was checked" in device.install(old, python=NO_PYTHON, without_health_check=True).notes[0]


def hold(device: Any, owner: str) -> Path:
    lock: Path = device.home / ".lock"
    lock.mkdir(parents=True)
    (lock / "holder").write_text("somebody\n")
    (lock / "owner").write_text(f"{owner}\n")
    return lock


def test_one_installation_at_a_time(device: Any, old: Path) -> None:
    for owner in ("elsewhere:7", f"{this_machine()}:{os.getppid()}"):
        lock = hold(device, owner)
        with pytest.raises(RefusedError, match=r"installed to by somebody else; .*--break-lock"):
            device.install(old)
        assert lock.is_dir()
        shutil.rmtree(lock)


def test_a_lock_that_is_dead_does_not_block(device: Any, old: Path) -> None:
    lock = hold(device, "elsewhere:7")
    os.utime(lock, (0, 0))
    device.install(old)

    hold(device, f"{this_machine()}:999999999")
    device.install(old)

    hold(device, "elsewhere:7")
    device.install(old, break_lock=True)
    assert not lock.exists()


def test_prune_keeps_what_is_in_use(device: Any, old: Path, new: Path, tmp_path: Path, derive: Any) -> None:
    third = derive(tmp_path / "third", version="1.3", counter=4)
    for release in (old, new, third):
        device.install(release)

    assert prune("tiny", LocalTransport(), device.options()) == (digest_of(old),)

    assert {path.name for path in (device.home / "releases").iterdir()} == {digest_of(new), digest_of(third)}
    with pytest.raises(DeployError, match="at least 2"):
        prune("tiny", LocalTransport(), device.options(), keep=1)


def test_status_says_what_is_active_and_whether_it_is_healthy(device: Any, old: Path, new: Path) -> None:
    assert status("tiny", LocalTransport(), device.options()).active is None
    device.install(old)
    device.install(new)
    (device.home / "state" / "statistics.json").write_text("{}")

    found = status("tiny", LocalTransport(), device.options())

    assert found.active is not None
    assert found.previous is not None
    assert (found.active.version, found.previous.version, found.versions) == ("1.1", "1.0", 2)
    assert (found.healthy, found.why) == (True, "")
    assert found.statistics_age_s is not None
    assert {one.version for one in list_versions("tiny", LocalTransport(), device.options())} == {
        "1.0",
        "1.1",
    }
    (device.home / "current" / "predict.py").write_text("broken")
    assert status("tiny", LocalTransport(), device.options()).healthy is False


def test_a_version_that_a_debian_package_kept_is_one(device: Any, old: Path) -> None:
    device.install(old)
    kept = device.home / "releases" / f".kept-{digest_of(old)}"
    (device.home / "releases" / digest_of(old)).rename(kept)
    (device.home / "current").unlink()
    (device.home / "current").symlink_to(f"releases/{kept.name}")

    found = status("tiny", LocalTransport(), device.options())

    assert found.healthy
    assert found.active is not None
    assert found.active.digest == digest_of(old)


def test_a_device_that_is_no_shell_is_told_from_one(device: Any, old: Path) -> None:
    class Silent(LocalTransport):
        def run(self, argv: Any, *, timeout_s: float = 120.0) -> Any:
            return super().run(["echo", "router>"], timeout_s=timeout_s)

    with pytest.raises(TransportError, match="no shell that answers as one"):
        device.install(old, Silent())


def test_the_device_is_looked_at_with_its_own_python(device: Any, old: Path) -> None:
    with pytest.raises(RefusedError, match="no Python to check the model with"):
        device.install(old, python=f"{sys.executable}-none")
