"""One contender on one model with one seed: in a process of its own, with its time and its memory.

A cell's folder has the ``model.tflite`` that was made, its outputs for the whole test set (``outputs.npz``),
what was printed (``log.txt``) and ``result.json``, which is written last and names everything that the result
depends on by a digest. A finished cell with the same digest is not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from build import Usage
from environments import NotInstallableError
from rows import HERE, OURS_FIXED, ROWS, Row

from deploy.download import compress
from pipeline.dependencies import Dependencies
from pipeline.errors import PipelineError
from pipeline.runtimes.evaluation import infer_all
from pipeline.runtimes.machine import read_machine
from pipeline.runtimes.quantization import tensor_inputs
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cases import Contest

COMMAND = str(Path(sys.executable).with_name("pipeline"))
ROOT = HERE.parents[1]
STAGES = (
    "pipeline.opening",
    "pipeline.training.teacher",
    "pipeline.compress.steps",
    "pipeline.quantize.methods",
    "pipeline.quantize.candidates",
)
"""Modules on whose code the .tflite of a build depends."""
PACKAGES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")
CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}
"""Operators at the ends of a file whose inputs and outputs are float."""
SAID = ("format", "baselines", "candidates", "notes")
"""What is kept of the report of a build."""
CHUNK = 2000
INTERRUPTED = 130
STOPPED = {INTERRUPTED, -signal.SIGINT, -signal.SIGKILL, -signal.SIGTERM}
"""Exit codes of a cell that someone stopped, which says nothing about it."""
USAGE = ("seconds", "cpu_seconds", "peak_bytes")


@cache
def code_of_builds(out: Path) -> str:
    """Return the digest of the code that makes the .tflite of a build."""
    return Dependencies(out / "sources.json").of(*STAGES).digest


_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:]+/)+(?=[^\s/:]+)")
"""In front of a file's name: they are those of one machine."""


