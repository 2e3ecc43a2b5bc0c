"""Which variant is served: those that may be, and the fastest of them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from model_store.package import Comparison, Measured, Proof, Variant
from predictor import variant_choice
from predictor.errors import OutOfMemoryError, StartupError
from predictor.loaded_version import LoadedVersion
from predictor.runtimes.loading import candidates
from predictor.variant_choice import choose_variant, fastest


def proven(precision: str, agreement: float) -> Variant:
    """A variant with a proof."""
    compared = Comparison(
        images=100,
        top1_agreement=agreement,
        mean_score_difference=0.01,
        max_score_difference=0.1,
    )
    measured = Measured(device="cpu", threads=1, images_per_second={1: 9}, times_the_first={1: 1})
    return Variant(
        file=f"{precision}.onnx",
        runtime="onnx",
        precision=precision,
        proof=Proof(calibration=compared, held_out=compared, measured=measured),
    )


FP32 = Variant(file="fp32.onnx", runtime="onnx", precision="fp32")
FP16, INT8 = proven("fp16", 0.999), proven("int8", 0.98)


@pytest.fixture
def manifest(colours):
    """A manifest that names three variants."""
    changes = {"variants": (FP32, FP16, INT8), "accuracy_bound": 0.97}
    return colours.manifest.model_copy(update=changes)


def test_fastest_is_chosen_and_a_tie_is_for_the_more_exact():
    """A variant further down has to be faster by more than 5 %."""
    assert fastest([(FP32, 100.0), (FP16, 80.0), (INT8, 220.0)]) == INT8
    assert fastest([(FP32, 100.0), (FP16, 80.0), (INT8, 104.0)]) == FP32
    assert fastest([(FP32, 100.0), (FP16, 300.0), (INT8, 310.0)]) == FP16


def test_auto_takes_only_what_keeps_the_bound(manifest):
    """The first variant always may be served; one without a proof only by name."""
    assert candidates(manifest, "auto", "cpu") == (FP32, FP16, INT8)
    strict = manifest.model_copy(update={"accuracy_bound": 0.99})
    assert candidates(strict, "auto", "cpu") == (FP32, FP16)
    unbound = manifest.model_copy(update={"accuracy_bound": None})
    assert candidates(unbound, "auto", "cpu") == (FP32,)
    unproven = INT8.model_copy(update={"proof": None})
    some = manifest.model_copy(update={"variants": (FP32, unproven)})
    assert candidates(some, "auto", "cpu") == (FP32,)


def test_a_name_forces_a_variant(manifest):
    """By precision or by file, whether it keeps the bound or not."""
    strict = manifest.model_copy(update={"accuracy_bound": 0.99})
    assert candidates(strict, "int8", "cpu") == (INT8,)
    assert candidates(strict, "fp16.onnx", "cpu") == (FP16,)


def test_a_precision_with_several_runtimes_is_a_choice_among_them(manifest):
    """The ending of a file's name says which runtime."""
    program = FP32.model_copy(update={"runtime": "torch", "file": "model.pt2"})
    both = manifest.model_copy(update={"variants": (FP32, INT8, program)})
    assert candidates(both, "fp32", "cpu") == (FP32, program)
    assert candidates(both, "pt2", "cpu") == (program,)
    assert candidates(both, "fp32", "tensorrt") == (FP32,)


def test_a_variant_that_is_not_there_is_named_with_those_that_are(manifest):
    """One line."""
    with pytest.raises(StartupError, match=r"has no 'int4'; there: fp32 \(fp32.onnx\), fp16"):
        candidates(manifest, "int4", "cpu")


def test_a_torch_program_is_left_out_where_it_cannot_run(manifest):
    """TensorRT takes ONNX only."""
    torch = INT8.model_copy(update={"runtime": "torch", "file": "model.pt2"})
    both = manifest.model_copy(update={"variants": (FP32, torch)})
    assert candidates(both, "auto", "tensorrt") == (FP32,)
    assert candidates(both, "auto", "cuda") == (FP32, torch)


class Order:
    """What of an order matters here."""

    variant, kind, device, threads, emulated = "auto", "cpu", "cpu:0", 1, None


class Package:
    """What of a package matters here."""

    def __init__(self, manifest):
        self.manifest = manifest


class Runtime:
    """Loads, and is as fast as its variant is told to be."""

    largest_batch = None

    def close(self):
        """Nothing to give back."""


@pytest.fixture
def rates(monkeypatch):
    """Images per second by file; a variant without a rate does not load."""
    given: dict[str, float] = {}

    def load(package, kind, threads, emulated, variant):
        if variant.file not in given:
            raise StartupError(f"{variant.file}: does not load\nhere")
        runtime = Runtime()
        runtime.rate = given[variant.file]
        return runtime

    monkeypatch.setattr(variant_choice, "load_runtime", load)
    monkeypatch.setattr(variant_choice, "_rate", lambda runtime, shape: runtime.rate)
    monkeypatch.setattr(variant_choice, "check_golden", lambda *_: None)
    return given


