"""The architecture of a SavedModel that tf_keras wrote; none of the functions in it is looked at.

tf_keras keeps each object's configuration as JSON in ``keras_metadata.pb``, before TensorFlow 2.5 inside
``saved_model.pb``. Where that is missing, the folder holds functions only, which only TensorFlow can run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from models import protobuf
from models.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

MAX_PROTOBUF_BYTES = 512 << 20
_FUNCTIONS_ONLY = (
    "a SavedModel without Keras's description of its layers (as model.export writes); "
    "save the model with model.save('name.keras'), or build with --trust-model, which runs it in a confined "
    "process and quantizes after training only"
)


def read_saved_model(folder: Path) -> tuple[dict[str, Any], dict[int, str]]:
    """Return the model's configuration, and the name of each Keras object by its number.

    Raises:
        ModelError: the folder is damaged or holds no Keras model.
    """
    try:
        metadata = _metadata(folder)
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{folder}: damaged SavedModel: {' '.join(str(error).split())[:200]}; copy or save it again"
        raise ModelError(msg) from error
    if not isinstance(metadata.get(0), dict):
        msg = f"{folder}: {_FUNCTIONS_ONLY}"
        raise ModelError(msg)
    root = metadata[0]
    config = {"class_name": str(root.get("class_name")), "config": root.get("config") or {}}
    names = {number: str(one.get("name")) for number, one in metadata.items() if isinstance(one, dict)}
    return _untupled(config), names


def _metadata(folder: Path) -> dict[int, Any]:
    separate = folder / "keras_metadata.pb"
    if separate.exists():
        nodes = protobuf.parse("SavedMetadata", _read(separate)).nodes
        return {node.node_id: _json(node.metadata) for node in nodes}
    graphs = protobuf.parse("SavedModel", _read(folder / "saved_model.pb")).meta_graphs
    users = [node.user_object for node in graphs[0].objects.nodes] if graphs else []
    return {
        number: _json(user.metadata)
        for number, user in enumerate(users)
        if user.identifier.startswith(b"_tf_keras") and user.metadata
    }


def _read(path: Path) -> bytes:
    if path.is_symlink() or path.stat().st_size > MAX_PROTOBUF_BYTES:
        msg = f"{path.name} is a link or too large"
        raise ValueError(msg)
    return path.read_bytes()


def _json(text: bytes) -> Any:
    """Read one description; some objects (metrics) have none that is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _untupled(value: Any) -> Any:
    """Replace ``{"class_name": "__tuple__", "items": [...]}`` by the list."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return [_untupled(item) for item in value["items"]]
        return {key: _untupled(item) for key, item in value.items()}
    return [_untupled(item) for item in value] if isinstance(value, list) else value
