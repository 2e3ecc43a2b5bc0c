"""The processes of a local run's steps, and how they are ended when somebody stops the run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import psutil

END_S = 20.0  # for a rollout to take the candidate's share away, and leave


class StepProcesses:
    """All that this process starts from now on, and what that starts."""

    def __init__(self) -> None:
        self._before = set(psutil.Process().children())

    @contextlib.contextmanager
    def stopped_by_sigterm(self) -> Iterator[None]:
        """Meanwhile SIGTERM stops a run as Ctrl-C does.

        A terminal sends Ctrl-C to every process, but SIGTERM comes to this one alone: it is handed
        on at once, since the runner's threads wait for their steps.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def end(self) -> None:
        """Have none of them go on while the run is being concluded."""
        _, alive = psutil.wait_procs(self._terminate(), timeout=END_S)
        for step in alive:
            with contextlib.suppress(psutil.Error):
                step.kill()
        psutil.wait_procs(alive, timeout=END_S)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._terminate()
        raise KeyboardInterrupt

    def _terminate(self) -> list[psutil.Process]:
        steps: list[psutil.Process] = []
        for child in set(psutil.Process().children()) - self._before:
            with contextlib.suppress(psutil.Error):
                steps += [*child.children(recursive=True), child]
        for step in steps:
            with contextlib.suppress(psutil.Error):
                step.terminate()
        return steps
