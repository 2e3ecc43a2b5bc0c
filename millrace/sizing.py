"""How many pods, and of what size, a load takes: arithmetic on what was measured."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from predictor.calibration import default_frontends
from study.curve import learn_curve
from study.device import Device
from study.shape import LOOP_S, NETWORK_S, PodShape

MIB, GIB = 2**20, 2**30
TARGET_LOAD = 0.7  # of what pods can answer: docs/study.md, what a fleet's pods shall have
LOOP_LOAD = 0.7  # of an event loop, beyond which requests wait for it
# Bounds that docs/settings.md gives: bodies that one frontend holds, and its slots.
BUFFERED_BYTES, SLOTS = 512 * MIB, 256
# What processes take besides: measured on a CPU under load (211 and 86 MiB), assumed with a GPU.
FRONTEND_BYTES, CPU_INSTANCE_BYTES, GPU_INSTANCE_BYTES = 256 * MIB, 128 * MIB, 1536 * MIB
JSON_BYTES, TMP_BYTES = (
    512 * MIB,
    512 * MIB,
)  # a large JSON body while it is parsed; what /tmp may hold
MODEL_COPIES = 3  # of the weights in an instance: as read, as optimised, and what it computes with
SEED = 1


class SizingError(Exception):
    """A file that pods cannot be sized by."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a model.

    Attributes:
        instance_rate: images/s of one instance on its device, in full batches.
        core_rate: images/s that one core receives, decodes and answers; inference not counted.
    """

    instance_rate: float
    core_rate: float


@dataclass(frozen=True, slots=True)
class PodKind:
    """What each pod is given.

    Attributes:
        cores: CPUs.
        instances: devices, with one instance each; 0: inference is on the cores.
        input_bytes: of the pixels of one image as the network takes it.
        model_bytes: of the package.
    """

    cores: int
    instances: int
    input_bytes: int
    model_bytes: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """What came out.

    Attributes:
        pods: how many.
        pod_rate: images/s that one can answer.
        limit: what limits it, ``infer`` or ``cores``.
        load: of the target on them, as a share of what they can answer.
        frontends: processes in each, for its event loops and decoders.
        memory_gib: of each, by the bounds on what it holds.
        concurrency: requests that one has in flight at ``TARGET_LOAD``.
        queue: images that may wait on each before more pods are wanted: a full batch per device.
    """

    pods: int
    pod_rate: float
    limit: str
    load: float
    frontends: int
    memory_gib: int
    concurrency: int
    queue: int

    @property
    def is_enough(self) -> bool:
        """Whether that many pods can answer the target at all."""
        return self.load <= 1


def size(measured: Measured, kind: PodKind, target_rps: float, pods: int | None = None) -> Sizing:
    """Size pods for ``target_rps`` requests/s of one image each.

    Args:
        measured: of the model.
        kind: what each pod is given.
        target_rps: at the peak.
        pods: how many there are to be; None: as many as carry the target at ``TARGET_LOAD``.
    """
    rate, limit = _pod_rate(measured, kind)
    pods = pods or math.ceil(target_rps / (TARGET_LOAD * rate))
    # For the event loops' time, and for the decoders' share of an interpreter.
    frontends = max(math.ceil(rate * LOOP_S / LOOP_LOAD), default_frontends(kind.cores))
    return Sizing(
        pods=pods,
        pod_rate=rate,
        limit=limit,
        load=target_rps / (pods * rate),
        frontends=frontends,
        memory_gib=_memory_gib(kind, frontends),
        concurrency=_concurrency(measured, kind, rate),
        queue=Device.of_rate(rate / max(1, kind.instances)).batch * max(1, kind.instances),
    )


def _pod_rate(measured: Measured, kind: PodKind) -> tuple[float, str]:
    """Images/s of a pod, and what limits them."""
    if kind.instances == 0:
        # Both share the cores, so what an image takes of them adds up.
        return kind.cores / (1 / measured.core_rate + 1 / measured.instance_rate), "cores"
    infer, cores = kind.instances * measured.instance_rate, kind.cores * measured.core_rate
    return (infer, "infer") if infer <= cores else (cores, "cores")


def _memory_gib(kind: PodKind, frontends: int) -> int:
    instances = kind.instances or kind.cores
    of_frontend = BUFFERED_BYTES + FRONTEND_BYTES + SLOTS * kind.input_bytes
    of_instance = CPU_INSTANCE_BYTES if kind.instances == 0 else GPU_INSTANCE_BYTES
    of_instance += MODEL_COPIES * kind.model_bytes
    total = JSON_BYTES + TMP_BYTES + frontends * of_frontend + instances * of_instance
    return math.ceil(total / GIB)


def _concurrency(measured: Measured, kind: PodKind, rate: float) -> int:
    """Of pods behind a gateway, simulated image by image with the predictor's own scheduling."""
    if kind.instances == 0:
        shape = PodShape(Device.of_rate(rate), kind.cores, decode_s=0)
    else:
        decode_s = max(0.0, 1 / measured.core_rate - LOOP_S)
        device = Device.of_rate(kind.instances * measured.instance_rate)
        shape = PodShape(device, max(2, kind.cores), decode_s)
    loads = (TARGET_LOAD,)
    curve = learn_curve(shape, "least_request", NETWORK_S, SEED, lambda _what: None, loads)
    return max(1, round(float(np.max(curve.concurrency))))


def read_measured(file: Path) -> Measured:
    """What a pod says of its stages: a saved answer of ``/v2/models/NAME/stages``.

    Raises:
        SizingError: it is none, or of a pod that has not been under load yet.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        infer = next(stage for stage in content["stages"] if stage["name"] == "infer")
        infer_ms, cores_ms = infer["busy_ms"], content["cores"]["busy_ms"]
        # A stage's capacity is that of full batches, whatever the batches have been.
        rate = infer["capacity"] and infer["capacity"] / infer["workers"]
        on_cores = all(
            one["device"].startswith(("cpu", "openvino")) for one in content["instances"]
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise SizingError(
            f"{file}: no answer of /v2/models/NAME/stages ({type(error).__name__}: {error})"
        ) from error
    if not (infer_ms and cores_ms and rate):
        raise SizingError(
            f"{file}: of a pod that has answered too little: ask again while it is under load"
        )
    if not on_cores:
        return Measured(rate, 1e3 / cores_ms)
    # On a CPU the cores' time has the instances' in it; what is left is of decoders and frontends.
    if infer_ms >= cores_ms:
        raise SizingError(
            f"{file}: an image takes {cores_ms} ms of the cores and {infer_ms} ms of inference: "
            "ask again while the pod is under load"
        )
    return Measured(1e3 / infer_ms, 1e3 / (cores_ms - infer_ms))
