"""Which variant of a package an instance serves: measured on its device, agreed with its kin."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from model_store.package import ModelPackage, Variant
from predictor.errors import OutOfMemoryError, StartupError
from predictor.golden import check_golden
from predictor.process import InstanceOrder, told
from predictor.runtimes import Runtime
from predictor.runtimes.loading import candidates, load_runtime

logger = logging.getLogger(__name__)

# A variant further down is less exact, and has to be faster by more than what timing is unsure of.
AS_FAST = 0.95
BATCHES = (1, 8, 32)  # a CPU is at its best with the first ones, a GPU with the last
TIMING_S, LEAST_RUNS = 0.15, 2  # per batch size
# No batch size is tried that would take a variant longer, and no variant is begun once so much of a
# start has been spent: a heavy network, or TensorRT building engines, would take minutes each.
SIZE_S, CHOOSING_S = 2.0, 20.0
# On a CPU, what was much slower than the first one where it was packaged, on a CPU too, is not
# tried: half precision, and PyTorch, which keeps 300 MB once it has been imported.
HOPELESS = 0.8

Propose = Callable[[str], str]  # a file to serve; gives the one that is agreed on


def fastest(measured: Sequence[tuple[Variant, float]]) -> Variant:
    """The first of the variants that are within 5 % of the fastest.

    Args:
        measured: variants in the order of the package, and images per second.
    """
    limit = AS_FAST * max(rate for _, rate in measured)
    return next(variant for variant, rate in measured if rate >= limit)


def choose_variant(package: ModelPackage, order: InstanceOrder, propose: Propose) -> Variant:
    """The variant to serve: the only one that may be, or the fastest here.

    What is found fastest is proposed, and what is agreed on is served, so that all instances on
    one kind of device give the same answers.

    Raises:
        StartupError: there is none.
    """
    manifest = package.manifest
    named = _worth_measuring(candidates(manifest, order.variant, order.kind), order.kind)
    if len(named) == 1 or order.emulated is not None:
        return named[0]
    measured = _measured(package, order, named)
    agreed = propose(fastest(measured).file)
    served = next((variant for variant, _ in measured if variant.file == agreed), None)
    if served is None:
        raise StartupError(
            f"device {order.device}: does not serve {agreed}, which others of its kind serve (its "
            f"log says why); choose one for all, such as --variant {measured[0][0].file}"
        )
    rates = ", ".join(f"{variant.file} {rate:.0f}" for variant, rate in measured)
    logger.info("variant %s of those measured here (images/s): %s%s", agreed, rates, _kept(served))
    return served


def _worth_measuring(named: Sequence[Variant], device_kind: str) -> list[Variant]:
    """Those that have a chance on this kind of device; the first one in any case."""
    return [
        variant
        for number, variant in enumerate(named)
        if number == 0 or device_kind != "cpu" or not _hopeless(variant)
    ]


def _hopeless(variant: Variant) -> bool:
    if variant.proof is None:
        return False
    measured = variant.proof.measured
    return measured.device.startswith("cpu") and max(measured.times_the_first.values()) < HOPELESS


def _kept(variant: Variant) -> str:
    if variant.proof is None:
        return ""
    held_out = variant.proof.held_out
    return f"; top-1 agreement {held_out.top1_agreement:.1%} on {held_out.images} held-out images"


def _measured(
    package: ModelPackage, order: InstanceOrder, named: Sequence[Variant]
) -> list[tuple[Variant, float]]:
    """Images per second of each variant that runs on this device and answers its golden images.

    Raises:
        StartupError: none does.
    """
    measured: list[tuple[Variant, float]] = []
    failure = ""
    end = time.monotonic() + CHOOSING_S
    for number, variant in enumerate(named):
        if measured and time.monotonic() > end:
            left = ", ".join(each.file for each in named[number:])
            logger.warning("not measured, since it takes too long here: %s", left)
            break
        try:
            measured.append((variant, _measure(package, order, variant)))
        # Whatever a runtime raises, this variant is not for this device; another one may be.
        except Exception as error:  # noqa: BLE001 (says why above)
            failure = told(error)
            logger.warning("variant %s is left out: %s", variant.file, failure)
    if not measured:
        raise StartupError(f"device {order.device}: {failure}")
    return measured


def _measure(package: ModelPackage, order: InstanceOrder, variant: Variant) -> float:
    """Images per second; raises what the runtime raises, or that the answers are not right."""
    runtime = load_runtime(package, order.kind, order.threads, None, variant)
    try:
        check_golden(package, runtime, variant)
        return _rate(runtime, package.manifest.input.shape)
    finally:
        runtime.close()


def _rate(runtime: Runtime, shape: tuple[int, int, int]) -> float:
    """The best rate over a few batch sizes, images per second."""
    best = 0.0
    for size in BATCHES:
        too_many = runtime.largest_batch is not None and size > runtime.largest_batch
        if best and (too_many or size * (LEAST_RUNS + 1) / best > SIZE_S):
            break
        try:
            seconds = _least_s(runtime, np.zeros((size, *shape), np.uint8))
        except OutOfMemoryError:
            if not best:
                raise
            break
        best = max(best, size / seconds)
    return best


def _least_s(runtime: Runtime, images: NDArray[np.uint8]) -> float:
    runtime.run(images)  # the first run of a size allocates
    least, runs = float("inf"), 0
    end = time.perf_counter() + TIMING_S
    while runs < LEAST_RUNS or time.perf_counter() < end:
        began = time.perf_counter()
        runtime.run(images)
        least = min(least, time.perf_counter() - began)
        runs += 1
    return least
