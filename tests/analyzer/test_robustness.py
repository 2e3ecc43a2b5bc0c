"""Accuracy under augmentations: real networks lose some, and what is kept is not done again."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from analyzer.augmentations import AUGMENTATIONS, augment
from analyzer.endpoint import EndpointModel
from analyzer.errors import AnalyzerError, BrokenImageError
from analyzer.intervals import wilson
from analyzer.local import LocalModel
from analyzer.predictions import NO_TRUTH
from analyzer.robustness import INTENSITIES, Keeping, Plan, robustness
from analyzer.robustness_batches import in_batches
from analyzer.robustness_pictures import Pictures
from analyzer.robustness_sample import stratified
from analyzer.run_model import Block, no_answers
from model_store.reference import reference_pixels
from predictor.decode import decode, decode_whole
from predictor.runtimes.onnx import OnnxRuntime
from predictor.types import Answers
from tests.analyzer.colour_sets import HERE, files, local
from tests.conftest import COLOURS, quiet
from tests.end_to_end.conftest import Pod
from tests.predictor.test_decode import HOSTILE

FEW = Plan(augmentations=("noise", "colour temperature", "blend"), intensities=(0.5, 1.0))


class Colours:
    """Images of three colours, and their truths."""

    def __init__(self, each=6):
        found = files(each)
        self.names = list(found)
        self.contents = list(found.values())
        self.truth = np.array([COLOURS.index(name.split("/")[0]) for name in found])

    def read(self, number):
        """An image's bytes."""
        return self.contents[number]


class Counting:
    """Passes on to a real model, counts what it is asked, and may be interrupted."""

    def __init__(self, classify, interrupt_after=None):
        self.asked = 0
        self._classify = classify
        self._left = interrupt_after

    def __call__(self, numbers, read, answered):
        """Classify, or be interrupted."""
        self.asked += len(numbers)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        self._classify(numbers, read, answered)


@pytest.fixture(scope="module")
def model(colours):
    """Of colours, here."""
    opened = local(colours)
    yield opened
    opened.close()


def measured(classify, data, plan=FEW, keeping=None, progress=quiet):
    """Of one of these datasets."""
    return robustness(classify, data.names, data.read, data.truth, progress, plan, keeping)


def test_a_real_network_loses_accuracy(packages, assets):
    """ResNet-20 on its own training images: none wrong as they are, many when they are noisy."""
    package = packages["resnet20"]
    found = sorted((assets / "images" / "cifar10").glob("*/*.png"))
    truth = np.array([package.labels.index(file.parent.name) for file in found])
    model = LocalModel("m", "m", package, package.manifest.variants[0], HERE)

    result = robustness(
        model.classify,
        [f"{file.parent.name}/{file.name}" for file in found],
        lambda number: found[number].read_bytes(),
        truth,
        quiet,
        Plan(sample=120),
    )
    model.close()

    rates = {(p.augmentation, round(p.intensity, 2)): p.top1.rate for p in result.points}
    assert result.against == "truth"
    assert result.clean.of == 120
    assert result.clean.rate >= 0.99
    assert len(result.points) == len(AUGMENTATIONS) * len(INTENSITIES)
    assert rates["flip", 0.33] >= 0.97  # it was trained with these
    for name in ("rotation", "warp", "contrast", "blur", "noise", "snow", "rain", "fog", "blend"):
        assert rates[name, 0.33] > rates[name, 1.0], name
        assert rates[name, 1.0] < 0.9, name
    assert result.worst in ("noise", "pixelate")
    assert 0.2 < result.mean_drop < 0.4
    assert result.mean_drop_low < result.mean_drop < result.mean_drop_high


