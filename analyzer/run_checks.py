"""What can be seen to be wrong with a request before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.errors import GateError
from analyzer.gate_file import DatasetRule, Gate


def check_gate(
    gate: Gate, models: Sequence[str], champion: str | None, datasets: Sequence[str]
) -> None:
    """See that a gate has whom to judge and on what, before hours are spent on it.

    Raises:
        GateError: there is no model beside the champion, or no such dataset; says which there are.
    """
    if all(model == champion for model in models):
        raise GateError("a gate judges models beside the champion; name one more with --model")
    for rules in (gate.rules.absolute, gate.rules.relative):
        for name, rule in rules:
            wanted = rule.datasets or () if isinstance(rule, DatasetRule) else ()
            for dataset in wanted:
                if dataset not in datasets:
                    raise GateError(
                        f"{gate.file}: {name}: no dataset {dataset!r} is analysed; there are "
                        f"{', '.join(datasets)}; name it with --dataset {dataset}=…"
                    )
