"""What steps say in a pod's log, and that a local run understands it."""

from __future__ import annotations

import pytest

from pipelines.errors import PipelineError
from pipelines.steps.telling import Said, step, understood


def said(capsys) -> list[Said]:
    """All lines so far."""
    found = [understood(line) for line in capsys.readouterr().out.splitlines()]
    assert None not in found
    return found


def test_a_step_says_that_it_begins_goes_on_and_ends(capsys):
    """With which of several alike it is, and what came of it."""
    with step("analyze", "held out") as telling:
        telling.say("an image a line")
        telling.result = "97 % [of 100]: good"

    began, on, done = said(capsys)
    assert (began.step, began.about, began.state) == ("analyze", "held out", "began")
    assert (on.state, on.text) == ("", "an image a line")
    assert (done.state, done.text) == ("done", "97 % [of 100]: good")
    assert done.seconds >= 0


def test_what_is_refused_ends_the_process_with_one_line(capsys):
    """No trace: the line says what to do."""
    with pytest.raises(SystemExit, match="gate: name two"), step("gate"):
        raise PipelineError("name\ntwo")

    assert [each.text for each in said(capsys) if each.state == "failed"] == ["name two"]


def test_what_nobody_thought_of_goes_on_with_its_trace(capsys):
    """And is said as well."""
    with pytest.raises(ZeroDivisionError), step("gate"):
        raise ZeroDivisionError("by nothing")

    assert said(capsys)[-1].text == "ZeroDivisionError: by nothing"


@pytest.mark.parametrize(
    "line", ["", "[KFP Executor 2026-01-01 INFO]: Looking", "12:00 - INFO - [x]", "[] began"]
)
def test_other_lines_of_a_log_are_no_step(line):
    """KFP's own among them."""
    assert understood(line) is None
