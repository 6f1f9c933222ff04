"""``README.md`` of a release: what it is and how to use it, for the person who receives it."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from deploy.card import environment
from deploy.codegen.ports import input_ports
from deploy.codegen.source import c_prefix, classifiers
from deploy.layouts import ARCHITECTURES

if TYPE_CHECKING:
    from deploy.facts import ReleaseFacts
    from deploy.manifest import Manifest

README = "README.md"
MAX_NAMES = 50


def readme(facts: ReleaseFacts, manifest: Manifest, *, has_code: bool) -> str:
    """Return the README; equal arguments give equal text.

    Args:
        facts: of the release.
        manifest: of the release; its ``files`` are not looked at.
        has_code: whether there is code for C and Android in it.
    """
    takes, example, pillow = _samples(manifest)
    need = manifest.runtimes[0]
    packages = [f"'{need.package}>={need.least}'"]
    packages += ["'numpy<2'"] if need.package == "tflite-runtime" else []
    packages += ["pillow"] if pillow else []
    names = [name for port in manifest.inputs for name in port.columns]
    template = files("deploy").joinpath("README.md.j2").read_text(encoding="utf-8")
    found = classifiers(manifest) if has_code else []
    return (
        environment()
        .from_string(template)
        .render(
            facts=facts,
            packages=" ".join(packages),
            takes=takes,
            example=example,
            names=names[:MAX_NAMES],
            more_names=len(names) > MAX_NAMES,
            debian=manifest.machine in ARCHITECTURES,
            prefix=c_prefix(manifest) if has_code else "",
            classifier=found[0] if found else "",
            is_picture=bool(found) and input_ports(manifest)[0].picture is not None,
        )
    )


def _samples(manifest: Manifest) -> tuple[str, str, bool]:
    """Return what ``predict.py`` takes in words, an example, and whether that needs Pillow."""
    shapes = " and ".join(
        "(n, " + ", ".join(map(str, port.shape[1:])) + ("," if len(port.shape) == 1 else "") + ")"
        for port in manifest.inputs
    )
    arrays = f"`.npy` files with raw samples of shape {shapes}"
    if len(manifest.inputs) == 1 and manifest.inputs[0].preprocessing.resize is not None:
        return f"pictures of any size, folders of pictures, and {arrays}", "photo.jpg", True
    if all(port.columns for port in manifest.inputs) or all(len(port.shape) == 2 for port in manifest.inputs):
        return f"a `.csv` file with a sample in each row, and {arrays}", "rows.csv", False
    names = [f"samples_{index}.npy" for index in range(len(manifest.inputs))]
    return f"{arrays}, one for each input", " ".join(names) if len(names) > 1 else "samples.npy", False
