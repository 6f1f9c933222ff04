"""Where trials run: worker processes of Dask, on this machine or on a cluster that stands."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pipeline.errors import ConfigError, StageError
from pipeline.events import Warned, emit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client, LocalCluster

MAX_DEATHS = 5
"""A trial whose worker dies so often is refused: it may need more memory than any worker has."""
REACH_S = 10
ASKED_S = 1e-3
"""For each worker, so many seconds pass before the scheduler is asked for its workers again."""
MEMORY, CORES = "memory", "cores"
SETTINGS = {
    "distributed.scheduler.allowed-failures": MAX_DEATHS - 1,
    "distributed.deploy.lost-worker-timeout": "365 days",  # else a worker that dies twice soon is given up
    "distributed.comm.timeouts.connect": "30s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.worker.memory.terminate": False,  # the memory is that of children, which have limits
    "distributed.worker.memory.pause": False,
    # what Dask's dashboard would show: with trials of minutes it would be most of the work of the scheduler
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.profile.enabled": False,
}
"""A network that is gone for a minute breaks no connection."""
ANY_PORT = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""For the scheduler's HTTP server, which else warns of a second search that its port is taken."""
_asked: WeakKeyDictionary[Client, tuple[float, list[dict[str, Any]]]] = WeakKeyDictionary()


@contextmanager
def connected(workers: int, scheduler: str) -> Iterator[Client]:
    """Connect to a scheduler, or start one on this machine with some workers.

    Connections on this machine are encrypted with a key of this search: what reaches a scheduler can run
    code. Those of a standing cluster are as Dask's own configuration says.

    Args:
        workers: processes on this machine; unused with a scheduler.
        scheduler: its address, such as tls://host:8786; "" for this machine.

    Raises:
        ConfigError: the scheduler is not reached.
        StageError: a worker process of this machine did not start.
    """
    import dask
    from distributed import Client

    with dask.config.set(SETTINGS):
        if scheduler:
            if scheduler.startswith("tcp://"):
                emit(
                    Warned(
                        text=f"--scheduler {scheduler}: not encrypted, and what reaches it can run code; use tls://"
                    )
                )
            try:
                # A Client that fails to connect complains for a minute. In a notebook this thread has a loop.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, _reach(scheduler)).result()
            except (OSError, ValueError, TypeError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                msg = (
                    f"--scheduler {scheduler}: not reached: {reason}; see docs/how-to/search-on-a-cluster.md"
                )
                raise ConfigError(msg) from error
            with Client(scheduler, set_as_default=False) as client:
                yield client
            return
        with _main_hidden(), _local(workers) as cluster, Client(cluster, set_as_default=False) as client:
            try:
                yield client
            except BaseException:
                _end_workers(cluster)  # else they would finish their trials first
                raise


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Let new processes not import the main module: a script that searches would run again in each worker."""
    main = sys.modules["__main__"]
    if not hasattr(main, "__file__"):  # a notebook's is not imported
        yield
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _local(workers: int) -> LocalCluster:
    """Start a scheduler and workers on this machine.

    Raises:
        StageError: a worker process died meanwhile.
    """
    from distributed import LocalCluster

    try:
        return LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, security=True,
            memory_limit=0, silence_logs=40, scheduler_kwargs=ANY_PORT,
        )  # fmt: skip
    except RuntimeError as error:
        stage, cause = "search", f"a worker process did not start: {error}"
        raise StageError(stage, cause, "the same command continues the search") from error


async def _reach(scheduler: str) -> None:
    from distributed import Security
    from distributed.comm import connect

    comm = await connect(scheduler, timeout=REACH_S, **Security().get_connection_args("client"))
    await comm.close()


def _end_workers(cluster: LocalCluster) -> None:
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        pid = nanny.process.pid if nanny.process is not None else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def capacity(client: Client) -> int:
    """Return how many trials can run at once, at least one.

    What waits on a worker would count as the cause of its death, too.
    """
    threads: int = sum(worker["nthreads"] for worker in _workers(client))
    return max(threads, 1)


def _workers(client: Client) -> list[dict[str, Any]]:
    """Return what the scheduler says of its workers: of a thousand a megabyte, so not for each trial."""
    asked_at, found = _asked.get(client, (-math.inf, []))
    if not found or time.monotonic() - asked_at > ASKED_S * len(found):
        found = list(client.scheduler_info(n_workers=-1)["workers"].values())
        _asked[client] = time.monotonic(), found
    return found


def hear_starts(client: Client, listener: Callable[[dict[str, Any], str], None]) -> None:
    """Call ``listener`` with what a worker begins and the name of its machine, in a thread of the client."""

    def hear(event: tuple[float, dict[str, Any]]) -> None:
        listener(event[1]["begun"], event[1]["host"])

    client.subscribe_topic(_topic(client), hear)


def _topic(client: Client) -> str:
    """Return the topic on which workers say what they begin: a scheduler may have several searches."""
    return f"started {client.id}"


def submit(
    client: Client,
    function: Callable[..., Any],
    given: Any,
    key: str,
    memory_bytes: int,
    begun: dict[str, Any] | None = None,
) -> Any:
    """Start a function on a worker; returns its future.

    Where workers say what they have, as ``dask worker --resources "memory=8e9 cores=2"``, one core and the
    memory are set aside.

    Args:
        begun: what ``hear_starts`` hears when a worker begins, which it does later if it is busy.
    """
    has = [each.get("resources", {}) for each in _workers(client)]
    wants = {MEMORY: float(memory_bytes), CORES: 1.0}
    resources = {name: amount for name, amount in wants.items() if has and all(name in each for each in has)}
    return client.submit(
        _run,
        function,
        given,
        begun or {},
        _topic(client),
        key=f"{key}-{client.id}",
        pure=False,
        resources=resources or None,
    )


def _run(function: Callable[..., Any], given: Any, begun: dict[str, Any], topic: str) -> Any:
    """Say on a worker that a function begins, and call it."""
    from distributed import get_worker

    get_worker().log_event(topic, {"begun": begun, "host": socket.gethostname()})
    return function(given)


def died(error: BaseException) -> bool:
    """Return whether an error of a future is that of its workers, not of what they ran."""
    from distributed.scheduler import KilledWorker

    return isinstance(error, KilledWorker)


def lost(error: BaseException) -> bool:
    """Return whether an error of a future is that the connection to the scheduler has ended."""
    from distributed.comm import CommClosedError

    return isinstance(error, CommClosedError)


def require_workers(client: Client, timeout_s: float = 60) -> None:
    """Wait until there is a worker.

    Raises:
        StageError: there is none.
    """
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError as error:
        stage, cause = "search", f"no worker has come to the scheduler in {timeout_s:.0f} s"
        raise StageError(stage, cause, "start one: dask worker ADDRESS") from error
