"""Classify what a camera sees, through the socket of a release's service.

Usage: python3 camera.py --socket /run/fashion-resnet8/model.sock

Needs numpy, and picamera2 for a Raspberry Pi camera (Debian package python3-picamera2), OpenCV for a USB
camera (python3-opencv), or Pillow for a folder of pictures. The service resizes the frames.
"""

from __future__ import annotations

import argparse
import io
import json
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FRAME = (640, 480)
GRAY = np.array([0.299, 0.587, 0.114])


def pi_frames() -> Iterator[NDArray[Any]]:
    """Yield frames of a Raspberry Pi camera: uint8 (height, width, 3), RGB."""
    from picamera2 import Picamera2

    with Picamera2() as camera:
        # Its BGR888 is an array in the order red, green, blue.
        camera.configure(camera.create_video_configuration({"size": FRAME, "format": "BGR888"}))
        camera.start()
        while True:
            yield camera.capture_array()


def usb_frames(number: int) -> Iterator[NDArray[Any]]:
    """Yield frames of /dev/videoNUMBER: uint8 (height, width, 3), RGB."""
    import cv2

    camera = cv2.VideoCapture(number)
    try:
        while camera.isOpened():
            ok, frame = camera.read()
            if not ok:
                return
            yield frame[..., ::-1]
    finally:
        camera.release()


def folder_frames(folder: Path) -> Iterator[NDArray[Any]]:
    """Yield the pictures of a folder, by name: uint8 (height, width, 3), RGB."""
    from PIL import Image

    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("RGB"))


def frames(source: str) -> Iterator[NDArray[Any]]:
    """Yield the frames of a source: ``pi``, the number of a USB camera, or a folder of pictures."""
    if source == "pi":
        return pi_frames()
    return usb_frames(int(source)) if source.isdecimal() else folder_frames(Path(source))


def request(frame: NDArray[Any], channels: int) -> bytes:
    """Return a frame as the service takes it: a .npy file of the model's number of channels."""
    if channels == 1:
        frame = np.rint(frame @ GRAY).astype(np.uint8)[..., np.newaxis]
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(frame))
    return len(content.getvalue()).to_bytes(4, "big") + content.getvalue()


def ask(model: socket.socket, message: bytes) -> dict[str, Any]:
    """Send a request and return the answer."""
    model.sendall(message)
    with model.makefile("rb") as stream:
        answer: dict[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(4), "big")))
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description="Classify what a camera sees.")
    parser.add_argument("--socket", required=True, metavar="PATH", help="socket of the service")
    parser.add_argument("--source", default="pi", help="pi, the number of a USB camera, or a folder")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3, help="of the model: 1 is gray")
    parser.add_argument("--interval", type=float, default=0.5, metavar="SECONDS", help="between two frames")
    options = parser.parse_args()
    with socket.socket(socket.AF_UNIX) as model:
        model.connect(options.socket)
        for frame in frames(options.source):
            answer = ask(model, request(frame, options.channels))
            if "error" in answer:
                print(f"camera.py: {answer['error']}", file=sys.stderr)
                return 1
            best = answer["outputs"][0]["top"]
            said = ", ".join(f"{found['label']} ({found['value']:.2f})" for found in best)
            print(f"{said}  {answer['latency_us'] / 1000:.1f} ms", flush=True)
            time.sleep(options.interval)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"camera.py: {error}")
