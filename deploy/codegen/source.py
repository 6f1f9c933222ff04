"""The source that an application builds in: C, C++ and Kotlin, each with the test that proves it.

Python has ``predict.py``, which the others are held to, bit for bit.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from deploy.codegen.literals import decimals, signed
from deploy.codegen.names import c_string, camel_case, identifier, kotlin_string
from deploy.codegen.ports import constants, input_ports, output_ports
from deploy.codegen.vectors import (
    bytes_vector,
    dequantizing_vector,
    golden_outputs,
    picture_vector,
    preprocessing_vector,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import jinja2
    from numpy.typing import NDArray

    from deploy.codegen.ports import OutputPort
    from deploy.manifest import Manifest

KEYWORDS = """
abstract as assert boolean break byte case catch char class const continue default do double else enum
extends false final finally float for fun goto if implements import in instanceof int interface is long
native new null object package private protected public return short static strictfp super switch
synchronized this throw throws transient true try typealias typeof val var void volatile when while
"""
"""Of Kotlin and Java."""


def c_files(manifest: Manifest, golden: Sequence[NDArray[Any]]) -> dict[str, str]:
    """Write ``c/``: a header, its C++ wrapper, a test and a build file.

    Args:
        manifest: of the release; its ``files`` are not looked at.
        golden: for each output (n, ...) the golden tensors, as stored in ``golden_output_I.npy``.

    Returns:
        Text by path in the release.

    Raises:
        DeployError: a tensor has a type, a shape or a scale for which there is no code.
    """
    prefix = c_prefix(manifest)
    templates = {
        f"c/{prefix}.h": "model.h.j2",
        f"c/{prefix}.hpp": "model.hpp.j2",
        f"c/{prefix}_test.c": "test.c.j2",
        "c/CMakeLists.txt": "CMakeLists.txt.j2",
    }
    return _rendered(manifest, golden, templates)


def kotlin_files(manifest: Manifest, golden: Sequence[NDArray[Any]]) -> dict[str, str]:
    """Write the Kotlin object, its JUnit test and what runs the model, in the folders of an Android module.

    Args:
        manifest: of the release; its ``files`` are not looked at.
        golden: for each output (n, ...) the golden tensors, as stored in ``golden_output_I.npy``.

    Returns:
        Text by path in the release.

    Raises:
        DeployError: a tensor has a type, a shape or a scale for which there is no code.
    """
    folder = kotlin_package(manifest).replace(".", "/")
    name = kotlin_object(manifest)
    main = f"android/src/main/java/{folder}"
    templates = {
        f"{main}/{name}.kt": "Model.kt.j2",
        f"android/src/test/java/{folder}/{name}Test.kt": "ModelTest.kt.j2",
    }
    found = _rendered(manifest, golden, templates)
    for classifier in classifiers(manifest):
        values = _known(manifest) | {"compiled": classifier == compiled_classifier(manifest)}
        found[f"{main}/{classifier}.kt"] = render("Classifier.kt.j2", **values)
    return found


def classifiers(manifest: Manifest) -> list[str]:
    """Return the classes that run the model on Android: on the Interpreter, and on CompiledModel.

    Either needs a single input and an output with labels. CompiledModel may order several outputs in another
    way, and its buffers hold a few types only.
    """
    inputs, outputs = input_ports(manifest), output_ports(manifest)
    if len(inputs) != 1 or _answering(outputs) is None:
        return []
    types = {inputs[0].dtype, *(port.dtype for port in outputs)}
    found = [f"{camel_case(c_prefix(manifest))}Classifier"]
    if len(outputs) == 1 and types <= {"int8", "uint8", "int32", "float32"}:
        found.append(compiled_classifier(manifest))
    return found


def compiled_classifier(manifest: Manifest) -> str:
    """Return the name of the class around CompiledModel."""
    return f"{camel_case(c_prefix(manifest))}CompiledClassifier"


def _answering(outputs: Sequence[OutputPort]) -> OutputPort | None:
    return next((port for port in outputs if port.labelled), None)


def c_prefix(manifest: Manifest) -> str:
    """Return the first word of each C name: the release's name as an identifier."""
    return identifier(manifest.name, "model")


def kotlin_package(manifest: Manifest) -> str:
    """Return the package, whose last word is not a keyword of Kotlin or Java."""
    word = c_prefix(manifest)
    return f"edge.models.{word}_model" if word in KEYWORDS.split() else f"edge.models.{word}"


def kotlin_object(manifest: Manifest) -> str:
    """Return the object's name, such as ``FashionMnistModel``."""
    return f"{camel_case(c_prefix(manifest))}Model"


def render(template: str, **values: Any) -> str:
    """Render a template of this package."""
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    folder = files("deploy.codegen")
    environment = jinja2.Environment(  # noqa: S701 - no HTML; names and texts are escaped for each language
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        c_string=c_string, kotlin_string=kotlin_string, decimals=decimals, signed=signed
    )
    return environment


def _known(manifest: Manifest) -> dict[str, Any]:
    """Return what every template knows."""
    outputs = output_ports(manifest)
    return {
        "manifest": manifest,
        "full_name": manifest.full_name,
        "prefix": c_prefix(manifest),
        "macro": c_prefix(manifest).upper(),
        "package": kotlin_package(manifest),
        "object": kotlin_object(manifest),
        "classifier": f"{camel_case(c_prefix(manifest))}Classifier",
        "compiled_classifier": compiled_classifier(manifest),
        "inputs": input_ports(manifest),
        "outputs": outputs,
        "answering": _answering(outputs),
        "labels": constants(manifest.labels, "class"),
    }


def _rendered(
    manifest: Manifest, golden: Sequence[NDArray[Any]], templates: Mapping[str, str]
) -> dict[str, str]:
    inputs, outputs = input_ports(manifest), output_ports(manifest)
    input_vectors = [
        (port, preprocessing_vector(tensor), bytes_vector(tensor) if port.image else None)
        for port, tensor in zip(inputs, manifest.inputs, strict=True)
    ]
    output_vectors = [
        (port, dequantizing_vector(tensor) if port.scale else None, golden_outputs(tensor, stored))
        for port, tensor, stored in zip(outputs, manifest.outputs, golden, strict=True)
    ]
    values = _known(manifest) | {
        "picture_vectors": [
            (port, picture_vector(tensor))
            for port, tensor in zip(inputs, manifest.inputs, strict=True)
            if port.picture
        ],
        "input_vectors": input_vectors,
        "output_vectors": output_vectors,
    }
    return {path: render(template, **values) for path, template in templates.items()}
