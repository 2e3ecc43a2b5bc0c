"""The one table from errors to HTTP statuses and gRPC codes."""

from __future__ import annotations

import grpc

from predictor import errors

GENERIC_TEXT = "internal error"
LONGEST_TEXT = 500  # characters; gRPC carries it in a header, where room is scarce

# Most specific first: the first class that an error is an instance of decides.
TABLE: tuple[tuple[type[errors.PredictorError], int, grpc.StatusCode], ...] = (
    (errors.BadRequestError, 400, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.UnknownModelError, 404, grpc.StatusCode.NOT_FOUND),
    (errors.TooLargeError, 413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.BodyTimeoutError, 408, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.UnsupportedEncodingError, 415, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.UnsupportedError, 501, grpc.StatusCode.UNAVAILABLE),
    (errors.UnauthorizedError, 401, grpc.StatusCode.UNAUTHENTICATED),
    (errors.ModelControlError, 400, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.OverloadedError, 503, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.NotReadyError, 503, grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineError, 504, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.PredictorError, 500, grpc.StatusCode.INTERNAL),
)


def client_text(error: errors.PredictorError) -> str:
    """What a client is told; cut, because it may repeat what the client sent."""
    text = str(error)
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"


def http_status(error: errors.PredictorError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status, _ in TABLE if isinstance(error, kind))


def grpc_code(error: errors.PredictorError) -> grpc.StatusCode:
    """The gRPC code of an error."""
    return next(code for kind, _, code in TABLE if isinstance(error, kind))
