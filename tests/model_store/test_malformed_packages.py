"""A package that somebody else made badly is refused in one line, whatever is wrong with it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store.errors import PackageError
from model_store.package import load_package, read_manifest

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(colours, tmp_path) -> Path:
    """A sound package, to be spoilt."""
    copied = tmp_path / "package"
    shutil.copytree(colours.path, copied)
    return copied


def refusal(folder: Path) -> str:
    """What is said of the package; one line."""
    with pytest.raises(PackageError) as caught:
        load_package(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def spoil(folder: Path, change: Change) -> None:
    """Change the manifest as plain data."""
    file = folder / "model.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("created: 2026-99-99", "holds a malformed value: month must be in 1..12"),
        (f"version: {'9' * 5000}", "holds a malformed value: Exceeds the limit"),
        ("version: 0b_", "holds a malformed value: invalid literal"),
        ("version: !!bool perhaps", "holds a malformed value: 'perhaps'"),
        ("version: !!int ''", "holds a malformed value: string index"),
        ("created: !!timestamp soon", "holds a malformed value: "),
        ("[" * 5000, "is nested too deeply"),
        ("a: [", "cannot be read: "),
    ],
)
def test_a_manifest_that_yaml_cannot_make_sense_of_is_refused(folder, text, reason):
    """The reader raises a different error for each."""
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    assert reason in refusal(folder)


@pytest.mark.parametrize("key", ["version", "classes"])
def test_a_number_that_no_text_can_show_is_refused(folder, key):
    """Hexadecimal digits are not counted when they are read."""
    file = folder / "model.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    changed = [f"{key}: 0x{'f' * 5000}" if line.startswith(f"{key}:") else line for line in lines]
    file.write_text("\n".join(changed), encoding="utf-8")
    assert f"{key}: Input should be less than or equal to " in refusal(folder)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("golden/\0.png", "no '.', '//' or control characters"),
        ("golden/a\n.png", "no '.', '//' or control characters"),
        ("./labels.txt", "no '.', '//' or control characters"),
        ("golden//0.png", "no '.', '//' or control characters"),
        ("é" * 128, "more than 255 bytes"),
        ("../labels.txt", "inside the package"),
        ("model.yaml", "in the place of the manifest"),
        ("model.yaml/more", "in the place of the manifest"),
        ("labels.txt/more", "'labels.txt' is a file and a folder"),
    ],
)
def test_a_file_that_can_have_no_place_of_its_own_is_refused(folder, path, reason):
    """Before anything is looked for, or linked, by that name."""
    spoil(folder, lambda content: content["files"].update({path: "0" * 64}))
    with pytest.raises(PackageError) as caught:
        read_manifest(folder)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_are_no_text_are_refused(folder):
    """Though their hash is right."""
    content = "käse\nbrot\nwein\n".encode("latin-1")
    (folder / "labels.txt").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    spoil(folder, lambda manifest: manifest["files"].update({"labels.txt": sha256}))
    assert "labels.txt: labels must be UTF-8 text" in refusal(folder)


def test_a_file_that_the_system_does_not_take_is_refused(folder):
    """A path may be too long as a whole, though no name in it is."""
    spoil(folder, lambda content: content["files"].update({"/".join(["a" * 200] * 30): "0" * 64}))
    assert "cannot be read: [Errno 36] File name too long: " in refusal(folder)


def test_a_proof_without_figures_is_refused(folder):
    """Each variant but the first is measured; what was not would end every instance."""
    compared = {
        "images": 3,
        "top1_agreement": 1.0,
        "mean_score_difference": 0.0,
        "max_score_difference": 0.0,
    }
    proof = {
        "calibration": compared,
        "held_out": compared,
        "measured": {
            "device": "cpu",
            "threads": 1,
            "images_per_second": {1: 10.0},
            "times_the_first": {},
        },
    }
    spoil(
        folder,
        lambda content: content["variants"].append({**content["variants"][0], "proof": proof}),
    )
    assert "times_the_first: Dictionary should have at least 1 item" in refusal(folder)
