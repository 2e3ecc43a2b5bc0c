"""A trace of every inference request, sent to an OpenTelemetry collector by a thread of its own.

OpenTelemetry is an extra: a frontend imports this module only when ``otlp_endpoint`` is set, and
this module imports OpenTelemetry only when a tracer is made. The SDK's own variables
(``OTEL_TRACES_SAMPLER``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_EXPORTER_OTLP_HEADERS``, …) hold.

Spans are made from a finished request's times, not by the SDK's tracer: seven of its spans would
cost the event loop 75 µs, these cost 30 (6 where the client's trace is not sampled). Names and
attributes follow the conventions for HTTP and RPC servers, https://opentelemetry.io/docs/specs/semconv.
"""

from __future__ import annotations

import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from predictor.errors import StartupError
from predictor.observation import ImageTimes, Observation
from predictor.trace_delivery import Delivery

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

TRACES_PATH = "/v1/traces"
QUEUED_SPANS = 7168  # a thousand requests, 3.5 MB: half a second of a busy frontend
BATCH_SPANS = 128  # encoded in one go: 2 ms in which the event loop may have to wait
BATCH_DELAY_MS = 1000  # how long a span waits for company
FLUSH_S = 3.0  # what a stop may cost; the supervisor waits 5 s longer than requests need
LONGEST_TEXT = 500  # characters of a path or an error, as in what clients are told
LONGEST_TRACEPARENT = 512  # OpenTelemetry logs a line for each that is longer

# https://opentelemetry.io/docs/specs/semconv/rpc/grpc: the codes a server is to blame for.
GRPC_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


class Stage(NamedTuple):
    """One part of a request's path; CLOCK_MONOTONIC ns."""

    name: str
    began_ns: int
    ended_ns: int


def stages(observation: Observation) -> list[Stage]:
    """What a request went through, in order; a stage it did not come through is not there."""
    image = observation.last or ImageTimes()
    parts = (
        Stage("receive", observation.began_ns, observation.parsed_ns),
        Stage("decode", image.decode_began_ns, image.decoded_ns),
        # All waiting, also for the successor of an instance that died on this image.
        Stage("queue", image.decoded_ns, image.infer_began_ns),
        Stage("infer", image.infer_began_ns, image.infer_ended_ns),
        Stage("collect", image.infer_ended_ns, image.collected_ns),
        Stage("respond", observation.classified_ns, observation.ended_ns),
    )
    return [part for part in parts if 0 < part.began_ns <= part.ended_ns]


