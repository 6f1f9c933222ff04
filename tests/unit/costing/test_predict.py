from dataclasses import replace

import pytest

from pipeline.costing.predict import CostTable, KernelCost, cost_table, predict, tables
from pipeline.costing.work import Depthwise, Pass, Product, Tile, kernel_of
from pipeline.errors import ConfigError
from pipeline.flatbuffer.model import Operator, Subgraph, Tensor, TfliteModel
from pipeline.targets import load_devices, load_targets


def model(*operators, tensors):
    graph = Subgraph("main", tensors, operators, (0,), (len(tensors) - 1,))
    return TfliteModel((graph,), {}, (), "", 0, "", b"")


def tensor(index, shape, dtype="int8", constant=False):
    return Tensor(index, f"t{index}", shape, shape, dtype, is_constant=constant)


CONVOLUTION = model(
    Operator(0, "CONV_2D", 1, (0, 1), (2,), options={"StrideH": 1, "StrideW": 1}),
    Operator(1, "RELU", 1, (2,), (3,)),
    Operator(2, "CONV_2D", 1, (3, 1), (4,), options={"StrideH": 1, "StrideW": 1}),
    tensors=(
        tensor(0, (1, 5, 5, 16)),
        tensor(1, (16, 3, 3, 16), constant=True),
        *(tensor(index, (1, 5, 5, 16)) for index in (2, 3, 4)),
    ),
)
TABLE = CostTable(
    "board", "core", "runtime", (), "2026-01-01", "", call=1000, partition=100,
    kernels={
        "CONV_2D window int8": KernelCost(True, Tile((1, 4), 8, 8), {"operator": 50, "step": 2}),
        "RELU int8": KernelCost(False, Tile(), {"output": 3}),
    },
)  # fmt: skip


def test_a_prediction_is_the_call_the_partitions_and_the_operators():
    found = predict(CONVOLUTION, TABLE)

    steps = 7 * 2 * 9 * 2  # of 4 rows, of 8 columns, of a window, of a depth of 8
    assert found.operators == (50 + 2 * steps, 3 * 400, 50 + 2 * steps)
    assert found.call == 1000 + 2 * 100  # RELU is between two partitions
    assert found.instructions == found.call + sum(found.operators)
    assert not found.unknown


def test_kernels_that_follow_each_other_are_one_partition():
    kernels = {**TABLE.kernels, "RELU int8": KernelCost(True, Tile(), {"output": 3})}

    assert predict(CONVOLUTION, replace(TABLE, kernels=kernels)).call == 1000 + 100


def test_a_product_with_its_own_sigmoid_is_part_of_the_sigmoid():
    shapes = tuple(tensor(index, (1, 4, 4, 8)) for index in range(4))
    gate = Operator(0, "LOGISTIC", 1, (0,), (1,))
    table = replace(
        TABLE,
        kernels={name: KernelCost(True, Tile(), {"output": 1}) for name in ("LOGISTIC int8", "MUL int8")},
    )

    own, other = (
        model(gate, Operator(1, "MUL", 1, inputs, (3,)), tensors=shapes) for inputs in ((0, 1), (1, 2))
    )

    assert predict(own, table).operators == (128, 0)
    assert predict(other, table).operators == (128, 128)


def test_an_operator_without_a_cost_is_named():
    kernels = {"CONV_2D window int8": TABLE.kernels["CONV_2D window int8"]}

    found = predict(CONVOLUTION, replace(TABLE, kernels=kernels))

    assert found.unknown == ("RELU int8",)
    assert found.operators[1] == 0


@pytest.mark.parametrize(
    ("operator", "shapes", "name", "work"),
    [
        (
            Operator(0, "CONV_2D", 1, (0, 1), (2,), options={"StrideH": 1, "StrideW": 1}),
            ((1, 4, 4, 8), (24, 1, 1, 8), (1, 4, 4, 24)),
            "CONV_2D 1x1 int8",
            Product(16, 24, 8),
        ),
        (
            Operator(0, "CONV_2D", 1, (0, 1), (2,), options={"StrideH": 2, "StrideW": 2}),
            ((1, 4, 4, 8), (4, 1, 1, 8), (1, 2, 2, 4)),
            "CONV_2D window narrow int8",
            Product(4, 4, 8),
        ),
        (
            Operator(0, "DEPTHWISE_CONV_2D", 1, (0, 1), (2,)),
            ((1, 4, 4, 8), (1, 10, 4, 8), (1, 4, 4, 8)),
            "DEPTHWISE_CONV_2D wide int8",
            Depthwise(16, 8, 40),
        ),
        (
            Operator(0, "FULLY_CONNECTED", 1, (0, 1), (2,)),
            ((1, 64), (10, 64), (1, 10)),
            "FULLY_CONNECTED int8",
            Product(1, 10, 64),
        ),
        (
            Operator(0, "MUL", 1, (0, 1), (2,)),
            ((1, 4, 4, 8), (1, 1, 1, 8), (1, 4, 4, 8)),
            "MUL broadcast int8",
            Pass(128, 128, 16, 2),
        ),
    ],
)
def test_a_kernel_is_named_by_what_it_has_to_do(operator, shapes, name, work):
    tensors = tuple(tensor(index, shape, constant=index == 1) for index, shape in enumerate(shapes))

    assert kernel_of(operator, model(operator, tensors=tensors)) == (name, work)


def test_of_several_heights_the_one_that_needs_the_least_is_taken():
    tile = Tile((1, 4, 6))

    assert [tile.height(rows) for rows in (1, 2, 4, 5, 8, 49)] == [1, 4, 4, 6, 4, 6]


def test_every_device_of_a_target_but_this_machine_has_a_table():
    devices = {device.name for target in load_targets().values() for device in target.devices}

    assert devices - {"host"} == set(tables())


@pytest.mark.parametrize("name", tables())
def test_a_table_says_where_it_was_measured(name):
    table, device = cost_table(name), load_devices()[name]

    assert (table.device, table.core, table.features) == (name, device.cpu, device.cpuinfo.features)
    assert device.runtime in table.runtime
    assert table.call > 0
    assert min(cost for kernel in table.kernels.values() for cost in kernel.costs.values()) > 0


def test_a_device_without_a_table_is_refused():
    with pytest.raises(ConfigError, match="no instruction costs of 'host' are known; choose from"):
        cost_table("host")
