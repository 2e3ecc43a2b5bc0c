"""The gate: every rule of a gate.yaml, judged on what an analysis found."""

from __future__ import annotations

from analyzer.errors import GateError
from analyzer.gate_absolute import judge_absolute
from analyzer.gate_file import Gate, read_gate
from analyzer.gate_relative import judge_relative
from analyzer.gate_subjects import Case
from analyzer.result import GateResult, Result, RuleVerdict

__all__ = ["judge", "p99_sizes", "read_gate"]


def p99_sizes(gate: Gate) -> tuple[int, ...]:
    """Sizes of batches whose 99th percentile the gate asks for, rising."""
    absolute = {rule.batch_size for rule in gate.rules.absolute.p99}
    relative = {rule.batch_size for rule in gate.rules.relative.p99}
    return tuple(sorted(absolute | relative))


def judge(gate: Gate, result: Result, champion: str | None) -> GateResult:
    """Judge every model of ``result`` but the champion.

    Args:
        gate: by ``read_gate``.
        result: of an analysis; of nothing else does the verdict depend.
        champion: the model that is served now, by its name in the result; None: there is none.

    Returns:
        A verdict for each rule, model and dataset; it passes if all of them do.

    Raises:
        GateError: the champion is not in the result, or there is no other model.
    """
    names = [model.name for model in result.models]
    if champion is not None and champion not in names:
        raise GateError(f"the champion {champion!r} was not analysed; there are {', '.join(names)}")
    candidates = [name for name in names if name != champion]
    if not candidates:
        raise GateError("a gate judges models beside the champion; name one more with --model")
    verdicts: list[RuleVerdict] = []
    for candidate in candidates:
        case = Case(result, candidate, champion or "")
        verdicts += judge_absolute(gate.rules.absolute, case)
        verdicts += judge_relative(gate.rules.relative, case)
    return GateResult(
        file=gate.file,
        champion=champion,
        passed=all(verdict.passed for verdict in verdicts),
        verdicts=tuple(verdicts),
    )
