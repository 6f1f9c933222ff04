"""All settings of a build."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, model_validator

from pipeline.compress.steps import COMPRESS
from pipeline.compress.weights_config import WeightsConfig
from pipeline.config import (
    CalibrationConfig,
    DataConfig,
    GatesConfig,
    InputPreprocessing,
    ModelConfig,
    PreprocessingConfig,
    ProjectConfig,
    ReleaseConfig,
    ValidateConfig,
)
from pipeline.corruptions.suite import check_names as check_shifts
from pipeline.errors import ConfigError
from pipeline.precision.config import PrecisionConfig
from pipeline.quantize.backends import BACKENDS
from pipeline.quantize.convert import ConvertConfig
from pipeline.quantize.methods import QUANTIZE, AutoConfig, FloatConfig
from pipeline.sections import MethodSection, Section, advice, problem
from pipeline.training.teacher import TeacherConfig
from pipeline.validation.compatibility import split_runtime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeGuard

    from pydantic_core import ErrorDetails

    from pipeline.compress.steps import CompressionStep
    from pipeline.quantize.methods import Quantization


class BuildConfig(Section):
    """Everything one build depends on besides the bytes of the model and the data.

    Without ``compress``, the weights are pruned if the quantization method trains, and else left as they are.

    Attributes:
        teacher: the float model that training starts from and learns from.
        compress: the compression steps in their order; the settings of each are those of its method.
        quantize: the quantization method with its settings.
        precision: the layers that are not int8.
    """

    project: ProjectConfig = ProjectConfig()
    model: ModelConfig
    data: DataConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    teacher: TeacherConfig = TeacherConfig()
    compress: tuple[SerializeAsAny[MethodSection], ...] = (WeightsConfig(),)
    quantize: SerializeAsAny[MethodSection] = AutoConfig()
    precision: PrecisionConfig = PrecisionConfig()
    convert: ConvertConfig = ConvertConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    validation: Annotated[ValidateConfig, Field(alias="validate")] = ValidateConfig()
    gates: GatesConfig = GatesConfig()
    release: ReleaseConfig = ReleaseConfig()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="before")
    @classmethod
    def _prepare_tables(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        _reject_unknown(cls, raw, "")
        found = dict(raw)
        if isinstance(steps := raw.get("compress"), list | tuple):
            found["compress"] = tuple(
                _of_method(table, COMPRESS, f"compress.{place}") for place, table in enumerate(steps)
            )
        if "quantize" in raw:
            found["quantize"] = _of_method(raw["quantize"], QUANTIZE, "quantize", AutoConfig().method)
            if "compress" not in raw and not _trains(found["quantize"]):
                found["compress"] = ()
        return found

    @model_validator(mode="after")
    def _check_backend(self) -> BuildConfig:
        """Refuse a converter that cannot convert what the method trains, before any training."""
        backend, method = self.convert.backend, self.quantize.method
        if QUANTIZE[method].train is not None and not BACKENDS[backend].takes_trained:
            msg = (
                f"convert.backend: {backend!r} quantizes after training only, and quantize.method is "
                f'{method!r}; set [quantize] method = "ptq", or leave out backend'
            )
            raise ConfigError(msg, key="convert.backend")
        return self

    @model_validator(mode="after")
    def _check_names(self) -> BuildConfig:
        """Refuse before any work the names that only a measurement or a gate would look up."""
        check_shifts(self.validation.shift.shifts)
        if self.gates.min_runtime:
            split_runtime(self.gates.min_runtime)
        quantizes = QUANTIZE[self.quantize.method].config is not FloatConfig and self.convert.to_integers
        if self.precision.layers and not quantizes:
            msg = "precision.layers: the model does not become int8, so no layer can be wider; leave it out"
            raise ConfigError(msg, key="precision.layers")
        return self


_ALTERNATIVE = re.compile(r"(constrained-)?(float|int|str|bool)|literal\[.*\]")


def _trains(quantize: Any) -> bool:
    return isinstance(quantize, MethodSection) and QUANTIZE[quantize.method].train is not None


def _of_method(
    table: Any, methods: Mapping[str, CompressionStep | Quantization], where: str, default: str = ""
) -> Any:
    """Validate a table whose keys depend on its method; what is not a table is returned as it is.

    Raises:
        ConfigError: there is no such method, or a key or a value is wrong.
    """
    if not isinstance(table, dict):
        return table
    name = str(table.get("method", default))
    if not name:
        msg = f"{where}: it names no method; write e.g. method = {next(iter(methods))!r}"
        raise ConfigError(msg, key=where)
    if name not in methods:
        msg = f"{where}.method: unknown method {name!r}; {advice(name, methods, 'methods')}"
        raise ConfigError(msg, key=f"{where}.method")
    config = methods[name].config
    _reject_unknown(config, table, f"{where}.")
    try:
        return config.model_validate(table)
    except ValidationError as error:
        raise first_problem(error, f"{where}.") from error


def _reject_unknown(section: type[BaseModel], raw: dict[str, Any], prefix: str) -> None:
    """Name an unknown key together with the nearest known one."""
    known = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    for key, value in raw.items():
        if section is PreprocessingConfig and isinstance(value, dict):
            _reject_unknown(InputPreprocessing, value, f"{prefix}{key}.")
            continue
        if key not in known and key not in getattr(section, "renamed", {}):
            msg = f"unknown key {f'{prefix}{key}'!r}; {advice(key, known, 'keys')}"
            raise ConfigError(msg, key=f"{prefix}{key}")
        kind = known.get(key)
        if isinstance(value, dict) and is_section(kind) and kind is not MethodSection:
            _reject_unknown(kind, value, f"{prefix}{key}.")


def is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def first_problem(error: ValidationError, prefix: str = "", what: str = "value") -> ConfigError:
    """Return an error that names the key and says what is wrong with its value.

    Args:
        error: what Pydantic found.
        prefix: what its keys begin with, such as "quantize.".
        what: what to call an unknown value of a fixed list, such as "task".
    """
    first, *others = error.errors()
    key = _key(first)
    words = [
        each["ctx"]["expected"] for each in others if each["type"] == "literal_error" and _key(each) == key
    ]
    more = f"; {' or '.join(words)} is allowed, too" if words else ""
    key = (prefix + key).rstrip(".")
    return ConfigError(f"{key}: {problem(first, what)}{more}", key=key)


def problem_of_flag(error: ConfigError | ValidationError, flags: Mapping[str, str]) -> ConfigError | None:
    """Return an error, of several the first, as one that names the flag at fault; None if no flag did it.

    Args:
        error: one that names its key.
        flags: names of flags, such as "--task", by the key that each sets.
    """
    key = _key(error.errors()[0]) if isinstance(error, ValidationError) else error.key
    own = next((own for own in flags if f"{key}.".startswith(f"{own}.")), None)
    if own is None:
        return None
    flag = flags[own]
    if isinstance(error, ValidationError):
        error = first_problem(error, what="value" if " " in flag else flag.removeprefix("--"))
    is_same = own == re.sub(r"(\.\d+)+$", "", key)
    text = str(error).removeprefix(f"{key}: ") if is_same else str(error)
    return ConfigError(f"{flag}: {text}", key=key)


def _key(problem: ErrorDetails) -> str:
    """Return the key, without the alternative that Pydantic tried where a value may be of several types."""
    return ".".join(part for part in map(str, problem["loc"]) if not _ALTERNATIVE.fullmatch(part))
