"""Images as they are augmented: decoded as the server does it, and no larger than is of use."""

from __future__ import annotations

import threading

import numpy as np
from PIL import Image as PillowImage

from analyzer.errors import BrokenImageError
from analyzer.run_model import Read
from predictor.decode import DEFAULT_LIMITS, decode_whole
from predictor.errors import BadImageError
from predictor.types import DecodeLimits, Pixels

# Networks take 32 to 512 pixels; what is above is lost in their resize, and costs time here.
LARGEST_SHORTER_SIDE = 512
LARGEST_LONGER_SIDE = 4096  # of a strip
LEAST_SIDE = 2  # that the server takes
KEPT_BYTES = 512 * 1024**2


class Pictures:
    """The pictures of a sample, kept where they fit in memory; for several threads.

    Args:
        read: gives images by their number.
        limits: on their own size, as the server has them.
        keep_bytes: how much may be kept; what does not fit is decoded again.
    """

    def __init__(
        self, read: Read, limits: DecodeLimits = DEFAULT_LIMITS, keep_bytes: int = KEPT_BYTES
    ) -> None:
        self._read = read
        self._limits = limits
        self._left = keep_bytes
        self._kept: dict[int, Pixels] = {}
        self._lock = threading.Lock()

    def picture(self, number: int) -> Pixels:
        """One of them, uint8 (h, w, 3) RGB; not to be written to.

        Raises:
            BrokenImageError: it cannot be decoded; says why.
        """
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        try:
            found = bounded(decode_whole(self._read(number), self._limits))
        except BadImageError as error:
            raise BrokenImageError(str(error)) from None
        with self._lock:
            if number not in self._kept and found.nbytes <= self._left:
                self._left -= found.nbytes
                self._kept[number] = found
        return found


def bounded(picture: Pixels) -> Pixels:
    """``picture`` (h, w, 3), its shorter side 512 and its longer one 4,096 pixels at most."""
    height, width = picture.shape[:2]
    scale = min(
        1.0,
        LARGEST_SHORTER_SIDE / min(height, width),
        LARGEST_LONGER_SIDE / max(height, width),
    )
    if scale == 1.0:
        return picture
    size = max(LEAST_SIDE, round(width * scale)), max(LEAST_SIDE, round(height * scale))
    resized = PillowImage.fromarray(picture).resize(size, PillowImage.Resampling.BICUBIC)
    return np.asarray(resized)
