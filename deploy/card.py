"""``MODEL_CARD.md``: what a model is, how it was made and how good it is, with Hugging Face's front matter.

Format of the front matter: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jinja2

    from deploy.facts import MetricFacts, ReleaseFacts, TensorFacts

# Identifiers that a licence has in front matter; any other is called "other".
LICENSES = frozenset(
    {
        "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0",
        "cc-by-3.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
        "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "ecl-2.0", "epl-2.0", "eupl-1.2", "gpl-2.0", "gpl-3.0",
        "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "ofl-1.1", "osl-3.0",
        "postgresql", "unlicense", "wtfpl", "zlib",
    }
)  # fmt: skip
MAX_LABELS = 100
# Characters with a meaning in Markdown: anywhere, in an address, and at the start of a line.
_MEANING = re.compile(r"[\\`*_\[\]{}#|~$@]|:(?! )|(?<=[A-Za-z])\.(?=[A-Za-z])|^\d+[.)](?=\s|$)|^[-+=]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Names of metrics that Hugging Face knows.
_METRICS = {"top-1": "accuracy", "accuracy": "accuracy", "macro F1": "f1", "AUC": "roc_auc"}


def card(facts: ReleaseFacts) -> str:
    """Return the model card; equal facts give equal text."""
    template = files("deploy").joinpath("MODEL_CARD.md.j2").read_text(encoding="utf-8")
    return (
        environment()
        .from_string(template)
        .render(
            facts=facts,
            front_matter=front_matter(facts),
            labels=facts.labels[:MAX_LABELS],
            more_labels=max(len(facts.labels) - MAX_LABELS, 0),
            losing=[shift for shift in facts.shifts if shift.loses],
            unclear=[shift for shift in facts.shifts if not shift.loses],
        )
    )


def environment() -> jinja2.Environment:
    """Return Jinja's environment of the documents in Markdown, for which ``md`` escapes."""
    import jinja2

    found = jinja2.Environment(  # noqa: S701 - no HTML
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    found.filters |= {"md": escape, "bytes": "{:,}".format, "points": _signed, "shape": _shape}
    found.filters |= {"real": _real, "difference": _difference}
    return found


def escape(text: object) -> str:
    """Return untrusted text escaped for Markdown, on one line."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))
    marked = _MEANING.sub(lambda found: f"{found.group()[:-1]}\\{found.group()[-1]}", plain.strip())
    return "".join(_ENTITIES.get(char, char) for char in marked)


def front_matter(facts: ReleaseFacts) -> str:
    """Return the YAML between the dashes; each value is JSON, which YAML contains."""
    known = facts.license.lower().removesuffix("-only").removesuffix("-or-later")
    values: dict[str, Any] = {"library_name": "tflite"}
    if known in LICENSES:
        values["license"] = known
    elif facts.license:
        values |= {"license": "other", "license_name": facts.license}
    tags = ["tflite", "litert", "edge", facts.target]
    tags += ["int8", "quantized"] if facts.format.startswith("int8") else []
    tags += ["pruned"] if any("pruned" in treatment for treatment in facts.treatments) else []
    values["tags"] = tags
    tag = facts.pipeline_tag
    if tag:
        values["pipeline_tag"] = tag
    data = next((source.location for source in facts.sources if source.role == "data"), "")
    if facts.metrics:
        results = [
            {
                "task": {"type": tag or "other", "name": task},
                "dataset": {"type": "custom", "name": data or "the project's own", "split": "test"},
                "metrics": [
                    {
                        "type": _METRICS.get(metric.name, metric.name),
                        "name": f"{metric.name}, {facts.format}"
                        + (f", {metric.unit}" if metric.unit else ""),
                        "value": round(metric.quantized, 4),
                    }
                    for metric in facts.metrics
                    if (metric.task, metric.output) == (task, output)
                ],
            }
            for task, output in dict.fromkeys((metric.task, metric.output) for metric in facts.metrics)
        ]
        values["model-index"] = [{"name": facts.full_name, "results": results}]
    return "\n".join(f"{key}: {_yaml(value)}" for key, value in values.items())


def _yaml(value: Any) -> str:
    """JSON on one line whose strings hold printable characters only."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # An unprintable character stands inside a string, where its escape means the same.
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


def _difference(metric: MetricFacts) -> str:
    found = _signed(metric.difference)
    if metric.low is None or metric.high is None:
        return found
    return f"{found} [{_signed(metric.low)}, {_signed(metric.high)}]"


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) >= 0.1 or not value else f"{value:+.4f}"


def _real(tensor: TensorFacts) -> str:
    """Return the meaning of a stored value."""
    if tensor.scale is None:
        return "as stored"
    return f"(stored {-tensor.zero_point:+d}) x {tensor.scale:.9g}".replace(" +", " + ").replace(" -", " - ")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)
