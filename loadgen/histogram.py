"""Latencies in an HDR histogram: microseconds up to an hour, three significant digits."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from hdrh.histogram import HdrHistogram

LONGEST_US = 3_600_000_000
DIGITS = 3


class Histogram:
    """A histogram of latencies that can be filled in bulk, merged, corrected and sent."""

    def __init__(self, encoded: bytes | None = None) -> None:
        self._hdr = HdrHistogram(1, LONGEST_US, DIGITS)
        if encoded is not None:
            self._hdr.decode_and_add(encoded)

    def __reduce__(self) -> tuple[type[Histogram], tuple[bytes]]:
        """Compressed, for another process."""
        return Histogram, (self.encode(),)

    @property
    def count(self) -> int:
        """How many latencies it holds."""
        return int(self._hdr.get_total_count())

    @property
    def mean_us(self) -> float:
        """0 where it is empty, like all that follow."""
        return float(self._hdr.get_mean_value())

    @property
    def max_us(self) -> int:
        """Within the histogram's precision."""
        return int(self._hdr.get_max_value()) if self.count else 0

    def record(self, latencies_us: Sequence[int]) -> None:
        """Add latencies; those outside the range count at its ends.

        As HdrHistogram's ``countsArrayIndex``, for all at once: recorded one by one in Python, some
        thousand would stop the event loop for as many microseconds, and show in the latencies.
        """
        if not latencies_us:
            return
        hdr = self._hdr
        values = np.clip(np.array(latencies_us, dtype=np.int64), 1, LONGEST_US)
        bits = np.frexp((values | hdr.sub_bucket_mask).astype(np.float64))[1].astype(np.int64)
        buckets = bits - (hdr.sub_bucket_half_count_magnitude + 1)
        places = ((buckets + 1) << hdr.sub_bucket_half_count_magnitude) + (
            (values >> buckets) - hdr.sub_bucket_half_count
        )
        np.add.at(np.frombuffer(hdr.counts, dtype=np.uint64), places, 1)
        hdr.total_count += len(values)
        hdr.min_value = min(hdr.min_value, int(values.min()))
        hdr.max_value = max(hdr.max_value, int(values.max()))

    def percentile_us(self, percent: float) -> int:
        """The latency that ``percent`` of all were not above."""
        return int(self._hdr.get_value_at_percentile(percent)) if self.count else 0

    def corrected(self, interval_us: float) -> Histogram:
        """A copy that also holds what requests not sent during long ones would have met.

        A client that sends its next request only when the last is answered leaves out the very
        requests that a stall would have hit. As in HdrHistogram's
        ``copyCorrectedForCoordinatedOmission``: with one request every ``interval_us``, a latency
        v stands for further ones of v - interval, v - 2 interval, … down to the interval itself.
        """
        copy = merged([self])
        if interval_us < 1:
            return copy
        for item in self._hdr.get_recorded_iterator():
            missing = item.value_iterated_to - interval_us
            while missing >= interval_us:
                copy._hdr.record_value(round(missing), item.count_added_in_this_iter_step)  # noqa: SLF001 (its own)
                missing -= interval_us
        return copy

    def encode(self) -> bytes:
        """For another process, or a log of histograms (HdrHistogram V2, base64)."""
        encoded: bytes = self._hdr.encode()
        return encoded

    def distribution(self) -> str:
        """The percentile table that HdrHistogram's plotters read (.hgrm), in microseconds."""
        written = io.BytesIO()
        self._hdr.output_percentile_distribution(written, 1)
        return written.getvalue().decode()

    def add(self, other: Histogram) -> None:
        """Take in what another one holds."""
        self._hdr.add(other._hdr)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of all latencies of ``histograms``."""
    whole = Histogram()
    for histogram in histograms:
        whole.add(histogram)
    return whole
