"""Models that give numbers: regression, and autoencoders that give their own input again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks import ranking
from pipeline.tasks.classifiers import class_ids
from pipeline.tasks.evidence import Accumulator, ChannelEstimate, Estimate, TaskMetrics, mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Chunk

TARGETS_UNIT = "in the targets' unit"
# Up to here the primary metric is the mean of the outputs' own, so that one on a small scale counts as much.
MAX_OUTPUTS = 64
MAX_CHANNELS_SHOWN = 64
# Below this share of the sum of squares, a sum of squared deviations is rounding.
ROUNDING = 1e-12


def reduce_regression(chunk: Chunk) -> Accumulator:
    """Keep each sample's errors; outputs and targets (n, *output_shape)."""
    assert chunk.targets is not None
    targets = _paired(chunk.targets, chunk.baseline, "targets")
    return _errors(chunk, targets, _columns(chunk.baseline.shape[1:]))


def reduce_reconstruction(chunk: Chunk) -> Accumulator:
    """Keep each sample's errors over all elements; outputs and inputs (n, *input_shape)."""
    inputs = _paired(chunk.inputs, chunk.baseline, "inputs")
    assert chunk.inputs is not None
    return _errors(chunk, inputs, _columns(chunk.inputs.shape[1:]))


def reduce_anomaly(chunk: Chunk) -> Accumulator:
    """Keep each sample's errors and its label (n,), and of normal samples what the reconstruction needs."""
    anomalous = class_ids(chunk.targets, 2).astype(bool)
    inputs = _paired(chunk.inputs, chunk.baseline, "inputs")
    kept = _errors(chunk, inputs, columns=1)
    return Accumulator(kept.rows | {"anomalous": anomalous}, _totals(inputs[~anomalous], kept.classes))


