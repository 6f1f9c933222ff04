from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from deploy.device.unit import service_unit
from deploy.errors import DeployError
from deploy.manifest import read_manifest

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")


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
def test_what_it_may_do_is_little(unit_file):
    ran = _analyzed("security", "--offline=true", unit_file())
    score = re.search(r"Overall exposure level for tiny\.service: ([0-9.]+)", ran.stdout)
    assert score, ran.stdout + ran.stderr
    assert float(score[1]) < 2.0


def test_it_runs_the_current_version_under_the_root(manifest):
    text = service_unit(manifest, root="/data/models", memory_mib=96)
    assert 'ExecStart=/usr/bin/python3 "/data/models/tiny/current/runner.py" run --socket' in text
    assert "\nMemoryMax=96M\n" in text
    assert "\nUser=root" not in text


@pytest.mark.parametrize("root", ["opt", "", "/opt/../etc", "/opt\nUser=root"])
def test_a_root_that_is_no_plain_path_is_refused(root, manifest):
    with pytest.raises(DeployError, match="cannot be the root of a service"):
        service_unit(manifest, root=root)
