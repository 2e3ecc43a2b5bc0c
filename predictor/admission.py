"""Predicts when an image will be answered, and who would answer it first. Pure.

What things cost is learnt while serving, from what was measured: decoding per pixel and kind of
file, an instance's batches as a multiple of what its warm-up said. What is not known yet costs
nothing, so that nobody is refused by a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from predictor.header import Header
from predictor.types import BatchCost

WEIGHT = 1 / 16  # of a new measurement; after 11 of them an old one counts for half
SCALE = (0.25, 8.0)  # how far batches may be from what their warm-up said
BIAS = (0.5, 1.5)  # how far answers may be from what was predicted of them
HICCUP = 8.0  # a batch counts for so many times what was said at most: a standstill is no habit
LONGEST_RETRY_S = 60
# Of the time an image has, so much may be planned with. Predictions err, and where a queue is kept
# at its limit they err to the wrong side: what is expired then has been decoded for nothing.
PLANNED = 0.7


class DecodeCost:
    """Seconds to decode an image, by its header.

    Args:
        least: pixels that the sides of a JPEG must keep when it is decoded at a fraction.
        scaled: whether that is done at all.
    """

    def __init__(self, least: int, *, scaled: bool) -> None:
        self._least = least
        self._scaled = scaled
        self._per_pixel: dict[tuple[str, int], MeanRatio] = {}

    def predict(self, header: Header | None) -> float:
        """Seconds for one image; 0 for what cannot be told."""
        known = None if header is None else self._per_pixel.get(self._class(header))
        if header is None or known is None:
            return 0.0
        return known.ratio * self._pixels(header)

    def learn(self, header: Header, seconds: float) -> None:
        """An image has taken so long."""
        known = self._per_pixel.setdefault(self._class(header), MeanRatio())
        known.learn(self._pixels(header), seconds)

    def _pixels(self, header: Header) -> float:
        """As many as an image counts for: what each one costs besides is not for few to bear."""
        return max(header.width * header.height, self._least**2)

    def _class(self, header: Header) -> tuple[str, int]:
        """Images that cost alike per pixel."""
        if not self._scaled or header.kind not in ("jpeg", "progressive"):
            return header.kind, 1
        return header.kind, shrink_factor(header.width, header.height, self._least)


def shrink_factor(width: int, height: int, least: int) -> int:
    """At which fraction, 1, 2, 4 or 8, a JPEG is decoded whose sides must keep ``least`` pixels.

    As Pillow's ``draft``: the largest power of two that both sides stand, rounded down.
    """
    ratio = min(width // least, height // least)
    return next((factor for factor in (8, 4, 2) if ratio >= factor), 1)


class DecodeBacklog:
    """What the decode threads have to do, as far as it is predicted."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """One image more."""
        self._seconds += seconds

    def remove(self, seconds: float) -> None:
        """One image less, with what was added for it."""
        self._seconds = max(0.0, self._seconds - seconds)  # rounding must not go below

    def wait_s(self, threads: int) -> float:
        """Until a thread is free for one more."""
        return self._seconds / threads


class MeanRatio:
    """How much of one thing there is for each of another: the ratio of their running means.

    Not the mean of the ratios, so that what is much counts for more than what is hardly anything.
    """

    def __init__(self) -> None:
        self._of = self._to = 0.0

    @property
    def ratio(self) -> float:
        """As it is now; there must have been something to learn from."""
        return self._to / self._of

    def learn(self, of: float, to: float) -> None:
        """So much of the one, more than nothing, went with so much of the other."""
        if not self._of:
            self._of, self._to = of, to
        self._of += WEIGHT * (of - self._of)
        self._to += WEIGHT * (to - self._to)


class CostScale:
    """How many times longer something takes than was said; as said, until it is known.

    Args:
        least, most: bounds on it, so that a bad time cannot have everybody refused.
    """

    def __init__(self, least: float = SCALE[0], most: float = SCALE[1]) -> None:
        self._bounds = least, most
        self._ratio: MeanRatio | None = None
        self.scale = 1.0

    def learn(self, said_s: float, measured_s: float) -> None:
        """What was said to take so long has taken that long."""
        if said_s <= 0:
            return
        if self._ratio is None:
            self._ratio = MeanRatio()
            self._ratio.learn(said_s, said_s)  # the first one is no better than the others
        self._ratio.learn(said_s, min(measured_s, HICCUP * said_s))
        least, most = self._bounds
        self.scale = min(max(self._ratio.ratio, least), most)


def decoding_s(seconds: Sequence[float], threads: int) -> float:
    """Seconds until all images of a request are decoded, each of which takes so many.

    They are shared by the threads, and one image by none: the least that it can take.
    """
    return max(sum(seconds) / threads, max(seconds, default=0.0))


class EarliestFinish:
    """Hands out images, each to the instance that would finish it first.

    Predicted finish = seconds to work off what is outstanding there plus this image. Ties go to
    the instance with the fewest outstanding, then to the first.

    Args:
        outstanding: images at each instance.
        costs: of each.
        scales: how many times more its batches cost now.
    """

    def __init__(
        self, outstanding: Sequence[int], costs: Sequence[BatchCost], scales: Sequence[float]
    ) -> None:
        self._costs = costs
        self._scales = scales
        self._finishes = [
            (cost.seconds(images + 1) * scale, images)
            for images, cost, scale in zip(outstanding, costs, scales, strict=True)
        ]

    def take(self) -> int:
        """The place of the instance that takes the next image."""
        finishes = self._finishes
        place = finishes.index(min(finishes))
        images = finishes[place][1] + 1
        finishes[place] = (self._costs[place].seconds(images + 1) * self._scales[place], images)
        return place


def finish_s(
    decode_wait_s: float,
    decode_s: float,
    outstanding: Sequence[int],
    costs: Sequence[BatchCost],
    scales: Sequence[float],
    images: int = 1,
) -> float:
    """Seconds until ``images`` more are answered, by the instance that is done with them first.

    They are decoded while what is before them runs: max(decoding, everything outstanding) and then
    their own batches; but no less than the device needs for all of it.

    Args:
        decode_wait_s: until a decoder is free.
        decode_s: to decode them.
        outstanding: images at each instance, and those on their way there.
        costs: of each instance.
        scales: how many times more its batches cost now.
        images: how many more.
    """
    decoded_s = decode_wait_s + decode_s
    return min(
        max(
            decoded_s + cost.seconds(images) * scale,
            cost.seconds(waiting + images) * scale,
        )
        for waiting, cost, scale in zip(outstanding, costs, scales, strict=True)
    )


def retry_after_s(finish_s: float, left_s: float) -> int | None:
    """None where an image will finish in time; else whole seconds after which it might."""
    if finish_s <= PLANNED * left_s:
        return None
    return min(LONGEST_RETRY_S, max(1, math.ceil(finish_s - left_s)))
