"""Speed: batches measured in a process of their own, stages in a pod."""

from __future__ import annotations

import psutil
import pytest

from analyzer import speed, speed_pod
from analyzer.errors import AnalyzerError
from analyzer.local import Place
from analyzer.speed_worker import Measured
from predictor.types import DecodeLimits
from tests.analyzer.colour_sets import files, local, surveyed, write_folder
from tests.conftest import quiet

LIMITS = DecodeLimits(50_000_000, 2)
STAGES = ["receive", "decode", "queue", "copy", "infer", "collect", "respond"]


@pytest.fixture
def seen(tmp_path):
    """A few images, one of them broken."""
    return surveyed(write_folder(tmp_path / "set", files(5) | {"red/x.png": b"none"}))


def test_a_variant_is_measured_in_batches_and_in_a_pod(colours, seen):
    """With its memory; and what decoding this dataset takes, though nothing was classified."""
    others = psutil.Process().children(recursive=True)  # such as a registry for all tests
    model = local(colours)
    speed.time_decoding(model, seen)

    found = speed.measure([model], seen, {}, quiet)["colours"]

    (variant,) = found.variants
    assert [batch.batch_size for batch in variant.batches] == [1, 2, 4, 8, 16, 32]
    assert all(0 < batch.latency_s <= batch.p99_s for batch in variant.batches)
    assert variant.memory_bytes > 0
    assert variant.file_bytes == (colours.path / variant.file).stat().st_size
    assert [stage.stage for stage in found.stages] == STAGES
    assert [stage.stage for stage in found.stages if not stage.capacity] == []
    assert found.bottleneck in STAGES
    best = max(batch.images_per_second for batch in variant.batches)
    assert found.cores_per_device == pytest.approx(best * model.decode_time.seconds_per_image)
    assert found.note.startswith("feed one instance of one thread with ")
    left = [each for each in psutil.Process().children(recursive=True) if each not in others]
    assert left == []


def test_batches_of_a_gates_rules_are_timed_until_their_tail_is_bounded(colours, seen, monkeypatch):
    """Also of a size that is not measured otherwise, however little time the others get."""
    monkeypatch.setattr("analyzer.speed_pod.stages", lambda *_: {})
    told = []
    found = speed.measure(
        [local(colours, "new"), local(colours, "old")],
        seen,
        {},
        lambda *said: told.append(said),
        speed.Timing(p99_sizes=(3,), longest_s=600),
    )

    for model in ("new", "old"):
        by_size = {each.batch_size: each for each in found[model].variants[0].batches}
        assert by_size[3].batches == 400
        assert by_size[3].p99_high_s is not None
    assert told[0] == ("timing batches", 0, 8)
    assert ("timing batches", 8, 8) in told


def test_models_take_turns(colours, seen, monkeypatch):
    """So that each of them meets what happens on the machine meanwhile."""
    monkeypatch.setattr("analyzer.speed_pod.stages", lambda *_: {})
    turns = []

    def timed(model, *_):
        turns.append(model.name)
        return Measured(seconds={1: [0.1, 0.1]})

    monkeypatch.setattr("analyzer.speed.time_batches", timed)
    speed.measure([local(colours, "new"), local(colours, "old")], seen, {}, quiet)

    assert turns == ["new", "old", "old", "new"] * 2


def test_a_size_of_a_gates_rules_is_timed_for_no_longer_than_was_said(colours):
    """A moment: then two batches have to do."""
    measured = speed.time_batches(local(colours), {}, speed.Timing((32,), longest_s=1e-9))

    assert len(measured.seconds[32]) == 2


def test_the_note_says_what_feeds_a_device_and_what_limits():
    """In the words of the report."""
    gpu, cores = Place("cuda", 4, LIMITS, scaled=True), Place("cpu", 2, LIMITS, scaled=True)
    pod = {"bottleneck": "decode", "capacity": 541.2, "by_cores": False}

    assert speed.note(7.4, gpu, pod) == (
        "feed one of these with 7.4 cores; a pod here could do 541 images/s, limited by decode"
    )
    assert speed.note(0.13, cores, pod | {"by_cores": True}) == (
        "feed one instance of one thread with 0.1 cores; a pod here could do 541 images/s, "
        "limited by the cores (decode takes most of them)"
    )
    assert speed.note(None, gpu, {}) == "no image of the dataset could be decoded"


def test_without_an_image_no_pod_is_asked(colours, tmp_path):
    """Nor started."""
    seen = surveyed(write_folder(tmp_path / "t", {"t.csv": b"none.png,red"}) / "t.csv")

    assert speed_pod.stages(local(colours), seen) == {}


def test_a_device_that_is_not_there_is_said_in_one_line(colours, seen):
    """By whichever process meets it first."""
    model = local(colours)
    model.place = Place("rocm", 1, LIMITS, scaled=True)

    with pytest.raises(AnalyzerError, match="device rocm: this ONNX Runtime has no"):
        speed.time_batches(model, {})
    with pytest.raises(AnalyzerError, match=r"a pod to measure does not start: .*rocm"):
        speed_pod.stages(model, seen)
