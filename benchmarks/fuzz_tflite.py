"""Damage a .tflite file in thousands of ways and see who survives: our verifier, then the runtimes.

Every mutant goes through ``read_tflite``, which must refuse it with an InputError or let it pass; what
passes is loaded and run once by each runtime in a child process, where a crash or a hang is counted.

    python benchmarks/fuzz_tflite.py model.tflite --mutants 5000
    python benchmarks/fuzz_tflite.py model.tflite --mutants 1000 --unverified   # what the verifier saves

The smaller the file, the more of its bytes are structure.
"""

from __future__ import annotations

import argparse
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from validation.mutants import mutants

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite

RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
TIMEOUT_S = 10.0

# The child that loads and runs one file for each path it is told, until one of them kills it.
CHILD = """
import importlib, resource, sys
import numpy as np
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
Interpreter = importlib.import_module(sys.argv[1]).Interpreter
print("ready", flush=True)
for path in sys.stdin:
    try:
        interpreter = Interpreter(path.strip(), num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            interpreter.get_tensor(detail["index"])
        print("ran", flush=True)
    except (ValueError, RuntimeError, MemoryError, TypeError) as error:
        print("refused", flush=True)
"""


class RuntimeChild:
    """One runtime in a child process, started again whenever a file killed it."""

    def __init__(self, module: str) -> None:
        self.module = module
        self._process: subprocess.Popen[str] | None = None

    def run(self, path: Path) -> str:
        """Return ``"ran"``, ``"refused"``, ``"hung"`` or ``"crashed"``."""
        process = self._process or self._start()
        assert process.stdin
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._answer() != "ready":
            message = f"{self.module} does not start"
            raise SystemExit(message)
        return self._process

    def _answer(self) -> str:
        assert self._process
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            ready = selector.select(TIMEOUT_S)
        answer = self._process.stdout.readline().strip() if ready else "hung"
        if answer in ("hung", ""):
            self.stop()
        return answer or "crashed"


def main() -> int:
    """Print the counts; end with 1 where the verifier let out anything but an InputError."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unverified", action="store_true", help="hand every mutant to the runtimes")
    parser.add_argument("--keep", type=Path, help="a folder for the mutants that a runtime died of")
    arguments = parser.parse_args()

    content = arguments.file.read_bytes()
    verdicts: Counter[str] = Counter()
    outcomes = {module: Counter[str]() for module in RUNTIMES}
    children = [RuntimeChild(module) for module in RUNTIMES]
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.tflite"
        for number, (kind, damaged) in enumerate(mutants([content], arguments.mutants, arguments.seed)):
            started = time.perf_counter()
            try:
                read_tflite(damaged)
                verdict = "unchanged" if damaged == content else "passed"
            except InputError:
                verdict = "refused"
            except Exception as error:  # the finding that this program exists for
                verdict = f"ESCAPED {type(error).__name__}"
            slowest_s = max(slowest_s, time.perf_counter() - started)
            verdicts[verdict] += 1
            if verdict == "passed" or arguments.unverified:
                path.write_bytes(damaged)
                for child in children:
                    outcome = child.run(path)
                    outcomes[child.module][outcome] += 1
                    if outcome in ("crashed", "hung") and arguments.keep:
                        arguments.keep.mkdir(parents=True, exist_ok=True)
                        (arguments.keep / f"{child.module}-{outcome}-{kind}-{number}.tflite").write_bytes(
                            damaged
                        )
    for child in children:
        child.stop()

    print(f"{arguments.file.name}, {len(content)} bytes, {arguments.mutants} mutants, seed {arguments.seed}")
    print(f"read_tflite: {dict(verdicts)}, slowest {slowest_s * 1000:.0f} ms")
    for module, counts in outcomes.items():
        print(f"{module}: {dict(counts)}")
    return int(any(verdict.startswith("ESCAPED") for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