def test_without_truth_answers_are_held_against_those_to_clean_images(packages, assets):
    """MobileNetV2 on photos: it agrees with itself when they are as they are, less so otherwise."""
    package = packages["mobilenet"]
    found = sorted(f for f in (assets / "images" / "photos").iterdir() if f.suffix != ".csv")[::3]
    model = LocalModel("m", "m", package, package.manifest.variants[0], HERE)

    result = robustness(
        model.classify,
        [file.name for file in found],
        lambda number: found[number].read_bytes(),
        np.full(len(found), NO_TRUTH),
        quiet,
        Plan(augmentations=("vignette", "gamma", "pixelate", "blur"), intensities=(1.0,)),
    )
    model.close()

    rates = {point.augmentation: point.top1.rate for point in result.points}
    assert result.against == "clean answers"
    assert (result.clean.count, result.clean.of) == (len(found), len(found))
    assert rates["vignette"] > rates["pixelate"]
    assert rates["gamma"] > rates["blur"]


def test_figures_are_those_of_the_images_one_by_one(colours, model):
    """Every augmented image decoded and classified by itself, by plain code."""
    data = Colours()
    data.truth[:5] = 2  # as somebody said who was wrong
    result = measured(model.classify, data)
    target = colours.manifest.input

    for point in result.points:
        hits, scores = 0, []
        for name, content, truth in zip(data.names, data.contents, data.truth, strict=True):
            pixels = augment(decode_whole(content), point.augmentation, point.intensity, name)
            answer = model.run(decode(pixels, target)[None])
            hits += int(answer.indices[0, 0] == truth)
            scores.append(float(answer.scores[0, 0]))
        low, high = wilson(hits, len(data.names))
        assert (point.top1.count, point.top1.of) == (hits, 18)
        assert (point.top1.low, point.top1.high) == (low, high)
        assert point.mean_confidence == pytest.approx(np.mean(scores), abs=1e-5)
    assert (result.against, result.clean.count) == ("truth", 13)
    assert result.mean_drop == pytest.approx(
        result.clean.rate - np.mean([point.top1.rate for point in result.points])
    )


def test_a_server_gives_the_same_figures(colours, model):
    """Over the wire as PNG, from a real pod, and by a function of batches."""
    data = Colours()
    pod = Pod(colours.path, "--drain-delay-s", "0")
    try:
        endpoint = EndpointModel("", f"{pod.url}/v2/models/{colours.name}", colours.labels)
        by_wire = measured(endpoint.classify, data)
        endpoint.close()
    finally:
        pod.close()
    variant = colours.manifest.variants[0]
    runtime = OnnxRuntime(colours.path / variant.file, "cpu", threads=1)
    target = colours.manifest.input
    kinds = set()

    def answer(images):
        kinds.update(type(image) for image in images)
        return runtime.run(np.stack([decode(image, target) for image in images]))

    by_batches = measured(in_batches(answer, 4), data)
    assert kinds == {np.ndarray}
    kinds.clear()
    by_files = measured(in_batches(answer, 4, encoded=True), data)
    assert kinds == {bytes}

    here = measured(model.classify, data)
    for other in (by_wire, by_batches, by_files):
        assert [p.top1 for p in other.points] == [p.top1 for p in here.points]
        assert [p.mean_confidence for p in other.points] == pytest.approx(
            [p.mean_confidence for p in here.points], abs=1e-4
        )


def test_clean_images_are_those_that_a_server_sees(packages, assets):
    """A photo larger than pictures are: bounded first, it comes out nearly as without."""
    target = packages["mobilenet"].manifest.input
    for file in sorted((assets / "images" / "photos").glob("*.jpg")):
        content = file.read_bytes()
        picture = Pictures(lambda _number, content=content: content).picture(0)
        seen = decode(picture, target).astype(int)

        assert min(picture.shape[:2]) <= 512
        assert np.abs(seen - reference_pixels(content, target)).mean() < 2.5, file.name


def test_broken_images_are_left_out_and_said_nothing_of(model):
    """Hostile files among good ones, and one that cannot even be read."""
    data = Colours()
    data.contents += [content for content, _ in HOSTILE.values()]
    data.names += [f"hostile/{name}" for name in HOSTILE]
    data.names.append("missing")
    data.truth = np.append(data.truth, np.zeros(len(HOSTILE) + 1, np.int64))

    def read(number):
        if number == len(data.contents):
            raise BrokenImageError("it is gone")
        return data.contents[number]

    result = robustness(model.classify, data.names, read, data.truth, quiet, FEW)

    assert result.clean.of == 18
    assert {point.images for point in result.points} == {18}


