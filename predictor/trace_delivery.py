"""The way of spans to a collector that may be away: tried, counted, and said in one line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

SAY_AGAIN_S = 60.0  # between two lines about a collector that comes and goes


class Delivery:
    """An exporter that says in one line that the collector is away, where OTLP's says it each try.

    Its methods run in the batch processor's thread, but for ``give_up``.

    Attributes:
        taken: spans that left the queue.
        dropped: requests that found it full; counted by the event loop.
    """

    def __init__(self, exporter: SpanExporter, url: str) -> None:
        self.taken = 0
        self.dropped = 0
        self._exporter = exporter
        self._url = url
        self._lost = 0  # requests whose spans could not be sent
        self._told = 0  # of ``dropped`` and ``_lost``, those that the log has
        self._said_s = -SAY_AGAIN_S
        self._told_away = False
        self._reason = ""
        self._ended = threading.Event()
        self._log = logging.getLogger(type(exporter).__module__)
        self._log.addFilter(self._hear)

    def export(self, spans: Sequence[ReadableSpan]) -> None:
        """Send a batch; blocks this thread while OTLP's exporter tries again."""
        self.taken += len(spans)
        if self._ended.is_set():
            return
        self._reason = ""
        arrived = self._exporter.export(spans).name == "SUCCESS"
        if self._ended.is_set():
            return
        if not arrived:
            self._lost += sum(span.parent is None or span.parent.is_remote for span in spans)
        self._account(arrived)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is buffered here."""
        return True

    def shutdown(self) -> None:
        """Stop; nothing more will come."""
        if not self._ended.is_set():
            self._end()
        self._log.removeFilter(self._hear)

    def give_up(self) -> None:
        """Stop although spans are left; called by the event loop."""
        if not self._told_away:
            logger.warning("the last traces did not reach %s: %s", self._url, self._why())
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._exporter.shutdown()  # ends its wait for the next try, too

    def _account(self, arrived: bool) -> None:
        """One line when the collector goes away and one when it lost something and is back."""
        missing = self._lost + self.dropped
        news = missing > self._told if arrived else not self._told_away
        self._told_away = self._told_away and not arrived
        now_s = time.monotonic()
        if not news or now_s - self._said_s < SAY_AGAIN_S:
            return
        self._said_s = now_s
        if arrived:
            logger.warning(
                "traces reach %s, but %d requests have none: it was away, or they came too fast",
                self._url,
                missing - self._told,
            )
            self._told = missing
        else:
            logger.warning("traces do not reach %s: %s; serving goes on", self._url, self._why())
            self._told_away = True

    def _why(self) -> str:
        return self._reason or "no answer"

    def _hear(self, record: logging.LogRecord) -> bool:
        """Keep the first reason of OTLP's exporter and let none of its lines into the log."""
        self._reason = self._reason or record.getMessage()
        return False
