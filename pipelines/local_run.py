"""The pipeline here and now, by KFP's own local runner: each step a process, as it is a pod there.

The runner knows exit handlers, loops, conditions and the cache, so it is the same definition. What
it does not know, and is done here: an exit handler after Ctrl-C or SIGTERM, saying how it goes.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import logging
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import tasks
from pipelines.definition import build
from pipelines.errors import PipelineError
from pipelines.record import FAILED as UNSUCCESSFUL
from pipelines.record import OUTCOME_TAG, WHY_TAG
from pipelines.step_processes import StepProcesses
from pipelines.steps.conclusion import Conclusion
from pipelines.steps.registration import version_of
from pipelines.steps.telling import DONE, FAILED, Said, understood

RUNS, CACHE, LOG_FILE = "runs", "cache", "log.txt"
ABOUT = "about"  # in an artifact's metadata: which dataset it is of
_OUTPUT_FILE = "executor_output.json"
# What the runner says of images and limits, which mean nothing to processes.
_NOISE = r"(?s).*(You may be attemping to run a task|have no effect in the current local runner)"


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step that ran: its end, and the files that it left."""

    said: Said
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A run that is over.

    Attributes:
        conclusion: how it ended.
        steps: in the order in which they ended.
        folder: of all that steps have written, and of the log.
    """

    conclusion: Conclusion
    steps: tuple[StepDone, ...]
    folder: Path


def run_here(
    arguments: Mapping[str, Any], folder: Path, tell: Callable[[Said], None], *, cached: bool = True
) -> LocalRun:
    """Run the pipeline in processes of this machine.

    Args:
        arguments: of the pipeline.
        folder: where runs and the cache are kept.
        tell: hears every line that a step says.
        cached: whether steps that are cached on a cluster are here.

    Raises:
        PipelineError: it cannot be started.
        RegistryError: MLflow does not answer.
        KeyboardInterrupt: it was stopped, by Ctrl-C or SIGTERM, and has been concluded.
    """
    key = f"local-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    wanted = {**arguments, "key": key}
    own = folder.absolute() / RUNS / key
    own.mkdir(parents=True)
    heard, processes = _Heard(own / LOG_FILE, tell), StepProcesses()
    try:
        with heard, _quiet(), contextlib.redirect_stdout(heard), processes.stopped_by_sigterm():
            _run(wanted, own, folder / CACHE, cached=cached)
    except KeyboardInterrupt:
        processes.end()
        _conclude(wanted, "somebody stopped it")
        raise
    conclusion = _concluded(wanted)
    if conclusion is None:  # the exit handler's process died
        conclusion = _conclude(wanted, "the step that concludes failed")
    if conclusion.outcome == UNSUCCESSFUL:
        conclusion = _explained(conclusion, wanted, heard.ended)
    steps = tuple(StepDone(said, _files(own, said)) for said in heard.ended)
    return LocalRun(conclusion, steps, own)


def _run(arguments: Mapping[str, Any], own: Path, cache: Path, *, cached: bool) -> None:
    from kfp import local

    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(own),
        workspace_root=str(own / "workspace"),
        raise_on_error=False,  # the record says how it ended
        enable_caching=cached,
        cache_root=str(cache),
    )
    try:
        build()(**arguments)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"the pipeline cannot be run with these parameters: {error}") from error


def _run_of(arguments: Mapping[str, Any]) -> tasks.Run:
    return tasks.Run(arguments["name"], arguments.get("registry", ""), arguments["key"])


def _concluded(arguments: Mapping[str, Any]) -> Conclusion | None:
    """What the exit handler recorded; None if it did not come to that."""
    record = _run_of(arguments).record
    tags = record.tags()
    if OUTCOME_TAG not in tags or not record.ended:
        return None
    found = version_of(record.registry, arguments["name"], arguments["key"])
    version = found.version if found else ""
    return Conclusion(tags[OUTCOME_TAG], tags.get(WHY_TAG, ""), version, record.run_id)


def _conclude(arguments: Mapping[str, Any], why: str) -> Conclusion:
    # Where a caller's own answer does not stand. What it could not end, it has said and recorded.
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
        return tasks.conclude(_run_of(arguments), arguments["place"], why)
    found = _concluded(arguments)
    return found or Conclusion(UNSUCCESSFUL, why, "", _run_of(arguments).record.run_id)


def _explained(
    conclusion: Conclusion, arguments: Mapping[str, Any], ended: Sequence[Said]
) -> Conclusion:
    """With what the step said that failed; the runner tells the exit handler only that one did."""
    last = next((said for said in ended if said.state == FAILED), None)
    if last is None:
        return conclusion
    why = f"{last.step}: {last.text}"
    _run_of(arguments).record.tag({WHY_TAG: why})
    return replace(conclusion, why=why)


def _files(own: Path, said: Said) -> tuple[Path, ...]:
    """What a step left of artifacts, by the paths that it told KFP."""
    found: list[Path] = []
    for output in sorted(own.glob(f"**/{said.step}*/{_OUTPUT_FILE}")):
        content = json.loads(output.read_text(encoding="utf-8"))
        lists = content.get("artifacts", {}).values()
        listed = [each for one in lists for each in one["artifacts"]]
        of = {each["metadata"].get(ABOUT) for each in listed} - {None}
        if said.about and of and said.about not in of:
            continue  # another dataset's
        paths = (Path(each["uri"]) for each in listed)
        found += [path for path in paths if path.exists() and path not in found]
    return tuple(found)


class _Heard(io.TextIOBase):
    """Takes the runner's output: all of it into the log, and what steps say to whoever follows."""

    def __init__(self, log: Path, tell: Callable[[Said], None]) -> None:
        super().__init__()
        self._log = log.open("w", encoding="utf-8")
        self._tell = tell
        self._line = ""
        self.ended: list[Said] = []

    def write(self, text: str) -> int:
        self._log.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            said = understood(line)
            if said is not None:
                if said.state in (DONE, FAILED):
                    self.ended.append(said)
                self._tell(said)
        return len(text)

    def flush(self) -> None:
        if not self._log.closed:
            self._log.flush()

    def close(self) -> None:
        self._log.close()
        super().close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The runner leaves ``print`` indented where steps ran side by side, and warns of the usual."""
    original, level = builtins.print, logging.getLogger().level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _NOISE)
            yield
    finally:
        builtins.print = original
        logging.getLogger().setLevel(level)
