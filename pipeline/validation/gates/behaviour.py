"""Gates on what the model does on devices, over time and under faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.validation.report import Verdict

if TYPE_CHECKING:
    from pipeline.config import GateName, GatesConfig
    from pipeline.node_parity import Parity
    from pipeline.validation.report import Outcome, Report


def _verdict(gate: GateName, ok: bool, got: str, allowed: str, subject: str = "") -> Verdict:
    outcome: Outcome = "passed" if ok else "failed"
    return Verdict(gate=gate, subject=subject, outcome=outcome, got=got, allowed=allowed)


def bit_exactness(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Every device returns the host's bits, so that the host's accuracy is the device's.

    A device that is off by no more than the allowed steps is judged on its own accuracy, and a warning says
    so. XNNPACK kernels are bit-exact; builtin ones such as SOFTMAX have their own tables on Arm.
    """
    most = allowed.bit_difference_steps
    limit = f"all equal, or within {most}" if most else "all equal"
    verdicts = []
    for device in report.devices:
        equal = device.golden_samples - device.differing_samples
        got = f"{equal} of {device.golden_samples} equal"
        outcome = _bits(device.differing_samples, device.largest_difference, most)
        if device.differing_samples:
            got += f", off by {device.largest_difference:.3g}"
        if device.accuracy:
            there = device.accuracy[0]
            got += f"; {there.primary.name} {there.primary.quantized:.2f} of {there.samples:,} samples there"
        verdicts.append(
            Verdict(gate="bit-exactness", subject=device.device, outcome=outcome, got=got, allowed=limit)
        )
    return tuple(verdicts)


def _bits(differing: int, largest: float, most: int) -> Outcome:
    if not differing:
        return "passed"
    return "warning" if largest <= most else "failed"


def parity(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Name the first node that, given the same inputs, differs by too many steps from what is right.

    The host's LiteRT is compared with the model with fake quantization, and other runtimes with the host's
    LiteRT. A runtime that no device of the target has only warns; so do the reference kernels where the host
    agrees with the model with fake quantization, as then they are the ones that are wrong.
    """
    most = allowed.parity_steps
    limit = f"each node within {most} step{'s' * (most != 1)}"
    agrees = any(
        pair.is_fake_quantized and not pair.problem and pair.beyond(most) is None for pair in report.parity
    )
    verdicts = []
    for pair in report.parity:
        beyond, worst = pair.beyond(most), pair.worst
        if pair.problem:
            outcome: Outcome = "skipped"
            got = pair.problem if pair.is_fake_quantized else "the nodes do not run by themselves"
        elif beyond is not None:
            is_excused = (agrees and pair.is_reference) or not _is_required(pair, report.runtime)
            outcome = "warning" if is_excused else "failed"
            got = f"{beyond.name}: {beyond.size}"
            got += f"; [gates] parity_steps = {beyond.largest_difference:g} accepts it"
        else:
            size = worst.size if worst is not None and worst.in_steps else "0 steps"
            outcome, got = "passed", f"{pair.nodes} nodes within {size}"
        verdicts.append(Verdict(gate="parity", subject=pair.subject, outcome=outcome, got=got, allowed=limit))
    return tuple(verdicts)


def _is_required(pair: Parity, package: str) -> bool:
    """Whether the other one is a device, or a package that the target's devices have, or judges the file."""
    return pair.is_device or pair.is_fake_quantized or pair.is_reference or pair.other.startswith(package)


def stability(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Constant outputs, memory, latency and open files over a long run; one output for every thread count.

    Memory fails where the lower end of the slope's interval is beyond what is allowed. Processor time fails
    where it is beyond that by more than a fresh interpreter's own moved; a smaller excess is inconclusive,
    and never fails a build.
    """
    runs = report.stability.soaks if report.stability else ()
    max_bytes, max_latency = allowed.leak_bytes_per_inference, allowed.latency_growth
    limit = f"all equal, up to {max_bytes:g} bytes an inference and +{max_latency:.0%}"
    verdicts = []
    for run in runs:
        same = run.changed_outputs == 0 and run.output_sha256 == runs[0].output_sha256
        got = (
            f"{run.inferences:,} equal"
            if same
            else f"{run.changed_outputs or 'all'} of {run.inferences:,} differ"
        )
        got += f", {run.growth_bytes_per_inference:+.1f} bytes an inference"
        if run.latency is not None:
            got += f", {run.latency.value:+.1%} [{run.latency.low:+.1%}, {run.latency.high:+.1%}]"
        over = run.latency.low - max_latency if run.latency else 0.0
        slows, shown = over > 0, over > run.control_reach
        if slows and not shown:
            got += f" where the control moved by up to {run.control_reach:.1%}"
        if run.leaked_files:
            got += f", {run.leaked_files} files left open"
        leaks = run.leak_bytes_per_inference > max_bytes or run.leaked_files > 0
        outcome: Outcome = "inconclusive" if slows else "passed"
        if not same or leaks or shown:
            outcome = "failed"
        threads = f"{run.threads} thread{'s' * (run.threads > 1)}"
        verdicts.append(Verdict(gate="stability", subject=threads, outcome=outcome, got=got, allowed=limit))
    return tuple(verdicts)


def finite_outputs(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Check that no output is infinite or NaN; integer outputs are skipped."""
    samples = report.runtimes[0].golden_samples
    if not any("float" in tensor.dtype for tensor in report.outputs):
        return ()
    got = f"{samples - report.not_finite} of {samples} samples"
    return (_verdict("finite outputs", not report.not_finite, got, "all"),)


def faults(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Whatever is done to the model, it ends as it should: the same answers, or a clean end."""
    made = report.stability.faults if report.stability else ()
    if not made:
        return ()
    bad = [fault for fault in made if not fault.passed]
    got = f"{len(made) - len(bad)} of {len(made)} ended well"
    if bad:
        got += f"; {bad[0].action}: {bad[0].outcome}"
    return (_verdict("faults", not bad, got, "all"),)


def board(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Judge the emulated board: bit-exact and constant outputs, faults handled, enough memory."""
    found = report.board
    if found is None:
        return ()
    run, soak, most = found.run, found.run.bench.soak, allowed.bit_difference_steps
    faults = [fault for fault in run.faults if not fault.passed]
    constant = soak.changed_outputs == 0 and soak.hashes_equal and not soak.leaked_files
    equal = f"{found.samples - found.differing_samples} of {found.samples} equal"
    if found.differing_samples:
        equal += f", off by {found.largest_difference:.3g}"
    least = run.process_memory.min_mib
    limit = "all equal, or within {most}" if most else "all equal"
    kept = f"{soak.changed_outputs} of {soak.inferences:,} differ, "
    kept += f"{len(run.faults) - len(faults)} of {len(run.faults)} faults ended well"
    if faults:
        kept += f"; {faults[0].action}: {faults[0].outcome}"
    verdicts = [
        Verdict(
            gate="board",
            subject="bit-exactness",
            outcome=_bits(found.differing_samples, found.largest_difference, most),
            got=equal,
            allowed=limit.format(most=most),
        ),
        _verdict("board", constant and not faults, kept, "all equal, all well", "stability"),
    ]
    if allowed.process_memory_mib is not None:
        got = f"{least} MiB" if least is not None else "more than was tried"
        ok = least is not None and least <= allowed.process_memory_mib
        limit = f"up to {allowed.process_memory_mib} MiB"
        verdicts.append(_verdict("board", ok, got, limit, "memory"))
    return tuple(verdicts)
