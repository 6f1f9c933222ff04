"""Where the worker says that nodes run."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.runtimes.messages import (
    place_nodes,
    read_block,
    read_concurrent_run,
    read_details,
    read_reply,
    read_timing,
)


def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op": name, "inputs": inputs, "outputs": outputs}


GRAPH = [
    op("CONV_2D", [0, 10, -1], [1]),  # no bias: an optional input has the index -1
    op("ADD", [1, 0], [2]),
    op("SOFTMAX", [2], [3]),
    op("FULLY_CONNECTED", [3, 11], [4]),
]
INT8 = dict.fromkeys((0, 1, 2, 3, 4, 10, 11), "int8")


@pytest.mark.parametrize(
    ("delegates", "placed"),
    [
        ([], ["builtin", "builtin", "builtin", "builtin"]),
        ([op("DELEGATE", [0], [4])], ["xnnpack-int8"] * 4),
        ([op("DELEGATE", [0], [2])], ["xnnpack-int8", "xnnpack-int8", "builtin", "builtin"]),
        (
            [op("DELEGATE", [0, 10], [2]), op("DELEGATE", [3, 11], [4])],
            ["xnnpack-int8", "xnnpack-int8", "builtin", "xnnpack-int8"],
        ),
    ],
    ids=["no delegate", "all", "head", "two partitions"],
)
def test_a_delegate_covers_what_lies_between_its_inputs_and_outputs(
    delegates: list[dict[str, Any]], placed: list[str]
) -> None:
    nodes, partitions = place_nodes([*GRAPH, *delegates], INT8)
    assert [node.placement for node in nodes] == placed
    assert partitions == len(delegates)
    assert nodes[0].inputs == ("int8", "int8")


def test_a_delegated_node_that_gives_floats_is_a_float_node() -> None:
    nodes, _ = place_nodes([*GRAPH, op("DELEGATE", [0], [4])], {**INT8, 4: "float32"})
    assert [node.placement for node in nodes][-2:] == ["xnnpack-int8", "xnnpack-float"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[" * 100_000,
        b"{}",
        b"[]",
        b"3",
        b"null",
        b'{"ok": ' + b"9" * 5000 + b"}",
        b'{"error": 3}',
        b"\xff",
    ],
    ids=["nothing", "deep", "empty", "list", "number", "null", "digits", "error", "no text"],
)
def test_a_line_that_is_no_reply_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_reply(line)


@pytest.mark.parametrize("found", [None, [], {}, {"latencies_us": "x"}, {"inputs": 3, "dtypes": {"a": 1}}])
def test_an_answer_with_other_fields_than_asked_for_is_refused(found: Any) -> None:
    readers = (read_details, read_concurrent_run, lambda x: read_timing(x, 1.0), lambda x: read_block(x, 1))
    for read in readers:
        with pytest.raises(ValueError, match=r"."):
            read(found)
