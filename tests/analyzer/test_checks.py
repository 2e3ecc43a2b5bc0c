"""What is odd about a dataset is found, and what is not is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from analyzer import checks, checks_alike, checks_parity
from tests.analyzer.colour_sets import files, local, picture, surveyed, write_folder
from tests.conftest import quiet


def photo(seed: int, kind: str = "PNG", size: tuple[int, int] = (120, 90), **how) -> bytes:
    """Smooth shapes, as photos have; the same seed is the same scene at any size."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    scene = Image.fromarray(rough).resize((240, 180), Image.Resampling.BICUBIC).resize(size)
    encoded = io.BytesIO()
    scene.save(encoded, kind, **how)
    return encoded.getvalue()


def test_a_sound_dataset_has_no_findings(colours, tmp_path):
    """Of any check."""
    seen = surveyed(write_folder(tmp_path, files(10)))
    model = local(colours)

    assert list(checks.broken(seen.dataset, seen.errors)) == []
    assert list(checks.exact_duplicates(seen)) == []
    assert list(checks_alike.near_duplicates(seen, quiet)) == []
    assert list(checks.imbalance(seen.dataset)) == []
    parity = checks_parity.parity(model, seen)
    assert list(checks_parity.finding(model, parity)) == []
    assert parity.images == 30
    assert "30 of 30 images keep their class" in str(parity)
    model.close()


def test_broken_images_are_a_warning_and_many_an_error(tmp_path):
    """With their names and a reason."""
    seen = surveyed(write_folder(tmp_path, files(50)))
    few, many = [""] * 150, [""] * 150
    few[3], many[3:9] = "cut off", ["cut off"] * 6

    (one,), (six,) = (list(checks.broken(seen.dataset, errors)) for errors in (few, many))

    assert (one.severity, one.count, one.images) == ("warning", 1, ("blue/0003.png",))
    assert "cut off" in one.text
    assert (six.severity, six.count) == ("error", 6)


def test_the_same_bytes_twice_are_duplicates_and_of_two_classes_a_conflict(tmp_path):
    """Within a class they are only counted twice."""
    red = files(3)["red/0000.png"]
    seen = surveyed(write_folder(tmp_path, files(3) | {"red/x.png": red, "blue/y.png": red}))

    twice, torn = checks.exact_duplicates(seen)

    assert (twice.kind, twice.count) == ("duplicate", 2)
    assert (torn.kind, torn.severity, torn.count) == ("conflict", "error", 3)
    assert set(torn.images) == {"blue/y.png", "red/0000.png", "red/x.png"}


def test_an_image_saved_again_or_resized_is_nearly_the_same(tmp_path):
    """Others of the same kind are not; nor are exact copies counted here."""
    contents = {f"a/{seed}.png": photo(seed) for seed in range(30)}
    contents |= {
        "b/again.jpg": photo(7, "JPEG", quality=60),
        "b/small.png": photo(8, size=(80, 60)),
        "a/copy.png": contents["a/9.png"],
        "a/broken.png": b"none",
    }
    seen = surveyed(write_folder(tmp_path, contents))

    (finding,) = checks_alike.near_duplicates(seen, quiet)

    assert finding.count == 2
    assert set(finding.images) == {"b/again.jpg", "b/small.png"}
    assert "2 of these pairs are of two classes" in finding.text


def test_pairs_are_found_by_brightness_as_by_comparing_all():
    """Over the blocks that are compared at once."""
    rng = np.random.default_rng(4)
    thumbnails = rng.integers(0, 256, (700, 32, 32), dtype=np.uint8)
    thumbnails[650] = np.clip(thumbnails[20].astype(int) + 2, 0, 255)
    thumbnails[300] = thumbnails[299]
    thumbnails[5] = 255 - thumbnails[6]

    assert checks_alike.alike(thumbnails) == [(20, 650), (299, 300)]
    assert checks_alike.alike(thumbnails[:0]) == []


def test_a_film_of_one_scene_makes_a_pair_for_each_image_and_no_more():
    """All pairs of it would take hours, and all memory; how it goes is told."""
    thumbnails = np.full((3_000, 32, 32), 90, np.uint8)
    told = []

    pairs = checks_alike.alike(thumbnails, lambda *said: told.append(said))

    assert len(pairs) == 2_999
    assert {max(pair) for pair in pairs} | {min(pair) for pair in pairs} == set(range(3_000))
    assert told[-1][0] == "near duplicates"
    assert told[-1][2] == 3_000


def test_copies_of_one_image_are_decoded_and_compared_once(tmp_path, monkeypatch):
    """They are found by their bytes already."""
    contents = {f"a/{number}.png": photo(1) for number in range(50)}
    seen = surveyed(write_folder(tmp_path, contents | {"a/again.jpg": photo(1, "JPEG")}))
    compared = []
    whole = checks_alike.alike
    monkeypatch.setattr(
        checks_alike, "alike", lambda rows, *_: compared.append(len(rows)) or whole(rows)
    )

    (finding,) = checks_alike.near_duplicates(seen, quiet)

    assert compared == [2]
    assert finding.count == 1


def test_what_would_move_a_terminals_cursor_is_shown_as_escapes():
    """And all other characters of any language as they are."""
    assert checks.printable("\x1b[2Jrote Äpfel\n≈ 林檎.png") == "\\x1b[2Jrote Äpfel\\n≈ 林檎.png"
    assert checks.printable("\udcff") == "\\udcff"


def test_classes_of_very_different_sizes_are_noticed(tmp_path):
    """With which they are."""
    contents = {name: data for name, data in files(23).items() if not name.startswith("red/")}
    contents |= {f"red/{n}.png": picture("red", n) for n in range(2)}

    (finding,) = checks.imbalance(surveyed(write_folder(tmp_path, contents)).dataset)

    assert "'blue' has 23 images and 'red' 2" in finding.text


def test_classes_without_images_are_named():
    """Unless nothing has a class at all."""
    (finding,) = checks.empty_classes(["a", "b", "c"], np.array([1, -1, 1]), "net")

    assert finding.text == "no image of 2 of net's 3 classes: a, c"
    assert list(checks.empty_classes(["a", "b"], np.array([-1]), "net")) == []


@pytest.mark.parametrize(("changed", "severity"), [(1, "warning"), (9, "error")])
def test_preprocessing_that_changes_answers_is_noticed(
    colours, tmp_path, monkeypatch, changed, severity
):
    """A decoder that swaps colours of some images, say."""
    seen = surveyed(write_folder(tmp_path, files(25)))
    real = checks_parity.decode
    calls = []

    def swapping(*arguments, **how):
        calls.append(1)
        pixels = real(*arguments, **how)
        return pixels[:, :, ::-1] if len(calls) <= changed else pixels

    monkeypatch.setattr(checks_parity, "decode", swapping)
    model = local(colours)
    parity = checks_parity.parity(model, seen)
    (finding,) = checks_parity.finding(model, parity)
    model.close()

    assert (finding.count, finding.severity) == (changed, severity)
    assert finding.images[0] == "blue/0000.png"
    assert parity.max_levels > 100
