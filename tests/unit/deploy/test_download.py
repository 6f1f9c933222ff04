"""The compressed model: the same bytes each time, and no frame of others that costs more than it may."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import zstandard

from deploy.download import compress, decompress
from deploy.errors import DeployError

WEIGHTS = np.random.default_rng(0).normal(0, 20, 50_000).astype(np.int8).tobytes()


def test_it_comes_out_as_it_went_in():
    for content in (b"", b"a", WEIGHTS, bytes(10**6)):
        assert decompress(compress(content)) == content


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


def test_more_than_is_allowed_is_refused_before_it_comes_out():
    bomb = compress(bytes(10**7))

    assert len(bomb) < 10_000
    with pytest.raises(DeployError, match="holds 10,000,000 bytes, and 1,000,000 are allowed"):
        decompress(bomb, limit=10**6)


def test_a_frame_that_says_no_size_or_has_no_checksum_is_refused():
    stream = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compressobj()
    with pytest.raises(DeployError, match="an unknown number of bytes"):
        decompress(stream.compress(WEIGHTS) + stream.flush())
    with pytest.raises(DeployError, match="no checksum"):
        decompress(zstandard.ZstdCompressor().compress(WEIGHTS))


def test_cuts_flips_and_what_follows_are_refused():
    frame = compress(WEIGHTS)
    for damaged in (b"", b"text", frame + b"\0", frame + frame, *(frame[:n] for n in range(1, 2000, 97))):
        with pytest.raises(DeployError, match="download it again"):
            decompress(damaged)
    for at in range(4, len(frame), len(frame) // 50):
        flipped = bytearray(frame)
        flipped[at] ^= 1
        with contextlib.suppress(DeployError):
            assert decompress(bytes(flipped)) == WEIGHTS, at  # a bit of the header that means nothing
