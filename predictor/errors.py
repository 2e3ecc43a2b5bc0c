"""Everything the predictor refuses, by meaning; ``protocol/status.py`` alone knows the codes.

Each text goes to the client as it stands: it says what was wrong and what the limit is.
"""

from __future__ import annotations

LONGEST_ECHO = 40  # characters of what a client sent that an error repeats


class PredictorError(Exception):
    """Root of what a client may be told."""


class BadRequestError(PredictorError):
    """The request is not what the protocol says it must be."""


class BadTensorError(BadRequestError):
    """A tensor's name, type, shape or size is wrong."""


class BadImageError(BadRequestError):
    """These bytes are no image that can be classified; costs only that image."""


class ImageTooLargeError(BadImageError):
    """An image has more pixels than the limit; known from its header."""


class UnknownModelError(PredictorError):
    """No such model, or no such version of it."""


class TooLargeError(PredictorError):
    """The request is over a size limit."""


class BodyTimeoutError(PredictorError):
    """The client took too long to send its request; the connection is closed after the answer."""


class UnsupportedEncodingError(PredictorError):
    """The body is compressed in a way that is not taken."""


class UnsupportedError(PredictorError):
    """It could be done here, but it is turned off."""


class UnauthorizedError(PredictorError):
    """The request needs a token that it does not carry."""


class ModelControlError(PredictorError):
    """The model could not be loaded or unloaded; the text says why."""


class RefusedError(PredictorError):
    """Nothing was decoded; try again after ``retry_after_s`` seconds.

    Args:
        text: for the client.
        reason: the word that metrics count it by.
        retry_after_s: whole seconds.
    """

    def __init__(self, text: str, reason: str = "", retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.reason = reason
        self.retry_after_s = retry_after_s


class OverloadedError(RefusedError):
    """There is no room, or not the time."""


class NotReadyError(RefusedError):
    """No instance can take work now (starting, restarting or draining)."""


class StoppingError(NotReadyError):
    """The pod is about to stop; another one will take it."""

    def __init__(self) -> None:
        super().__init__("the pod is stopping; try again", "stopping")


class InstanceLostError(NotReadyError):
    """The instance that ran this image died, and so did the one that ran it again."""


class DeadlineError(PredictorError):
    """The answer could not be had in the time the request allows."""


class InferenceError(PredictorError):
    """The runtime failed on this batch; the details are in the log only."""


class StartupError(Exception):
    """The pod cannot start; the text is one line that says why. Never sent to a client."""


class OutOfMemoryError(Exception):
    """The device has no memory for a batch of this size; a smaller one may fit."""


def echo(given: object) -> str:
    """What a client sent, for an error's one line: short, and only where it is plain text."""
    if not isinstance(given, str):
        return "(none given)" if given is None else "(not a text)"
    return repr(given if len(given) <= LONGEST_ECHO else given[:LONGEST_ECHO] + "…")
