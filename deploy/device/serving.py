"""A release as a service: a Unix socket that answers raw samples, and the statistics of what it saw.

Part of every release, for ``runner.py run``; the socket's protocol and the files that it keeps are in
docs/reference/on-the-device.md.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from deploy.device import decoding, observe, predict, raw, summary, totals
else:
    import decoding
    import observe
    import predict
    import raw
    import summary
    import totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_STATISTICS = 8_000_000  # bytes; those of 32 inputs of 32 channels are a tenth of it
MAX_CLIENTS = 16
MAX_PICTURES = 2  # requests of pictures that are in memory at a time
PLAIN_BYTES = 1 << 20
FLUSH_S = 60.0
DAYS = "days"
MAX_DAYS = 31  # kept on disk, each with the counts of that day alone
CLIENT_S = 10.0  # for a started request, and for its answer


class StatisticsStore:
    """The statistics of one release, kept on disk; nothing that happens there stops an answer.

    Args:
        folder: where ``statistics.json`` and ``metrics.prom`` are kept; None: nowhere.
        model: whose inferences are counted.
        digest: the release's.
        everything: whether every inference goes into the histograms, whatever that costs.
        keep: raw samples to keep.
    """

    def __init__(
        self, folder: Path | None, model: predict.Model, digest: str, *, everything: bool, keep: int
    ) -> None:
        self.digest = digest
        share = None if everything else observe.SHARE
        self.observer = observe.Observer(model.contract, digest=digest, share=share, keep=keep, dated=True)
        self.labels, self.errors, self.reported = model.contract["labels"], 0, set[str]()
        self.started, self.runtime = observe.now(), model.runtime
        self.before: dict[str, Any] = self.observer.statistics()
        self.folder = folder if folder and self._lock(folder) else None
        if self.folder:
            self._resume(self.folder / "statistics.json", keep)
        self.day = observe.now()[:10]
        self.before_day = self._before_day(self.before)

    def _lock(self, folder: Path) -> bool:
        """Lock the folder for this process: two writers would overwrite each other's counts."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.held = os.open(folder, os.O_RDONLY)
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._say(f"no statistics are kept: {folder}: {error.strerror}")
            return False
        return True

    def _resume(self, path: Path, keep: int) -> None:
        """Go on from the file of this release; one of another release is put aside under its digest."""
        aside = path.with_name(f"statistics-{self.digest[:8]}.json")
        try:
            digest = _read_statistics(path)["digest"] if path.exists() else self.digest
            if digest != self.digest:
                path.replace(path.with_name(f"statistics-{int(digest[:8], 16):08x}.json"))
            if aside.exists() and not path.exists():
                aside.replace(path)
            if path.exists():
                merged = totals.merge(self.before, _read_statistics(path))
                observe.metrics(merged)  # its times are times
                self.before = merged
                files = sorted(path.parent.glob("kept_input_*.npy")) if keep else []
                kept = zip(*[np.load(file, allow_pickle=False) for file in files])
                self.observer.kept = list(kept)[:keep]
                self.observer.offered = self.before["observed"]
        except (ValueError, TypeError, KeyError, EOFError, RecursionError, OSError) as error:
            self._say(f"{path} is put aside as statistics.json.damaged: {' '.join(str(error).split())[:200]}")
            with contextlib.suppress(OSError):
                path.replace(path.with_name("statistics.json.damaged"))

    def _before_day(self, counted: dict[str, Any]) -> dict[str, Any]:
        """Return what of ``counted`` is from before today: a restart goes on with the day's own counts."""
        try:
            today = _read_statistics(self._day_file())
            return totals.subtract(counted, {key: today[key] for key in counted})
        except (ValueError, TypeError, KeyError, RecursionError, OSError):  # no such day yet, or damaged
            return counted

    def _day_file(self) -> Path:
        return (self.folder or Path()) / DAYS / f"{self.day}-{self.digest[:8]}.json"

    def _write_day(self, statistics: dict[str, Any]) -> None:
        """Write the counts of this day (UTC); what came since the last write of yesterday belongs to it."""
        file = self._day_file()
        if not file.parent.is_dir():
            file.parent.mkdir()
        counted = totals.subtract(statistics, self.before_day)
        _replace(file, json.dumps({"day": self.day, **counted}).encode())
        if (today := observe.now()[:10]) != self.day:
            self.day = today
            self.before_day = self._before_day(statistics)
            for old in sorted(file.parent.glob("*.json"), reverse=True)[MAX_DAYS - 1 :]:
                old.unlink()

    def statistics(self) -> dict[str, Any]:
        """Return what this process saw, with what was seen before it."""
        total: dict[str, Any] = totals.merge(self.before, self.observer.statistics())
        return total

    def write(self, statistics: dict[str, Any]) -> None:
        """Put them on disk, each file as a whole or not at all."""
        if self.folder is None:
            return
        try:
            _replace(self.folder / "statistics.json", json.dumps(statistics).encode())
            self._write_day(statistics)
            text = observe.metrics(statistics, self.labels, self.errors)
            _replace(self.folder / "metrics.prom", text.encode())
            facts = summary.service_facts(self.started, self.runtime, self.errors)
            _replace(self.folder / summary.SERVICE, json.dumps(facts).encode())
            for index, arrays in enumerate(zip(*self.observer.kept)):
                content = io.BytesIO()
                np.save(content, np.stack(arrays), allow_pickle=False)
                _replace(self.folder / f"kept_input_{index}.npy", content.getvalue())
        except (OSError, ValueError) as error:
            self._say(f"statistics are not written: {error}")

    def _say(self, what: str) -> None:
        """Print a message only once, such as that the disk is full."""
        if what not in self.reported:
            self.reported.add(what)
            print(f"runner.py: {what}", file=sys.stderr, flush=True)


