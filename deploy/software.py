"""Write the software of a release: programs for the device, code for applications, the download."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from deploy.codegen.source import c_files
from deploy.device import FILES
from deploy.device.unit import service_unit
from deploy.download import compress
from deploy.errors import DeployError
from deploy.layouts import android_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.manifest import Manifest


def software(
    manifest: Manifest, model: bytes, golden: Sequence[NDArray[Any]]
) -> tuple[dict[str, str | bytes], tuple[str, ...]]:
    """Return the files by their path in the release, and a line on each part that cannot be had.

    Args:
        manifest: of the release; its ``files`` are not looked at.
        model: the .tflite file.
        golden: for each output (n, ...) the golden tensors, as stored.
    """
    found: dict[str, str | bytes] = {
        name: files("deploy.device").joinpath(name).read_bytes() for name in FILES
    }
    found[f"{manifest.name}.service"] = service_unit(manifest)
    found[f"{manifest.model}.zst"] = compress(model)
    try:
        found |= c_files(manifest, golden) | android_files(manifest, model, golden)
    except DeployError as error:
        return found, (f"no code for C and Android is in the release: {error}",)
    return found, ()
