"""How long data larger than memory take to be read, and in how much memory.

Usage: python benchmarks/large_data.py [--images 200000] [--size 96] [--folder FOLDER]

Makes JPEG images of noise over a gradient, once as TFRecord shards and once as class folders, has each read
by a process of its own, and prints a Markdown table. Needs about 10 GB of disk for 200,000 images of 96x96x3.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import resource
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from models.data.records import masked_crc
from models.data.sources import fingerprint, load_data
from models.ports import Port

CLASSES = 10
SHARDS = 8


def encoded_images(count: int, size: int) -> list[bytes]:
    """Return that many JPEG files, made by a seed; no two are the same."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, size)[:, None, None]
    contents = []
    for _ in range(count):
        picture = slope + rng.integers(0, 56, (size, size, 3))
        buffer = io.BytesIO()
        Image.fromarray(picture.astype(np.uint8)).save(buffer, "JPEG", quality=85)
        contents.append(buffer.getvalue())
    return contents


def field(number: int, content: bytes) -> bytes:
    """Return a protobuf field of bytes."""
    length, head = len(content), bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes(head) + bytes([length]) + content


def record(image: bytes, label: int) -> bytes:
    """Return an example in its frame, as a TFRecord file holds it."""
    features = {b"image": field(1, field(1, image)), b"label": field(3, field(1, bytes([label])))}
    example = b"".join(field(1, field(1, name) + field(2, value)) for name, value in features.items())
    content = field(1, example)
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + b"\0\0\0\0"  # not checked


def make_sources(folder: Path, count: int, size: int) -> tuple[Path, Path]:
    """Write the images in both forms; each image has its number in its comment, so that none repeats."""
    base = encoded_images(min(count, 2000), size)
    records, classes = folder / "records", folder / "classes"
    for place in (records, *(classes / str(label) for label in range(CLASSES))):
        place.mkdir(parents=True)
    rng = np.random.default_rng(1)
    files = [(records / f"all.tfrecord-{shard:05d}-of-{SHARDS:05d}").open("wb") for shard in range(SHARDS)]
    for number in range(count):
        image, label = base[number % len(base)], number % CLASSES
        if number >= len(base):
            image = _changed(image, rng)
        files[number % SHARDS].write(record(image, label))
        (classes / str(label) / f"{number:06d}.jpg").write_bytes(image)
    for file in files:
        file.close()
    return records, classes


def _changed(image: bytes, rng: np.random.Generator) -> bytes:
    """Return another picture at the price of a few bytes: one coefficient table is scaled at random."""
    content = bytearray(image)
    at = content.index(b"\xff\xdb") + 5
    content[at : at + 64] = bytes(rng.integers(1, 120, 64).tolist())
    return bytes(content)


def child(source: str, size: int) -> None:
    """Read one source; print the seconds, those of its fingerprint, the samples and the peak memory in MB."""
    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        start = time.perf_counter()
        data = load_data(
            source,
            Path(folder),
            inputs=[Port("image", (size, size, 3))],
            outputs=[Port("class", (CLASSES,), activation="softmax")],
        )
        seconds = time.perf_counter() - start
    start = time.perf_counter()
    fingerprint(source)
    hashing = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.1f} {hashing:.1f} {data.train_samples + data.test_samples} {peak_mb:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--folder", help="where the images are made; a temporary folder if not given")
    parser.add_argument("--source", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.source:
        child(options.source, options.size)
        return
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| source | images | seconds | images/s | fingerprint, s | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for source in make_sources(Path(folder), options.images, options.size):
            command = [sys.executable, __file__, "--source", str(source), "--size", str(options.size)]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, hashing, samples, peak_mb = run.stdout.split()
            rate = float(samples) / float(seconds)
            print(
                f"| {source.name} | {samples} | {seconds} | {rate:.0f} | {hashing} | {peak_mb} |", flush=True
            )


if __name__ == "__main__":
    main()
