"""One accepted image, from its admission to its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from predictor.errors import PredictorError
from predictor.header import Header
from predictor.observation import ImageTimes
from predictor.queue_policy import Place
from predictor.types import Answer


@dataclass(slots=True, eq=False)
class Ticket:
    """One accepted image.

    Attributes:
        number: told to instances and back.
        slot: where its pixels are.
        place: how it stands in the queues.
        future: its answer.
        times: when it passed each point of the path.
        header: what its file says of it; None where decoding is too quick to be predicted.
        decode_s: what decoding was predicted to take.
        predicted_s: how long its answer was predicted to take; 0 where nothing was.
        handed: an instance has had it.
        runs: in how many batches it was that died or failed.
        failed_at: the instance of the last of them that failed.
        abandoned: nobody waits for it any more.
        ordered: it is answered in its turn.
        finished: nobody works on it any more.
        outcome: its answer or error, kept while those before it are not answered.
    """

    number: int
    slot: int
    place: Place
    future: asyncio.Future[Answer]
    times: ImageTimes
    header: Header | None = None
    decode_s: float = 0.0
    predicted_s: float = 0.0
    handed: bool = False
    runs: int = 0
    failed_at: int | None = None
    abandoned: bool = False
    ordered: bool = False
    finished: bool = False
    outcome: Answer | PredictorError | None = None

    def answer(self, outcome: Answer | PredictorError) -> None:
        """Tell whoever waits, if somebody still does."""
        if self.future.done():
            return
        if isinstance(outcome, PredictorError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)
