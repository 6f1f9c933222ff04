"""Arrays that several threads read at once."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.npy import map_array, read_array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Have threads switch wherever memory is collected, where Python 3.11.2 and 3.11.7 went wrong."""

    def switch(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    thresholds = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(switch)


def test_threads_that_read_at_once_each_get_their_array(tmp_path: Path, eager_switches: None) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(2, 3))

    def read(depth: int) -> int:
        if depth:
            return read(depth - 1)
        return sum(int(read_array(path)[1, 2] + map_array(path)[0, 1]) for _ in range(200))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, (0, 10, 20, 30))) == [1200] * 4


def test_python_objects_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_array(path)
