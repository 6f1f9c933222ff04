"""Count the instructions of single operators of many shapes on emulated cores, and fit the table of costs.

Usage: python benchmarks/compression/instruction_costs.py [--devices rpi4,rpi5,armv7] [--results FOLDER]
                                                          [--fit] [--few]

Each count is written to FOLDER/DEVICE.jsonl as soon as it is known; a run that was interrupted resumes there.
Then the costs of kernels are fitted to the counts and written to pipeline/costing/tables/DEVICE.json. --fit
counts nothing. --few counts a few small operators only and fits nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fitting import call_and_partition, counted, fit
from operator_cases import measurables

from pipeline.errors import PipelineError
from pipeline.runtimes.runtime import emulated_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device
from pipeline.validation.model_under_test import Golden

if TYPE_CHECKING:
    from operator_cases import Measurable

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "instruction_costs"
TABLES = ROOT / "pipeline" / "costing" / "tables"


def count(device: str, wanted: list[Measurable], written: Path, jobs: int) -> None:
    """Count what is not in ``written`` yet, with some emulators side by side."""
    lines = written.read_text(encoding="utf-8").splitlines() if written.exists() else []
    done = {json.loads(line)["name"] for line in lines}
    waiting = deque(each for each in wanted if each.name not in done)
    with written.open("a", encoding="utf-8") as stream, ThreadPoolExecutor(jobs) as pool:
        for ended in [pool.submit(_work, device, waiting, stream) for _ in range(jobs)]:
            ended.result()


def _work(device: str, waiting: deque[Measurable], stream: Any) -> None:
    """Count one after the other in one emulator, and in another one after a file that ends it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "operator.tflite"
        while waiting:
            each = waiting.popleft()
            file.write_bytes(each.file())
            try:
                with Session(emulated_runtime(get_device(device)), file) as session:
                    _write(stream, each, _count(session))
                    while waiting:
                        each = waiting.popleft()
                        file.write_bytes(each.file())
                        session.load(file)
                        _write(stream, each, _count(session))
            except PipelineError as error:
                _write(stream, each, {"refused": str(error)[:200]})
            except IndexError:  # another thread took the last one
                return


def _count(session: Session) -> dict[str, Any]:
    details = session.describe()
    inputs = Golden(None, 2, 0).inputs(details)
    found = session.count_instructions(inputs, runs=2, warmup_runs=1)
    return {"instructions": found.instructions, "placement": details.nodes[0].placement}


def _write(stream: Any, each: Measurable, found: dict[str, Any]) -> None:
    stream.write(json.dumps({"name": each.name} | found) + "\n")
    stream.flush()


def write_table(device: str, wanted: list[Measurable], counts: Path) -> None:
    """Fit the costs of a device's kernels to its counts, and write the table of the package."""
    rows = [json.loads(line) for line in counts.read_text(encoding="utf-8").splitlines()]
    found = {row["name"]: row for row in rows}
    row = get_device(device)
    call, partition = call_and_partition(found)
    kernels = {name: fit(each) for name, each in sorted(counted(wanted, found).items())}
    table = {
        "device": device,
        "core": row.cpu,
        "runtime": emulated_runtime(row).title,
        "features": row.cpuinfo.features,
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": f"python benchmarks/compression/instruction_costs.py --devices {device}",
        "call": round(call),
        "partition": round(partition),
        "kernels": {
            name: {"delegated": each.delegated, "tile": each.tile._asdict(), "costs": each.costs}
            for name, each in kernels.items()
        },
    }
    TABLES.mkdir(exist_ok=True)
    (TABLES / f"{device}.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    worst = sorted(((float(abs(each.errors).max()), name) for name, each in kernels.items()), reverse=True)
    print(f"{device}: {len(kernels)} kernels; errors at most {worst[0][0]:.0%} ({worst[0][1]})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the instructions of operators, and fit their costs.")
    parser.add_argument("--devices", default="rpi4,rpi5,armv7")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--few", action="store_true")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    for device in options.devices.split(","):
        wanted, counts = list(measurables(few=options.few)), options.results / f"{device}.jsonl"
        if not options.fit:
            count(device, wanted, counts, options.jobs)
        if not options.few:
            write_table(device, wanted, counts)


if __name__ == "__main__":
    main()
