"""The compressed model: the same bytes each time, and no more of them than need be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import zstandard

from deploy.download import compress

WEIGHTS = np.random.default_rng(0).normal(0, 20, 50_000).astype(np.int8).tobytes()


def test_it_comes_out_as_it_went_in():
    for content in (b"", b"a", WEIGHTS, bytes(10**6)):
        assert zstandard.decompress(compress(content)) == content


def test_equal_contents_give_equal_frames_in_another_process(tmp_path):
    (tmp_path / "weights").write_bytes(WEIGHTS)
    program = (
        "import sys, pathlib; from deploy.download import compress;"
        "sys.stdout.buffer.write(compress(pathlib.Path(sys.argv[1]).read_bytes()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "weights"], capture_output=True, check=True
    )

    assert run.stdout == compress(WEIGHTS)


def test_the_frame_says_its_size_and_has_a_checksum():
    header = zstandard.get_frame_parameters(compress(WEIGHTS))

    assert (header.content_size, header.has_checksum, header.dict_id) == (len(WEIGHTS), True, 0)


def test_it_is_no_larger_than_the_levels_own():
    own = zstandard.ZstdCompressor(level=22, write_checksum=True).compress(WEIGHTS)

    assert len(compress(WEIGHTS)) <= len(own)
