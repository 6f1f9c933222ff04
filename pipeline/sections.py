"""What every section of ``pipeline.toml`` has in common."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _prepare(cls, value: Any, info: ValidationInfo) -> Any:
        """Take one text for a list of it, and refuse true and false where a number belongs."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, str) and get_origin(annotation) is tuple:
            return (value,)
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, bool) for each in values) and not _takes_booleans(annotation):
            msg = "a number or text is expected, without true or false"
            raise ValueError(msg)
        return value


def _takes_booleans(annotation: Any) -> bool:
    return annotation is bool or any(map(_takes_booleans, get_args(annotation)))
