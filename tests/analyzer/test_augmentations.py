"""Augmentations: what they do to pixels, and that they always do the same."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from analyzer.augmentations import AUGMENTATIONS, augment
from analyzer.robustness import INTENSITIES
from analyzer.robustness_pictures import bounded
from analyzer.robustness_sheet import GAP, NAME, TITLE, contact_sheet
from predictor.decode import decode_whole

EVERY = pytest.mark.parametrize("name", AUGMENTATIONS)


def scene(height, width):
    """Smooth colours with edges, a gradient each way and grain: nothing in it is symmetric."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 200 // width, y * 220 // height, 90 + x * 80 // width], axis=-1)
    pixels[height // 5 : height // 2, width // 6 : width // 2] = (210, 60, 90)
    pixels += np.random.default_rng(7).integers(0, 30, pixels.shape)
    return pixels.astype(np.uint8)


SCENES = {
    "thumbnail": scene(32, 32),
    "photo": scene(211, 317),
    "tall": scene(400, 60),
    "grey": np.repeat(scene(90, 70)[:, :, :1], 3, axis=2),
}


def distance(one, other):
    """Mean difference of levels."""
    return float(np.abs(one.astype(int) - other).mean())


@EVERY
@pytest.mark.parametrize("kind", SCENES)
def test_every_augmentation_is_seen_and_leaves_size_and_type(name, kind):
    """At every default intensity, and the picture it was given stays as it was."""
    picture = SCENES[kind]
    before = picture.copy()
    for intensity in INTENSITIES:
        done = augment(picture, name, intensity, "one.png")

        assert (done.shape, done.dtype) == (picture.shape, np.uint8)
        assert distance(done, picture) > 0.5, intensity
    assert np.array_equal(picture, before)


@EVERY
@pytest.mark.parametrize("folder", ["cifar10/*/*.png", "photos/*.*"])
def test_more_intensity_is_further_from_the_image_on_average(name, folder, assets):
    """Over real thumbnails and photos; flips have two grades."""
    files = [f for f in sorted((assets / "images").glob(folder)) if f.suffix != ".csv"]
    means = np.zeros(5)
    for file in files[:: 10 if len(files) > 100 else 4]:
        picture = bounded(decode_whole(file.read_bytes()))
        means += [
            distance(augment(picture, name, intensity, file.name), picture)
            for intensity in (0.1, *INTENSITIES, 0.5)
        ]
    steps = np.diff(means[[0, 1, 4, 2, 3]])

    assert (steps > 0).all() if name != "flip" else (steps >= 0).all()
    assert steps.sum() > 0


def digests():
    """Of every augmentation at every intensity, of two images."""
    return {
        f"{name} {intensity:.2f} {image}": hashlib.sha256(
            augment(SCENES["photo"], name, intensity, image).tobytes()
        ).hexdigest()
        for name in AUGMENTATIONS
        for intensity in INTENSITIES
        for image in ("a.png", "b/\udce4.png")
    }


@pytest.mark.parametrize("threads", [1, 4])
def test_another_process_makes_the_same_pixels(threads):
    """With another hash seed, and whatever number of threads OpenCV takes."""
    code = (
        "import cv2, json\n"
        f"cv2.setNumThreads({threads})\n"
        "from tests.analyzer.test_augmentations import digests\n"
        "print(json.dumps(digests()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert json.loads(ran.stdout) == digests()


@pytest.mark.parametrize(
    "name", ["rotation", "warp", "exposure", "colour temperature", "noise", "snow", "rain", "fog"]
)
def test_chance_is_each_images_own(name):
    """Among ten images there are some that it meets otherwise; grades of one are of one piece."""
    found = {augment(SCENES["photo"], name, 1.0, f"{n}.png").tobytes() for n in range(10)}

    assert len(found) > 1


def test_the_same_drops_fall_thicker():
    """Where it rains or snows at a third of the intensity it does so at all of it, too."""
    black = np.zeros((200, 300, 3), np.uint8)
    for name in ("rain", "snow"):
        light, heavy = (augment(black, name, i, "a.png").max(axis=2) > 60 for i in (1 / 3, 1.0))
        assert light.any()
        assert (heavy & light).sum() > 0.9 * light.sum(), name


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 2000), (2000, 5), (7, 7)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_odd_sizes_and_flat_pictures_come_out_whole(name, size, level):
    """Warnings are errors here."""
    picture = np.full((*size, 3), level, np.uint8)
    for intensity in (0.001, 1.0):
        done = augment(picture, name, intensity, "flat.png")
        assert (done.shape, done.dtype) == (picture.shape, np.uint8)


@EVERY
def test_pictures_need_not_lie_in_one_piece_or_be_writable(name):
    """Views, and what Pillow gives."""
    view = SCENES["photo"][::-2, ::2]
    solid = np.ascontiguousarray(view)
    solid.flags.writeable = False

    assert np.array_equal(augment(view, name, 0.7, "a"), augment(solid, name, 0.7, "a"))


@pytest.mark.parametrize("intensity", [0, -0.1, 1.01, float("nan")])
def test_an_intensity_that_is_none_is_refused(intensity):
    """0 is the image itself."""
    with pytest.raises(ValueError, match="not in"):
        augment(SCENES["photo"], "fog", intensity, "a.png")


def test_jpeg_quality_is_a_real_jpegs():
    """At full intensity: what Pillow reads of a file of quality 8."""
    stream = io.BytesIO()
    Image.fromarray(SCENES["photo"]).save(stream, "JPEG", quality=8)
    with Image.open(stream) as saved:
        assert np.array_equal(augment(SCENES["photo"], "jpeg quality", 1.0, "a"), np.asarray(saved))


def test_pixelated_blocks_have_the_mean_colour_of_what_they_hide():
    """So the whole picture's mean stays."""
    done = augment(SCENES["photo"], "pixelate", 1.0, "a")

    assert np.allclose(done.mean(axis=(0, 1)), SCENES["photo"].mean(axis=(0, 1)), atol=0.5)
    assert len(np.unique(done.reshape(-1, 3), axis=0)) < len(
        np.unique(SCENES["photo"].reshape(-1, 3), axis=0)
    )


def test_white_goes_warm_or_cool_and_by_little_at_first():
    """Warm light has more red than blue, cool light less, and green lies between."""
    white = np.full((4, 4, 3), 128, np.uint8)
    found = [augment(white, "colour temperature", 1.0, f"{n}")[0, 0].astype(int) for n in range(20)]
    warm = [c for c in found if c[0] > c[2]]
    cool = [c for c in found if c[0] < c[2]]
    slight = augment(white, "colour temperature", 0.05, "0")[0, 0].astype(int)

    assert warm
    assert cool
    assert warm[0][0] > warm[0][1] > warm[0][2]
    assert cool[0][0] < cool[0][1] < cool[0][2]
    assert np.abs(slight - 128).max() < 12


def test_a_contact_sheet_shows_every_grade():
    """Each row begins with the picture, and goes on with what the analysis does to it."""
    with Image.open(io.BytesIO(contact_sheet(SCENES["photo"], "a.png", INTENSITIES))) as opened:
        assert opened.format == "PNG"
        shown = np.asarray(opened.convert("RGB"))
    width, height = 240, 160  # of a thumbnail of 317 x 211 pixels
    rows, across = 9, NAME + 4 * (width + GAP)
    for place, name in enumerate(AUGMENTATIONS):
        top = TITLE + place % rows * (height + GAP)
        for step, intensity in enumerate((0, *INTENSITIES)):
            left = place // rows * across + GAP + NAME + step * (width + GAP)
            done = augment(SCENES["photo"], name, intensity, "a.png") if step else SCENES["photo"]
            small = Image.fromarray(done).resize((width, height), Image.Resampling.BICUBIC)
            there = shown[top : top + height, left : left + width]
            assert np.array_equal(there, np.asarray(small)), (name, intensity)


@pytest.mark.parametrize("size", [(5, 2000), (2000, 5), (2, 2), (3000, 4000)])
def test_a_contact_sheet_of_any_picture_is_of_bounded_size(size):
    """Strips and specks too."""
    sheet = contact_sheet(np.full((*size, 3), 99, np.uint8), "a", (1.0,))
    with Image.open(io.BytesIO(sheet)) as opened:
        assert opened.width * opened.height < 4_000_000


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 700), (512, 700)),
        ((1024, 2048), (512, 1024)),
        ((3, 40_000), (2, 4096)),
        ((5, 2000), (5, 2000)),
        ((40_000, 1_000), (4096, 102)),
    ],
)
def test_pictures_are_bounded(size, expected):
    """Shorter side 512 at most, longer one 4,096: OpenCV takes no more than 32,767."""
    assert bounded(np.zeros((*size, 3), np.uint8)).shape == (*expected, 3)


def test_the_docs_table_is_the_codes():
    """Every augmentation with its meaning, in their order."""
    page = Path(__file__).parents[2] / "docs" / "analyzer-robustness.md"
    rows = [f"| {each.name} | {each.meaning} |" for each in AUGMENTATIONS.values()]

    assert "\n".join(rows) + "\n" in page.read_text(encoding="utf-8")


def test_opencv_is_left_as_it_was_found():
    """Importing the analyzer changes no setting of the process."""
    code = (
        "import cv2\nbefore = cv2.getNumThreads()\n"
        "import analyzer.robustness\nprint(cv2.getNumThreads() == before)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout == "True\n"
    assert cv2.getNumThreads() > 0
