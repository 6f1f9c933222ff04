"""Gates on the file and on where its operators run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import SMALL_FILE_BYTES
from pipeline.validation.compatibility import needs_newer
from pipeline.validation.report import Verdict

if TYPE_CHECKING:
    from pipeline.config import GatesConfig
    from pipeline.validation.report import Outcome, Report

# Operators with arithmetic of their own that LiteRT 2.3's XNNPACK does not take in int8.
WITHOUT_XNNPACK_INT8 = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM", "BATCH_MATMUL", "CONV_3D"})


def full_integer(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Check that no operator computes in floating point, and that input and output are integers.

    It warns where the converter could not make that of the model.
    """
    left = report.quantized.float_operators
    got = "integers throughout" if report.quantized.integer_io else "a float input or output"
    if left:
        computes = [operator for operator in left if not operator.is_cast]
        got = f"{len(left)} float operators, first {(computes or left)[0]}"
    outcome: Outcome = "failed" if left or not report.quantized.integer_io else "passed"
    if report.degraded:
        got, outcome = f"{report.format}: {report.format_reason}", "warning"
    return (Verdict(gate="full integer", outcome=outcome, got=got, allowed="no float operator"),)


def size(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """The int8 file against the float file; a file of few kilobytes is mostly structure and only warns.

    So does one that could not become int8 throughout, or whose recurrent layers were written out.
    """
    if report.baseline is None:
        return ()
    got, limit = report.quantized.size_bytes, allowed.size_ratio * report.baseline.size_bytes
    excused = got < SMALL_FILE_BYTES or report.degraded or bool(report.unrolled)
    beyond: Outcome = "warning" if excused else "failed"
    outcome = "passed" if got <= limit else beyond
    ratio = f"{got / report.baseline.size_bytes:.2f} of float"
    return (Verdict(gate="size", outcome=outcome, got=ratio, allowed=f"{allowed.size_ratio:.2f} of float"),)


def download(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """What a device downloads, where there is a limit."""
    if allowed.download_bytes is None:
        return ()
    got = report.quantized.compressed_bytes
    outcome: Outcome = "passed" if got <= allowed.download_bytes else "failed"
    limit = f"at most {allowed.download_bytes:,} bytes"
    return (Verdict(gate="download", outcome=outcome, got=f"{got:,} bytes", allowed=limit),)


def xnnpack(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Share of the arithmetic that runs in XNNPACK int8 kernels.

    Of a model that could not become int8 throughout, XNNPACK's float kernels count too, and it only warns; so
    it does where the rest runs in operators that XNNPACK has no int8 kernel for.
    """
    placed = report.delegation[0]
    limit = f"at least {allowed.xnnpack_share:.0%} of MACs"
    if report.runtime == "tflite-runtime":
        got = "tflite-runtime has no XNNPACK for int8"
        return (Verdict(gate="xnnpack", outcome="skipped", got=got, allowed=limit),)
    share, kernels = placed.share("xnnpack-int8"), "int8 kernels"
    if report.degraded:
        share, kernels = share + placed.share("xnnpack-float"), "int8 and float kernels"
    elsewhere = {node.op for node in placed.nodes if node.placement == "builtin"}
    without_kernel = sorted(elsewhere & WITHOUT_XNNPACK_INT8)
    got = f"{share:.1%} in {kernels}"
    if share < allowed.xnnpack_share and without_kernel:
        got += f"; XNNPACK has no int8 kernel for {', '.join(without_kernel)}"
    beyond: Outcome = "warning" if report.degraded or without_kernel else "failed"
    outcome = "passed" if share >= allowed.xnnpack_share else beyond
    return (Verdict(gate="xnnpack", outcome=outcome, got=got, allowed=limit),)


def compatibility(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Judge whether the minimum runtime has every operator of the file, in its version."""
    if not allowed.min_runtime:
        return ()
    missing = needs_newer(report.compatibility, allowed.min_runtime)
    got = missing or "every operator is there"
    outcome: Outcome = "failed" if missing else "passed"
    return (
        Verdict(gate="compatibility", outcome=outcome, got=got, allowed=f"runs on {allowed.min_runtime}"),
    )


def cross_runtime(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """A warning where a runtime that devices may still carry cannot run the model, or answers worse."""
    ours, margin = report.runtimes[0], allowed.accuracy_drop_points
    verdicts = []
    for found in report.runtimes:
        cause = found.problem
        if found.value is not None and ours.value is not None and found.value <= ours.value - margin:
            cause = f"{found.metric} {found.value:.2f} instead of {ours.value:.2f}"
        if cause:
            verdicts.append(
                Verdict(
                    gate="cross-runtime",
                    subject=found.runtime,
                    outcome="warning",
                    got=cause,
                    allowed="runs it as well",
                )
            )
    return tuple(verdicts)
