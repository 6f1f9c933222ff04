"""Run a release on raw samples: what its ``manifest.json`` says, from raw values to labels.

Part of every release; needs numpy and ai-edge-litert (or tflite-runtime), and nothing of this project::

    python predict.py samples.npy          # (n, ...) raw samples; several files for several inputs
    python predict.py photo.jpg folder ... # where the model takes images, and Pillow is installed
    python predict.py rows.csv             # where the model takes rows of numbers; also rows.json
    python predict.py '{"rms": 0.5, ...}'  # one such row, by the names of its columns
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from deploy.device import raw, resizing, rows
else:
    import raw
    import resizing
    import rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

TOP = 3
"""Classes that are printed of an answer, the likeliest first."""
_MODULES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}


class Model:
    """A release, ready to answer.

    Args:
        folder: of the release.
        threads: that the runtime may use.
        content: the model file's bytes, where they were read already.

    Attributes:
        contract: what ``manifest.json`` says.
        runtime: the package that runs it, and its version.

    Raises:
        ImportError: there is no runtime that can run it; the message says what to install.
        OSError: a file cannot be read.
        ValueError: a file is not of a release.
    """

    def __init__(self, folder: Path, threads: int = 1, content: bytes | None = None) -> None:
        self.contract = json.loads((folder / "manifest.json").read_bytes())
        package, version = runtime(self.contract["runtimes"])
        self.runtime = f"{package} {version}"
        interpreter = importlib.import_module(f"{_MODULES[package]}.interpreter").Interpreter
        where = (
            {"model_content": content} if content else {"model_path": str(folder / self.contract["model"])}
        )
        self.interpreter = interpreter(**where, num_threads=threads)
        self.interpreter.allocate_tensors()
        self._inputs = [detail["index"] for detail in self.interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in self.interpreter.get_output_details()]
        ports = (len(self.contract["inputs"]), len(self.contract["outputs"]))
        if ports != (len(self._inputs), len(self._outputs)):
            msg = f"{self.contract['model']} has other inputs and outputs than manifest.json says"
            raise ValueError(msg)

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the output tensors to the input tensors, all as the model has them, with the batch of 1."""
        self.interpreter.reset_all_variables()  # clears the recurrent state of the previous sample
        for index, tensor in zip(self._inputs, tensors):
            self.interpreter.set_tensor(index, tensor)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self._outputs]

    def tensors(self, samples: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return one raw sample, without the batch, as the input tensors.

        Raises:
            ValueError: it is not as the model takes it.
        """
        contracts = self.contract["inputs"]
        if len(samples) != len(contracts):
            msg = f"{len(samples)} arrays for {len(contracts)} inputs"
            raise ValueError(msg)
        return [to_input(values, contract)[np.newaxis] for contract, values in zip(contracts, samples)]

    def predict(self, *samples: NDArray[Any]) -> list[NDArray[Any]]:
        """Answer one raw sample.

        Args:
            samples: one for each of the model's inputs, without the batch, as the training data had it.

        Returns:
            For each output real numbers: probabilities, unless ``manifest.json`` says logits.
        """
        return self.real(self.run(self.tensors(samples)))

    def predict_row(self, row: Mapping[str, float]) -> list[NDArray[Any]]:
        """Answer one row of numbers by the names of the columns that the training data had, as ``predict``.

        Raises:
            ValueError: a column is missing or unknown, or the release has no names of columns.
        """
        return self.predict(*rows.by_name(row, self.contract))

    def real(self, outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return output tensors as the numbers that they stand for, without the batch."""
        return [to_real(values[0], contract) for contract, values in zip(self.contract["outputs"], outputs)]


def runtime(needs: Sequence[dict[str, str]]) -> tuple[str, str]:
    """Return the first of the manifest's ``runtimes`` that is here and new enough, and its version.

    Raises:
        ImportError: none is; the message says what to install.
    """
    found = []
    for need in needs:
        package, least = need["package"], need["least"]
        try:
            module = importlib.import_module(_MODULES[package])
        except ImportError:
            continue
        version = str(getattr(module, "__version__", None) or _installed(package))
        if _release(version) < _release(least):
            found.append(f"{package} is {version}, needed is {least}")
        elif package == "tflite-runtime" and _release(np.__version__) >= (2,):
            found.append(f"{package} dies of numpy {np.__version__}")
        else:
            return package, version
    msg = f"{', '.join(found) or 'no runtime for the model'}; {how_to_fix(needs)}"
    raise ImportError(msg)


def _installed(package: str) -> str:
    from importlib.metadata import version  # slow to import

    return version(package)


def how_to_fix(needs: Sequence[dict[str, str]]) -> str:
    """Return what to install, for the Python that runs this."""
    package, least = needs[0]["package"], needs[0]["least"]
    numpy = " 'numpy<2'" if package == "tflite-runtime" else ""
    debian = (
        sys.prefix == sys.base_prefix
        and Path(json.__file__).parents[1].joinpath("EXTERNALLY-MANAGED").exists()
    )
    option = "--break-system-packages " if debian else ""  # the service runs the system's own Python
    return f"install it with: {sys.executable} -m pip install {option}'{package}>={least}'{numpy}"


def _release(version: str) -> tuple[int, ...]:
    """Return ``2.14.0`` as numbers that compare; what is not a number ends them."""
    parts = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        parts.append(int(part))
    return tuple(parts)


def to_input(sample: NDArray[Any], contract: dict[str, Any]) -> NDArray[Any]:
    """Return a raw sample as the model's tensor: size, channels, scale, offset, then quantization.

    Raises:
        ValueError: it has another shape than the model's input and cannot be scaled to it, or is quantized
            already.
    """
    sample = resizing.fitted(sample, contract)
    raw.check(sample, contract)
    steps = contract["preprocessing"]
    if steps["indices"]:
        return sample.astype(contract["dtype"])
    values = sample[..., ::-1] if steps["reverse_channels"] else sample
    scale, offset = (np.asarray(steps[key], np.float32) for key in ("scale", "offset"))
    real: NDArray[Any] = values.astype(np.float32) * scale + offset
    if contract["scale"] is None:
        return real.astype(contract["dtype"])
    limits = np.iinfo(contract["dtype"])
    steps_of_scale = np.rint(real * (np.float32(1) / np.float32(contract["scale"])))
    integers: NDArray[Any] = np.clip(steps_of_scale + contract["zero_point"], limits.min, limits.max)
    return integers.astype(contract["dtype"])


def to_real(values: NDArray[Any], contract: dict[str, Any]) -> NDArray[Any]:
    """Return an output tensor as the numbers that it stands for."""
    if contract["scale"] is None:
        return values
    return np.asarray((values.astype(np.float32) - contract["zero_point"]) * np.float32(contract["scale"]))


def label_of(values: NDArray[Any], contract: dict[str, Any], labels: Sequence[str]) -> str | None:
    """Return the label of an output's answer; None if it has no classes, or these have no labels."""
    if contract["task"] == "classification" and len(labels) == values.size:
        return labels[int(values.argmax())]
    if contract["task"] == "binary" and len(labels) == 2 and values.size == 1:
        return labels[int(values.flat[0] > (0 if contract["logits"] else 0.5))]
    return None


def top(
    values: NDArray[Any], contract: dict[str, Any], labels: Sequence[str], count: int = TOP
) -> list[tuple[int, str]]:
    """Return the likeliest classes and their labels, best first; [] if an output has no labelled classes."""
    if contract["task"] != "classification" or len(labels) != values.size:
        return []
    best = np.argsort(-values.reshape(-1), kind="stable")[:count]
    return [(int(place), labels[place]) for place in best]


def probabilities(values: NDArray[Any], contract: dict[str, Any]) -> NDArray[Any]:
    """Return the probabilities of classes, whose output may be logits; of "binary" that of the second one."""
    if not contract["logits"]:
        return values
    real = values.astype(np.float64)
    if contract["task"] == "binary":
        return np.asarray(1 / (1 + np.exp(-np.clip(real, -60, 60))))
    powers = np.exp(real - real.max())
    return np.asarray(powers / powers.sum())


def describe(values: NDArray[Any], contract: dict[str, Any], labels: Sequence[str]) -> str:
    """Return an answer in a few words."""
    if best := top(values, contract, labels):
        shares = probabilities(values, contract).flat
        return ", ".join(f"{name} ({shares[place]:.3g})" for place, name in best)
    label = label_of(values, contract, labels)
    if label is not None:
        share = probabilities(values, contract).flat[0]
        return f"{label} ({share if label == labels[1] else 1 - share:.3g})"
    shown = " ".join(f"{value:.3g}" for value in values.flat[:8])
    return shown + (f" ... {values.size} values" if values.size > 8 else "")


def answer(model: Model, title: str, answers: Sequence[NDArray[Any]]) -> str:
    """Return the line that is printed of one sample."""
    words = [
        f"{contract['name']}: {describe(values, contract, model.contract['labels'])}"
        for contract, values in zip(model.contract["outputs"], answers)
    ]
    return f"{title}  {'; '.join(words)}"


def load(names: Sequence[str], contract: dict[str, Any]) -> tuple[list[NDArray[Any]], list[str]]:
    """Return the raw samples of each input, and what each sample is called; errors as ``samples.read``."""
    samples = importlib.import_module(f"{__package__}.samples" if __package__ else "samples")
    names = samples.expanded(names)
    read: list[NDArray[Any]] = samples.read(names, contract)
    return read, samples.titles(names, len(read[0]))


def check(folder: Path, samples: int | None = None) -> dict[str, Any]:
    """Check a release where it will run: its files' hashes, then its golden vectors.

    Args:
        folder: of the release.
        samples: how many golden samples to run; None: all.

    Returns:
        What ``runner.py health --json`` prints; ``why`` is None of a healthy one.

    Raises:
        ImportError: there is no runtime that can run it.
    """
    start = time.perf_counter()
    found: dict[str, Any] = {
        "healthy": False,
        "digest": None,
        "samples": 0,
        "differing": 0,
        "largest_steps": 0,
    }
    found |= {"runtime": None, "seconds": 0.0, "why": None}
    try:
        content = (folder / "manifest.json").read_bytes()
        found["digest"] = hashlib.sha256(content).hexdigest()
        manifest = json.loads(content)
        model = Model(folder, content=_verified(folder, manifest))
        found["runtime"] = model.runtime
        found["why"] = _compare(model, folder, manifest, samples, found)
    except ImportError:
        raise
    except KeyError as error:
        found["why"] = f"manifest.json has no {error}"
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, RecursionError) as error:
        found["why"] = " ".join(str(error).split()) or type(error).__name__
    found["healthy"] = found["why"] is None
    found["seconds"] = round(time.perf_counter() - start, 3)
    return found


