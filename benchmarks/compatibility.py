"""Ask every released runtime which operators it has: writes pipeline/validation/compatibility.toml.

Each version of tflite-runtime and ai-edge-litert that the package index has for this Python and machine is
downloaded, unpacked into a folder of its own, and asked in a process of its own. Nothing is installed.

An operator's version is known where the runtime loads a file that names it; a kernel takes a dtype where a
model of that one operator is planned and runs without a delegate, in a process of its own, as it may crash.

    python benchmarks/compatibility.py
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from single_operators import CASES, DTYPES, name_operator, single_operator

from pipeline.flatbuffer import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path(__file__).parents[1] / "pipeline" / "validate" / "compatibility.toml"
PROBE = Path(__file__).with_name("compatibility_probe.py")
DISTRIBUTIONS = {"tflite-runtime": "tflite-runtime", "litert": "ai-edge-litert"}
MAX_VERSIONS = 32
HEAD = """\
# Which builtin operators each released runtime has, asked of the runtimes themselves, CPython 3.11, x86-64:
# python benchmarks/compatibility.py
#
# operators: from a release on, the versions of the operator that it knows, lowest-highest.
# kernels: from a release on, those of ``dtypes`` that its own kernel (no delegate) takes and gives.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheels", type=Path, help="keep the downloaded wheels here, and use those there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheels = arguments.wheels or folder / "wheels"
        questions = folder / "questions.zip"
        ask_about(questions)
        text = [HEAD]
        for package, distribution in DISTRIBUTIONS.items():
            answers = {}
            for release in released(distribution):
                answers[release] = ask(fetch(distribution, release, wheels), questions, package)
                print(package, release, len(answers[release]), "questions answered yes", flush=True)
            text += write(package, answers)
    TABLE.write_text("\n".join(text), encoding="utf-8")


def released(distribution: str) -> list[str]:
    """Every version that the index has for this Python and machine, the oldest first."""
    listing = pip("index", "versions", distribution)
    versions = re.search(r"^Available versions: (.+)$", listing, re.MULTILINE)
    if versions is None:
        sys.exit(f"the package index lists no {distribution}")
    return versions[1].split(", ")[::-1]


def fetch(distribution: str, release: str, wheels: Path) -> Path:
    """Download one wheel, unless it is there."""
    name = f"{distribution.replace('-', '_')}-{release}-*.whl"
    if not list(wheels.glob(name)):
        pip(
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            str(wheels),
            f"{distribution}=={release}",
        )
    return next(wheels.glob(name))


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ask_about(path: Path) -> None:
    """Write a .tflite file for every operator and version, and for every kernel and dtype."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as questions:
        for operator in sorted(layout.names("BuiltinOperator").values()):
            if operator not in {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}:
                for version in range(1, MAX_VERSIONS + 1):
                    questions.writestr(f"operator/{operator}/{version}", name_operator(operator, version))
        for operator, dtypes in CASES.items():
            for dtype in dtypes:
                questions.writestr(f"kernel/{operator}/{dtype}", single_operator(operator, dtype))


def ask(wheel: Path, questions: Path, package: str) -> list[str]:
    """Return the questions that a runtime answers with yes."""
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        child = subprocess.run(
            [sys.executable, "-P", str(PROBE), package, str(questions)],
            env={**os.environ, "PYTHONPATH": folder},
            check=True,
            capture_output=True,
            text=True,
        )
    reply: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    if not Path(reply["module"]).is_relative_to(Path(folder).resolve()):
        sys.exit(f"{wheel.name} was not the runtime that answered")
    return reply["yes"]


def write(package: str, answers: dict[str, list[str]]) -> Iterator[str]:
    """The package's part of the table; what a release has like the one before it is left out."""
    yield f"[{package}]\nreleases = {json.dumps(list(answers))}\ndtypes = {json.dumps(DTYPES)}\n"
    for kind, value in (("operators", versions_of), ("kernels", dtypes_of)):
        yield f"[{package}.{kind}]"
        found = {release: value(yes) for release, yes in answers.items()}
        for operator in sorted(set().union(*found.values())):
            since: list[str] = []
            last = None
            for release, of_release in found.items():
                now = of_release.get(operator)
                if now != last:
                    since.append(f"{json.dumps(release)} = {json.dumps(now or '')}")
                last = now
            yield f"{operator} = {{ {', '.join(since)} }}"
        yield ""


def versions_of(yes: list[str]) -> dict[str, str]:
    """Operator -> its versions, lowest-highest."""
    versions: dict[str, set[int]] = {}
    for kind, operator, version in (question.split("/") for question in yes):
        if kind == "operator":
            versions.setdefault(operator, set()).add(int(version))
    for operator, known in versions.items():
        if known != set(range(min(known), max(known) + 1)) or max(known) == MAX_VERSIONS:
            sys.exit(f"{operator}: versions {sorted(known)}, which the table cannot say")
    return {operator: f"{min(known)}-{max(known)}" for operator, known in versions.items()}


def dtypes_of(yes: list[str]) -> dict[str, str]:
    """Operator -> its dtypes, in one line."""
    dtypes: dict[str, list[str]] = {}
    for kind, operator, dtype in (question.split("/") for question in yes):
        if kind == "kernel":
            dtypes.setdefault(operator, []).append(dtype)
    return {operator: " ".join(sorted(found)) for operator, found in dtypes.items()}


if __name__ == "__main__":
    main()
