"""Which images the page has, where it cannot have all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analyzer.report.embedding import as_json
from analyzer.report.rows import Table


def ranked(tables: Sequence[Table]) -> list[tuple[int, int]]:
    """Table and row of every image; what should be shown first, first."""
    if not tables:
        return []
    interest = np.concatenate([table.interest() for table in tables])
    places = [(place, row) for place, table in enumerate(tables) for row in range(len(table.names))]
    return [places[at] for at in np.argsort(-interest, kind="stable").tolist()]


def _row_bytes(table: Table) -> NDArray[np.float64]:
    """(n,): what each row takes in the page, without its thumbnail."""
    names = np.array([len(as_json(name)) + 1 for name in table.names], dtype=np.float64)
    width = sum(
        (2 + 4 * each.indices.shape[1]) * (1 if len(each.labels) < 2**15 else 2)
        for each in table.answers
    )
    errors = np.zeros(len(names))
    for each in table.answers:
        for row, text in each.errors.items():
            errors[row] += len(as_json(text)) + 12
    found: NDArray[np.float64] = names + errors + (width + 4) * 4 / 3
    return found


def fitting(tables: Sequence[Table], budget_bytes: int) -> list[Table]:
    """The tables with no more rows than ``budget_bytes`` hold, in the tables' own order."""
    costs = [_row_bytes(table) for table in tables]
    if sum(cost.sum() for cost in costs) <= budget_bytes:
        return list(tables)
    rows: list[list[int]] = [[] for _ in tables]
    for place, row in ranked(tables):
        budget_bytes -= int(costs[place][row]) + 1
        if budget_bytes < 0:
            break
        rows[place].append(row)
    return [
        table.at(np.array(sorted(own), dtype=np.int64))
        for table, own in zip(tables, rows, strict=True)
    ]
