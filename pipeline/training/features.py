"""Features: activations between the layers of a student, trained to be those of its teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.errors import StageError
from pipeline.training.aims import PREDICT_BATCH, SMALLEST_VARIANCE
from pipeline.training.keras_io import predict
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.samples import Samples

FeatureKind = Literal["none", "hints", "attention"]
STAGE = "training"
_SMALLEST_NORM = 1e-12


class Features(NamedTuple):
    """Networks that return features beside their outputs, and how their difference counts.

    Attributes:
        student: shares its layers with the student; projections to the teacher's channels are its own.
        teacher: returns the features of the teacher in the same order.
        losses: of each feature.
        weights: of each loss.
        pairs: the teacher's and the student's layer that each feature is an output of.
    """

    student: Any
    teacher: Any
    losses: list[Any]
    weights: list[float]
    pairs: tuple[tuple[str, str], ...]


def compare_features(
    student: Any, teacher: Any, kind: FeatureKind, pairs: Mapping[str, str], weight: float, samples: Samples
) -> Features | None:
    """Pair layers of the teacher with layers of the student, and compare their outputs.

    "hints" are the activations themselves (FitNets: Romero et al., 2015, arXiv:1412.6550): a projection
    of the student's channels is trained with them where their number differs. "attention" is the sum of the
    squared activations over the channels, whose norm over all positions is made 1 (Zagoruyko and Komodakis,
    2017, arXiv:1612.03928). The squared difference is divided by the variance of the teacher's.

    Args:
        student: a tf_keras model.
        teacher: a tf_keras model with the same inputs and outputs.
        pairs: of layers, the student's by the teacher's; empty chooses them by the shapes of their outputs.
        weight: of all features together, beside the loss on outputs.
        samples: the first ones show how far the teacher's features vary.

    Returns:
        None for the kind "none".

    Raises:
        StageError: a layer does not exist, or the outputs of a pair have other positions.
    """
    if kind == "none":
        return None
    import tf_keras

    chosen = dict(pairs) or pairs_by_shape(student, teacher, with_positions=kind == "attention")
    taught, learned = [], []
    for of_teacher, of_student in chosen.items():
        target, found = _output(teacher, of_teacher), _output(student, of_student)
        _require_equal_positions(of_teacher, of_student, target, found, kind)
        if kind == "attention":
            target, found = _attention(target), _attention(found)
        elif target.shape[-1] != found.shape[-1]:
            found = tf_keras.layers.Dense(target.shape[-1], name=f"{of_student}_projection")(found)
        taught.append(target)
        learned.append(found)
    if not chosen:
        cause = f"no layer of the student has an output of the form of one of the teacher's for {kind}"
        raise StageError(STAGE, cause, "name pairs of layers, or leave the features out")
    wide = tf_keras.Model(teacher.inputs, [*teacher.outputs, *taught])
    seen = predict(wide, samples.take(slice(0, PREDICT_BATCH)).model_inputs())[len(teacher.outputs) :]
    weights = [weight / len(seen) / max(float(each.var()), SMALLEST_VARIANCE) for each in seen]
    return Features(
        tf_keras.Model(student.inputs, [*student.outputs, *learned]),
        wide,
        [tf_keras.losses.MeanSquaredError() for _ in seen],
        weights,
        tuple(chosen.items()),
    )


def pairs_by_shape(student: Any, teacher: Any, with_positions: bool) -> dict[str, str]:
    """Return the student's layer by the teacher's: for each grid of positions the last layer that has it.

    That is the end of a stage, where the next layer reduces the grid. Outputs of the model have a loss of
    their own.

    Args:
        with_positions: whether to leave out outputs that are vectors.
    """
    outputs = {tuple(tensor.shape[1:]) for tensor in teacher.outputs}
    last: list[dict[tuple[int | None, ...], str]] = [{}, {}]
    for network, found in zip((teacher, student), last, strict=True):
        for layer in network.layers:
            shape = _shape(layer)
            if shape and shape not in outputs and not (with_positions and len(shape) < 2):
                found[shape[:-1]] = layer.name
    of_teacher, of_student = last
    return {name: of_student[grid] for grid, name in of_teacher.items() if grid in of_student}


def _shape(layer: Any) -> tuple[int | None, ...]:
    """Return the shape of a layer's output without the batch; nothing of an input, or of several outputs."""
    if type(layer).__name__ == "InputLayer" or not layer.inbound_nodes:
        return ()
    output = layer.get_output_at(0)
    return () if isinstance(output, list | tuple | dict) else tuple(output.shape[1:])


def _output(network: Any, name: str) -> Any:
    known = {layer.name: layer for layer in network.layers}
    if name not in known or not _shape(known[name]):
        cause = f"{name!r} is no layer with an output; its layers are {', '.join(known)}"
        raise StageError(STAGE, cause, "name a layer of the teacher for each one of the student")
    return known[name].get_output_at(0)


def _require_equal_positions(teacher: str, student: str, target: Any, found: Any, kind: FeatureKind) -> None:
    shapes = [tuple(tensor.shape[1:]) for tensor in (target, found)]
    grids = {shape[:-1] for shape in shapes}
    if len(grids) > 1:
        cause = f"features {teacher!r} {shapes[0]} and {student!r} {shapes[1]} have other positions"
        raise StageError(STAGE, cause, "pair layers whose outputs differ in their last axis at most")
    if kind == "attention" and grids == {()}:
        cause = f"features {teacher!r} and {student!r} have no positions that attention could weigh"
        raise StageError(STAGE, cause, 'pair layers before the pooling, or write features = "hints"')


def _attention(tensor: Any) -> Any:
    """Return the attention map of activations (n, *positions, channels): (n, positions), of norm 1."""
    tf = tensorflow()
    import tf_keras

    def mapped(values: Any) -> Any:
        energy = tf.reduce_sum(tf.square(values), axis=-1)
        flat = tf.reshape(energy, (-1, energy.shape[1:].num_elements()))
        return tf.math.l2_normalize(flat, axis=-1, epsilon=_SMALLEST_NORM)

    return tf_keras.layers.Lambda(mapped)(tensor)
