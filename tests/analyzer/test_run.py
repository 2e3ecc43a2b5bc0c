"""Models here, over datasets: what comes out, what is kept, what goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from analyzer.local import LocalModel, Place
from analyzer.run import run
from analyzer.run_kept import Kept
from analyzer.run_model import Block
from benchmarks.failing_network import RAISES, one_colour
from model_store.reference import reference_pixels
from tests.analyzer.colour_sets import HERE, files, local, picture, surveyed, write_folder
from tests.conftest import COLOURS, as_version, quiet


class Counting:
    """A model that counts what it is asked, and can be told to fail."""

    def __init__(self, model, fail_after=None):
        self.asked = []
        self._model = model
        self._fail_after = fail_after

    def __getattr__(self, name):
        return getattr(self._model, name)

    def classify(self, numbers, read, answered):
        """Note what is asked for, and have it answered."""
        self.asked += numbers
        done = 0

        def take(block):
            nonlocal done
            answered(block)
            done += len(block.numbers)
            if self._fail_after is not None and done >= self._fail_after:
                raise KeyboardInterrupt

        self._model.classify(numbers, read, take)


@pytest.fixture
def seen(tmp_path):
    """Twenty images of each colour."""
    return surveyed(write_folder(tmp_path / "set", files(20)))


def test_answers_are_those_of_the_network_itself(colours, seen, tmp_path):
    """Each image by itself, decoded by plain Pillow."""
    model = local(colours)
    outcome = run(model, seen, tmp_path / "kept", quiet)
    target = colours.manifest.input
    alone = [model.run(reference_pixels(seen.read(n), target)[None]) for n in range(60)]
    model.close()

    said = outcome.predictions
    assert said.indices.tolist() == [one.indices[0].tolist() for one in alone]
    np.testing.assert_allclose(said.scores, [one.scores[0] for one in alone], atol=1e-5)
    assert [COLOURS[index] for index in said.truth] == [n.split("/")[0] for n in said.names]
    assert (said.ranks == 0).all()
    assert outcome.images == 60
    assert outcome.images_per_second > 0


def test_one_lane_gives_the_same(colours, seen, tmp_path):
    """As with one device."""
    place = Place("cpu", 1, HERE.limits, scaled=True)
    one_lane = LocalModel("one", "one", colours, colours.manifest.variants[0], place)

    first = run(local(colours), seen, tmp_path / "a", quiet).predictions
    second = run(one_lane, seen, tmp_path / "b", quiet).predictions

    assert first.indices.tolist() == second.indices.tolist()


def test_a_broken_image_is_an_error_in_its_row(colours, tmp_path):
    """Cut off, empty, none at all: the others are answered."""
    red = picture("red", 1, "JPEG", (300, 200))
    broken = {"red/a.jpg": red[:300], "red/b.jpg": b"", "red/c.jpg": b"GIF89a", "red/d.jpg": red}
    seen = surveyed(write_folder(tmp_path / "set", broken | files(3)))

    said = run(local(colours), seen, tmp_path / "kept", quiet).predictions

    by_name = dict(zip(said.names, said.errors, strict=True))
    assert all(by_name.pop(name) for name in ("red/a.jpg", "red/b.jpg", "red/c.jpg"))
    assert set(by_name.values()) == {""}
    assert np.isnan(said.scores[~said.answered]).all()
    assert (said.indices[~said.answered] == -1).all()
    assert said.answered.sum() == 10


def test_an_image_on_which_the_runtime_fails_fails_alone(failing, tmp_path):
    """Its batch is halved until it is found."""
    write_folder(tmp_path / "set", files(5) | {"red/bad.png": one_colour(RAISES, 16)})

    model = Counting(local(failing))
    said = run(model, surveyed(tmp_path / "set"), tmp_path / "kept", quiet).predictions
    run(model, surveyed(tmp_path / "set"), tmp_path / "kept", quiet)

    assert [n for n, e in zip(said.names, said.errors, strict=True) if e] == ["red/bad.png"]
    assert len(model.asked) == 16 + 1  # that one again: a failure of the runtime may pass


def test_nothing_is_classified_twice(colours, seen, tmp_path):
    """The second run is the first one's answers."""
    model = Counting(local(colours))

    first = run(model, seen, tmp_path / "kept", quiet)
    second = run(model, seen, tmp_path / "kept", quiet)

    assert sorted(model.asked) == list(range(60))
    assert second.predictions.indices.tolist() == first.predictions.indices.tolist()
    np.testing.assert_array_equal(second.predictions.scores, first.predictions.scores)
    assert (second.seconds, second.images) == (first.seconds, first.images)