def evaluate_regression(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """R2, MAE, RMSE, the largest error and MSE."""
    before, after = kept.rows["baseline_squares"], kept.rows["quantized_squares"]
    varying = _variance(kept) > 0
    if not varying.any():
        primary, note = _relative(kept), "the targets are constant, so that there is no R2"
    else:
        pooled = len(kept.totals["sum"]) > MAX_OUTPUTS
        primary = _explained_in_all("R2", kept) if pooled else _explained("R2", kept, varying)
        note = ""
        if primary.baseline <= 0:
            note = f"the float model is no better than the targets' mean (R2 {primary.baseline:.1f} %)"
    estimates = [primary]
    channels = _channels(kept, varying, names)
    if channels:
        estimates.append(_worst(kept, varying, names))
    estimates += [_mean_absolute(kept, TARGETS_UNIT), _root("RMSE", before, after, TARGETS_UNIT)]
    estimates.append(
        Estimate(
            name="largest error",
            baseline=float(kept.rows["baseline_largest"].max()),
            quantized=float(kept.rows["quantized_largest"].max()),
            influence=None,
            unit=TARGETS_UNIT,
            better="lower",
        )
    )
    return TaskMetrics(
        estimates=(*estimates, _loss(kept)), note=note, channels=channels, channel_count=int(varying.sum())
    )


def evaluate_reconstruction(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """Explained variance, MAE and MSE of what should be the input."""
    varying = _variance(kept) > 0
    errors = (_mean_absolute(kept, "in the input's unit"), _loss(kept))
    if not varying.any():
        note = "the inputs are constant, so that there is no variance to explain"
        return TaskMetrics(estimates=(_relative(kept), *errors), note=note)
    primary = _explained_in_all("explained variance", kept)
    note = ""
    if primary.baseline <= 0:
        note = f"the float model is no better than the mean input ({primary.baseline:.1f} % of the variance)"
    return TaskMetrics(
        estimates=(primary, *errors),
        note=note,
        channels=_channels(kept, varying, names),
        channel_count=int(varying.sum()),
    )


def evaluate_anomaly(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """AUC and average precision of the reconstruction error, and MSE on normal samples."""
    anomalous = kept.rows["anomalous"]
    if not anomalous.any():
        found = evaluate_reconstruction(kept, names)
        return TaskMetrics(
            estimates=found.estimates, note="no sample is an anomaly: only reconstruction is compared"
        )
    if anomalous.all():
        message = "every test sample is an anomaly; give normal ones too, with the label 0"
        raise InputError(message)
    scores = (kept.rows["baseline_squares"][:, 0], kept.rows["quantized_squares"][:, 0], anomalous)
    area = ranking.estimate("AUC", ranking.auc, *scores)
    note = ""
    if area.baseline <= 100 * ranking.chance_area(anomalous):
        note = ranking.at_chance_note(area.baseline, fix="do the labels mark anomalies with 1?")
    normal = Estimate(
        name="loss of normal samples",
        baseline=float(scores[0][~anomalous].mean()),
        quantized=float(scores[1][~anomalous].mean()),
        influence=_of_normal(scores[1] - scores[0], ~anomalous),
        unit="mean squared error",
        better="lower",
    )
    precision = ranking.estimate("average precision", ranking.average_precision, *scores)
    return TaskMetrics(estimates=(area, precision, normal), note=note)


def _paired(targets: NDArray[Any] | None, outputs: NDArray[Any], what: str) -> NDArray[np.float64]:
    """Return targets (n, elements) for outputs (n, *output_shape)."""
    if targets is None:
        message = f"this task needs the samples' {what}, and there are none"
        raise InputError(message)
    if targets.size != outputs.size:
        message = f"{what} of {targets.shape[1:]} a sample do not fit outputs of {outputs.shape[1:]}; "
        raise InputError(message + "give as many numbers a sample as the model does")
    return targets.reshape(len(outputs), -1).astype(np.float64)


def _columns(shape: tuple[int, ...]) -> int:
    """Return how many of the numbers of a sample, ``shape``, are judged each on its own.

    Few numbers, and those of a vector, are; of a map or a series it is the channels of the last axis.
    """
    elements = int(np.prod(shape))
    is_vector = sum(size > 1 for size in shape) <= 1
    return elements if elements <= MAX_OUTPUTS or is_vector else shape[-1]


def _errors(chunk: Chunk, targets: NDArray[np.float64], columns: int) -> Accumulator:
    """Reduce to (n, columns) mean squared errors; a column is every ``columns``-th element of a sample."""
    rows = {}
    for model, outputs in (("baseline", chunk.baseline), ("quantized", chunk.quantized)):
        errors = outputs.reshape(targets.shape) - targets
        rows[f"{model}_absolute"] = np.abs(errors).mean(axis=1)
        rows[f"{model}_largest"] = np.abs(errors).max(axis=1)
        rows[f"{model}_squares"] = (errors**2).reshape(len(errors), -1, columns).mean(axis=1)
    return Accumulator(rows, _totals(targets, columns), classes=columns)


def _totals(targets: NDArray[np.float64], columns: int) -> dict[str, NDArray[Any]]:
    """What the variance of the targets needs."""
    squares = (targets**2).sum(axis=0).reshape(-1, columns).mean(axis=0)
    sizes = np.abs(targets).sum(axis=0).reshape(-1, columns).mean(axis=0)
    return {"count": np.array(len(targets)), "sum": targets.sum(axis=0), "squares": squares, "sizes": sizes}


def _variance(kept: Accumulator) -> NDArray[np.float64]:
    """Return the variance of the targets' columns about the mean of each element; 0 if it is rounding."""
    count, squares = kept.totals["count"], kept.totals["squares"]
    means = (kept.totals["sum"] / count) ** 2
    variance = squares / count - means.reshape(-1, len(squares)).mean(axis=0)
    return np.where(variance > ROUNDING * squares / count, variance, 0)


def _explained(name: str, kept: Accumulator, varying: NDArray[np.bool_]) -> Estimate:
    """Mean over the varying columns of 100 (1 - squared error / variance); the variance is taken as known."""
    before, after = (kept.rows[f"{model}_squares"][:, varying] for model in ("baseline", "quantized"))
    variance = _variance(kept)[varying]
    return Estimate(
        name=name,
        baseline=100 * float((1 - before.mean(axis=0) / variance).mean()),
        quantized=100 * float((1 - after.mean(axis=0) / variance).mean()),
        influence=100 * ((before - after) / variance).mean(axis=1),
    )


def _explained_in_all(name: str, kept: Accumulator) -> Estimate:
    """100 (1 - squared error / variance) of all elements together."""
    before, after = (kept.rows[f"{model}_squares"].mean(axis=1) for model in ("baseline", "quantized"))
    variance = float(_variance(kept).mean())
    return Estimate(
        name=name,
        baseline=100 * float(1 - before.mean() / variance),
        quantized=100 * float(1 - after.mean() / variance),
        influence=100 * (before - after) / variance,
    )


def _channels(
    kept: Accumulator, varying: NDArray[np.bool_], names: tuple[str, ...]
) -> tuple[ChannelEstimate, ...]:
    """R2 of each varying column, those that lose most by int8 first, as many as are shown; none of one."""
    indices = np.flatnonzero(varying)
    if len(indices) < 2:
        return ()
    variance = _variance(kept)[indices]
    before, after = (kept.rows[f"{model}_squares"][:, indices] for model in ("baseline", "quantized"))
    rise = (after.mean(axis=0) - before.mean(axis=0)) / variance
    return tuple(
        ChannelEstimate(
            spread=float(np.sqrt(variance[at])),
            explained=_explained(
                _column_name(int(indices[at]), kept, names), kept, np.arange(len(varying)) == indices[at]
            ),
        )
        for at in np.argsort(-rise, kind="stable")[:MAX_CHANNELS_SHOWN]
    )


def _column_name(at: int, kept: Accumulator, names: tuple[str, ...]) -> str:
    if len(names) == kept.classes:
        return names[at]
    return f"{'element' if kept.classes == len(kept.totals['sum']) else 'channel'} {at}"


def _worst(kept: Accumulator, varying: NDArray[np.bool_], names: tuple[str, ...]) -> Estimate:
    """R2 of the output that loses most by int8."""
    before, after = kept.rows["baseline_squares"], kept.rows["quantized_squares"]
    rise = (after.mean(axis=0) - before.mean(axis=0)) / np.where(varying, _variance(kept), np.inf)
    at = int(rise.argmax())
    output = _column_name(at, kept, names)
    return _explained(f"R2 of {output}, which loses most", kept, np.arange(len(varying)) == at)


def _relative(kept: Accumulator) -> Estimate:
    """RMSE in hundredths of the targets' mean size, for targets that do not vary."""
    size = float(kept.totals["sizes"].mean() / kept.totals["count"])
    if size == 0:
        message = "all targets are 0, so that no error can be judged; give test samples that differ"
        raise InputError(message)
    found = _root("relative RMSE", kept.rows["baseline_squares"], kept.rows["quantized_squares"], "")
    assert found.influence is not None
    return Estimate(
        name=found.name,
        baseline=100 * found.baseline / size,
        quantized=100 * found.quantized / size,
        influence=100 * found.influence / size,
        better="lower",
    )


def _root(name: str, before: NDArray[np.float64], after: NDArray[np.float64], unit: str) -> Estimate:
    """Root of the mean of squared errors (n, columns)."""

    def of(squares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        root = float(np.sqrt(squares.mean()))
        return root, (squares.mean(axis=1) - root**2) / (2 * root if root else 1)

    (baseline, influence_before), (quantized, influence_after) = of(before), of(after)
    influence = influence_after - influence_before
    return Estimate(
        name=name, baseline=baseline, quantized=quantized, influence=influence, unit=unit, better="lower"
    )


def _mean_absolute(kept: Accumulator, unit: str) -> Estimate:
    return mean("MAE", kept.rows["baseline_absolute"], kept.rows["quantized_absolute"], unit=unit)


def _loss(kept: Accumulator) -> Estimate:
    before, after = (kept.rows[f"{model}_squares"].mean(axis=1) for model in ("baseline", "quantized"))
    return mean("loss", before, after, unit="mean squared error")


def _of_normal(change: NDArray[np.float64], normal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Influences (n,) on the mean change of the normal samples."""
    influence: NDArray[np.float64] = np.where(normal, change - change[normal].mean(), 0) / normal.mean()
    return influence
