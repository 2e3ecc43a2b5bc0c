"""What a scaling study was to show, and whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.scaling import AGREES, GOAL, GOAL_PODS, PodRow, Row, Series


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was wanted.

    Attributes:
        wanted: in words.
        reached: what came of it, or why nobody can tell.
        holds: None where it was not checked.
    """

    wanted: str
    reached: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "yes", False: "no", None: "not checked"}[self.holds]


def findings(series: Sequence[Series], pods: Sequence[PodRow]) -> tuple[Finding, ...]:
    """Whether real and simulated agree, and whether 24 pods give what was wanted of them."""
    return _agreement(series), _efficiency(pods)


def failures(found: Sequence[Finding]) -> tuple[str, ...]:
    """Why a check of these fails, a line each; empty where all that was checked holds.

    A check of nothing fails as well: it would be passed by a study that measured nothing.
    """
    failed = tuple(f"{each.wanted}: {each.reached}" for each in found if each.holds is False)
    if not failed and not any(each.holds for each in found):
        return ("nothing was checked: " + "; ".join(each.reached for each in found),)
    return failed


def _agreement(series: Sequence[Series]) -> Finding:
    wanted = f"real and simulated within {AGREES:.0%} where these cores carry the real one"
    if not series:
        return Finding(wanted, "no real pod was asked for", None)
    rows = [row for each in series for row in each.rows]
    compared = [row for row in rows if row.agrees is not None]
    left_out = _left_out([row for row in rows if row.agrees is None])
    if not compared:
        return Finding(wanted, f"no row can be compared ({left_out})", False)
    worst = max(_apart(row) for row in compared)
    reached = (
        f"{sum(bool(row.agrees) for row in compared)} of {len(compared)} rows, "
        f"at most {worst:.1%} apart"
    )
    if left_out:
        reached += f"; not compared: {left_out}"
    return Finding(wanted, reached, all(row.agrees for row in compared))


def _left_out(rows: Sequence[Row]) -> str:
    """How many and why, and how far those that were measured are from what was simulated."""
    reasons: dict[str, list[Row]] = {}
    for row in rows:
        reasons.setdefault(row.compared.removeprefix("no: "), []).append(row)
    said = []
    for reason, alike in reasons.items():
        measured = [_apart(row) for row in alike if row.ratio is not None]
        apart = f", up to {max(measured):.1%} apart" if measured else ""
        said.append(f"{len(alike)} {reason}{apart}")
    return "; ".join(said)


def _apart(row: Row) -> float:
    return abs((row.ratio or 1.0) - 1)


def _efficiency(pods: Sequence[PodRow]) -> Finding:
    wanted = f"{GOAL_PODS} simulated pods give at least {GOAL:.0%} of as many times one"
    for row in pods:
        if row.pods == GOAL_PODS:
            return Finding(wanted, f"{row.efficiency:.2%}", row.efficiency >= GOAL)
    return Finding(wanted, f"{GOAL_PODS} pods were not simulated", None)
