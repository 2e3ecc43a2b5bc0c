"""A whole pod on this machine, asked a dataset's images for a few seconds: what limits it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

from analyzer.dataset_survey import Survey
from analyzer.endpoint import EndpointModel
from analyzer.errors import AnalyzerError
from analyzer.local import LocalModel
from analyzer.run_model import Block

ASKED_S = 6.0  # a pod looks at its last ten seconds, or longer
IMAGES = 256  # between two looks at the clock
START_S, STOP_S = 180.0, 60.0
SERVING = re.compile(r"serving \S+ version \S+: http port (\d+)")


def stages(model: LocalModel, survey: Survey) -> dict[str, Any]:
    """What ``/stages`` of a pod says that serves a variant and is asked as much as it can do.

    It finds out by itself how many instances and decode threads there should be, as any pod does.

    Args:
        model: whose variant is served.
        survey: of a dataset with an image that can be read; nothing is asked without.

    Raises:
        AnalyzerError: the pod does not start, or does not answer.
    """
    good = [number for number, error in enumerate(survey.errors) if not error]
    if not good:
        return {}
    with _pod(model) as port:
        name = model.package.name
        endpoint = EndpointModel(name, f"http://127.0.0.1:{port}/v2/models/{name}")
        try:
            numbers, end = cycle(good), time.monotonic() + ASKED_S
            while time.monotonic() < end:
                endpoint.classify(list(islice(numbers, IMAGES)), survey.read, _forget)
            return endpoint.stages()
        finally:
            endpoint.close()


def _forget(_: Block) -> None:
    """Only what the pod counts is wanted."""


@contextmanager
def _pod(model: LocalModel) -> Iterator[int]:
    """A pod on a free port, which is given; it is gone afterwards."""
    command = [
        sys.executable, "-m", "predictor",
        "--model-dir", str(model.package.path),
        "--model-name", model.package.name,
        "--variant", model.variant.file,
        "--devices", model.place.kind,
        "--scaled-decode", str(model.place.scaled),
        "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0",
        "--drain-delay-s", "0",
    ]  # fmt: skip
    with subprocess.Popen(  # noqa: S603 (our own module)
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        log = _Log(process)
        try:
            yield log.port()
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            log.join()


class _Log:
    """Reads what a pod writes, so that it never waits for that, and finds its port there."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._port = 0
        self._last = "it said nothing"
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._read, name="pod log")
        self._thread.start()

    def port(self) -> int:
        """Wait for it.

        Raises:
            AnalyzerError: the pod ended instead, or takes too long; with its last line.
        """
        self._told.wait(START_S)
        if not self._port:
            raise AnalyzerError(f"a pod to measure does not start: {self._last}")
        return self._port

    def join(self) -> None:
        """Wait for the log's end."""
        self._thread.join()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._last = line.strip() or self._last
            if not self._port and (match := SERVING.search(line)):
                self._port = int(match[1])
                self._told.set()
        self._told.set()
