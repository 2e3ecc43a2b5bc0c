"""The request path, on one screen: preprocess → predict → postprocess."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import kserve

from model_store.package import ModelPackage
from predictor.dispatch import Dispatcher
from predictor.errors import BadRequestError, PredictorError
from predictor.observation import ImageTimes
from predictor.preloaded import Preloaded
from predictor.queue_policy import QueuePolicies
from predictor.ticket import Ticket
from predictor.types import Answer, ClassifyRequest, ClassifyResult, Reference


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request whose images hold their slots and are being decoded.

    ``tickets`` has one entry per image, in order; an error stands where an image could not be read.
    """

    tickets: tuple[Ticket | PredictorError, ...]
    top_k: int


class ImageClassifier(kserve.Model):  # type: ignore[misc]  # kserve carries no types
    """A KServe model whose images are decoded here and classified by pinned instance processes.

    Args:
        package: the model.
        name: the name it is served under.
        dispatcher: where images go.
        policies: who goes first and may wait how long.
        preloaded: the images that requests may name.
    """

    def __init__(
        self,
        package: ModelPackage,
        name: str,
        dispatcher: Dispatcher,
        policies: QueuePolicies,
        preloaded: Preloaded,
    ) -> None:
        super().__init__(name)
        self.package = package
        self.version = package.version
        self.labels = tuple(label.encode() for label in package.labels)  # as the wire has them
        self.dispatcher = dispatcher
        self._policies = policies
        self._preloaded = preloaded

    async def __call__(
        self,
        body: ClassifyRequest,
        headers: Mapping[str, str] | None = None,
        verb: object = None,
    ) -> ClassifyResult:
        """Classify the images of one request.

        Returns:
            One answer or one error per image, in the request's order.

        Raises:
            PredictorError: the request as a whole is refused.
        """
        accepted = await self.preprocess(body)
        answers = await self.predict(accepted)
        return await self.postprocess(answers, top_k=accepted.top_k)

    def foresee(self, limit_us: int | None) -> None:
        """Refuse a request of the default priority by its head alone, if it has no chance.

        Args:
            limit_us: how long its client waits at all.

        Raises:
            NotReadyError, OverloadedError: there is no instance, no room, or not the time.
        """
        place = self._policies.place(time.monotonic_ns(), 0, None, limit_us)
        self.dispatcher.foresee(place)

    async def preprocess(
        self, payload: ClassifyRequest, headers: Mapping[str, str] | None = None
    ) -> Accepted:
        """Check the options, take a slot per image and start decoding; refuses before any work."""
        options = payload.options
        top_k = self._top_k(options.top_k)
        place = self._policies.place(
            time.monotonic_ns(), options.priority, options.timeout_us, options.limit_us
        )
        images = [
            self._preloaded.image(image.name) if isinstance(image, Reference) else image
            for image in payload.images
        ]
        readable = [image for image in images if not isinstance(image, PredictorError)]
        tickets = iter(self.dispatcher.submit(readable, place))
        return Accepted(
            tuple(
                image if isinstance(image, PredictorError) else next(tickets) for image in images
            ),
            top_k,
        )

    async def predict(
        self, payload: Accepted, headers: Mapping[str, str] | None = None
    ) -> ClassifyResult:
        """Wait for every image: each goes to an instance as soon as it is decoded."""
        tickets = [ticket for ticket in payload.tickets if isinstance(ticket, Ticket)]
        try:
            return tuple([await _outcome(ticket) for ticket in payload.tickets])
        finally:
            self.dispatcher.abandon(tickets)  # whoever left early: what is not computed yet is not

    async def postprocess(
        self, result: ClassifyResult, headers: Mapping[str, str] | None = None, *, top_k: int = 0
    ) -> ClassifyResult:
        """Cut every answer to the ``top_k`` asked for."""
        if top_k == self.package.manifest.top_k:
            return result
        return tuple(
            Answer(answer.indices[:top_k], answer.scores[:top_k], answer.times)
            if isinstance(answer, Answer)
            else answer
            for answer in result
        )

    def _top_k(self, wanted: int | None) -> int:
        largest = self.package.manifest.top_k
        if wanted is None:
            return largest
        if not 1 <= wanted <= largest:
            raise BadRequestError(f"top_k is {wanted}; this model gives 1 to {largest}")
        return wanted


def all_answers(result: ClassifyResult) -> list[Answer]:
    """The answers of a request that is answered whole or refused whole.

    Raises:
        PredictorError: the first image that has none; the text carries its 0-based place.
    """
    answers = []
    for place, answer in enumerate(result):
        if isinstance(answer, PredictorError):
            raise type(answer)(f"image {place}: {answer}")
        answers.append(answer)
    return answers


def times(result: ClassifyResult) -> list[ImageTimes]:
    """When each image that was answered passed each point of the path."""
    return [answer.times for answer in result if isinstance(answer, Answer)]


async def _outcome(ticket: Ticket | PredictorError) -> Answer | PredictorError:
    if isinstance(ticket, PredictorError):
        return ticket
    try:
        return await ticket.future
    except PredictorError as error:
        # Its trace holds this frame, which holds the ticket, which holds it: the garbage collector
        # would have to find that, and hold up everybody while it does.
        return error.with_traceback(None)