def _read_statistics(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        found: dict[str, Any] = json.loads(file.read(MAX_STATISTICS))
    return found


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


class Server:
    """Answers clients of a Unix socket, several at a time, with one interpreter that one has at a time."""

    def __init__(self, model: predict.Model, store: StatisticsStore) -> None:
        self.model, self.store, self.lock = model, store, threading.Lock()
        self.most = raw.largest_request(model.contract)
        self.places = threading.Semaphore(MAX_CLIENTS)
        self.pictures = threading.Semaphore(MAX_PICTURES)

    def answer(self, request: bytes) -> dict[str, Any]:
        """Answer the bytes of a request with what is sent back as JSON."""
        labels = self.model.contract["labels"]
        try:
            with self.lock:  # one picture is decoded at a time
                samples = decoding.decode(request, self.model.contract)
                values, latency_us = infer(self.model, self.store, samples)
        except (ValueError, RuntimeError) as error:
            self.store.errors += 1
            return {"error": str(error)}
        outputs = [
            {
                "name": contract["name"],
                "label": predict.label_of(found, contract, labels),
                "top": [
                    {"label": label, "value": _numbers(found.reshape(-1)[place])}
                    for place, label in predict.top(found, contract, labels)
                ],
                "values": _numbers(found),
            }
            for contract, found in zip(self.model.contract["outputs"], values)
        ]
        return {"outputs": outputs, "latency_us": round(latency_us, 1)}

    def accept(self, client: socket.socket) -> None:
        """Start a thread for a client, or report that there are too many."""
        client.settimeout(CLIENT_S)
        if self.places.acquire(blocking=False):
            try:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
                return
            except RuntimeError:  # no more threads
                self.places.release()
        with client, contextlib.suppress(OSError):
            _send(client, {"error": "too many clients"})

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                while True:
                    client.settimeout(None)  # a client may wait as long as it likes before it asks
                    first = client.recv(1)
                    client.settimeout(CLIENT_S)
                    if not first:
                        return
                    size = int.from_bytes(first + _receive(client, 3), "big")
                    if size > self.most:
                        self.store.errors += 1
                        _send(client, {"error": f"{size} bytes, a sample has at most {self.most}"})
                        return
                    with self.pictures if size > PLAIN_BYTES else contextlib.nullcontext():
                        answer = self.answer(_receive(client, size))
                    _send(client, answer)
        finally:
            self.places.release()


def _numbers(values: NDArray[Any]) -> Any:
    """Return an output as JSON has it, which has no NaN and no infinity: they are null."""
    finite = np.isfinite(values)
    if finite.all():
        return values.tolist()
    found = values.astype(object)
    found[~finite] = None
    return found.tolist()


def _receive(client: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        part = client.recv(min(size - len(content), 65_536))
        if not part:
            raise ConnectionError
        content += part
    return bytes(content)


def _send(client: socket.socket, reply: dict[str, Any]) -> None:
    content = json.dumps(reply).encode()
    client.sendall(len(content).to_bytes(4, "big") + content)


def infer(
    model: predict.Model, store: StatisticsStore, samples: Sequence[NDArray[Any]]
) -> tuple[list[NDArray[Any]], float]:
    """Answer a raw sample and count it; the latency, in us, begins with setting its tensors."""
    tensors = model.tensors(samples)
    start = time.perf_counter()
    outputs = model.run(tensors)
    latency_us = (time.perf_counter() - start) * 1e6
    store.observer.see(tensors, outputs, latency_us, samples)
    return model.real(outputs), latency_us


def serve(model: predict.Model, store: StatisticsStore, path: Path, folder: Path) -> int:
    """Answer on a socket until SIGTERM; the statistics are written every minute and at the end.

    Args:
        model: that answers.
        store: that counts.
        path: of the socket.
        folder: the release's. A service ends when ``current`` is another one, and systemd starts that.

    Returns:
        The exit code: 0, or 75 for another start.
    """
    server = Server(model, store)
    woken, wake = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(wake, b"."))
    watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    supervised = "NOTIFY_SOCKET" in os.environ
    pause = min(watchdog or FLUSH_S, FLUSH_S)
    with _listen(path) as listening:
        notify("READY=1")
        flush = time.monotonic() + FLUSH_S
        while True:
            ready = select.select([listening.fileno(), woken], [], [], pause)[0]
            if woken in ready or (supervised and _superseded(folder)):
                break
            if ready:
                with contextlib.suppress(OSError):  # it went away again
                    server.accept(listening.accept()[0])
            with server.lock:  # a model that hangs has it, and the watchdog ends it
                statistics = store.statistics() if time.monotonic() >= flush else None
            if statistics is not None:
                store.write(statistics)
                flush = time.monotonic() + FLUSH_S
            if watchdog:
                notify("WATCHDOG=1")
        notify("STOPPING=1")
        path.unlink()
    server.lock.acquire(timeout=CLIENT_S)  # and kept: no inference is under way when the process ends
    store.write(store.statistics())
    return 75 if supervised and _superseded(folder) else 0


def _superseded(folder: Path) -> bool:
    current = folder.parent.parent / "current"
    return folder.parent.name == "releases" and current.exists() and current.resolve() != folder


def _listen(path: Path) -> socket.socket:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                msg = f"{path}: another process answers there"
                raise OSError(msg)
        path.unlink()  # left by a killed process
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        msg = f"{path}: {error.strerror or error}"
        raise OSError(msg) from error
    path.chmod(0o660)
    listening.listen(MAX_CLIENTS)
    listening.setblocking(False)
    return listening


def notify(message: str) -> None:
    """Notify systemd if it is configured: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1.0)  # one that does not read holds nothing up
            sender.connect(f"\0{address[1:]}" if address[0] == "@" else address)
            sender.sendall(message.encode())
