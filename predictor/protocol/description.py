"""What a pod says about itself: metadata, configuration, statistics, repository index.

Plain data in the words of the Open Inference Protocol and of Triton's extensions; REST sends it as
JSON, gRPC as the messages of the same shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

from predictor.advice import advice
from predictor.capacity import Stage
from predictor.counts import BATCH_DURATIONS, DURATIONS, execution_count, inference_count
from predictor.protocol.tensors import INPUT_NAME, OUTPUT_DATATYPES
from predictor.queue_policy import QueuePolicy
from predictor.repository import IndexEntry, Repository
from predictor.served_version import ServedVersion
from predictor.settings import Settings
from predictor.stage_report import InstanceReport, StageReport
from predictor.versions import Versions
from predictor.workers import Use, Workers

SERVER_NAME = "millrace"
# By the runtime of a package's serving graph.
BACKENDS = {"onnx": "onnxruntime", "torch": "pytorch"}
PLATFORMS = {"onnx": "millrace_onnx", "torch": "millrace_torch"}
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "parameters",
    "schedule_policy",
    "model_configuration",
    "statistics",
)
NO_GPU = ("cpu", "openvino", "emulated")
CONFIG_TYPES = {"INT64": "TYPE_INT64", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}


class Description:
    """Describes one pod.

    Args:
        versions: of the model.
        settings: of the pod.
        repository: index, load and unload.
        workers: what the pod has to work with.
    """

    def __init__(
        self, versions: Versions, settings: Settings, repository: Repository, workers: Workers
    ) -> None:
        self._versions = versions
        self._settings = settings
        self._repository = repository
        self._workers = workers

    def server(self) -> dict[str, Any]:
        """Name, version and the extensions that work."""
        repository = ("model_repository",) if self._repository.open else ()
        return {
            "name": SERVER_NAME,
            "version": metadata.version("millrace"),
            "extensions": [*EXTENSIONS, *repository],
        }

    def model(self, served: ServedVersion) -> dict[str, Any]:
        """Names, types and shapes of a version's tensors."""
        manifest = served.classifier.package.manifest
        return {
            "name": self._versions.name,
            "versions": [version.name for version in self._versions],
            "platform": PLATFORMS[served.variant.runtime],
            "inputs": [{"name": INPUT_NAME, "datatype": "BYTES", "shape": [-1, 1]}],
            "outputs": [
                {"name": name, "datatype": datatype, "shape": [-1, manifest.top_k]}
                for name, datatype in OUTPUT_DATATYPES.items()
            ],
        }

    def config(self, served: ServedVersion) -> dict[str, Any]:
        """A version's configuration, as Triton's clients read it.

        ``max_batch_size`` is the most images that one *request* may hold; what instances batch is
        in ``dynamic_batching``.
        """
        classifier = served.classifier
        manifest = classifier.package.manifest
        graph = served.variant
        groups = Counter(_group(device) for device in served.devices.values())
        versions = [int(one.name) for one in self._versions if one.name.isdigit()]
        return {
            "name": classifier.name,
            "platform": PLATFORMS[graph.runtime],
            "backend": BACKENDS[graph.runtime],
            "version_policy": {"specific": {"versions": versions}},
            "max_batch_size": classifier.dispatcher.capacity,
            "input": [
                {
                    "name": INPUT_NAME,
                    "data_type": "TYPE_STRING",
                    "format": "FORMAT_NONE",
                    "dims": [1],
                }
            ],
            "output": [
                {"name": name, "data_type": CONFIG_TYPES[datatype], "dims": [manifest.top_k]}
                for name, datatype in OUTPUT_DATATYPES.items()
            ],
            "instance_group": [_instance_group(device, count) for device, count in groups.items()],
            "default_model_filename": graph.file,
            "dynamic_batching": self._dynamic_batching(classifier.dispatcher.batch_sizes()),
            "model_transaction_policy": {"decoupled": False},
            "parameters": self._parameters(),
        }

    def _parameters(self) -> dict[str, Any]:
        """Where the versions come from and how that is, where it is a registry."""
        source = self._versions.source
        return {name: {"string_value": text} for name, text in source.items() if text}

    def _dynamic_batching(self, preferred: list[int]) -> dict[str, Any]:
        settings = self._settings
        policies = settings.queueing
        return {
            "preferred_batch_size": preferred,
            "max_queue_delay_microseconds": settings.max_queue_delay_us,
            "preserve_ordering": settings.preserve_ordering,
            "priority_levels": policies.levels,
            "default_priority_level": policies.default_level,
            "default_queue_policy": _queue_policy(policies.of_level[policies.default_level]),
            "priority_queue_policy": {
                str(level): _queue_policy(policies.of_level[level])
                for level in sorted(settings.queue_policies)
            },
        }

    def statistics(self, served: Iterable[ServedVersion]) -> dict[str, Any]:
        """Counts and durations of these versions in the whole pod, since they were loaded."""
        return {"model_stats": [self._statistics(version) for version in served]}

    def _statistics(self, served: ServedVersion) -> dict[str, Any]:
        totals = served.statistics.read()
        batches = totals.batches
        requests = totals.requests
        nothing = {"count": 0, "ns": 0}
        durations = {
            name: {"count": requests[name].count, "ns": requests[name].ns} for name in DURATIONS
        }
        return {
            "name": self._versions.name,
            "version": served.name,
            "last_inference": totals.last_inference_ms,
            "inference_count": inference_count(batches),
            "execution_count": execution_count(batches),
            "inference_stats": {**durations, "cache_hit": nothing, "cache_miss": nothing},
            "batch_stats": [
                {"batch_size": batch.size}
                | {
                    name: {"count": batch.count, "ns": ns}
                    for name, ns in zip(BATCH_DURATIONS, batch.ns, strict=True)
                }
                for batch in batches
            ],
        }

    def report(self, served: ServedVersion) -> StageReport:
        """How a version is doing at the moment."""
        others = (one.use() for one in self._versions if one is not served)
        return served.stages(replace(self._workers, elsewhere=sum(others, start=Use())))

    def stages(self, served: ServedVersion) -> dict[str, Any]:
        """What each stage could do, which one is the limit, and what to do about it."""
        report = self.report(served)
        found = report.balance
        rate = report.images_per_second
        return {
            "name": self._versions.name,
            "version": served.name,
            "window_s": report.window_s,
            "bottleneck": found.bottleneck and found.bottleneck.name,
            "by_cores": found.by_cores,
            "advice": advice(found),
            "images_per_second": rate,
            "capacity": found.capacity,
            "headroom": report.headroom,
            "latency_ms": {"p50": _ms(report.p50_s), "p99": _ms(report.p99_s)},
            "stages": [_stage(stage, rate) for stage in found.stages],
            "cores": {
                "count": found.cores.count,
                "capacity": found.cores.capacity,
                "busy_ms": _ms(found.cores.busy_s),
                "utilisation": _utilisation(rate, found.cores.capacity),
            },
            "queue": {"slots": report.slots, "taken": report.taken, "coming": report.coming},
            "instances": [_instance(instance) for instance in report.instances],
            "batch_sizes": {str(size): count for size, count in report.batch_sizes.items()},
        }


