"""All views of a diagnosis, as files in one folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.content import write_whole
from pipeline.report.calibration import diagnosis_text
from pipeline.report.calibration_html import diagnosis_html

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.diagnosis import Diagnosis


def write_diagnosis(found: Diagnosis, folder: Path) -> None:
    """Write diagnosis.json, diagnosis.txt and diagnosis.html.

    Raises:
        OSError: they cannot be written.
    """
    views = {
        "diagnosis.json": json.dumps(found.to_dict(), indent=1) + "\n",
        "diagnosis.txt": diagnosis_text(found),
        "diagnosis.html": diagnosis_html(found),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in views.items():
        write_whole(folder / name, text)
