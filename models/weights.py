"""Which array of a Keras file belongs to which layer.

A ``.keras`` archive files a layer's arrays under its class name and a counter, level by level
(``layers/conv2d_1/vars/0``); the older one-file HDF5 keeps one list for each layer of the outermost model, in
which a nested model's trainable arrays come before all its others. A SavedModel has an object for each layer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.archive import hdf5_faults, read_array
from models.bundle import Bundle
from models.errors import ModelError
from models.wrappers import WRAPPERS, is_own_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import h5py
    import numpy as np
    from numpy.typing import NDArray

    from models.archive import Archive

    Arrays = tuple[NDArray[np.generic], ...]
    WeightsByPath = Mapping[tuple[str, ...], Arrays]

# Where Keras keeps a model's layers: the second was used by Keras 2.12 to 2.14.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
# The sublayers of a wrapper or a recurrent layer, in the order of ``layer.weights``.
_SUBLAYERS = (
    *("forward_layer", "backward_layer", "layer", "cell"),
    *("query_dense", "key_dense", "value_dense", "output_dense"),
    *("_query_dense", "_key_dense", "_value_dense", "_output_dense"),
)


@dataclass(frozen=True)
class Entry:
    """One layer, or a model of layers, as far as its arrays are concerned.

    Attributes:
        name: the layer's name.
        kind: its class.
        trainable: for each of its own arrays, whether training changes it.
        children: the layers of a model.
        is_model: whether it is one.
    """

    name: str
    kind: str
    trainable: tuple[bool, ...] = ()
    children: tuple[Entry, ...] = ()
    is_model: bool = False

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Entry]]:
        """Yield each layer that is not a model, with its path of names below the outermost model."""
        for child in self.children:
            here = (*path, child.name)
            if child.is_model:
                yield from child.leaves(here)
            else:
                yield here, child


def read_weights(path: Path, archive: Archive, model: Entry) -> WeightsByPath:
    """Read the arrays of every layer of ``model``.

    Raises:
        ModelError: arrays are missing, there are more of them than the layer has, or one is unusable.
    """
    found: dict[tuple[str, ...], list[Any]] = {}
    arrays: dict[tuple[str, ...], Arrays] = {}
    with hdf5_faults(path):
        if isinstance(archive.weights, Bundle):
            _walk_bundle(archive.weights, archive.names, 0, model, (), found)
        elif archive.numbered:
            _walk_archive(archive.weights, model, (), found)
        else:
            _walk_hdf5(archive.weights, model, found)
        for place, entry in model.leaves():
            datasets = found.get(place, [])
            if len(datasets) != len(entry.trainable):
                msg = (
                    f"{path}: layer {'/'.join(place)!r} ({entry.kind}): {len(datasets)} arrays in the file, "
                    f"{len(entry.trainable)} expected; save the model again"
                )
                raise ModelError(msg)
            try:
                arrays[place] = tuple(_array(archive, dataset) for dataset in datasets)
            except ModelError as error:
                msg = f"{path}: layer {'/'.join(place)!r} ({entry.kind}): {error}"
                raise ModelError(msg) from None
    return arrays


def _array(archive: Archive, stored: Any) -> NDArray[np.generic]:
    return archive.weights.array(stored) if isinstance(archive.weights, Bundle) else read_array(stored)


def _walk_bundle(
    bundle: Bundle,
    names: Mapping[int, str],
    number: int,
    model: Entry,
    place: tuple[str, ...],
    found: dict[tuple[str, ...], list[str]],
) -> None:
    """Find the layers among what the model's object holds: ``layer-0``, ``layer-1`` and so on."""
    held = bundle.nodes[number].children
    if model.kind == "TimeDistributed" and "layer" in held:
        held = bundle.nodes[held["layer"]].children
    numbers = {names.get(held[name], ""): held[name] for name in held if re.fullmatch(r"layer-\d+", name)}
    for child in model.children:
        if child.name not in numbers:
            continue
        here, node = (*place, child.name), bundle.nodes[numbers[child.name]]
        if child.is_model:
            _walk_bundle(bundle, names, numbers[child.name], child, here, found)
        elif "variables" in node.children:
            variables = bundle.nodes[node.children["variables"]].children
            found[here] = [bundle.nodes[variables[name]].key for name in sorted(variables, key=int)]


def _walk_archive(
    group: h5py.Group, model: Entry, place: tuple[str, ...], found: dict[tuple[str, ...], list[h5py.Dataset]]
) -> None:
    if model.kind == "TimeDistributed" and "layer" in group:
        group = group["layer"]
    container = next((group[name] for name in _CONTAINERS if name in group), None)
    if container is None:
        return
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in container:
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name, re.DOTALL).groups()  # type: ignore[union-attr]
        numbered.setdefault(stem, []).append((int(number or 0), name))
    queues = {stem: iter(sorted(names)) for stem, names in numbered.items()}
    for child in model.children:
        _, name = next(queues.get(_snake_case(child.kind), iter(())), (0, ""))
        if not name:
            continue
        here = (*place, child.name)
        if child.is_model:
            _walk_archive(container[name], child, here, found)
        else:
            found[here] = _arrays_of(container[name], child)


def _arrays_of(group: h5py.Group, entry: Entry) -> list[h5py.Dataset]:
    """Return a layer's arrays; those that a wrapper of TF-MOT took over come first, its own after them."""
    if entry.kind not in WRAPPERS:
        return list(_own_arrays(group))
    inner = list(_own_arrays(group["layer"])) if "layer" in group else []
    own = [group["vars"][name] for name in sorted(group["vars"], key=int)] if "vars" in group else []
    return own[: len(entry.trainable) - len(inner)] + inner if entry.trainable else []


def _own_arrays(group: h5py.Group) -> Iterator[h5py.Dataset]:
    for name in _SUBLAYERS:
        if name in group:
            yield from _own_arrays(group[name])
    if "vars" in group:
        own = [group["vars"][name] for name in sorted(group["vars"], key=int)]
        yield from own[-1:] if "layer" in group else own  # SpectralNormalization has its layer's kernel again


def _walk_hdf5(group: h5py.Group, model: Entry, found: dict[tuple[str, ...], list[h5py.Dataset]]) -> None:
    for child in model.children:
        if child.name not in group:
            continue
        names = list(_weight_names(group[child.name]))
        if child.kind in WRAPPERS:
            names = [name for name in names if not is_own_array(name)]
        datasets = iter([group[child.name][name] for name in names])
        leaves = list(child.leaves((child.name,))) if child.is_model else [((child.name,), child)]
        for expected in (True, False):
            for place, entry in leaves:
                owned = found.setdefault(place, [])
                count = sum(flag is expected for flag in entry.trainable)
                owned.extend(dataset for _, dataset in zip(range(count), datasets, strict=False))
        if leaves:
            found[leaves[-1][0]].extend(datasets)  # surplus: reported as a count that is not the expected one


def _weight_names(group: h5py.Group) -> Iterator[str]:
    """Yield a layer's array names in order; Keras splits a list over 64 KiB into numbered attributes."""
    chunks = ["weight_names"] if "weight_names" in group.attrs else []
    while f"weight_names{len(chunks)}" in group.attrs:
        chunks.append(f"weight_names{len(chunks)}")
    for chunk in chunks:
        for name in group.attrs[chunk]:
            yield name.decode() if isinstance(name, bytes) else str(name)


def _snake_case(name: str) -> str:
    """Name a class as Keras does: ``GlobalMaxPooling2D`` is ``global_max_pooling2d``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