def test_what_is_measured_fastest_here_is_proposed(manifest, rates):
    """And served, if that is agreed on."""
    rates.update({"fp32.onnx": 100, "fp16.onnx": 60, "int8.onnx": 210})
    proposed = []

    def agree(file: str) -> str:
        proposed.append(file)
        return file

    assert choose_variant(Package(manifest), Order, agree) == INT8
    assert proposed == ["int8.onnx"]


def test_what_was_much_slower_on_a_cpu_is_not_tried_on_one(manifest, rates):
    """On another kind of device it is; and where it is asked for by name."""
    rates.update({"fp32.onnx": 100, "fp16.onnx": 900, "int8.onnx": 210})
    slow = FP16.proof.measured.model_copy(update={"times_the_first": {1: 0.5, 8: 0.7}})
    proof = FP16.proof.model_copy(update={"measured": slow})
    half = FP16.model_copy(update={"proof": proof})
    some = Package(manifest.model_copy(update={"variants": (FP32, half, INT8)}))
    assert choose_variant(some, Order, lambda file: file) == INT8

    class OnGpu(Order):
        kind = "cuda"

    class ByName(Order):
        variant = "fp16"

    assert choose_variant(some, OnGpu, lambda file: file) == half
    assert choose_variant(some, ByName, lambda file: file) == half


def test_what_others_serve_is_served(manifest, rates):
    """All instances on one kind of device give the same answers."""
    rates.update({"fp32.onnx": 100, "fp16.onnx": 60, "int8.onnx": 210})
    assert choose_variant(Package(manifest), Order, lambda _: "fp32.onnx") == FP32


def test_instance_that_cannot_serve_what_others_do_says_so(manifest, rates):
    """Rather than answer otherwise than they do; the line names what it could serve."""
    rates.update({"fp32.onnx": 100, "fp16.onnx": 60})
    with pytest.raises(StartupError, match=r"does not serve int8\.onnx, .* --variant fp32\.onnx$"):
        choose_variant(Package(manifest), Order, lambda _: "int8.onnx")


def test_no_variant_is_begun_once_choosing_has_taken_too_long(manifest, rates, monkeypatch, caplog):
    """The first one is always measured; the log names those that were not."""
    monkeypatch.setattr(variant_choice, "CHOOSING_S", -1.0)
    rates.update({"fp32.onnx": 100, "fp16.onnx": 60, "int8.onnx": 210})
    assert choose_variant(Package(manifest), Order, lambda file: file) == FP32
    assert "takes too long here: fp16.onnx, int8.onnx" in caplog.text


def test_a_variant_that_does_not_load_is_left_out(manifest, rates):
    """The pod starts with the others."""
    rates["fp32.onnx"] = 100
    assert choose_variant(Package(manifest), Order, lambda file: file) == FP32


def test_no_variant_that_loads_is_an_error_in_one_line(manifest, rates):
    """It says why the last one did not."""
    with pytest.raises(StartupError, match=r"^device cpu:0: int8\.onnx: does not load here$"):
        choose_variant(Package(manifest), Order, lambda file: file)


def test_a_single_variant_is_not_measured(manifest, rates):
    """No time is lost at start where there is no choice."""
    one = manifest.model_copy(update={"variants": (FP32,)})
    assert choose_variant(Package(one), Order, lambda file: pytest.fail(file)) == FP32


def test_first_proposal_of_a_kind_of_device_holds_for_the_rest(colours):
    """For successors of an instance as well; another kind has its own."""
    version = LoadedVersion(colours, (), 0, None, None, -1, -1, [])
    assert version.agree("cpu", "int8.onnx") == "int8.onnx"
    assert version.agree("cpu", "fp32.onnx") == "int8.onnx"
    assert version.agree("cuda", "fp16.onnx") == "fp16.onnx"
    assert json.loads(json.dumps(version.variants)) == {"cpu": "int8.onnx", "cuda": "fp16.onnx"}


def test_speed_is_the_best_of_several_batch_sizes():
    """Up to the largest that the graph takes."""
    sizes = []

    class Small(Runtime):
        largest_batch = 8

        def run(self, images):
            sizes.append(len(images))

    assert variant_choice._rate(Small(), (2, 2, 3)) > 0
    assert set(sizes) == {1, 8}
    assert np.isfinite(sizes).all()


def test_slow_device_is_spared_the_large_batches():
    """What a size would take is known from the smaller ones."""
    sizes = []

    class Slow(Runtime):
        def run(self, images):
            sizes.append(len(images))
            time.sleep(0.1 * len(images))

    assert variant_choice._rate(Slow(), (2, 2, 3)) > 0
    assert set(sizes) == {1}


def test_too_little_memory_for_large_batches_is_no_reason_to_leave_a_variant_out():
    """But for a single image it is."""

    class Small(Runtime):
        most = 8

        def run(self, images):
            if len(images) > self.most:
                raise OutOfMemoryError("no memory")

    assert variant_choice._rate(Small(), (2, 2, 3)) > 0
    Small.most = 0
    with pytest.raises(OutOfMemoryError):
        variant_choice._rate(Small(), (2, 2, 3))
