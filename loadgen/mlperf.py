"""MLPerf's own load generator decides when to send; this module sends, and tells it of answers.

LoadGen's queries come in threads of its own; an event loop in one thread more sends them. Samples
are images, one request each. https://github.com/mlcommons/inference/tree/master/loadgen
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import uvloop

from loadgen.answers import UNJUDGED, Judge
from loadgen.errors import LoadError
from loadgen.exchange import Answer, Exchange
from loadgen.fleet import Fleet
from loadgen.plan import Closed, Plan
from loadgen.pools import pool_maker
from loadgen.prepared import prepare
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
        min_queries: it goes on at least so long, and at least the plan's duration.
    """

    scenario: Scenario
    folder: Path
    target_rate: float | None = None
    limit: Limit | None = None
    samples_per_query: int = 8
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
    scene.folder.mkdir(parents=True, exist_ok=True)
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(scene.folder)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    with _Sender(plan, loadgen, _most_in_flight(plan, scene)) as sender:
        under_test = loadgen.ConstructSUT(sender.issue, _nothing)
        library = loadgen.ConstructQSL(len(plan.images), len(plan.images), _ignore, _ignore)
        try:
            loadgen.StartTestWithLogSettings(under_test, library, settings, logs, "audit.config")
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(under_test)
    return sender.verdict(_summary(scene.folder / SUMMARY))


class _Sender:
    """The system under test: an event loop in a thread, which lives as long as the context."""

    def __init__(self, plan: Plan, loadgen: Any, most: int) -> None:
        self._prepared = prepare(plan)
        self._requests = {request.images[0]: request for request in self._prepared.requests}
        self._judge = Judge(plan.images, self._prepared.form)
        self._plan = plan
        self._loadgen = loadgen
        self._most = most
        self._waiting: deque[tuple[int, int]] = deque()  # LoadGen bounds it: (its id, image)
        self._in_flight = 0
        self._turn = 0
        self._samples = self._right = self._judged = 0
        self._failed: dict[str, int] = {}
        self._error: LoadError | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlperf sender")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def issue(self, samples: Sequence[Any]) -> None:
        """Take a query; called in LoadGen's threads."""
        taken = [(sample.id, sample.index) for sample in samples]
        self._loop.call_soon_threadsafe(self._take, taken)

    def verdict(self, text: str) -> Verdict:
        """After the run, with what LoadGen says of it."""
        pairs = [line.partition(":") for line in text.splitlines() if ":" in line]
        summary = {name.strip(): value.strip() for name, _, value in pairs}
        valid = summary.get("Result is") == "VALID" and not self._failed
        return Verdict(valid, text, summary, self._samples, self._failed, self._right, self._judged)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        plan = self._plan
        make = pool_maker(self._prepared.form, plan.timeout_s, plan.connections)
        self._fleet = Fleet(self._prepared.sources, make, every_s=plan.resolve_every_s)
        try:
            await self._fleet.start()
        except LoadError as error:
            self._error = error
            return
        finally:
            self._started.set()
        await self._ending.wait()
        await self._fleet.close()

    def _take(self, samples: list[tuple[int, int]]) -> None:
        self._waiting.extend(samples)
        self._send()

    def _send(self) -> None:
        pools = self._fleet.pools
        while self._waiting and self._in_flight < self._most * len(pools):
            identifier, image = self._waiting.popleft()
            self._in_flight += 1
            self._turn += 1
            pool = pools[self._turn % len(pools)]
            now_ns = 0  # LoadGen keeps the time
            exchange = Exchange(pool, self._requests[image], now_ns, self._finish(identifier))
            pool.send(exchange)

    def _finish(self, identifier: int) -> Callable[[Exchange, Answer], None]:
        def finish(exchange: Exchange, answer: Answer) -> None:
            self._count(exchange, answer)
            response = self._loadgen.QuerySampleResponse(identifier, 0, 0)
            self._loadgen.QuerySamplesComplete([response])
            self._send()

        return finish

    def _count(self, exchange: Exchange, answer: Answer) -> None:
        found = UNJUDGED
        if answer.good:
            found = self._judge.judge(exchange.request.images, answer.body)
        self._in_flight -= 1
        self._samples += 1
        self._right += found.right
        self._judged += found.judged
        failure = found.failure if answer.good else answer.status
        if failure is not None:
            self._failed[failure] = self._failed.get(failure, 0) + 1


def _most_in_flight(plan: Plan, scene: Scene) -> int:
    """For each endpoint; offline LoadGen hands over everything at once, else it sets the pace."""
    if scene.scenario != "offline":
        return 1_000_000_000
    return plan.load.concurrency if isinstance(plan.load, Closed) else 16


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
