"""What a fleet is assumed to be: every number with its unit and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field
from pydantic.config import JsonDict

from study.device import Device
from study.errors import StudyError
from study.shape import (
    CORES,
    DECODE_S,
    HANDLING_S,
    LOOP_S,
    MESSAGE_S,
    NETWORK_S,
    SLOTS,
    TIMEOUT_S,
    PodShape,
)

KNATIVE = "https://knative.dev/docs/serving/autoscaling/kpa-specific/"
KUBERNETES = "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/"
RESULTS = "benchmarks/RESULTS.md"
SHOWN = 40  # characters of a value that is none
ISSUE = "asked for"
SCALING = (
    "`millrace study scaling --device-rate 1200`, the line below its table, on 2 cores that "
    "nothing else used"
)


def _known(default: Any, what: str, how: str, source: str = "", **bounds: Any) -> Any:
    """A field with its meaning, whether it is measured, cited or assumed, and its source."""
    extra: JsonDict = {"how": how, "source": source}
    return Field(default=default, description=what, json_schema_extra=extra, **bounds)


class FleetPlan(pydantic.BaseModel):
    """One fleet; the fields are flags and keys of the YAML file as well."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pods: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = _known(
        (10, 100, 1_000, 10_000),
        "fleets, each by the pods that its peak needs at the target",
        "given",
        ISSUE,
        min_length=1,
        max_length=100,
    )
    hours: float = _known(
        24.0, "hours that are simulated, from midnight", "given", ge=0.01, le=24 * 31
    )
    seed: int = _known(1, "of chance: the same one gives the same fleet", "given", ge=0, le=2**63)

    device_rate: float = _known(
        1200.0, "images/s of an accelerator in full batches", "given", ISSUE, ge=0.1, le=100_000
    )
    cores: int = _known(
        CORES,
        "cores of a pod: one for the event loop, the others decode",
        "given",
        ISSUE,
        ge=2,
        le=1024,
    )
    decode_ms: float = _known(
        DECODE_S * 1e3,
        "ms to decode and resize a photo on one core, in the mean",
        "measured",
        f"{RESULTS}, Decoding at a fraction of the size",
        ge=0,
        le=60_000,
    )
    loop_ms: float = _known(
        LOOP_S * 1e3,
        "ms of its frontend per request",
        "measured",
        f"{RESULTS}, The wire",
        ge=0,
        le=60_000,
    )
    handling_ms: float = _known(
        HANDLING_S * 1e3, "ms between two batches", "measured", SCALING, ge=0, le=60_000
    )
    message_ms: float = _known(
        MESSAGE_S * 1e3,
        "ms between frontend and instance, one way",
        "measured",
        SCALING,
        ge=0,
        le=60_000,
    )
    network_ms: float = _known(
        NETWORK_S * 1e3,
        "ms between client and pod, both ways",
        "assumed",
        "one zone",
        ge=0,
        le=60_000,
    )
    slots: int = _known(
        SLOTS, "images a pod takes at a time", "cited", "docs/settings.md", ge=1, le=100_000
    )
    timeout_s: float = _known(
        TIMEOUT_S,
        "s that clients wait; what cannot be in time is refused",
        "assumed",
        gt=0,
        le=3600,
    )
    balancing: Literal["least_request", "random", "round_robin"] = _known(
        "least_request",
        "how the gateway chooses; the gateway itself is never a limit",
        "cited",
        "https://gateway.envoyproxy.io/docs/tasks/traffic/load-balancing (Envoy Gateway's default)",
    )

    peak_to_mean: float = _known(
        1.6,
        "peak of the day ÷ its mean; the day is a sine, so 1.6 is a peak of 4 times the trough",
        "cited",
        "https://www.robustperception.io/do-you-know-your-peak-to-mean-ratio/ (1.6 to 1.7, and 3 "
        "to 4 times between least and most)",
        ge=1,
        lt=2,
    )
    peak_hour: float = _known(20.0, "hour of the peak", "assumed", ge=0, lt=24)
    noise: float = _known(
        0.05, "what the load strays from the sine: standard deviation of its logarithm", "assumed",
        ge=0, le=1,
    )  # fmt: skip
    noise_s: float = _known(300.0, "s after which it has strayed anew", "assumed", ge=1, le=1e6)

    surge: float = _known(
        1.0, "times the load for a while, all at once; 1: never", "assumed", ge=1, le=100
    )
    surge_hour: float = _known(12.0, "hour at which it comes", "assumed", ge=0, le=24 * 31)
    surge_minutes: float = _known(15.0, "how long it lasts", "assumed", ge=0, le=60 * 24 * 31)

    autoscaler: Literal["knative", "horizontal", "none"] = _known(
        "knative", "who decides on the number of pods; none: the peak's, all day", "given"
    )
    target: float = _known(
        0.7,
        "load that a pod shall have, of what it can answer",
        "assumed",
        "as Knative's target utilisation, which is of requests in flight and not of load: "
        "https://knative.dev/docs/serving/autoscaling/concurrency/ (70 %)",
        ge=0.01,
        le=1,
    )
    least_pods: int = _known(1, "fewest pods", "assumed", ge=1, le=1_000_000)
    window_s: float = _known(60.0, "s, stable-window", "cited", KNATIVE, ge=6, le=3600)
    panic_share: float = _known(
        0.1, "panic-window-percentage ÷ 100", "cited", KNATIVE, ge=0.01, le=1
    )
    panic_threshold: float = _known(
        2.0, "panic-threshold-percentage ÷ 100", "cited", KNATIVE, gt=1, le=1000
    )
    sync_s: float = _known(
        15.0, "s, horizontal-pod-autoscaler-sync-period", "cited", KUBERNETES, ge=1, le=3600
    )
    metric_window_s: float = _known(
        60.0,
        "s over which the horizontal one's metric is averaged: answered images/s",
        "assumed",
        "Prometheus' rate over a minute, and nothing of its scraping",
        ge=1,
        le=3600,
    )
    tolerance: float = _known(
        0.1, "horizontal-pod-autoscaler-tolerance", "cited", KUBERNETES, ge=0, lt=1
    )
    stabilisation_s: float = _known(
        300.0,
        "s, downscale stabilisation of the horizontal one",
        "cited",
        KUBERNETES,
        ge=0,
        le=86_400,
    )
    cold_start_s: float = _known(
        180.0,
        "s from asking for a pod to its readiness, its node included",
        "cited",
        "https://www.systemoverflow.com/learn/ml-model-serving/autoscaling-gpu-sharing/"
        "cold-start-problem-model-loading-and-predictive-warming-strategies (node 60 to 120 s, "
        "driver 20 to 40 s, image 30 to 90 s; the pod itself takes 4 s, measured)",
        ge=0,
        le=86_400,
    )
    release_s: float = _known(
        600.0,
        "s for which a node is paid after its pod has gone",
        "cited",
        "https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md "
        "(scale-down-unneeded-time, 10 minutes)",
        ge=0,
        le=86_400,
    )
    losses_per_month: float = _known(
        0.1,
        "pods lost in 30 days, as a share; without notice, which is the worst case",
        "assumed",
        "as if nodes were spot, whose interruptions are 5 to 10 % for g4dn: "
        "https://aws.amazon.com/ec2/spot/instance-advisor/ ; on demand hardly any",
        ge=0,
        le=1000,
    )
    price_per_hour: float = _known(
        0.752,
        "USD of a pod's node and hour: g4dn.2xlarge, 1 T4 and 8 vCPU, on demand, us-east-1",
        "cited",
        "https://aws.amazon.com/ec2/pricing/on-demand/ ; spot costs less, so with the losses above "
        "this is the most that a fleet can cost",
        ge=0,
        le=1e6,
    )

    @property
    def shape(self) -> PodShape:
        """Of each pod."""
        return PodShape(
            Device.of_rate(self.device_rate),
            self.cores,
            self.decode_ms / 1e3,
            self.loop_ms / 1e3,
            self.handling_ms / 1e3,
            self.message_ms / 1e3,
            self.slots,
            self.timeout_s,
        )


