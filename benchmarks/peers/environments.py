"""Python environments for contenders whose requirements conflict with those of this project."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from pipeline.emulation.bundle import cache_folder

if TYPE_CHECKING:
    from pathlib import Path


class NotInstallableError(Exception):
    """An environment cannot be made; says why."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        name: of its folder.
        requirements: as pip takes them, pinned.
    """

    name: str
    requirements: tuple[str, ...]

    def python(self) -> Path:
        """Return its interpreter, after making it if it is not there.

        Raises:
            NotInstallableError: pip failed.
        """
        digest = hashlib.sha256(repr((self.requirements, sys.version_info[:2])).encode()).hexdigest()[:8]
        folder = cache_folder() / "peers" / f"{self.name}-{digest}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        python = folder / "bin" / "python"
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                _run(sys.executable, "-m", "venv", str(folder))
                _run(str(python), "-m", "pip", "install", "--quiet", *self.requirements)
                (folder / "complete").touch()
        return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            done.stderr[-200:]
        ]
        msg = " ".join(lines[-1].split())
        raise NotInstallableError(msg)


LITERT = Environment("litert-quantizer", ("litert-quantizer==0.11.0", "numpy==1.26.4"))
MCT = Environment(
    "mct", ("model-compression-toolkit==2.6.1", "tensorflow==2.15.1", "numpy==1.26.4", "setuptools<81")
)