def test_nothing_that_can_be_classified_is_an_error_of_one_line(model):
    """It says how many were tried."""
    data = Colours()
    data.contents = [b"no image"] * len(data.names)

    with pytest.raises(AnalyzerError, match="none of 18 images could be classified"):
        measured(model.classify, data)


def test_no_answer_to_an_augmented_image_is_a_wrong_one():
    """A model that fails on what is unlike the images: its confidence is that of its answers."""
    data = Colours()
    clean = {
        decode_whole(content).tobytes(): t
        for content, t in zip(data.contents, data.truth.tolist(), strict=True)
    }

    def answer(images):
        said = [clean.get(image.tobytes(), -1) for image in images]
        scores = [[np.nan if index < 0 else 0.75] for index in said]
        return Answers(np.array(said)[:, None], np.array(scores, np.float32))

    result = measured(in_batches(answer), data)

    assert result.clean.count == 18
    assert {(p.top1.count, p.top1.of) for p in result.points} == {(0, 18)}
    assert {p.mean_confidence for p in result.points} == {None}
    assert result.mean_drop == 1


def test_what_was_interrupted_goes_on(model, tmp_path):
    """Units that are done are read back; the rest and nothing else is classified."""
    data = Colours()
    keeping = Keeping(tmp_path, "model 1 on dataset 1")
    whole = measured(model.classify, data)

    with pytest.raises(KeyboardInterrupt):
        measured(Counting(model.classify, interrupt_after=3), data, keeping=keeping)
    rest = Counting(model.classify)
    resumed = measured(rest, data, keeping=keeping)
    again = Counting(model.classify)

    assert measured(again, data, keeping=keeping) == resumed == whole
    assert rest.asked == 4 * 18  # clean and two of six are there
    assert again.asked == 0


def test_a_failure_that_passes_is_not_kept(model, tmp_path):
    """Answers to a unit that a server failed on are asked for again."""
    data, keeping = Colours(), Keeping(tmp_path, "model 1 on dataset 1")

    def fails_once(numbers, read, answered):
        answered(no_answers(numbers[:1], 1, {numbers[0]: "full"}, passing=True))
        model.classify(numbers[1:], read, answered)

    measured(fails_once, data, keeping=keeping)

    assert measured(model.classify, data, keeping=keeping) == measured(model.classify, data)


def test_another_model_or_sample_takes_nothing_that_is_kept(model, tmp_path):
    """And one intensity more costs only that."""
    data = Colours()
    measured(model.classify, data, keeping=Keeping(tmp_path, "one"))
    other, fewer, more = (Counting(model.classify) for _ in range(3))

    measured(other, data, keeping=Keeping(tmp_path, "two"))
    measured(fewer, data, Plan(FEW.augmentations, (0.5,), 9), Keeping(tmp_path, "one"))
    measured(more, data, Plan(("noise",), (0.5, 0.75)), Keeping(tmp_path, "one"))

    assert other.asked == 7 * 18
    assert fewer.asked == 4 * 9
    assert more.asked == 18


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        '{"best": [1]}',
        '{"best": [1], "confidence": [0.5]}',
        '{"best": 1, "confidence": "x"}',
    ],
)
def test_a_damaged_unit_is_done_again(model, tmp_path, damage):
    """And is whole afterwards."""
    data, keeping = Colours(), Keeping(tmp_path, "one")
    whole = measured(model.classify, data, keeping=keeping)
    (file,) = tmp_path.glob("*/noise-0.5.json")
    file.write_text(damage, encoding="utf-8")
    again = Counting(model.classify)

    assert measured(again, data, keeping=keeping) == whole
    assert again.asked == 18
    assert len(json.loads(file.read_text(encoding="utf-8"))["best"]) == 18


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(model, tmp_path):
    """A file lies where it should be."""
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(AnalyzerError, match="file"):
        measured(model.classify, Colours(), keeping=Keeping(tmp_path / "file", "one"))