def read_plan(config: Path | None, given: dict[str, Any]) -> FleetPlan:
    """What is given, else what the YAML file says, else the defaults.

    Raises:
        StudyError: the file cannot be read, or a value is none.
    """
    content: Any = {}
    if config is not None:
        try:
            content = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise StudyError(f"{config}: cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise StudyError(f"{config}: must hold `key: value` lines, such as `hours: 24`")
    try:
        return FleetPlan.model_validate(
            {str(name): value for name, value in content.items()} | given
        )
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given_to_it = str(first["input"])
        shown = given_to_it if len(given_to_it) <= SHOWN else f"{given_to_it[:SHOWN]}…"
        raise StudyError(f"{where}: {first['msg']}, not {shown}") from error


def assumptions(plan: FleetPlan) -> list[tuple[str, str, str, str, str]]:
    """Name, value, meaning, how it is known and its source, for every field.

    What differs from the default is ``given``, by whoever gave it.
    """
    rows = []
    for name, field in FleetPlan.model_fields.items():
        extra = field.json_schema_extra
        known: dict[str, Any] = extra if isinstance(extra, dict) else {}
        value, is_default = getattr(plan, name), getattr(plan, name) == field.default
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
        how = str(known["how"]) if is_default else "given"
        rows.append((name, shown, str(field.description), how, str(known["source"])))
    return rows
