"""A build whose disk is really full: one line, and nothing half-written at whichever stage that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_disk

COMMAND = Path(sys.executable).with_name("pipeline")


@pytest.mark.parametrize(("kind", "size"), [("file system", 160 << 10), ("file sizes", 40 << 10)])
def test_a_build_on_a_full_disk_is_one_line_and_leaves_nothing_half_written(kind, size, tiny, tmp_path):
    (out := tmp_path / "out").mkdir()
    words = [
        kind,
        out,
        size,
        tmp_path / "result",
        COMMAND,
        "build",
        "--target",
        "host",
        "--json",
        "--out",
        out,
        "--store",
        out / "store",
    ]
    subprocess.run(
        [sys.executable, small_disk.__file__, *map(str, words)],
        cwd=tiny,
        env=os.environ | {"COLUMNS": "200"},
        check=True,
    )

    ended = json.loads((tmp_path / "result").read_text())
    assert (ended["code"], ended["out"], "Traceback" in ended["err"]) == (1, "", False), ended["err"]
    errors = [line for line in ended["err"].splitlines() if line.startswith("pipeline: ")]
    assert errors == [ended["err"].splitlines()[-1]]
    # numpy says how much it wrote
    assert any(text in errors[0] for text in (*small_disk.FULL, " requested and ")), errors
    assert "free space" in errors[0] or "larger files" in errors[0]
    names = set(ended["left"])
    assert not [name for name in names if Path(name).name.startswith(".")]
    assert {Path(name).parts[0] for name in names} <= {"events.jsonl", "run.json", "store"}
