"""Properties of this machine that affect measured times."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine while something was timed on it.

    Attributes:
        cpu: the processor's own name for itself; the architecture where it has none.
        cores: how many may be used.
        governor: the kernel's, of the first core, e.g. ``"performance"``; None if it does not tell.
        load_average: processes that wanted a core in the last minute; None if it cannot be read.
        temperature_c: of the first thermal zone; None if there is none.
    """

    cpu: str
    cores: int
    governor: str | None = None
    load_average: float | None = None
    temperature_c: float | None = None

    def __str__(self) -> str:
        """Return e.g. ``"Cortex-A76, 4 cores, governor not known, load 1.2"``."""
        load = "not known" if self.load_average is None else f"{self.load_average:.1f}"
        warmth = "" if self.temperature_c is None else f", {self.temperature_c:.0f} degrees C"
        governor = self.governor or "not known"
        return f"{self.cpu}, {self.cores} cores, governor {governor}, load {load}{warmth}"


def read_machine(root: Path = Path("/")) -> Machine:
    """Describe the machine whose ``/proc`` and ``/sys`` are under ``root``."""
    temperature = _line(root / "sys/class/thermal/thermal_zone0/temp")
    load = _line(root / "proc/loadavg").split()
    return Machine(
        cpu=_cpu(root / "proc/cpuinfo"),
        cores=len(os.sched_getaffinity(0)),
        governor=_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        load_average=float(load[0]) if load else None,
        temperature_c=int(temperature) / 1000 if temperature.lstrip("-").isdigit() else None,
    )


def read_features(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the processor's features as the kernel names them, sorted; none where it does not tell."""
    fields = _cpu_fields(root / "proc/cpuinfo")
    return tuple(sorted(fields.get("flags", fields.get("Features", "")).split()))


def _cpu_fields(cpuinfo: Path) -> dict[str, str]:
    """Return the fields of the last core in ``/proc/cpuinfo``."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cpu(cpuinfo: Path) -> str:
    """Return the name that an x86 core has; Arm's cores give numbers instead."""
    fields = _cpu_fields(cpuinfo)
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:
        return f"{platform.machine()} core {fields.get('CPU implementer', '?')}:{fields['CPU part']}"
    return platform.machine()


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
