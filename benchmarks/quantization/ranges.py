"""Ranges of activations: cost of histograms, damaged calibration data, and time of `ranges = "auto"`.

Usage: python benchmarks/quantization/ranges.py [histograms damage time] [--models zoo:NAME ...]
           [--samples 10000] [--paired 500] [--pairs 9] [--store FOLDER]

histograms: peak memory of a process that does nothing else than make them from --samples training samples of
the built-in ResNet-8, and how many times faster it is than a process that infers one sample at a time, over
--paired samples. damage: points lost on the whole test set with calibration samples of which one is
multiplied by 1000. time: post-training quantization from a Keras model, with and without repairs, compared
with TFLiteConverter on the same calibration samples; whole processes.

Processes that are compared run in pairs in random order; ratios are medians over the pairs with bootstrap
95 % intervals, of wall and of processor seconds. Prints a Markdown table for each, with its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.histogram import Statistics
from pipeline.artifacts import Source
from pipeline.command_settings import build_settings
from pipeline.flatbuffer import read_tflite
from pipeline.loading.load import model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.quantize.activations import observed_tensors, run_file, statistics
from pipeline.quantize.backends import tflite_converter
from pipeline.quantize.convert import convert_quantized
from pipeline.quantize.ranges import choose_ranges, find_ranges
from pipeline.quantize.repair import AUTO, repair_model
from pipeline.run import Run
from pipeline.samples import Samples
from pipeline.store import Store, user_store
from pipeline.tasks.scoring import paired_gain, score_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from pipeline.opening import Opened

MODELS = ("zoo:resnet8", "zoo:ds_cnn")
PARTS = ("histograms", "damage", "time")
MAX_PEAK_BYTES, MIN_SPEEDUP = 1e9, 3.0
MIN_LOST, MAX_LOST = 5.0, 1.0  # points, of min-max and of "auto"
MAX_RATIO = 5.0
FACTOR = 1000.0
LABELS = {"batched": "in batches", "one_at_a_time": "one at a time", "only_invoke": "only invoke"}
DAMAGED = {"none": (256, 0), "1 of 256": (256, 1), "1 of 1000": (1000, 1)}
"""Calibration samples, and how many of them are multiplied by FACTOR."""


@dataclass(frozen=True)
class Arrays:
    """Samples in memory, as the stages take them: the model's inputs, (n, ...) each."""

    arrays: tuple[NDArray[Any], ...]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def take(self, places: Any) -> Arrays:
        return Arrays(tuple(each[places] for each in self.arrays))

    def chunks(self, size: int) -> Iterator[Arrays]:
        return (self.take(slice(start, start + size)) for start in range(0, len(self), size))

    def model_inputs(self) -> list[NDArray[Any]]:
        return list(self.arrays)


def opened_model(model: str, store: Store, folder: Path) -> tuple[Opened, Any]:
    """Return a model with its data, and the settings."""
    config = build_settings(None, {"model": model, "data": None})
    source = Source(location=str(config.model.path), digest=model_digest(config.model))
    return open_inputs(source, source_of(config.data), None, config, Run(folder, store)), config


# What a child process does; each takes what `measured` has written.


def batched(content: bytes, samples: Samples) -> None:
    statistics(content, samples)


def one_at_a_time(content: bytes, samples: Samples) -> None:
    """Make the same statistics from one inference per sample, as the batches are not used."""
    interpreter, index = _interpreter(content)
    found = {tensor: Statistics() for tensor in observed_tensors(read_tflite(content))}
    for sample in samples.chunks(1):
        interpreter.set_tensor(index, sample.model_inputs()[0])
        interpreter.invoke()
        for tensor, known in found.items():
            known.update(interpreter.get_tensor(tensor))


def only_invoke(content: bytes, samples: Samples) -> None:
    """Infer one sample at a time and look at nothing."""
    interpreter, index = _interpreter(content)
    for sample in samples.chunks(1):
        interpreter.set_tensor(index, sample.model_inputs()[0])
        interpreter.invoke()


def _interpreter(content: bytes) -> tuple[Any, int]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=len(os.sched_getaffinity(0)),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter, interpreter.get_input_details()[0]["index"]


