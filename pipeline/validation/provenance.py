"""Where a report comes from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The origin of a report.

    Attributes:
        command: that made it, without secrets and without the places of files; "" if it was not a command.
        version: of the pipeline.
        commit: of the git work tree that the model is in; "" without one.
        model_sha256: of the given model, in whatever format that is.
        data_sha256: of the given data.
        settings_sha256: of all settings that can change a result.
        tools: versions of the packages that the build used, besides those in ``Report.tools``.
    """

    command: str = ""
    version: str = ""
    commit: str = ""
    model_sha256: str = ""
    data_sha256: str = ""
    settings_sha256: str = ""
    tools: dict[str, str] = field(default_factory=dict)
