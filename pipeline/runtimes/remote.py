"""The worker of a session, on a real device that is reached over ssh.

The device needs Python 3 with numpy and a runtime. The worker and the model are copied into a folder of their
own there, which goes when the session ends. Times are the device's own: of kind "device".
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DeviceError, InputError
from pipeline.runtimes.session import WORKER, ModelDetails, Node, Soak, Tensor, Timing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from pipeline.runtimes.runtime import Package
    from pipeline.runtimes.ssh import SshAddress

GRACE_S = 5.0


class RemoteSession:
    """A model on a device over ssh, for the length of a ``with`` block.

    Args:
        address: where the device is; its host key has to be known.
        package: the runtime that its Python has.
        model: a .tflite file that passed ``pipeline.flatbuffer``.
        threads: how many the runtime may use.
        timeout_s: the seconds that any one request may take.
        python: the device's Python.

    Raises:
        DeviceError: the device was not reached, has no such Python or runtime, or the worker ended.
        InputError: the runtime refuses the model.
        ToolchainError: this machine has no ssh.
    """

    def __init__(
        self,
        address: SshAddress,
        package: Package,
        model: Path,
        *,
        threads: int = 1,
        timeout_s: float = 600.0,
        python: str = "python3",
    ) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._package, self._model, self._threads, self._python = package, model, threads, python

    def __enter__(self) -> RemoteSession:
        made = self.address.run(["mktemp", "-d", "/tmp/edge-session-XXXXXXXX"])  # noqa: S108 - on the device
        self.folder = made.out.decode(errors="replace").strip()
        if made.status != 0 or not self.folder.startswith("/tmp/edge-session-"):  # noqa: S108
            message = f"{self.address} has no room for a folder in /tmp: {_last_line(made.err)}"
            raise DeviceError(message)
        self._local = tempfile.TemporaryDirectory(prefix="edge-session-")
        self._worker: subprocess.Popen[bytes] | None = None
        self._pending = b""
        try:
            self.address.push(WORKER, f"{self.folder}/worker.py")
            self.address.push(self._model, f"{self.folder}/model.tflite")
            words = [self._python, "-B", f"{self.folder}/worker.py", self._package]
            self._log = (Path(self._local.name) / "log").open("w+b")
            self._worker = subprocess.Popen(
                self.address.command(words),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is for this process, which ends the worker in __exit__
            )
            self._receive()
            self._load()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def describe(self) -> ModelDetails:
        """Return what is in the model and where each node runs."""
        return self._details

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Infer every sample; arrays (n, ...) of the model's own dtypes, in and out."""
        import numpy as np

        names = [f"output-{index}.npy" for index in range(len(self._details.outputs))]
        self._ask("run", inputs=self._written(inputs), outputs=[f"{self.folder}/{name}" for name in names])
        found = []
        for name in names:
            local = Path(self._local.name) / name
            self.address.pull(f"{self.folder}/{name}", local)
            found.append(np.load(local, allow_pickle=False))
        return found

    def time(self, inputs: Sequence[NDArray[Any]], *, runs: int = 100, warmup_runs: int = 10) -> Timing:
        """Time ``runs`` inferences after one first and ``warmup_runs`` more; ask it first."""
        found = self._ask("time", inputs=self._written(inputs), runs=runs, warmup_runs=warmup_runs)
        return Timing(self._details.init_us, found["first_us"], tuple(found["latencies_us"]))

    def soak(self, inputs: Sequence[NDArray[Any]], *, inferences: int = 1000) -> Soak:
        """Infer the samples round and round and watch outputs, memory and open files."""
        import numpy as np

        found = self._ask("soak", inputs=self._written(inputs), inferences=inferences)
        at, resident = np.array(found["resident_bytes"], np.float64).T
        settled = at >= inferences / 5
        slope = float(np.polyfit(at[settled], resident[settled], 1)[0]) if settled.sum() > 1 else 0.0
        return Soak(
            inferences=inferences,
            mismatches=found["mismatches"],
            output_sha256=found["output_sha256"],
            resident_start_bytes=int(resident[0]),
            resident_end_bytes=int(resident[-1]),
            growth_bytes_per_inference=slope,
            open_files_start=found["open_files"][0],
            open_files_end=found["open_files"][1],
        )

    def _load(self) -> None:
        reply = self._exchange("load", model=f"{self.folder}/model.tflite", threads=self._threads)
        if "error" in reply:
            message = (
                f"{self.address} cannot load {self._model}: {_last_line(reply['error'])}; convert it again"
            )
            raise InputError(message)
        found = reply["ok"]
        self._details = ModelDetails(
            inputs=tuple(Tensor(**{**row, "shape": tuple(row["shape"])}) for row in found["inputs"]),
            outputs=tuple(Tensor(**{**row, "shape": tuple(row["shape"])}) for row in found["outputs"]),
            nodes=tuple(
                Node(**{**row, "inputs": tuple(row["inputs"]), "outputs": tuple(row["outputs"])})
                for row in found["nodes"]
            ),
            partitions=found["partitions"],
            init_us=found["init_us"],
        )

    def _written(self, inputs: Sequence[NDArray[Any]]) -> list[str]:
        """Copy the arrays to the device; returns their paths there."""
        import numpy as np

        paths = []
        for index, array in enumerate(inputs):
            local = Path(self._local.name) / f"input-{index}.npy"
            np.save(local, array)
            self.address.push(local, f"{self.folder}/{local.name}")
            paths.append(f"{self.folder}/{local.name}")
        return paths

    def _ask(self, do: str, **arguments: Any) -> Any:
        reply = self._exchange(do, **arguments)
        if "error" in reply:
            message = f"{self.address} cannot {do} {self._model.name}: {_last_line(reply['error'])}"
            raise DeviceError(message)
        return reply["ok"]

    def _exchange(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._worker is not None
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._worker is not None
        assert self._worker.stdout is not None
        deadline = time.monotonic() + self.timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._worker.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    message = f"{self.address} gave no answer in {self.timeout_s:.0f} s; is it still there?"
                    raise DeviceError(message)
                chunk = os.read(self._worker.stdout.fileno(), 65536)
                if not chunk:
                    raise self._death()
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError:
            message = (
                f"{self.address} prints {line[:80]!r} where the worker answers; silence its login scripts"
            )
            raise DeviceError(message) from None
        return reply

    def _death(self) -> DeviceError:
        assert self._worker is not None
        self._worker.wait(GRACE_S)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")
        if self._worker.returncode == 255:
            return self.address.unreachable(said)
        return DeviceError(f"the worker on {self.address} ended: {_last_line(said)}")

    def _end(self) -> None:
        """Leave no process and no file behind, here or there."""
        if self._worker is not None:
            assert self._worker.stdin is not None
            assert self._worker.stdout is not None
            try:
                self._worker.stdin.close()
                self._worker.wait(GRACE_S)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                pass
            finally:
                self._worker.kill()
                self._worker.wait()
                self._worker.stdout.close()
                self._log.close()
        try:
            self.address.run(["rm", "-rf", "--", self.folder], timeout_s=30)
        except DeviceError:
            pass  # the device is gone, and its /tmp with it
        finally:
            self._local.cleanup()


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split()) if lines else "it said nothing"