def test_progress_counts_every_image_of_every_unit(model, tmp_path):
    """Kept ones too; it never goes back, and ends at the end."""
    data, keeping = Colours(), Keeping(tmp_path, "one")
    for _ in range(2):
        told = []
        measured(
            model.classify, data, keeping=keeping, progress=lambda *given, to=told: to.append(given)
        )
        done = [at for _, at, _ in told]
        assert done == sorted(done)
        assert done[-1] == 7 * 18
        assert {of for _, _, of in told} == {7 * 18}
        assert told[0][0] == "robustness: clean"


def test_few_images_prove_little(model):
    """None of three lost anything by being turned darker: the bound says what that is worth."""
    few = measured(model.classify, Colours(1), Plan(("gamma",), (0.1,)))
    many = measured(model.classify, Colours(40), Plan(("gamma",), (0.1,)))

    assert few.mean_drop == many.mean_drop == 0
    assert few.mean_drop_high > 0.5
    assert 0 < many.mean_drop_high < 0.05


def test_a_sample_has_each_class_share():
    """Of classes of 600, 300 and 100: 60, 30 and 10 of 100; images without a truth are left out."""
    names = [f"{number}.png" for number in range(1200)]
    truth = np.repeat([4, 2, 7, NO_TRUTH], [600, 300, 100, 200])

    chosen = stratified(names, truth, 100)

    assert Counter(truth[chosen].tolist()) == {4: 60, 2: 30, 7: 10}
    assert chosen.tolist() == sorted(set(chosen.tolist()))


def test_a_sample_is_of_the_names_and_not_of_their_order():
    """A dataset listed otherwise is sampled alike; a larger sample holds the smaller one."""
    rng = np.random.default_rng(1)
    names = np.array([f"{number}.png" for number in range(500)])
    truth = rng.integers(0, 10, 500)
    order = rng.permutation(500)

    chosen = set(names[stratified(names.tolist(), truth, 120)])

    assert chosen == set(names[order][stratified(names[order].tolist(), truth[order], 120)])
    assert chosen < set(names[stratified(names.tolist(), truth, 121)])


def test_without_truths_or_with_few_images_all_may_be_sampled():
    """Nothing to go by but names."""
    names = [str(number) for number in range(20)]
    nothing = np.full(20, NO_TRUTH)

    assert len(stratified(names, nothing, 7)) == 7
    assert stratified(names, nothing, 300).tolist() == list(range(20))
    assert stratified([], np.zeros(0, np.int64), 5).size == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"augmentations": ("fog", "mist")},
        {"augmentations": ()},
        {"intensities": ()},
        {"intensities": (0.0, 1.0)},
        {"intensities": (1.5,)},
        {"sample": 0},
    ],
)
def test_a_plan_that_is_none_is_refused(wrong):
    """In one line that names what there is."""
    with pytest.raises(AnalyzerError) as refused:
        Plan(**wrong)
    assert "\n" not in str(refused.value)


def test_pictures_that_do_not_fit_are_decoded_again():
    """And are the same."""
    data, asked = Colours(), Counter()

    def read(number):
        asked[number] += 1
        return data.contents[number]

    one = decode_whole(data.contents[0]).nbytes
    pictures = Pictures(read, keep_bytes=one)
    for _ in range(2):
        for number in (0, 1):
            assert np.array_equal(pictures.picture(number), decode_whole(data.contents[number]))
    assert asked == {0: 1, 1: 2}


def test_batches_are_read_ahead_but_not_the_whole_sample():
    """Augmented images of one batch more than the one that is classified are in memory."""
    read, most = [], []

    def answer(images):
        most.append(len(read) - 4 * len(most))
        return Answers(np.zeros((len(images), 1), np.int64), np.ones((len(images), 1), np.float32))

    blocks: list[Block] = []
    in_batches(answer, 4)(
        range(30),
        lambda number: read.append(number) or np.zeros((2, 2, 3), np.uint8),
        blocks.append,
    )

    assert sorted(read) == list(range(30))
    assert max(most) <= 8
    assert np.concatenate([block.numbers for block in blocks]).tolist() == list(range(30))
