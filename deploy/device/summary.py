"""What a release did on a device, for a person: ``runner.py stats``.

Part of every release; needs numpy, and nothing of this project.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from deploy.device import observe
else:
    import observe

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICE = "service.json"
SHOWN_CLASSES = 5


def service_facts(since: str, runtime: str, errors: int) -> dict[str, Any]:
    """Return what ``service.json`` says of this process.

    Args:
        since: when it started.
        runtime: the package that runs the model, and its version.
        errors: requests refused since then.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # in KiB on Linux
    memory: dict[str, Any] = {"memory_bytes": None, "peak_memory_bytes": peak}
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        memory["memory_bytes"] = pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):  # no /proc
        pass
    return {"since": since, "until": observe.now(), "runtime": runtime, "errors": errors, **memory}


def read_service(path: Path) -> dict[str, Any] | None:
    """Read ``service.json``; None if there is none, as before the first write and in earlier releases."""
    try:
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def summary(statistics: dict[str, Any], service: dict[str, Any] | None, labels: Sequence[str]) -> str:
    """Return a few lines about the statistics of a release, and about the process that wrote them last.

    Raises:
        KeyError, TypeError, ValueError: they are damaged.
    """
    inferences, observed = statistics["inferences"], statistics["observed"]
    lines = [
        ("model", f"{statistics['name']} {statistics['version']} ({statistics['target']})"),
        ("digest", str(statistics["digest"])[:12]),
        ("since", _time(statistics["since"])),
        ("last written", _time(statistics["until"])),
        ("inferences", f"{inferences:,}, {observed:,} of them in the histograms"),
        ("latency", _latency(statistics["latency_us"])),
    ]
    lines += [_classes(output, labels) for output in statistics["outputs"] if sum(output["classes"] or [])]
    if service is not None:
        lines += [
            ("service", f"{service['runtime']}, started {_time(service['since'])}"),
            ("errors", f"{service['errors']:,} requests refused since it started"),
            ("memory", _memory(service)),
        ]
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:{width}}{text}\n" for name, text in lines)


def _time(text: str | None) -> str:
    if text is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def _latency(latency: dict[str, Any]) -> str:
    found = observe.quantiles(latency)
    if not found:
        return "not measured yet"
    return ", ".join(f"p{share * 100:.0f} {_duration(seconds)}" for share, seconds in found.items())


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.2g} us" if seconds < 1e-4 else f"{seconds * 1e3:.3g} ms"


def _classes(output: dict[str, Any], labels: Sequence[str]) -> tuple[str, str]:
    counts = output["classes"]
    total = sum(counts)
    order = sorted(range(len(counts)), key=lambda place: (-counts[place], place))[:SHOWN_CLASSES]
    names = labels if len(labels) == len(counts) else list(map(str, range(len(counts))))
    shares = ", ".join(f"{names[place]} {counts[place] / total:.0%}" for place in order if counts[place])
    return output["name"], shares


def _memory(service: dict[str, Any]) -> str:
    peak = f"{service['peak_memory_bytes'] / 1e6:.0f} MB at most"
    now = service["memory_bytes"]
    return peak if now is None else f"{now / 1e6:.0f} MB, {peak}"
