from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.device.unit import service_unit
from deploy.errors import DeployError
from deploy.manifest import read_manifest

HOW_TO = Path(__file__).resolve().parents[3] / "docs/how-to/deploy.md"
needs_systemd = pytest.mark.usefixtures("proofs")


@pytest.fixture
def manifest(released):
    return read_manifest(released)


@pytest.fixture
def unit_file(manifest, tmp_path):
    def write(**more):
        path = tmp_path / f"{manifest.name}.service"
        path.write_text(service_unit(manifest, **more))
        return path

    return write


def _analyzed(*words):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words], capture_output=True, text=True, timeout=60
    )


@needs_systemd
@pytest.mark.parametrize("root", ["/opt", '/srv/a "b" %n $HOME \\x;&'])
def test_systemd_finds_nothing_wrong(root, unit_file):
    ran = _analyzed("verify", unit_file(root=root))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize("is_emptied", [True, False])
def test_the_how_to_replaces_its_command(is_emptied, unit_file):
    """As `systemctl edit` keeps what is written there; a list that is not emptied first is refused."""
    (override,) = re.findall(r"^```ini\n(.*?)^```", HOW_TO.read_text(), re.DOTALL | re.MULTILINE)
    override = override.replace("/opt/other/bin/python3", sys.executable)
    path = unit_file()
    folder = path.with_name(f"{path.name}.d")
    folder.mkdir()
    (folder / "override.conf").write_text(override if is_emptied else override.replace("ExecStart=\n", ""))

    ran = _analyzed("verify", path)

    assert (ran.returncode == 0, "more than one ExecStart=" in ran.stderr) == (is_emptied, not is_emptied)


@needs_systemd
def test_what_it_may_do_is_little(unit_file):
    ran = _analyzed("security", "--offline=true", unit_file())
    score = re.search(r"Overall exposure level for tiny\.service: ([0-9.]+)", ran.stdout)
    assert score, ran.stdout + ran.stderr
    assert float(score[1]) < 2.0


def test_it_runs_the_current_version_under_the_root(manifest):
    text = service_unit(manifest, root="/data/models", memory_mib=96)
    assert '"/data/models/tiny" %t/tiny/model.sock' in text
    assert "ConditionPathExists=/data/models/tiny/current/runner.py" in text
    assert "\nMemoryMax=96M\n" in text
    assert "\nUser=root" not in text


def started(unit, home):
    """Run a unit's command as systemd would; returns the words that it starts, Python first."""
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart=").replace("$$", "$").replace("%t", "/run"))
    assert words[3] == str(home)
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return ran.stdout.splitlines()


def test_it_runs_the_python_that_was_proved_for_the_current_version(manifest, tmp_path):
    home, folders = tmp_path / "tiny", ("a" * 64, "b" * 64, f".kept-{'b' * 64}")
    python = tmp_path / "a b" / "python3"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
    python.chmod(0o755)
    (home / "python").mkdir(parents=True)
    (home / "python" / ("b" * 64)).symlink_to(python)
    unit = service_unit(manifest, root=str(tmp_path)).replace("/usr/bin/python3", "/bin/echo")
    socket = "run --socket /run/tiny/model.sock"
    for folder, is_proved in zip(folders, (False, True, True), strict=True):
        (home / "releases" / folder).mkdir(parents=True)
        (home / "current").unlink(missing_ok=True)
        (home / "current").symlink_to(f"releases/{folder}")
        runner = f"{home}/releases/{folder}/runner.py"
        words = [str(python), runner, *socket.split()] if is_proved else [f"{runner} {socket}"]
        assert started(unit, home) == words


@pytest.mark.parametrize("root", ["opt", "", "/opt/../etc", "/opt\nUser=root"])
def test_a_root_that_is_no_plain_path_is_refused(root, manifest):
    with pytest.raises(DeployError, match="cannot be the root of a service"):
        service_unit(manifest, root=root)
