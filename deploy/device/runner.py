"""The release at work on a device: ``run``, ``ask``, ``health``, ``bench`` and ``stats``.

Part of every release; needs Python 3.9, numpy and ai-edge-litert or tflite-runtime, and the release's other
programs beside it. Exit codes: 0 ok, 1 not healthy or bad input, 2 usage, 4 no runtime or no numpy.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

FOLDER = Path(__file__).resolve().parent
PACKAGE = f"{__package__}." if __package__ else ""
if __name__ == "__main__":
    # `python3 -I` leaves this folder out; and what was signed is all that it holds, no bytecode.
    sys.path.insert(0, str(FOLDER))
    sys.dont_write_bytecode = True

try:
    import numpy as np

    if TYPE_CHECKING or __package__:
        from deploy.device import predict, raw
    else:
        import predict
        import raw
except ImportError as error:
    missing: ImportError | None = error
else:
    missing = None

if TYPE_CHECKING:
    from numpy.typing import NDArray

SERVICE_STATE = Path("/var/lib/edge-models")  # the systemd unit's


def run(options: argparse.Namespace) -> int:
    """Answer the samples of files, or clients of a socket."""
    serving = importlib.import_module(f"{PACKAGE}serving")  # health starts without it
    model = predict.Model(FOLDER, options.threads)
    store = serving.StatisticsStore(
        state_folder(options.state),
        model,
        hashlib.sha256((FOLDER / "manifest.json").read_bytes()).hexdigest(),
        everything=options.observe == "all",
        keep=options.keep,
    )
    if options.socket:
        return int(serving.serve(model, store, Path(options.socket), FOLDER))
    files, titles = predict.load(options.names, model.contract)
    for values, contract in zip(files, model.contract["inputs"]):  # noqa: B905  Python 3.9
        if message := raw.suspicion(values, contract):
            print(f"runner.py: warning: {message}", file=sys.stderr)
    for title, sample in zip(titles, zip(*files)):  # noqa: B905
        print(predict.answer(model, title, serving.infer(model, store, sample)[0]))
    store.write(store.statistics())
    return 0


def state_folder(option: str) -> Path | None:
    """Return the folder of statistics: as requested, as set by systemd, or next to the installed releases."""
    if option or os.environ.get("STATE_DIRECTORY"):
        return Path(option or os.environ["STATE_DIRECTORY"])
    return FOLDER.parent.parent / "state" if FOLDER.parent.name == "releases" else None


def ask(path: str, names: list[str]) -> None:
    """Send the samples of files to a service, and print its answers.

    Raises:
        OSError: a file cannot be read, or nothing answers.
        ValueError: a file has no samples of the model, or the service refuses one.
    """
    asking = importlib.import_module(f"{PACKAGE}asking")
    contract = json.loads((FOLDER / "manifest.json").read_bytes())
    files, titles = predict.load(names, contract)
    client = asking.Client(path)
    try:
        for title, sample in zip(titles, zip(*files)):  # noqa: B905
            print(asking.line(title, client.ask(asking.encode(sample, contract))))
    finally:
        client.close()


def stats(option: str, *, metrics: bool, as_json: bool) -> None:
    """Print the statistics: a summary, all of them as JSON, or what Prometheus makes of them.

    Raises:
        OSError: there are none.
        ValueError: they are damaged.
    """
    manifest = json.loads((FOLDER / "manifest.json").read_bytes())
    folders = [folder for folder in (state_folder(option), SERVICE_STATE / manifest["name"]) if folder]
    path = next((f / "statistics.json" for f in folders if (f / "statistics.json").exists()), None)
    if path is None:
        msg = f"no statistics in {' or '.join(map(str, folders))}; name the folder with --state"
        raise OSError(msg)
    statistics = json.loads(path.read_bytes())
    if as_json:
        print(json.dumps(statistics))
    elif metrics:
        observe = importlib.import_module(f"{PACKAGE}observe")
        print(observe.metrics(statistics, manifest["labels"]), end="")
    else:
        summary = importlib.import_module(f"{PACKAGE}summary")
        service = summary.read_service(path.with_name(summary.SERVICE))
        print(summary.summary(statistics, service, manifest["labels"]), end="")


def _print_health(folder: Path, samples: int | None, *, as_json: bool) -> int:
    found = predict.check(folder, samples)
    if as_json:
        print(json.dumps(found))
    elif found["healthy"]:
        print(
            f"healthy: {found['samples']} golden samples, {found['differing']} differ, by at most "
            f"{found['largest_steps']} steps; {found['runtime']}, {found['seconds']} s"
        )
    else:
        print(f"not healthy: {found['why']}")
    return 0 if found["healthy"] else 1


def _say_what_is_missing(folder: Path, error: ImportError, *, as_json: bool) -> int:
    """Print which package is missing, and what installs it."""
    message, code = str(error), 4
    if "pip install" not in message:  # not predict.py's own, which knows
        if "numpy" in message:
            try:
                needs = json.loads((folder / "manifest.json").read_bytes())["runtimes"]
                package = f"'{needs[0]['package']}>={needs[0]['least']}'"
            except (OSError, ValueError, KeyError, IndexError, TypeError):
                package = "ai-edge-litert"
            message = f"no numpy; install it with: {sys.executable} -m pip install {package} 'numpy<2'"
        else:
            message, code = f"{message}; install the release again", 1
    if as_json:
        print(json.dumps({"healthy": False, "why": message}))
    else:
        print(f"runner.py: {message}", file=sys.stderr)
    return code


def bench(folder: Path, runs: int, threads: int) -> str:
    """Time a golden sample, and say it in the lines of TFLite's ``benchmark_model``, in microseconds."""
    begin = time.perf_counter()
    model = predict.Model(folder, threads)
    ready = (time.perf_counter() - begin) * 1e6
    contracts = model.contract["inputs"]
    sample = [np.array(predict.golden(folder, "input", i, port)[:1]) for i, port in enumerate(contracts)]

    def timed(count: int) -> NDArray[Any]:
        taken = np.empty(count)
        for number in range(count):
            start = time.perf_counter()
            model.run(sample)
            taken[number] = (time.perf_counter() - start) * 1e6
        return taken

    first, warmup, steady = timed(1), timed(max(1, runs // 10)), timed(runs)
    return (
        f"count={steady.size} first={steady[0]:g} curr={steady[-1]:g} min={steady.min():g} "
        f"max={steady.max():g} avg={steady.mean():g} std={steady.std():g}\n"
        f"Inference timings in us: Init: {ready:.0f}, First inference: {first[0]:.0f}, "
        f"Warmup (avg): {warmup.mean():g}, Inference (avg): {steady.mean():g}"
    )


def _count(word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) < 2**31:
        msg = f"takes a positive whole number, not {word}"
        raise argparse.ArgumentTypeError(msg)
    return int(word)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="runner.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    options = commands.add_parser("run", allow_abbrev=False, help="answer samples, or clients of a socket")
    options.add_argument("--observe", choices=["all"], default="", help="count every sample")
    options.add_argument("--keep", type=_count, default=0, metavar="N", help="samples to keep")
    options.add_argument("--state", default="", metavar="DIR", help="folder of the statistics")
    options.add_argument("--threads", type=_count, default=1, metavar="N")
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--socket", default="", metavar="PATH", help="serve on a Unix socket")
    source.add_argument("names", nargs="*", default=[], metavar="FILE", help="samples, a file for each input")
    options = commands.add_parser("ask", allow_abbrev=False, help="send samples to a running service")
    options.add_argument("--socket", required=True, metavar="PATH", help="of the service")
    options.add_argument("names", nargs="+", metavar="FILE", help="samples, a file for each input")
    options = commands.add_parser("health", allow_abbrev=False, help="check the golden samples")
    options.add_argument("--samples", type=_count, metavar="N")
    options.add_argument("--json", action="store_true")
    options = commands.add_parser("bench", allow_abbrev=False, help="time a golden sample")
    options.add_argument("--runs", type=_count, default=50, metavar="N")
    options.add_argument("--threads", type=_count, default=1, metavar="N")
    options = commands.add_parser("stats", allow_abbrev=False, help="print the statistics")
    shown = options.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="all of them, for programs")
    shown.add_argument("--metrics", action="store_true", help="in Prometheus's format")
    options.add_argument("--state", default="", metavar="DIR", help="folder of the statistics")
    return parser


def command(options: argparse.Namespace) -> int:
    """Run one command; its exit code."""
    if options.command == "run":
        return run(options)
    if options.command == "ask":
        ask(options.socket, options.names)
    elif options.command == "health":
        return _print_health(FOLDER, options.samples, as_json=options.json)
    elif options.command == "bench":
        print(bench(FOLDER, options.runs, options.threads))
    else:
        stats(options.state, metrics=options.metrics, as_json=options.json)
    return 0


def main() -> int:
    options = make_parser().parse_args()
    try:
        if missing is not None:
            raise missing
        return command(options)
    except ImportError as error:
        return _say_what_is_missing(FOLDER, error, as_json=options.command == "health" and options.json)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        print(f"runner.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
