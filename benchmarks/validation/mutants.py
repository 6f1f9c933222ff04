"""Damage .tflite files in hundreds of ways and have each judged by ``pipeline validate``: who survives?

The command itself runs, in one process that judges mutant after mutant as a service would: "the parent is
alive" is said of that process. Each mutant has to end with a verdict or with one line and a documented exit
code, in bounded time.

    python benchmarks/validation/mutants.py A.tflite B.tflite --runs 500
    python benchmarks/validation/mutants.py A.tflite --runs 20 --target arm64    # the emulated boards as well

The smaller the files, the more of their bytes are structure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 600.0
VERDICTS = {0: "passed", 1: "a gate or a stage failed"}
LINES = {2: "usage", 3: "bad input", 4: "environment", 5: "device", 6: "integrity"}
KINDS = ("bit", "bits", "word", "zeros", "truncated", "spliced", "moved")
WORDS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16)
SETTINGS = "[validate]\nthreads = [1, 2]\n[validate.stability]\nfaults = false\n"


def mutants(contents: list[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` kinds of damage and damaged copies of the files, in turn."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        content, other = contents[number % len(contents)], contents[(number + 1) % len(contents)]
        kind = KINDS[number // len(contents) % len(KINDS)]
        yield kind, damage(kind, content, other, rng)


def damage(kind: str, content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One damaged copy; ``other`` is where a splice comes from."""
    damaged = bytearray(content)
    at = int(rng.integers(len(content)))
    length = int(rng.integers(4, 64))
    if kind in ("bit", "bits"):
        for place in rng.integers(len(content), size=1 if kind == "bit" else 8):
            damaged[place] ^= 1 << int(rng.integers(8))
    elif kind == "word":
        at -= at % 4
        damaged[at : at + 4] = int(rng.choice(WORDS)).to_bytes(4, "little")
    elif kind == "zeros":
        damaged[at : at + 16] = bytes(len(damaged[at : at + 16]))
    elif kind == "truncated":
        del damaged[at:]
    elif kind == "spliced":
        source = int(rng.integers(len(other)))
        damaged[at : at + length] = other[source : source + length]
    else:
        source = int(rng.integers(len(content)))
        damaged[at:at] = damaged[source : source + length]
    return bytes(damaged)


def serve() -> None:
    """Judge the files whose arguments come in, a line of JSON each, and answer with how each ended."""
    from pipeline.cli import main as command

    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        began, escaped, code = time.monotonic(), "", -1
        sys.argv = ["pipeline", "validate", *json.loads(line)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                command()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except Exception as error:  # the finding that this program exists for
            escaped = f"{type(error).__name__}: {error}"
        answer = {
            "code": code,
            "escaped": escaped,
            "lines": err.getvalue().splitlines(),
            "judged": bool(out.getvalue()),
            "seconds": time.monotonic() - began,
        }
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


class Parent:
    """The process that judges, started again only if it died or hung."""

    def __init__(self) -> None:
        self.process = self._start()
        self.deaths = 0

    def judge(self, arguments: list[str]) -> tuple[str, float]:
        """Return how one mutant ended and the seconds that it took."""
        assert self.process.stdin
        assert self.process.stdout
        began = time.monotonic()
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if selector.select(TIMEOUT_S) else "hung"
        if line in ("", "hung"):
            self.stop()
            self.process, self.deaths = self._start(), self.deaths + 1
            return "PARENT HUNG" if line else "PARENT DIED", time.monotonic() - began
        found = json.loads(line)
        return outcome(found), found["seconds"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--serve"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )


def outcome(found: dict[str, object]) -> str:
    """Name an ending: a verdict, one clear line, or what must not be."""
    code, lines = found["code"], found["lines"]
    if found["escaped"]:
        return f"ESCAPED {found['escaped']}"
    if found["judged"] and code in VERDICTS:
        return f"verdict: {VERDICTS[code]}"
    if not isinstance(lines, list) or len(lines) != 1:
        return f"NOT ONE LINE, exit {code}: {lines}"
    if code in LINES or code == 1:
        what = LINES.get(code, "a worker crashed or hung")
        return f"one line: {what}"
    return f"UNKNOWN EXIT CODE {code}"


def main() -> int:
    """Print how the mutants ended; end with 1 where one ended as none may."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="host")
    parser.add_argument("--keep", type=Path, help="a folder for the mutants that ended as none may")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return 0
    if not arguments.files:
        parser.error("give a .tflite file or several")

    outcomes: Counter[str] = Counter()
    seconds: list[float] = []
    parent = Parent()
    with tempfile.TemporaryDirectory() as folder:
        path, settings = Path(folder) / "mutant.tflite", Path(folder) / "pipeline.toml"
        settings.write_text(SETTINGS)
        contents = [file.read_bytes() for file in arguments.files]
        for number, (kind, damaged) in enumerate(mutants(contents, arguments.runs, arguments.seed)):
            path.write_bytes(damaged)
            ended, took = parent.judge([str(path), "--target", arguments.target, "--config", str(settings)])
            outcomes[ended] += 1
            seconds.append(took)
            if ended[0].isupper() and arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / f"{kind}-{number}.tflite").write_bytes(damaged)
    parent.stop()
    names = ", ".join(f"{file.name} ({file.stat().st_size:,} bytes)" for file in arguments.files)
    print(f"{arguments.runs} mutants of {names}, seed {arguments.seed}, target {arguments.target}")
    for ended, count in outcomes.most_common():
        print(f"{count:5}  {ended}")
    print(f"parent alive {arguments.runs - parent.deaths} of {arguments.runs}")
    print(f"seconds each: median {np.median(seconds):.2f}, most {max(seconds):.1f}")
    return int(any(ended[0].isupper() for ended in outcomes))


if __name__ == "__main__":
    sys.exit(main())