def test_a_run_that_is_interrupted_goes_on(colours, seen, tmp_path):
    """Only what is missing is classified."""
    with pytest.raises(KeyboardInterrupt):
        run(Counting(local(colours), fail_after=16), seen, tmp_path / "kept", quiet)
    model = Counting(local(colours))
    outcome = run(model, seen, tmp_path / "kept", quiet)

    assert 0 < len(model.asked) <= 44
    assert outcome.predictions.answered.all()
    assert outcome.images == 60


def test_broken_images_are_kept_as_well(colours, tmp_path):
    """With their reasons."""
    seen = surveyed(write_folder(tmp_path / "set", files(1) | {"red/x.png": b"none"}))

    first = run(local(colours), seen, tmp_path / "kept", quiet).predictions
    model = Counting(local(colours))
    second = run(model, seen, tmp_path / "kept", quiet).predictions

    assert model.asked == []
    assert first.errors == second.errors
    assert sum(map(bool, second.errors)) == 1


def test_another_model_or_dataset_starts_anew(colours, tmp_path):
    """A new version with the same network, and one image changed."""
    folder = write_folder(tmp_path / "set", files(2))
    asked = []
    for package, changes in (
        (colours, {}),
        (as_version(colours, 2, tmp_path / "store"), {}),
        (colours, {"red/0000.png": picture("red", 77)}),
        (colours, {}),
    ):
        model = Counting(local(package))
        run(model, surveyed(write_folder(folder, changes)), tmp_path / "kept", quiet)
        asked.append(len(model.asked))

    assert asked == [6, 6, 6, 0]


def test_another_runtime_or_decoder_starts_anew(colours, monkeypatch):
    """Its answers may be others."""
    before = local(colours).identity
    monkeypatch.setattr("analyzer.local.metadata.version", lambda _: "99")

    assert local(colours).identity != before


KILLED = """
import sys
from pathlib import Path
from analyzer.run import run
from model_store.package import load_package
from tests.analyzer.colour_sets import local, surveyed

class Slow:
    def __init__(self, model): self._model = model
    def __getattr__(self, name): return getattr(self._model, name)
    def classify(self, numbers, read, answered):
        def take(block):
            answered(block)
            print(len(block.numbers), flush=True)
            sys.stdin.readline()
        self._model.classify(numbers, read, take)

run(Slow(local(load_package(Path(sys.argv[1])))), surveyed(sys.argv[2]), Path(sys.argv[3]),
    lambda *_: None)
"""


def test_what_was_answered_before_a_kill_is_kept(colours, seen, tmp_path):
    """SIGKILL leaves no time to write anything."""
    command = [sys.executable, "-c", KILLED, colours.path, tmp_path / "set", tmp_path / "kept"]
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        answered = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)

    model = Counting(local(colours))
    outcome = run(model, seen, tmp_path / "kept", quiet)

    assert answered > 0
    assert len(model.asked) == 60 - answered
    assert outcome.predictions.answered.all()


def test_kept_rows_that_were_cut_off_start_anew(tmp_path):
    """As after a full disk."""
    block = Block(np.array([1]), np.array([[2, 0]]), np.array([[0.7, 0.2]], np.float32))
    with Kept(tmp_path, "m", "d", 3, 2) as kept:
        kept.put(block)
        folder = kept.folder
    os.truncate(folder / "rows.npy", 10)
    (folder / "facts.json").write_text("{")

    with Kept(tmp_path, "m", "d", 3, 2) as kept:
        assert not kept.done.any()
        assert kept.facts == {}
        kept.put(block)
        assert kept.indices.tolist() == [[-1, -1], [2, 0], [-1, -1]]


def test_no_thread_is_left_behind(colours, seen, tmp_path):
    """Neither of a run that ended nor of one that was interrupted."""
    before = set(threading.enumerate())
    model = local(colours)
    run(model, seen, tmp_path / "a", quiet)
    with pytest.raises(KeyboardInterrupt):
        run(Counting(model, fail_after=8), seen, tmp_path / "b", quiet)
    model.close()

    assert set(threading.enumerate()) == before
