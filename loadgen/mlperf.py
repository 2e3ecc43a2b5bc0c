"""MLPerf's scenarios: its own load generator decides when to send, and judges the run.

Samples are images, one request each. https://github.com/mlcommons/inference/tree/master/loadgen
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from loadgen.connections import require_connections
from loadgen.errors import LoadError
from loadgen.mlperf_sender import Sender
from loadgen.plan import Closed, Plan
from loadgen.slo import Limit

Scenario = Literal["server", "offline", "single-stream", "multi-stream"]
SCENARIOS: tuple[Scenario, ...] = ("server", "offline", "single-stream", "multi-stream")
SUMMARY = "mlperf_log_summary.txt"
RULE = "=" * 48  # above and below a heading


@dataclass(frozen=True, slots=True)
class Scene:
    """What LoadGen is told.

    Attributes:
        scenario: how it sends.
        folder: for its log files.
        target_rate: samples a second; needed for server and offline.
        limit: the latency that the server scenario must hold, as a percentile.
        samples_per_query: of multi-stream.
        concurrency: samples in flight at each endpoint, of offline.
        min_queries: it goes on at least so long, and at least the plan's duration.
    """

    scenario: Scenario
    folder: Path
    target_rate: float | None = None
    limit: Limit | None = None
    samples_per_query: int = 8
    concurrency: int = 16
    min_queries: int = 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """What LoadGen said.

    Attributes:
        valid: whether the run counts by its rules; never where samples failed, which it cannot see.
        text: its summary, without the list of its parameters.
        summary: the lines of that, by name.
        samples: that were answered, failed ones too.
        failed: of these, by what came in place of a good answer.
        right: images answered rightly.
        judged: images of which the right answer is known.
    """

    valid: bool
    text: str
    summary: dict[str, str]
    samples: int
    failed: dict[str, int]
    right: int
    judged: int


def run_scene(plan: Plan, scene: Scene) -> Verdict:
    """Run one scenario; it cannot be ended early, since LoadGen has no way to.

    Raises:
        LoadError: LoadGen is not installed, or the plan or scene cannot be carried out.
    """
    try:
        loadgen: Any = importlib.import_module("mlperf_loadgen")
    except ImportError:
        raise LoadError(
            "MLPerf's scenarios need its LoadGen: pip install 'millrace[mlperf]'"
        ) from None
    if plan.images_per_request != 1:
        raise LoadError("an MLPerf sample is one image: leave images per request at 1")
    settings = _settings(loadgen, plan, scene)
    try:
        scene.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoadError(f"cannot make the folder {scene.folder}: {error.strerror}") from None
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(scene.folder)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    with Sender(plan, loadgen, _most_in_flight(plan, scene)) as sender:
        under_test = loadgen.ConstructSUT(sender.issue, _nothing)
        library = loadgen.ConstructQSL(len(plan.images), len(plan.images), _ignore, _ignore)
        try:
            loadgen.StartTestWithLogSettings(under_test, library, settings, logs, "audit.config")
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(under_test)
    return _verdict(_summary(scene.folder / SUMMARY), sender)


def _verdict(text: str, sender: Sender) -> Verdict:
    pairs = [line.partition(":") for line in text.splitlines() if ":" in line]
    summary = {name.strip(): value.strip() for name, _, value in pairs}
    valid = summary.get("Result is") == "VALID" and not sender.failed
    return Verdict(valid, text, summary, sender.samples, sender.failed, sender.right, sender.judged)


def _most_in_flight(plan: Plan, scene: Scene) -> int | None:
    """For each endpoint; offline LoadGen hands over everything at once, else it sets the pace."""
    if scene.scenario != "offline":
        return None
    load = Closed(scene.concurrency)
    require_connections(replace(plan, processes=1), load)
    return load.concurrency


def _settings(loadgen: Any, plan: Plan, scene: Scene) -> Any:
    name = "".join(word.capitalize() for word in scene.scenario.split("-"))
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, name)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(plan.duration_s * 1000)
    settings.min_query_count = 1 if scene.scenario == "offline" else scene.min_queries
    settings.schedule_rng_seed = settings.sample_index_rng_seed = settings.qsl_rng_seed = plan.seed
    if scene.scenario in ("server", "offline") and not scene.target_rate:
        raise LoadError(f"MLPerf's {scene.scenario} scenario needs a rate to aim for: --rate")
    if scene.scenario == "server":
        _set_server(settings, scene)
    elif scene.scenario == "offline":
        settings.offline_expected_qps = scene.target_rate
    elif scene.scenario == "multi-stream":
        settings.multi_stream_samples_per_query = scene.samples_per_query
    return settings


def _set_server(settings: Any, scene: Scene) -> None:
    settings.server_target_qps = scene.target_rate
    settings.server_coalesce_queries = True
    if scene.limit is None:
        raise LoadError("MLPerf's server scenario needs a latency to hold: --slo p99=100ms")
    if not scene.limit.figure.startswith("p"):
        raise LoadError("MLPerf's server scenario holds a percentile, such as --slo p99=100ms")
    settings.server_target_latency_ns = round(scene.limit.most_us * 1000)
    settings.server_target_latency_percentile = float(scene.limit.figure[1:]) / 100


def _summary(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise LoadError(f"MLPerf's LoadGen left no summary: {error}") from None
    return text.partition(f"{RULE}\nTest Parameters Used")[0].strip()


def _nothing() -> None:
    """LoadGen flushes queries that were held back; none are."""


def _ignore(_samples: list[int]) -> None:
    """LoadGen loads and unloads samples; they all stay in memory."""