def _verified(folder: Path, manifest: dict[str, Any]) -> bytes:
    """Return the model's bytes, after each file that is here was read once and found as it was released."""
    content = b""
    for name, expected in {manifest["model"]: None, **manifest["files"]}.items():
        path = folder / name
        if ".." in path.parts or Path(name).is_absolute():
            msg = f"manifest.json names {name!r}, which is outside the release"
            raise ValueError(msg)
        if name != manifest["model"] and not path.exists():
            continue  # a device has a part of the release
        read = path.read_bytes()
        if expected is None or hashlib.sha256(read).hexdigest() != expected:
            msg = f"{name} is not as it was released: install the release again"
            raise ValueError(msg)
        if name == manifest["model"]:
            content = read
    return content


def _compare(
    model: Model, folder: Path, manifest: dict[str, Any], samples: int | None, found: dict[str, Any]
) -> str | None:
    """Run the golden samples, fill in ``found``, and say why it is not healthy."""
    inputs = [golden(folder, "input", i, contract) for i, contract in enumerate(manifest["inputs"])]
    outputs = [golden(folder, "output", i, contract) for i, contract in enumerate(manifest["outputs"])]
    there = {len(array) for array in [*inputs, *outputs]}
    if there != {manifest["golden"]} or not manifest["golden"]:
        return f"the golden vectors are of {sorted(there)} samples, released were {manifest['golden']}"
    least = [1e-5 * float(np.abs(array).max()) if array.dtype.kind == "f" else 1.0 for array in outputs]
    worst, where = 0.0, ""
    for number in range(min(there) if samples is None else min(samples, min(there))):
        got = model.run([np.array(array[number : number + 1]) for array in inputs])
        steps = [_steps(ours, array[number], step) for ours, array, step in zip(got, outputs, least)]
        found["samples"] += 1
        found["differing"] += max(steps) > 0
        if max(steps) > worst:
            worst = max(steps)
            where = f"golden sample {number}: output {manifest['outputs'][steps.index(worst)]['name']}"
    found["largest_steps"] = int(worst) if worst == int(min(worst, 2**53)) else round(min(worst, 1e300), 3)
    if worst > manifest["tolerance_steps"]:
        allowed = manifest["tolerance_steps"]
        return f"{where} is {found['largest_steps']} steps from the released one, allowed: {allowed}"
    return None


