"""What a build leaves: its files, and the commands that come next."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

NAME_COLUMNS = 9
REPORT = "report.html"
PRIVATE_KEY, PUBLIC_KEY = "release.key", "release.pub"
"""What `pipeline keygen` writes."""


def after_release(release: Path, digest: str, width: int, *, is_signed: bool) -> str:
    """Return the paths of a release, and how to look at it, use, sign or verify, and deploy it.

    Args:
        width: of the terminal; longer commands go on in another line, as the shell takes them.
    """
    release = _nearby(release)
    folder = shlex.quote(str(release))
    signed = shlex.quote(str(release.parent.parent / "signed"))
    if is_signed:
        sign = {"verify": f"pipeline verify {folder} --public-key {PUBLIC_KEY}"}
        deployed = folder
    else:
        sign = {"sign": f"pipeline keygen; pipeline release {folder} --key {PRIVATE_KEY} --out {signed}"}
        deployed = f"{signed}/{shlex.quote(release.name)}"
    return _lines(
        {"release": str(release), "report": str(release / REPORT), "digest": digest},
        {
            "inspect": f"pipeline inspect {folder}",
            "predict": f"python3 {shlex.quote(str(release / 'predict.py'))} SAMPLES.npy",
            **sign,
            "deploy": f"pipeline deploy {deployed} --to ssh://USER@HOST --public-key {PUBLIC_KEY}",
        },
        width,
    )


def after_failure(report: Path, out: Path, width: int) -> str:
    """Return where the report of a model is that gates refused, and how to find the cause."""
    report, out = _nearby(report), _nearby(out)
    return _lines(
        {"report": str(report / REPORT)},
        {"debug": f"pipeline debug {shlex.quote(str(out))}"},
        width,
    )


def _nearby(path: Path) -> Path:
    """Return a path as a user types it: relative, if it is below the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _lines(paths: dict[str, str], commands: dict[str, str], width: int) -> str:
    wrapped = {name: _wrapped(command, width - NAME_COLUMNS) for name, command in commands.items()}
    rows = [*paths.items(), ("", ""), ("Next", ""), *wrapped.items()]
    return "\n".join(f"{name:<{NAME_COLUMNS}}{value}".rstrip() for name, value in rows)


def _wrapped(command: str, width: int) -> str:
    """Break a command between its arguments, where the shell takes it as one: after a backslash."""
    first, *words = re.findall(r"(?:'[^']*'|[^\s'])+", command)
    lines = [first]
    for word in words:
        if len(f"{lines[-1]} {word} \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return f" \\\n{'':{NAME_COLUMNS}}".join(lines)
