"""Clients that go on asking while models change: ``millrace load`` beside whatever else happens."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from examples.server import MILLRACE, ServerError

RATE = 120.0  # requests a second: a fraction of what the digits' pod can do on one core
STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the clients saw: how many requests, and what became of those that failed."""

    requests: int
    failed: int
    outcomes: dict[str, int]


class LiveTraffic:
    """An open loop of requests to a pod, from now until it is stopped.

    Args:
        url: of the pod.
        images: a folder; what it holds is sent in turn.
        log: where the client writes.
    """

    def __init__(self, url: str, images: Path, log: Path) -> None:
        self._log = log
        command: list[str | Path] = [
            MILLRACE,
            "load",
            images,
            "--endpoint",
            url,
            "--rate",
            str(RATE),
        ]
        command += ["--duration", "3600", "--warm-up", "0", "--no-progress", "--json", "-"]
        with log.with_suffix(".json").open("wb") as result, log.open("wb") as said:
            self._process = subprocess.Popen(
                command, stdout=result, stderr=said, start_new_session=True
            )

    def stop(self) -> Traffic:
        """End it, and say what came of it.

        Raises:
            ServerError: the client has failed; with its log.
        """
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        try:
            content = json.loads(self._log.with_suffix(".json").read_text(encoding="utf-8"))
            measured = content["measurements"][0]
        except (OSError, ValueError, LookupError) as error:
            said = self._log.read_text(encoding="utf-8", errors="replace")
            raise ServerError(f"the load client reported nothing: {said}") from error
        return Traffic(
            requests=measured["requests"],
            failed=measured["failed"] + measured["unsent"],
            outcomes=measured["outcomes"],
        )
