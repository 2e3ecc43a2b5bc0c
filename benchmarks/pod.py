"""What a running pod says of itself: its metrics, its statistics, and its log."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10
READY_LINE = re.compile(
    r"ready: batches of up to (\d+), ([\d.]+) ms an image and ([\d.]+) ms a batch"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All of it, at one moment."""

    samples: tuple[Sample, ...]

    def total(self, name: str) -> float:
        """Of all samples of that name; 0 where there are none."""
        return sum(sample.value for sample in self.samples if sample.name == name)

    def by(self, name: str, label: str) -> Counter[str]:
        """Totals of whole numbers by the value of a label, zeros left out."""
        totals: Counter[str] = Counter()
        for sample in self.samples:
            if sample.name == name and sample.value:
                totals[sample.labels.get(label, "")] += round(sample.value)
        return totals


@dataclass(frozen=True, slots=True)
class Cost:
    """What an instance found at warm-up."""

    max_batch_size: int
    per_image_ms: float
    per_batch_ms: float

    @property
    def full_batch_ms(self) -> float:
        """The service time of a full batch."""
        return self.per_batch_ms + self.max_batch_size * self.per_image_ms


def get(port: int, path: str) -> str:
    """The body of an answer.

    Raises:
        OSError: no answer, or one that is not 2xx.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
        body: bytes = answer.read()
    return body.decode()


def scrape(port: int) -> Scrape:
    """Its metrics now."""
    return parse_metrics(get(port, "/metrics"))


def parse_metrics(text: str) -> Scrape:
    """Prometheus' text format."""
    return Scrape(
        tuple(
            Sample(sample.name, dict(sample.labels), sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        )
    )


def batch_ms(port: int, model: str) -> dict[int, float]:
    """Mean milliseconds of a batch since the start, by batch size."""
    return parse_batch_stats(get(port, f"/v2/models/{model}/stats"))


def parse_batch_stats(text: str) -> dict[int, float]:
    """Triton's statistics: nanoseconds of inference by batch size."""
    (stats,) = json.loads(text)["model_stats"]
    return {
        batch["batch_size"]: batch["compute_infer"]["ns"] / batch["compute_infer"]["count"] / 1e6
        for batch in stats["batch_stats"]
        if batch["compute_infer"]["count"]
    }


def costs(log: Path) -> list[Cost]:
    """What each instance that got ready said, in the order of the log."""
    found = READY_LINE.findall(log.read_text(encoding="utf-8", errors="replace"))
    return [Cost(int(size), float(image), float(batch)) for size, image, batch in found]