def golden(folder: Path, kind: str, index: int, contract: dict[str, Any]) -> NDArray[Any]:
    name = f"golden_{kind}_{index}.npy"
    array: NDArray[Any] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    if list(array.shape[1:]) != contract["shape"][1:] or array.dtype != contract["dtype"]:
        msg = f"{name} is {array.dtype} {array.shape}, released was {contract['dtype']} {contract['shape']}"
        raise ValueError(msg)
    return array


def _steps(ours: NDArray[Any], golden: NDArray[Any], step: float) -> float:
    """Return by how many steps an output is beside the golden one."""
    if np.array_equal(ours[0], golden, equal_nan=golden.dtype.kind == "f"):
        return 0.0
    apart = np.abs(ours[0].astype(np.float64) - golden.astype(np.float64)).max()
    return float(apart / step) if step and np.isfinite(apart) else float("inf")


def main() -> None:
    try:
        model = Model(Path(__file__).resolve().parent)
        files, titles = load(sys.argv[1:], model.contract)
        for values, contract in zip(files, model.contract["inputs"]):
            if warning := raw.suspicion(values, contract):
                print(f"predict.py: warning: {warning}", file=sys.stderr)
        for title, sample in zip(titles, zip(*files)):
            print(answer(model, title, model.predict(*sample)))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"predict.py: {error}")


if __name__ == "__main__":
    main()
