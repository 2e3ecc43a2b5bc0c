"""What a step says: lines that people read in a pod's log, and that a local run follows."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from analyzer.errors import AnalyzerError
from model_store.errors import ModelStoreError
from pipelines.errors import PipelineError
from predictor.errors import PredictorError, StartupError
from rollout.errors import RolloutError

KNOWN = (AnalyzerError, ModelStoreError, PipelineError, PredictorError, RolloutError, StartupError)
BEGAN, DONE, FAILED = "began", "done", "failed"
_EVERY_S = 5.0  # of progress within a step
_LINE = re.compile(
    r"\[(?P<step>[a-z]+)(?: (?P<about>[^\]]+))?\] (?:(?P<state>began|done|failed)"
    r"(?: in (?P<seconds>[\d.]+) s)?(?:: (?P<result>.*))?|(?P<said>.*))"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One line of a step.

    Attributes:
        step: its name.
        about: which of several alike, such as a dataset's name; empty for the only one.
        state: ``began``, ``done`` or ``failed``; empty in between.
        seconds: that it took, once it has ended.
        text: the rest.
    """

    step: str
    about: str
    state: str
    seconds: float
    text: str


class Telling:
    """The way to say something while a step goes on, and what came of it."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._last = time.monotonic()
        self.result = ""

    def say(self, text: str) -> None:
        """One line, at once."""
        _print(f"[{self._label}] {text}")

    def progress(self, what: str, done: int, total: int) -> None:
        """So many of ``total`` are done; said every few seconds."""
        if time.monotonic() - self._last >= _EVERY_S:
            self._last = time.monotonic()
            self.say(f"{what}: {done} of {total}")


@contextmanager
def step(name: str, about: str = "") -> Iterator[Telling]:
    """Say that a step begins and how it ends.

    What is refused ends the process with its one line and no trace; what nobody thought of goes on
    as it is.

    Raises:
        SystemExit: something was refused.
    """
    telling = Telling(f"{name} {about}".strip())
    began = time.monotonic()
    telling.say(BEGAN)
    try:
        yield telling
    except KNOWN as error:
        line = " ".join(str(error).split())
        telling.say(f"{FAILED} in {time.monotonic() - began:.1f} s: {line}")
        raise SystemExit(f"{name}: {line}") from error
    except BaseException as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        telling.say(f"{FAILED} in {time.monotonic() - began:.1f} s: {told}")
        raise
    result = f": {telling.result}" if telling.result else ""
    telling.say(f"{DONE} in {time.monotonic() - began:.1f} s{result}")


def understood(line: str) -> Said | None:
    """What a line of a step says; None for any other line."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    return Said(
        step=match["step"],
        about=match["about"] or "",
        state=match["state"] or "",
        seconds=float(match["seconds"] or 0),
        text=match["result"] or match["said"] or "",
    )


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
