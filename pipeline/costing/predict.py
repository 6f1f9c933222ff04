"""Predict the instructions of an inference from shapes and a table of what kernels cost on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import permutations
from typing import TYPE_CHECKING

from pipeline.costing.work import Tile, kernel_of
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.costing.work import Kernel
    from pipeline.flatbuffer import TfliteModel


@dataclass(frozen=True)
class KernelCost:
    """What a kernel costs.

    Attributes:
        delegated: whether XNNPACK runs it, which takes operators that follow each other at once.
        tile: the block of its output that it computes at a time.
        costs: instructions for each time that something is done, by the name of the feature.
    """

    delegated: bool
    tile: Tile
    costs: Mapping[str, float]

    def of(self, kernel: Kernel) -> float:
        features = kernel.work.features(self.tile)
        return sum(cost * features[name] for name, cost in self.costs.items())


@dataclass(frozen=True)
class CostTable:
    """The costs of all measured kernels on one device, on one thread.

    Attributes:
        device: its name.
        core: by qemu's name.
        runtime: in words, with its version.
        features: of the core, which decide the kernels that the runtime picks.
        measured: the day.
        command: that made the table.
        call: instructions of an inference without any operator.
        partition: of handing over to the delegate once.
        kernels: by name.
    """

    device: str
    core: str
    runtime: str
    features: tuple[str, ...]
    measured: str
    command: str
    call: float
    partition: float
    kernels: Mapping[str, KernelCost]


@dataclass(frozen=True)
class Prediction:
    """Instructions of one inference.

    Attributes:
        operators: of each operator of the file.
        call: of the rest.
        unknown: kernels that the table lacks, which count as nothing.
    """

    operators: tuple[float, ...]
    call: float
    unknown: tuple[str, ...]

    @property
    def instructions(self) -> int:
        return round(self.call + sum(self.operators))


def tables() -> tuple[str, ...]:
    """Return the names of the devices that have a table."""
    folder = files("pipeline.costing").joinpath("tables")
    return tuple(sorted(each.name.removesuffix(".json") for each in folder.iterdir()))


@cache
def cost_table(device: str) -> CostTable:
    """Return the table of a device.

    Raises:
        ConfigError: there is none.
    """
    if device not in tables():
        msg = f"no instruction costs of {device!r} are known; choose from {', '.join(tables())}"
        raise ConfigError(msg)
    text = files("pipeline.costing").joinpath("tables", f"{device}.json").read_text(encoding="utf-8")
    raw = json.loads(text)
    kernels = {
        name: KernelCost(row["delegated"], _tile(**row["tile"]), row["costs"])
        for name, row in raw.pop("kernels").items()
    }
    return CostTable(**raw | {"features": tuple(raw["features"])}, kernels=kernels)


def _tile(heights: list[int], width: int, step: int) -> Tile:
    return Tile(tuple(heights), width, step)


def predict(flat: TfliteModel, table: CostTable) -> Prediction:
    """Predict what one inference of a file costs, operator by operator."""
    costs, unknown, partitions, before = list[float](), dict[str, None](), 0, False
    swishes = _swishes(flat)
    for operator in flat.operators:
        kernel = kernel_of(operator, flat) if operator.outputs else None
        known = table.kernels.get(kernel.name) if kernel is not None else None
        if known is None or kernel is None:
            unknown[operator.name if kernel is None else kernel.name] = None
            costs.append(0.0)
            before = False
            continue
        costs.append(0.0 if known.delegated and operator.index in swishes else known.of(kernel))
        partitions += known.delegated and not before
        before = known.delegated
    return Prediction(tuple(costs), table.call + partitions * table.partition, tuple(unknown))


def _swishes(flat: TfliteModel) -> set[int]:
    """Return the products of an int8 tensor with its own sigmoid.

    XNNPACK looks up both at once, in the table of the sigmoid.
    """
    sigmoids = {
        operator.outputs[0]: operator.inputs[0] for operator in flat.operators if operator.name == "LOGISTIC"
    }
    return {
        operator.index
        for operator in flat.operators
        if operator.name == "MUL"
        and flat.tensors[operator.outputs[0]].dtype == "int8"
        and any(sigmoids.get(one) == other for one, other in permutations(operator.inputs, 2))
    }
