"""The load client of this product, as a study uses it."""

from __future__ import annotations

from loadgen.client import run
from loadgen.errors import LoadError
from loadgen.images import Image
from loadgen.plan import Closed, Plan
from study.errors import StudyError
from study.load import Ask, Loaded, pictures


def load_client(ask: Ask) -> Loaded:
    """As ``study.load.Load``; the latencies are those of the requests, uncorrected."""
    images = (Image(f"noise {number}", one) for number, one in enumerate(pictures(ask.size)))
    plan = Plan(
        (ask.endpoint,),
        tuple(images),
        Closed(ask.clients),
        model=ask.model,
        images_per_request=ask.images,
        duration_s=ask.seconds,
        warm_up_s=ask.warm_up_s,
    )
    try:
        report = run(plan)
    except LoadError as error:
        raise StudyError(str(error)) from error
    if report.stop_wanted:
        raise StudyError("interrupted")
    service = report.total.service
    return Loaded(
        report.images_per_s,
        report.total.failed,
        service.mean_us / 1e6,
        service.percentile_us(50) / 1e6,
        service.percentile_us(99) / 1e6,
    )
