"""A rollout's state in a file: whole or as before, and one writer at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from rollout.errors import ConflictError, RolloutError
from rollout.file_ledger import FileLedger


@pytest.fixture
def ledger(tmp_path: Path) -> FileLedger:
    """Nothing is kept in it, and its folder is not there yet."""
    return FileLedger(tmp_path / "rollouts" / "digits.json")


def add_one(path: Path, times: int) -> None:
    """Count up, and again where another one was quicker."""
    ledger = FileLedger(path)
    for _ in range(times):
        while True:
            kept = ledger.read()
            assert kept is not None
            try:
                ledger.write(str(int(kept.state) + 1), kept.revision)
            except ConflictError:
                continue
            break


def test_what_is_written_is_read(ledger):
    """Text for text, with the mark that the writer was given."""
    assert ledger.read() is None

    first = ledger.write('{"phase": "dark", "why": "é"}', None)
    second = ledger.write('{"phase": "shadow"}', first)

    kept = ledger.read()
    assert (kept.state, kept.revision) == ('{"phase": "shadow"}', second)
    assert first != second


def test_whoever_has_not_read_the_newest_is_refused(ledger):
    """Also who thinks that there is nothing, and who has seen what is gone."""
    mark = ledger.write("a", None)
    with pytest.raises(ConflictError):
        ledger.write("b", None)
    ledger.write("b", mark)

    with pytest.raises(ConflictError, match="read it again"):
        ledger.write("c", mark)

    assert ledger.read().state == "b"


def test_no_change_of_several_processes_is_lost(ledger, tmp_path):
    """Each adds to what it has read, or reads again."""
    ledger.write("0", None)
    path = tmp_path / "rollouts" / "digits.json"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=add_one, args=(path, 20)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()

    assert [other.exitcode for other in others] == [0, 0, 0]
    assert ledger.read().state == "60"


def test_a_write_that_fails_leaves_what_was_there(ledger, tmp_path, monkeypatch):
    """And no other file beside it."""
    mark = ledger.write("a", None)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RolloutError, match=r"digits.json: cannot be written: No space left"):
            ledger.write("b", mark)

    assert ledger.read().state == "a"
    there = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert there == ["digits.json", "digits.json.lock"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "a"}', json.dumps({"revision": "x"})])
def test_a_file_of_somebody_else_is_refused_and_left(ledger, tmp_path, text):
    """Neither read as a state nor written over."""
    path = tmp_path / "rollouts" / "digits.json"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")

    for attempt in (ledger.read, lambda: ledger.write("a", None)):
        with pytest.raises(RolloutError, match="move it away"):
            attempt()
    assert path.read_text(encoding="utf-8") == text
