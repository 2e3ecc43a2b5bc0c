"""Who is let in: requests are refused before anything is decoded for them, or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from predictor.admission import (
    BIAS,
    CostScale,
    decoding_s,
    finish_s,
    retry_after_s,
)
from predictor.decode_pool import DecodePool
from predictor.errors import BadRequestError, NotReadyError, OverloadedError
from predictor.links import Links
from predictor.queue_policy import Place, QueuePolicies
from predictor.slots import Slots


class Entrance:
    """Refuses what has no instance, no room or, by prediction, not the time.

    Args:
        slots: this frontend's.
        links: the instances, and what all frontends have outstanding there.
        pool: the decode threads.
        policies: who goes first and may wait how long.

    Attributes:
        open: whether anything is taken at all.
    """

    def __init__(
        self,
        slots: Slots,
        links: Links,
        pool: DecodePool,
        policies: QueuePolicies,
    ) -> None:
        self.open = True
        self._slots = slots
        self._links = links
        self._pool = pool
        self._policies = policies
        self._error = CostScale(*BIAS)  # how many times longer images take than predicted

    def foresee(self, place: Place) -> None:
        """Refuse a request that is not read yet, if even the smallest image would be refused.

        Raises:
            NotReadyError, OverloadedError: as the following two.
        """
        self.check_room(1, place.level)
        self.check_time(place, [0.0])

    def check_room(self, images: int, level: int) -> None:
        """Refuse a request for which there is no instance or no room.

        Raises:
            NotReadyError: no instance takes work.
            OverloadedError: not enough free slots.
            BadRequestError: more images than its priority level ever takes.
        """
        if not self.open:
            raise NotReadyError("the model is unloaded", "unloaded")
        if not self._links:
            raise NotReadyError("no instance is ready; try again", "not_ready")
        slots, room = self._slots, self._policies.room(level)
        if room < images <= slots.count:
            raise BadRequestError(f"{images} images; priority {level} takes {room} at a time")
        if images > slots.free:
            raise OverloadedError(
                f"the queue is full: {images} images wanted, "
                f"{slots.free} of {slots.count} slots free",
                "queue_full",
            )
        if slots.at_level(level) + images > room:
            raise OverloadedError(
                f"the queue of priority {level} is full: {images} images wanted, "
                f"{room - slots.at_level(level)} of {room} places free",
                "level_full",
            )

    def check_time(self, place: Place, decode_s: Sequence[float]) -> float:
        """Refuse what cannot be finished in time, by prediction; an idle pod takes everything.

        Args:
            place: the request's.
            decode_s: what decoding each of its images is predicted to take.

        Returns:
            Seconds it will take by what batches and images cost.

        Raises:
            OverloadedError: that is too long.
        """
        load, costs, scales = self._links.outstanding()
        # Lower levels go after it. How many of the others' images they are is not known; taken to
        # be as many as here.
        taken = len(self._slots)
        ahead = self._slots.up_to(place.level) / taken if taken else 1.0
        threads = self._pool.threads
        predicted_s = finish_s(
            ahead * self._pool.backlog.wait_s(threads),
            decoding_s(decode_s, threads),
            [round(ahead * images) for images in load],
            costs,
            scales,
            len(decode_s),
        )
        finish = predicted_s * self._error.scale
        left_s = (place.deadline_ns - time.monotonic_ns()) / 1e9
        wait = retry_after_s(finish, left_s)
        if wait is not None and (taken or not self._links.idle):
            raise OverloadedError(
                f"the answer would take {finish:.2f} s, and {max(left_s, 0):.2f} s are left",
                "deadline",
                wait,
            )
        return predicted_s

    def learn(self, predicted_s: float, took_s: float) -> None:
        """An image took so long that was predicted to take that long."""
        if predicted_s:
            self._error.learn(predicted_s, took_s)
