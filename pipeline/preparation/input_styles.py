"""The usual kinds of input preprocessing, and those that the settings declare."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Transform
from pipeline.config import InputPreprocessing
from pipeline.errors import ConfigError
from pipeline.toml_text import toml_key, toml_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.ports import Port
    from pipeline.config import PreprocessingConfig

# (scale, offset, name) of the usual input ranges of image models, for bytes.
USUAL_RANGES = (
    (1 / 255, 0.0, "scaled to 0..1"),
    (1.0, 0.0, "as it is"),
    (1 / 127.5, -1.0, "scaled to -1..1"),
)
RANGES_OF_DTYPE = {
    "uint16": (1 / 65535, 0.0, "scaled to 0..1"),
    "int16": (1 / 32768, 0.0, "scaled to -1..1"),
}
# Mean and deviation of ImageNet's photos in torchvision and in Keras's preprocess_input ("caffe").
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)
MIN_VALUES = 48  # for flattened images and recordings
REVERSED = ", channels reversed"


@dataclass(frozen=True)
class Style:
    """One way to preprocess an input: ``(raw * scale + offset - mean) / std``.

    Attributes:
        usual: whether only the range differs from the declared settings; other styles need clear evidence.
    """

    scale: float
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    reverse_channels: bool = False
    name: str = ""
    usual: bool = True

    @property
    def transform(self) -> Transform:
        std = np.asarray(self.std or (1.0,), np.float64)
        mean = np.asarray(self.mean or (0.0,), np.float64)
        scales, offsets = self.scale / std, (self.offset - mean) / std
        return Transform(
            scale=tuple(scales.tolist()),
            offset=tuple(offsets.tolist()),
            reverse_channels=self.reverse_channels,
            reason=self.name,
        )

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of ``[preprocessing]`` that declare this style."""
        optional = {"offset": self.offset, "mean": list(self.mean), "std": list(self.std)}
        order = {"channel_order": "reversed"} if self.reverse_channels else {}
        return {"scale": self.scale, **{key: value for key, value in optional.items() if value}, **order}

    def settings(self, port: str = "") -> str:
        """Return the settings in ``pipeline.toml`` that declare this style, on one line."""
        parts = [
            f"{key} = {value:.9g}" if isinstance(value, float) else f"{key} = {toml_value(value)}"
            for key, value in self.keys.items()
        ]
        return f"[preprocessing{'.' * bool(port)}{toml_key(port) if port else ''}] {', '.join(parts)}"


def settings_of(inputs: tuple[Port, ...], config: PreprocessingConfig) -> tuple[InputPreprocessing, ...]:
    """Return the declared settings of each input: its own section overrides the one for all inputs.

    Raises:
        ConfigError: a section names an unknown input, or does not fit the channels of its input.
    """
    names = [port.name for port in inputs]
    for name in config.per_input:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            known = f"its inputs are {', '.join(map(repr, names))}"
            advice = f"did you mean [preprocessing.{toml_key(nearest[0])}]?" if nearest else known
            msg = f"preprocessing.{name}: the model has no input {name!r}; {advice}"
            raise ConfigError(msg)
    common = {
        key: getattr(config, key) for key in config.model_fields_set if key in InputPreprocessing.model_fields
    }
    images = [port.name for port in inputs if len(port.shape) > 2]
    if config.channel_order == "reversed" and not images and not config.per_input:
        shapes = ", ".join(f"{port.name!r} is {port.shape}" for port in inputs)
        msg = f"preprocessing.channel_order: no input is an image: {shapes}"
        raise ConfigError(msg)
    found = []
    for port in inputs:
        own = config.per_input.get(port.name)
        of_all = {
            key: value for key, value in common.items() if key != "channel_order" or port.name in images
        }
        given = {key: getattr(own, key) for key in own.model_fields_set} if own else {}
        settings = InputPreprocessing(**(of_all | given))
        _check_channels(port, settings, len(inputs) > 1)
        found.append(settings)
    return tuple(found)


def _check_channels(port: Port, settings: InputPreprocessing, several: bool) -> None:
    channels = port.shape[-1] if port.shape else 1
    if not port.dtype.startswith("float") or channels is None:
        return
    for key, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) not in (0, 1, channels):
            where = "; write it under [preprocessing.NAME] of the input that it is for" if several else ""
            msg = (
                f"preprocessing.{key}: {len(values)} values, but the last axis of the input {port.name!r} "
                f"{port.shape} has {channels}{where}"
            )
            raise ConfigError(msg)