def digest_of(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def store_of(out: Path) -> Path:
    """Return the store of the stages that write cases."""
    return out / "store"


def prepare(contest: Contest, seed: int, out: Path) -> Path:
    """Return the folder of the case, exported in another process if it is not there or has changed.

    Raises:
        SystemExit: the model or the data is refused.
    """
    folder = out / contest.name / f"case-{seed}"
    key, record = digest_of(asdict(contest), contest.content()), folder / "key.txt"
    if record.exists() and record.read_text() == key:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    given = json.dumps(asdict(contest), default=str)
    command = [sys.executable, str(HERE / "cases.py"), given, str(seed), str(store_of(out)), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{contest.name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    record.write_text(key)
    return folder


def key_of(contest: Contest, row: str, case: Path, out: Path) -> str:
    """Return the digest of everything that a cell's result depends on."""
    given = ROWS[row]
    content = (case / "case.json").read_text()
    if given.is_ours:
        return digest_of(content, changes_of(contest, given), code_of_builds(out), contest.arguments())
    environment = given.environment.requirements if given.environment else [*map(version, PACKAGES)]
    return digest_of(content, row, given.program().read_text(), environment)


def changes_of(contest: Contest, given: Row) -> tuple[str, ...]:
    """Return the settings of a build of this project."""
    pruning = (
        ('compress.0.method="weights"', f"compress.0.sparsity={contest.sparsity}") if given.prunes else ()
    )
    return (*OURS_FIXED, *given.changes, *pruning)


def run(
    contest: Contest, row: str, seed: int, case: Path, out: Path, *, shares_stages: bool = False
) -> dict[str, Any]:
    """Return a cell's result, from its folder if it is there.

    Args:
        shares_stages: whether builds take what others have made, which leaves them no times of their own.
    """
    folder = out / contest.name / f"{row}-{seed}"
    kept, key = folder / "result.json", key_of(contest, row, case, out)
    if kept.exists() and (found := json.loads(kept.read_text()))["key"] == key:
        is_measured = found.get("seconds", 0) is not None
        if is_measured or shares_stages:
            return dict(found)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result: dict[str, Any] = {"row": row, "seed": seed, "key": key, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    result |= {"machine": machine(), "commit": commit() if ROWS[row].is_ours else ""}
    reason = unusable(row, case)
    if reason:
        result["failed"] = reason
    else:
        try:
            store = store_of(out) if shares_stages else folder / "store"
            result |= measured(command(contest, row, seed, case, folder, store), folder)
            model = folder / "model.tflite"
            if ROWS[row].is_ours:
                result |= collect(folder, model, store)
                result |= dict.fromkeys(USAGE) if shares_stages else {}
            if model.exists():
                result |= facts(model) | {"samples": infer(model, case, folder / "outputs.npz")}
            else:
                result["failed"] = why_failed(result["code"], folder / "log.txt")
        except (NotInstallableError, PipelineError) as error:
            result["failed"] = str(error)
    if result.get("code") not in STOPPED:
        kept.write_text(json.dumps(result, indent=1))
    return result


def unusable(row: str, case: Path) -> str:
    """Return why a row does not apply to a case; "" if it does."""
    settings = json.loads((case / "case.json").read_text())
    if ROWS[row].prunes and settings["prunable_weights"] < settings["training"]["prune"]["min_weights"]:
        return f"the default build does not prune {settings['prunable_weights']:,} weights"
    return ""


def command(contest: Contest, row: str, seed: int, case: Path, folder: Path, store: Path) -> list[str]:
    given = ROWS[row]
    if not given.is_ours:
        script = [str(given.python()), str(given.program()), row, str(case)]
        return [*script, str(folder / "model.tflite"), str(seed)]
    settings = [text for change in changes_of(contest, given) for text in ("--set", change)]
    places = ["--out", str(folder / "build"), "--store", str(store)]
    return [
        *(COMMAND, "build", "--target", "host", "--json", "--seed", str(seed)),
        *contest.arguments(),
        *places,
        *settings,
    ]


def measured(program: list[str], folder: Path) -> dict[str, Any]:
    """Run a program; return its exit code, its seconds, its processor seconds and its peak memory."""
    with (folder / "log.txt").open("wb") as log, (folder / "printed.json").open("wb") as printed:
        began = time.perf_counter()
        process = subprocess.Popen(program, stdout=printed, stderr=log)
        usage = Usage(process.pid)
        usage.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "code": process.returncode,
        "seconds": round(time.perf_counter() - began, 1),
        # The kernel knows a short program, which may end before the first look at it.
        "cpu_seconds": round(max(usage.cpu_seconds, used.ru_utime + used.ru_stime), 1),
        "peak_bytes": max(usage.peak_bytes, used.ru_maxrss << 10),
    }


def collect(folder: Path, model: Path, store: Path) -> dict[str, Any]:
    """Copy the .tflite of a build out of its store, and remove the build; return what it says of the file.

    A build whose accuracy gate fails has made a file as well; the race judges it, too.
    """
    build, found = folder / "build", {}
    steps = json.loads((build / "run.json").read_text())["steps"] if (build / "run.json").exists() else []
    entries = [f"{step['stage']}-{step['key']}" for step in steps if step["stage"] == "add_metadata"]
    for entry in entries[-1:]:
        shutil.copy(store / entry / "model.tflite", model)
    for report in build.glob("report/*/report.json"):
        read = json.loads(report.read_text())
        found = {name: read[name] for name in SAID if name in read}
    if (build / "events.jsonl").exists():
        shutil.copy(build / "events.jsonl", folder / "events.jsonl")
    for left in ("store", "build"):
        shutil.rmtree(folder / left, ignore_errors=True)
    return found


def facts(model: Path) -> dict[str, Any]:
    """Return what the file says of itself, and the size of its download."""
    found = ModelUnderTest.open(model).facts
    return {
        "size_bytes": found.size_bytes,
        "zst_bytes": len(compress(model.read_bytes())),
        "zeros": round(found.sparsity, 4),
        "float_operators": sorted({each.name for each in found.float_operators} - CONVERSIONS),
        "integer_io": found.integer_io,
        "sha256": found.sha256,
    }


def infer(model: Path, case: Path, written: Path) -> int:
    """Store a file's outputs for the whole test set, as LiteRT's XNNPACK gives them; return how many samples.

    Each output is stored in its own dtype, with its scale and zero point.
    """
    arrays = [np.load(file, mmap_mode="r") for file in sorted(case.glob("x_test_*.npy"))]
    seen: list[Any] = []

    def chunks(details: Any) -> Iterator[Any]:
        seen.append(details.outputs)
        for start in range(0, len(arrays[0]), CHUNK):
            yield tensor_inputs([array[start : start + CHUNK] for array in arrays], details)

    outputs = infer_all(host_runtime("litert"), model, chunks)
    stored = {f"output_{index}": values for index, values in enumerate(outputs)}
    for index, tensor in enumerate(seen[0]):
        if tensor.scale is not None:
            stored[f"scale_{index}"] = np.array([tensor.scale, tensor.zero_point], np.float64)
    np.savez_compressed(written, **stored)
    return len(outputs[0])


def machine() -> str:
    found = read_machine()
    return f"{found.cpu}, {found.cores} cores, load {found.load_average}, Python {platform.python_version()}"


def commit() -> str:
    """Return the commit of this project, "" outside of its repository."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def why_failed(code: int, log: Path) -> str:
    """Return the signal that ended a program, or the last error in its log."""
    if code < 0:
        return f"crashed: {signal.Signals(-code).name}"
    lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
    errors = [line for line in lines if "Error" in line]
    return _FOLDERS.sub("", " ".join((errors or lines)[-1].split()))[:300]
