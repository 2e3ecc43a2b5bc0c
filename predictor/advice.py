"""One sentence on what limits a pod and what to do about it. Pure."""

from __future__ import annotations

import math

from predictor.capacity import ALIKE, Balance, Stage


def advice(found: Balance) -> str:
    """Which stage limits, how much the next one could do, and what to add.

    Empty while nothing has been measured.
    """
    limit, capacity = found.bottleneck, found.capacity
    if limit is None or capacity is None:
        return ""
    if not capacity:
        return f"{limit.name} limits: no {limit.worker} takes work at the moment"
    if found.by_cores:
        return (
            f"{limit.name} limits, for want of cores: {capacity:,.0f} img/s on "
            f"{_count(found.cores.count, 'core')}, which all stages share: add cores or pods"
        )
    does = f"{limit.name} limits: {capacity:,.0f} img/s on {_count(limit.workers, limit.worker)}"
    after = _next(found, limit)
    could = 2 * capacity if after is None else after.capacity or 0.0
    then = "" if after is None else f"; {after.name} could do {could:,.0f}"
    return f"{does}{then}: {_remedy(found, limit, could / capacity)}"


def _next(found: Balance, limit: Stage) -> Stage | None:
    """What would limit then: the least of the stages that other workers do."""
    others = [
        stage
        for stage in found.stages
        if stage.worker != limit.worker and (stage.capacity or 0) > ALIKE * (limit.capacity or 0)
    ]
    return min(others, key=lambda stage: stage.capacity or 0, default=None)


def _remedy(found: Balance, limit: Stage, factor: float) -> str:
    """What to add so that a stage does ``factor`` times as much."""
    more = max(1, math.ceil(limit.workers * factor - 1e-6) - limit.workers)
    if limit.worker == "decode thread":
        return _on_cores(found, limit, _count(more, "decode thread"), factor)
    if limit.worker == "event loop":
        return _on_cores(found, limit, _count(more, "frontend"), factor)
    if limit.worker == "slot":
        frontends = found.stages[0].workers
        return f"max_queue_size of {-(-found.slots_wanted // frontends)} lets batches fill"
    if limit.worker == "connection":
        return "clients take their answers too slowly: more connections, or faster clients"
    return f"add {_count(more, 'instance')}, each with a device or cores of its own"


def _on_cores(found: Balance, limit: Stage, more: str, factor: float) -> str:
    """``more`` of the workers, as long as there are cores for them."""
    cores = found.cores
    wanted = (limit.capacity or 0) * factor * (cores.busy_s or 0)
    short = math.ceil(wanted - 1e-6) - cores.count
    if short <= 0:
        return f"add {more}"
    if limit.worker == "decode thread" and limit.workers >= cores.count:
        return f"add {_count(short, 'core')}"  # there is a thread for each that is added
    return f"add {more} and {_count(short, 'core')}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