def declared_style(port: Port, settings: InputPreprocessing) -> Style | None:
    """Return the declared style of an input, with scale 1 if not declared; None if it takes indices."""
    if not port.dtype.startswith("float"):
        return None
    untouched = settings.scale == "auto" and not (settings.offset or settings.mean or settings.std)
    order = REVERSED if settings.channel_order == "reversed" else ""
    return Style(
        scale=1.0 if settings.scale == "auto" else settings.scale,
        offset=settings.offset,
        mean=settings.mean,
        std=settings.std,
        reverse_channels=bool(order),
        name=f"as it is{order}" if untouched else "declared",
    )


def declared_transforms(inputs: tuple[Port, ...], config: PreprocessingConfig) -> tuple[Transform, ...]:
    """Return the declared transform of each input; indices are not changed.

    Raises:
        ConfigError: as ``settings_of``.
    """
    styles = map(declared_style, inputs, settings_of(inputs, config))
    return tuple(
        Transform(indices=True, reason="the model takes integers") if style is None else style.transform
        for style in styles
    )


def usual_styles(port: Port, settings: InputPreprocessing, raw: NDArray[Any]) -> list[Style]:
    """Return the styles to try for an input, the most likely first.

    A style gives the model the same values whether the raw ones are bytes or floats in 0..1 or -1..1.
    """
    factor, shift = _to_bytes(raw)
    ranges = [*USUAL_RANGES]
    if is_table(raw) or not _are_bytes(raw):
        ranges.sort(key=lambda each: each[0] != 1.0)  # tables of integers are rarely images
    if raw.dtype.name in RANGES_OF_DTYPE:
        ranges.insert(int(is_table(raw)), RANGES_OF_DTYPE[raw.dtype.name])
    if factor != 1.0:
        ranges = [
            (*range_[:2], "scaled to 0..255" if range_[2] == "as it is" else range_[2]) for range_ in ranges
        ]
    declared = Style(1.0, settings.offset, settings.mean, settings.std)
    styles = [
        replace(declared, scale=scale, offset=settings.offset or offset, name=name)
        for scale, offset, name in ranges
    ]
    of_three = len(port.shape) == 3 and port.shape[-1] == 3
    if settings.mean or settings.std:
        styles = [replace(style, name=f"{style.name}, then the declared mean and std") for style in styles]
    elif of_three and not settings.offset:
        styles += [
            Style(1 / 255, 0.0, TORCH_MEAN, TORCH_STD, name="torch style", usual=False),
            Style(1.0, 0.0, CAFFE_MEAN[::-1], name="less ImageNet's mean", usual=False),
        ]
    is_open = of_three and "channel_order" not in settings.model_fields_set
    if settings.channel_order == "reversed":
        styles = _reversed(styles, usual=True)
    elif is_open:
        styles += _reversed(styles, usual=False)
    return [
        replace(style, scale=style.scale * factor, offset=style.offset + style.scale * shift)
        for style in styles
    ]


def is_table(raw: NDArray[Any]) -> bool:
    """Return whether values are columns of a table: (n, features), shorter than images and recordings."""
    return raw.ndim <= 2 and raw[0].size < MIN_VALUES


def _are_bytes(raw: NDArray[Any]) -> bool:
    """Return whether values are bytes, perhaps stored in a wider integer type."""
    wide = raw.dtype.kind in "iu" and raw.dtype.name not in RANGES_OF_DTYPE
    return raw.dtype == np.uint8 or (wide and raw.min() >= 0 and 127 < raw.max() <= 255)


def _reversed(styles: Sequence[Style], *, usual: bool) -> list[Style]:
    return [
        replace(
            style,
            reverse_channels=True,
            mean=CAFFE_MEAN if style.mean == CAFFE_MEAN[::-1] else style.mean,
            name="caffe style" if style.mean == CAFFE_MEAN[::-1] else style.name + REVERSED,
            usual=style.usual and usual,
        )
        for style in styles
    ]


def _to_bytes(raw: NDArray[Any]) -> tuple[float, float]:
    """Return the factor and offset that map floats in 0..1 or -1..1 to 0..255."""
    if raw.dtype.kind != "f" or raw.max() > 1:
        return 1.0, 0.0
    if raw.min() >= 0:
        return 255.0, 0.0
    return (127.5, 127.5) if raw.min() >= -1 else (1.0, 0.0)