def _stage(stage: Stage, rate: float) -> dict[str, Any]:
    return {
        "name": stage.name,
        "capacity": stage.capacity,
        "busy_ms": _ms(stage.busy_s),
        "utilisation": _utilisation(rate, stage.capacity),
        "workers": stage.workers,
        "worker": stage.worker,
    }


def _instance(report: InstanceReport) -> dict[str, Any]:
    attached = report.attached
    return {
        "instance": report.instance,
        "device": report.device,
        "up": attached is not None,
        "queue": attached.queue if attached else 0,
        "busy_ratio": report.busy_ratio,
        "images_per_second": report.images_per_second,
        "mean_batch": report.mean_batch,
        "max_batch_size": attached.cost.max_batch_size if attached else None,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _utilisation(rate: float, capacity: float | None) -> float | None:
    return None if capacity is None else min(1.0, rate / capacity) if capacity else 1.0


def index(entries: Sequence[IndexEntry]) -> list[dict[str, Any]]:
    """The repository's index."""
    return [
        {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
        for entry in entries
    ]


def _queue_policy(policy: QueuePolicy) -> dict[str, Any]:
    return {
        "timeout_action": policy.timeout_action.upper(),
        "default_timeout_microseconds": policy.default_timeout_us,
        "allow_timeout_override": policy.allow_timeout_override,
        "max_queue_size": policy.max_queue_size,
    }


def _group(device: str) -> str:
    """Instances of one GPU are a group, as are all that are on no GPU."""
    kind = device.partition(":")[0]
    return kind if kind in NO_GPU else device


def _instance_group(group: str, count: int) -> dict[str, Any]:
    number = group.partition(":")[2]
    return {
        "name": group,
        "kind": "KIND_GPU" if number else "KIND_CPU",
        "count": count,
        "gpus": [int(number)] if number else [],
    }