def plain(given: tuple[Any, ...], _config: Any, folder: Path) -> None:
    """Convert with TFLiteConverter as its guide does."""
    model, chosen, data = given
    from pipeline.training.keras_io import open_model, start_tensorflow

    start_tensorflow(0)
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(open_model(model.model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    samples = Samples.of(data, "train", model.preprocessing).take(np.load(chosen.indices))
    converter.representative_dataset = lambda: (each.model_inputs() for each in samples.chunks(1))
    (folder / "plain.tflite").write_bytes(converter.convert())


def quantized(given: tuple[Any, ...], config: Any, folder: Path) -> None:
    _quantize(given, config, folder, repairs=())


def repaired(given: tuple[Any, ...], config: Any, folder: Path) -> None:
    _quantize(given, config, folder, repairs=(AUTO,))


def _quantize(given: tuple[Any, ...], config: Any, folder: Path, repairs: tuple[str, ...]) -> None:
    """Run the stages of post-training quantization as a build does."""
    outs = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(3)]
    timeout = config.convert.timeout_s
    ranges = find_ranges(*given, config=config.calibration, timeout_s=timeout, out=outs[0])
    if repairs:
        ranges = repair_model(
            *given, ranges, repairs=repairs, config=config.calibration, backend=config.convert.backend,
            timeout_s=timeout, out=outs[1],
        )  # fmt: skip
    convert_quantized(*given, ranges, config=config.convert, out=outs[2])


CHILDREN = {each.__name__: each for each in (batched, one_at_a_time, only_invoke, plain, quantized, repaired)}


def child(name: str, given: Path) -> None:
    """Do one job and print its own seconds, without the start of Python, and the peak memory."""
    arguments = pickle.loads(given.read_bytes())
    began, used = time.perf_counter(), time.process_time()
    CHILDREN[name](*arguments)
    print(json.dumps({
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - used,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))  # fmt: skip


class ProcessorTime(threading.Thread):
    """Watches the processor time of a process and all its descendants, whoever waits for them.

    What a process used after the last look at it is missing: at most ``EVERY_S`` of each.
    """

    EVERY_S = 0.1

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self._ticks = pid, dict[int, int]()

    @property
    def seconds(self) -> float:
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")

    def run(self) -> None:
        while self._look(self.pid):
            time.sleep(self.EVERY_S)

    def _look(self, pid: int) -> bool:
        """Record a process and its descendants; returns whether it is still there."""
        try:
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            self._ticks[pid] = sum(map(int, times))
            for task in Path(f"/proc/{pid}/task").iterdir():
                for child_ in (task / "children").read_text().split():
                    self._look(int(child_))
        except OSError:
            return False
        return True


def measured(job: Callable[..., None], given: Path, whole: bool = False) -> dict[str, float]:
    """Run a job in a process of its own.

    Args:
        job: of ``CHILDREN``.
        given: a file with its pickled arguments.
        whole: whether seconds are those of the whole process with its children, the start of Python included.
    """
    command = [sys.executable, __file__, "--child", job.__name__, str(given)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        used = ProcessorTime(process.pid)
        used.start()
        printed, said = process.communicate()
    if process.returncode:
        sys.exit(f"{job.__name__}: {(said.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, float] = json.loads(printed.strip().splitlines()[-1])
    if whole:
        found |= {"wall": time.perf_counter() - began, "cpu": used.seconds}
    return found


def pairs(
    jobs: Sequence[Callable[..., None]], given: Path, count: int, whole: bool = False
) -> dict[str, list[dict[str, float]]]:
    """Run jobs as often as given, in random order each time."""
    rng = np.random.default_rng(0)
    found: dict[str, list[dict[str, float]]] = {each.__name__: [] for each in jobs}
    for _ in range(count):
        for place in rng.permutation(len(jobs)):
            found[jobs[place].__name__].append(measured(jobs[place], given, whole))
    return found


def ratio(ones: Sequence[dict[str, float]], others: Sequence[dict[str, float]], of: str) -> NDArray[Any]:
    """Return the median of paired ratios, with the ends of its bootstrap 95 % interval."""
    ratios = np.array([one[of] / other[of] for one, other in zip(ones, others, strict=True)])
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    return np.array([np.median(ratios), *np.percentile(np.median(drawn, axis=1), [2.5, 97.5])])


def _interval(values: NDArray[Any]) -> str:
    return f"{values[0]:.1f} [{values[1]:.1f}, {values[2]:.1f}]"


def table(*columns: str) -> None:
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _met(reached: bool) -> str:
    return "met" if reached else "missed"


def show_histograms(given: argparse.Namespace, store: Store, folder: Path) -> None:
    opened, _ = opened_model(MODELS[0], store, folder)
    training = Samples.of(opened.data, "train", opened.prepared.preprocessing)
    content = opened.baseline.tflite.read_bytes()
    all_, few = folder / "all.pkl", folder / "few.pkl"
    all_.write_bytes(pickle.dumps((content, training.choose(given.samples, seed=0))))
    few.write_bytes(pickle.dumps((content, training.choose(given.paired, seed=0))))
    whole = measured(batched, all_)
    found = pairs((batched, one_at_a_time, only_invoke), few, given.pairs)
    table("", "samples", "seconds", "CPU seconds", "peak memory, MB", "bar")
    bar = f"<= {MAX_PEAK_BYTES / 1e6:.0f} MB: {_met(whole['peak'] <= MAX_PEAK_BYTES)}"
    row(LABELS["batched"], given.samples, *_seconds([whole]), f"{whole['peak'] / 1e6:.0f}", bar)
    for name, each in found.items():
        row(LABELS[name], given.paired, *_seconds(each), f"{each[0]['peak'] / 1e6:.0f}", "")
    table("compared with batches", "pairs", "times the seconds", "times the CPU seconds", "bar")
    for name in ("one_at_a_time", "only_invoke"):
        wall, cpu = (ratio(found[name], found["batched"], of) for of in ("wall", "cpu"))
        bar = f">= {MIN_SPEEDUP:g}: {_met(wall[0] >= MIN_SPEEDUP)}" if name == "one_at_a_time" else ""
        row(LABELS[name], given.pairs, _interval(wall), _interval(cpu), bar)


def _seconds(found: Sequence[dict[str, float]]) -> list[str]:
    return [f"{np.median([each[of] for each in found]):.1f}" for of in ("wall", "cpu")]


def damaged(samples: Samples, count: int) -> Arrays:
    """Return samples of which the last ``count`` from which "auto" takes ranges are multiplied."""
    arrays = [each.copy() for each in samples.model_inputs()]
    places = [place for place in range(len(samples)) if place % 4 != 3][len(samples) // 2 :][:count]
    for each in arrays:
        each[places] = each[places] * FACTOR
    return Arrays(tuple(arrays))


def show_damage(given: argparse.Namespace, store: Store, folder: Path) -> None:
    columns = "float", "min-max", "auto", "lost by min-max", "lost by auto"
    table("model", "multiplied by 1000", *columns, "bar", "ranges of auto")
    for model in given.models:
        opened, config = opened_model(model, store, folder)
        test = Samples.of(opened.data, "test", opened.prepared.preprocessing)
        training = Samples.of(opened.data, "train", opened.prepared.preprocessing)
        task, target, inputs = opened.data.tasks[0], test.target(0), test.model_inputs()[0]
        content = opened.baseline.tflite.read_bytes()
        exact = run_file(content, test)[0]
        for damage, (size, count) in DAMAGED.items():
            calibration = damaged(training.choose(size, seed=0), count)
            scores, lost, method = [score_of(task, exact, inputs, target)], [], ""
            for ranges in ("min-max", "auto"):
                settings = config.calibration.model_copy(update={"ranges": ranges})
                chosen, described = choose_ranges(content, [], calibration, settings)
                found = run_file(tflite_converter.quantize(content, chosen, "int8"), test)[0]
                gain = paired_gain(task, found, exact, inputs, target)
                if gain is None:
                    sys.exit(f"{model}: no score of {task} can be paired")
                scores.append(score_of(task, found, inputs, target))
                lost.append(gain)
                method = described.get("finding", "").partition(";")[0].removeprefix("ranges: ")
            bar = ""
            if count:
                reached = lost[0].points > MIN_LOST and lost[1].points <= MAX_LOST
                bar = f"> {MIN_LOST:g}, <= {MAX_LOST:g}: {_met(reached)}"
            points = [f"{100 * score:.2f}" for score in scores]
            differences = [f"{each.points:.2f} [{each.low:.2f}, {each.high:.2f}]" for each in lost]
            row(model, damage, *points, *differences, bar, method)


def show_time(given: argparse.Namespace, store: Store, folder: Path) -> None:
    times = "times the seconds of plain", "times its CPU seconds"
    table("model", "", "pairs", "seconds", "CPU seconds", *times, "bar")
    for model in given.models:
        opened, config = opened_model(model, store, folder)
        arguments = folder / f"{model.partition(':')[2]}.pkl"
        stages = opened.prepared.keras, opened.samples, opened.data
        arguments.write_bytes(pickle.dumps((stages, config, folder)))
        found = pairs((plain, quantized, repaired), arguments, given.pairs, whole=True)
        row(model, "TFLiteConverter", given.pairs, *_seconds(found["plain"]), "", "", "")
        for name, said in (("quantized", "auto"), ("repaired", "auto, with repairs")):
            wall, cpu = (ratio(found[name], found["plain"], of) for of in ("wall", "cpu"))
            bar = f"<= {MAX_RATIO:g}: {_met(wall[0] <= MAX_RATIO)}"
            row(model, said, given.pairs, *_seconds(found[name]), _interval(wall), _interval(cpu), bar)


SHOWN = {"histograms": show_histograms, "damage": show_damage, "time": show_time}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--paired", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--store", type=Path, default=user_store())
    given = parser.parse_args()
    with Store(given.store, 20 * 10**9) as store, tempfile.TemporaryDirectory() as folder:
        for part in given.parts:
            SHOWN[part](given, store, Path(folder))
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