class Tracer:
    """Turns what was observed of requests into spans, and hands them to OpenTelemetry.

    Args:
        endpoint: OTLP/HTTP collector, such as ``http://collector:4318``.
        model: the name it is served under.
        frontend: the number of this process.

    Raises:
        StartupError: the endpoint is no URL, or OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str, model: str, frontend: int) -> None:
        url = traces_url(endpoint)
        try:
            from opentelemetry.context import Context
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
            from opentelemetry.trace import (
                SpanContext,
                SpanKind,
                Status,
                StatusCode,
                TraceFlags,
                get_current_span,
            )
            from opentelemetry.trace.propagation import tracecontext
        except ImportError as error:
            raise StartupError(
                f"otlp_endpoint is set, but OpenTelemetry is not there ({error}): "
                "install millrace[tracing], or leave otlp_endpoint empty"
            ) from error
        ours = Resource.create(
            {
                "service.name": "millrace",
                "service.instance.id": f"{socket.gethostname()}-{frontend}",
            }
        )
        # What the pod's environment says of itself, such as OTEL_SERVICE_NAME, beats our names.
        provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._sampler = provider.sampler  # ParentBased(ALWAYS_ON), unless OTEL_TRACES_SAMPLER says
        self._ids = provider.id_generator
        self._no_parent = Context()
        self._extract = tracecontext.TraceContextTextMapPropagator().extract
        self._span_in = get_current_span
        self._context = partial(
            SpanContext, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )
        self._span = partial(
            ReadableSpan,
            resource=provider.resource,
            instrumentation_scope=InstrumentationScope("millrace"),
        )
        self._server = SpanKind.SERVER
        self._unset = Status(StatusCode.UNSET)
        self._fault = partial(Status, StatusCode.ERROR)
        self._common: dict[str, str | int] = {"millrace.model": model}
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._delivery = Delivery(OTLPSpanExporter(url), url)
        self._processor = BatchSpanProcessor(
            cast("SpanExporter", self._delivery),  # it has a SpanExporter's methods
            max_queue_size=QUEUED_SPANS,
            schedule_delay_millis=BATCH_DELAY_MS,
            max_export_batch_size=BATCH_SPANS,
        )
        self._recorded = 0  # spans
        self._closed = False

    def record(self, observation: Observation) -> None:
        """Queue a finished request's spans; never waits, and drops them when the queue is full."""
        if self._closed:
            return
        parent = self._no_parent
        if observation.traceparent:
            carrier = {"traceparent": observation.traceparent[:LONGEST_TRACEPARENT]}
            parent = self._extract(carrier, parent)  # unchanged when it is malformed
        caller = self._span_in(parent).get_span_context()
        trace = caller.trace_id if caller.is_valid else self._ids.generate_trace_id()
        name = _text(observation.operation).removeprefix("/")
        verdict = self._sampler.should_sample(parent, trace, name, self._server)
        if not verdict.decision.is_sampled():  # type: ignore[no-untyped-call]  # the SDK's gap
            return
        parts = stages(observation)
        # The SDK would drop the oldest spans one by one, and leave traces in pieces.
        if self._recorded - self._delivery.taken + len(parts) >= QUEUED_SPANS:
            self._delivery.dropped += 1
            return
        self._recorded += len(parts) + 1
        context = self._context(
            trace, self._ids.generate_span_id(), trace_state=verdict.trace_state
        )
        for part in parts:
            child = self._context(trace, self._ids.generate_span_id())
            self._end(part, child, context)
        fault = _is_fault(observation)
        self._end(
            Stage(name, observation.began_ns, observation.ended_ns),
            context,
            caller if caller.is_valid else None,
            kind=self._server,
            attributes=self._common | _attributes(observation, name, fault),
            status=self._fault(_text(observation.error)) if fault else self._unset,
        )

    def _end(
        self, part: Stage, context: SpanContext, parent: SpanContext | None, **more: Any
    ) -> None:
        began_ns, ended_ns = self._epoch_ns + part.began_ns, self._epoch_ns + part.ended_ns
        span = self._span(
            part.name, context, parent, start_time=began_ns, end_time=ended_ns, **more
        )
        self._processor.on_end(span)

    def close(self) -> None:
        """Send what is queued, for ``FLUSH_S`` at most, and stop."""
        self._closed = True
        stop = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
        stop.start()
        stop.join(FLUSH_S)
        if stop.is_alive():
            self._delivery.give_up()


def traces_url(endpoint: str) -> str:
    """Where spans are posted: ``/v1/traces`` of a collector, unless the endpoint says so itself.

    Raises:
        StartupError: it is no http or https URL.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise StartupError(
            f"setting otlp_endpoint = {endpoint!r}: takes a URL, such as http://collector:4318"
        )
    return endpoint.rstrip("/").removesuffix(TRACES_PATH) + TRACES_PATH


def _attributes(observation: Observation, name: str, fault: bool) -> dict[str, str | int]:
    code = observation.code
    found: dict[str, str | int] = {
        "millrace.request_id": _text(observation.request_id),
        "millrace.protocol": observation.protocol,
        "millrace.images": observation.images,
    }
    if observation.version:
        found["millrace.version"] = observation.version
    if observation.protocol == "grpc":
        found["rpc.system.name"] = "grpc"
        found["rpc.method"] = name
        found["rpc.response.status_code"] = code
    else:
        found["http.request.method"], _, found["url.path"] = name.partition(" ")
        if code.isdigit():
            found["http.response.status_code"] = int(code)
    if fault:
        found["error.type"] = code
    return found


def _is_fault(observation: Observation) -> bool:
    """Whether the server is to blame for what a client got."""
    if observation.protocol == "grpc":
        return observation.code in GRPC_FAULTS
    return observation.code.startswith("5")


def _text(text: str) -> str:
    """A client's text as protobuf takes it: one lone surrogate would cost the whole batch."""
    text = text[:LONGEST_TEXT]
    return text if text.isascii() else text.encode(errors="replace").decode()
