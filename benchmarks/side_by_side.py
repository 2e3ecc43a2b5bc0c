"""Load tools as processes: started side by side, one after the other, ahead of what they load.

A load tool stands for clients on other machines, whose cores are not the server's to take: where
the kernel allows it, it runs at a higher scheduling priority, so that what leaves late is the
server's answer and not the question.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import BenchmarkError

GRACE_S = 60.0  # beyond its duration, before a load tool counts as stuck
TOOL_NICE = -10
CAP_SYS_NICE = 23  # its bit (capabilities(7)); root has it unless a container took it away
STATUS = Path("/proc/self/status")


def run_side_by_side(
    commands: Sequence[Sequence[str | Path]], seconds: float, apart_s: float = 0.0
) -> list[str]:
    """What each of these load tools printed.

    Args:
        commands: of the tools.
        seconds: how long each of them runs.
        apart_s: between the start of one and of the next.

    Raises:
        BenchmarkError: one fails, or does not end in time.
    """
    running: list[subprocess.Popen[str]] = []
    began = time.monotonic()
    try:
        for place, command in enumerate(commands):
            time.sleep(max(0.0, began + place * apart_s - time.monotonic()))
            running.append(
                subprocess.Popen(
                    [*ahead(), *command],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        outputs = [process.communicate(timeout=seconds + GRACE_S)[0] for process in running]
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{commands[0][0]} did not end in time") from error
    finally:
        for process in running:
            process.kill()
            process.wait()
    for process, output in zip(running, outputs, strict=True):
        if process.returncode != 0:
            raise BenchmarkError(f"{commands[0][0]} failed: {output.strip()}")
    return outputs


def ahead() -> tuple[str, ...]:
    """What to put before a command so that it runs ahead of others; nothing if that is denied."""
    return ("nice", "-n", str(TOOL_NICE)) if may_run_ahead(STATUS.read_text()) else ()


def may_run_ahead(status: str) -> bool:
    """Whether a process may raise its priority, by its /proc/PID/status."""
    lines = [line for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(lines and int(lines[0].split()[1], 16) >> CAP_SYS_NICE & 1)


def priority_text() -> str:
    """One sentence for the reader of results."""
    if ahead():
        return (
            "The load tool stands for clients on other machines: it ran on the same cores as the "
            f"server, at a higher scheduling priority (nice {TOOL_NICE})."
        )
    return "The load tool ran on the same cores as the server, at the same scheduling priority."


def children_cpu_s() -> float:
    """CPU seconds of all child processes that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
