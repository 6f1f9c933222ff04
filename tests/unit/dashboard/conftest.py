"""A dashboard as a user starts it, on a folder with everything."""

from __future__ import annotations

import pytest
from dashboard_server import started
from library import NEVER_SILENT, add_all, add_hostile


@pytest.fixture(scope="module")
def folder(tmp_path_factory, report, write_release):
    found = tmp_path_factory.mktemp("library") / "builds"
    found.mkdir()
    add_all(found, report, NEVER_SILENT)
    add_hostile(found, report)
    write_release(found / "signed")
    return found


@pytest.fixture(scope="module")
def address(folder):
    with started(folder) as process:
        yield process.stdout.readline().strip()
