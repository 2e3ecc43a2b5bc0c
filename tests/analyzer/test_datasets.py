"""Every form of a dataset, as users have them."""

from __future__ import annotations

import hashlib
import os
import zipfile

import numpy as np
import pytest

from analyzer.dataset import by_folders
from analyzer.dataset_survey import survey
from analyzer.errors import BrokenImageError, DatasetError
from analyzer.sources import open_dataset, open_datasets
from tests.analyzer.colour_sets import files, picture, surveyed, write_folder, write_zip
from tests.conftest import quiet

RED = picture("red", 1)


def labels_of(dataset):
    """By name."""
    return {item.name: item.label for item in dataset.items}


def test_class_folders_are_classes(tmp_path):
    """In the order of their names; hidden files and what is no image are left out."""
    write_folder(
        tmp_path, files(2) | {".hidden.png": RED, "red/notes.txt": b"x", ".git/a.png": RED}
    )

    dataset = open_dataset(str(tmp_path))

    assert labels_of(dataset) == {name: name.split("/")[0] for name in sorted(files(2))}
    assert dataset.read(0) == files(2)["blue/0000.png"]


def test_a_plain_folder_has_no_truth(tmp_path):
    """Nobody has said what its images are."""
    dataset = open_dataset(str(write_folder(tmp_path, {"a.png": RED, "b.png": RED})))

    assert labels_of(dataset) == {"a.png": None, "b.png": None}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["test/7/1.png", "test/9/2.png"], ["7", "9"]),
        (["cat/1.png", "cat/2.png"], ["cat", "cat"]),
        (["cat/home/1.png", "dog/2.png"], ["cat", "dog"]),
        (["1.png", "cat/2.png"], [None, "cat"]),
        (["1.png", "2.png"], [None, None]),
    ],
)
def test_the_class_is_the_folder_below_what_all_have_in_common(names, expected):
    """As torchvision has it, wherever the tree begins."""
    assert by_folders(names) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red/0000.png,red\nblue/0000.png,2\ngreen/0000.png,-1\n", ["red", "2", None]),
        ("file,label\nred/0000.png,red\nblue/0000.png,2\ngreen/0000.png,\n", ["red", "2", None]),
        ("id,Label,File\n1,red,red/0000.png\n2,2,blue/0000.png\n3,-1,green/0000.png\n",
         ["red", "2", None]),
        ('\ufefffile,label\n"red/0000.png", "red"\nblue\\0000.png,2\n\ngreen/0000.png,-1',
         ["red", "2", None]),
    ],
)  # fmt: skip
def test_a_table_names_files_beside_it_and_their_labels(tmp_path, text, expected):
    """With or without a header, whatever its columns' order."""
    write_folder(tmp_path, files(1) | {"labels.csv": text.encode()})

    dataset = open_dataset(str(tmp_path / "labels.csv"))

    assert [item.label for item in dataset.items] == expected
    assert [dataset.read(number) for number in range(3)] == [
        files(1)[f"{colour}/0000.png"] for colour in ("red", "blue", "green")
    ]


def test_a_table_may_name_what_is_not_there_and_one_file_twice(tmp_path):
    """The first is an error of that image alone; names stay unique."""
    write_folder(tmp_path, {"a.png": RED, "t.csv": b"a.png,red\nno.png,red\na.png,blue\n"})

    seen = surveyed(tmp_path / "t.csv")

    assert [item.name for item in seen.dataset.items] == ["a.png", "no.png", "a.png (2)"]
    assert seen.errors == ("", "no such file", "")
    with pytest.raises(BrokenImageError, match="no such file"):
        seen.read(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b"file,label\n", "no images"),
        (b"red,a.png\n", "first column must name the file"),
        (b"file,size\na.png,3\n", "no column `label`"),
        (b"a.png,red\n,red\n", "line 2 names no file"),
        (b"\xff\xfe,red", "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, text, words):
    """Saying what is missing."""
    (tmp_path / "t.csv").write_bytes(text)

    with pytest.raises(DatasetError, match=words):
        open_dataset(str(tmp_path / "t.csv"))


def test_an_archive_is_read_in_place(tmp_path):
    """The same images, labels and digest as the folder it was made of."""
    folder = write_folder(tmp_path / "set", files(2))
    archive = write_zip(tmp_path / "set.zip", files(2) | {"__MACOSX/._a.png": b"", "r.txt": b""})

    zipped, plain = surveyed(archive), surveyed(folder)

    assert zipped.dataset.name == "set"
    assert labels_of(zipped.dataset) == labels_of(plain.dataset)
    assert zipped.digest == plain.digest
    assert sorted(tmp_path.iterdir()) == [folder, archive]


def test_an_archive_may_hold_a_table(tmp_path):
    """Whose paths start at its place in the archive."""
    archive = write_zip(
        tmp_path / "a.zip", {"set/labels.csv": b"images/a.png,red", "set/images/a.png": RED}
    )

    dataset = open_dataset(str(archive))

    assert labels_of(dataset) == {"images/a.png": "red"}
    assert dataset.read(0) == RED


@pytest.mark.parametrize(
    "name", ["../up.png", "/root.png", "a/../../b.png", "C:x.png", "a\\..\\b.png"]
)
def test_an_archive_with_a_name_that_leads_out_is_refused(tmp_path, name):
    """Though nothing is unpacked: others may."""
    archive = write_zip(tmp_path / "slip.zip", {"red/a.png": RED, name: RED})

    with pytest.raises(DatasetError, match="leads out"):
        open_dataset(str(archive))


def test_a_bomb_in_an_archive_costs_its_row_and_no_memory(tmp_path, monkeypatch):
    """Even if it lies about its size."""
    monkeypatch.setattr("analyzer.sources_zip.Members.read.__defaults__", (100_000,))
    bomb = np.zeros(200_000, np.uint8).tobytes()
    archive = write_zip(tmp_path / "bomb.zip", {"red/bomb.png": bomb, "red/good.png": RED})

    assert surveyed(archive).errors == ("larger than 100000 bytes", "")

    content = archive.read_bytes()  # now say that it is small, in both places
    archive.write_bytes(content.replace((200_000).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    first, second = surveyed(archive).errors
    assert first
    assert second == ""


def test_a_damaged_member_of_another_compression_costs_its_row(tmp_path):
    """Each has errors of its own."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("red/a.png", RED)
        archive.writestr("red/b.png", picture("red", 2))
        at = archive.getinfo("red/b.png").header_offset
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[at + 52 : at + 90] = b"\xff" * 38
    (tmp_path / "a.zip").write_bytes(content)

    good, bad = surveyed(tmp_path / "a.zip").errors

    assert good == ""
    assert "damaged in the archive" in bad


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"red/\xc3\xa9.png", b"red/\xff\xff.png"),  # marked as UTF-8, which it is not
        (b"PK\x01\x02\x14\x03\x14\x00", b"PK\x01\x02\x14\x03\x63\x00"),  # version 9.9
    ],
)
def test_an_archive_that_cannot_be_listed_is_refused(tmp_path, was, becomes):
    """In one line."""
    file = write_zip(tmp_path / "a.zip", {"red/é.png": RED})
    assert was in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(was, becomes))

    with pytest.raises(DatasetError, match="cannot be read as a zip file"):
        open_dataset(str(file))


def test_a_damaged_or_encrypted_member_costs_its_row(tmp_path):
    """And none of the others."""
    archive = write_zip(tmp_path / "a.zip", {"red/a.png": RED, "red/b.png": picture("red", 2)})
    with zipfile.ZipFile(archive) as opened:
        at = opened.getinfo("red/b.png").header_offset
    content = bytearray(archive.read_bytes())
    content[at + 60 : at + 90] = bytes(30)
    archive.write_bytes(content)

    errors = surveyed(archive).errors

    assert errors[0] == ""
    assert "damaged in the archive" in errors[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip", "cannot be read as a zip"),
        ({"a.txt": b""}, "holds no images"),
        ({"a.csv": b"", "b.csv": b""}, "holds 2 tables"),
    ],
)
def test_what_is_no_archive_of_images_is_refused(tmp_path, content, words):
    """In one line."""
    file = tmp_path / "a.zip"
    if isinstance(content, dict):
        write_zip(file, content)
    else:
        file.write_bytes(content)

    with pytest.raises(DatasetError, match=words):
        open_dataset(str(file))


def test_two_files_of_one_name_in_an_archive_are_refused(tmp_path):
    """Nobody could say which one was meant."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("red/a.png", RED)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("red/a.png", b"other")

    with pytest.raises(DatasetError, match="same name"):
        open_dataset(str(tmp_path / "a.zip"))


@pytest.mark.parametrize("name", ["nowhere", "empty", "notes.txt"])
def test_what_is_no_dataset_is_refused(tmp_path, name):
    """In one line that says what would be one."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")

    with pytest.raises(DatasetError) as caught:
        open_dataset(str(tmp_path / name))

    assert "\n" not in str(caught.value)


def test_a_link_to_a_device_is_never_read(tmp_path):
    """It would not end."""
    (tmp_path / "endless.png").symlink_to("/dev/zero")

    assert surveyed(tmp_path).errors == ("no regular file",)


def test_a_name_that_is_no_unicode_is_shown_with_escapes(tmp_path):
    """And its image is read."""
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(RED)

    seen = surveyed(tmp_path)

    assert [item.name for item in seen.dataset.items] == ["caf\\xe9.png"]
    assert seen.read(0) == RED


def test_datasets_of_one_name_are_told_apart_and_may_be_named(tmp_path):
    """By a number, or by NAME=SOURCE."""
    for place in ("a/set", "b/set"):
        write_folder(tmp_path / place, {"x.png": RED})

    found = open_datasets([f"{tmp_path}/a/set", f"{tmp_path}/b/set", f"third={tmp_path}/b/set"])

    assert [dataset.name for dataset in found] == ["set", "set (2)", "third"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in what MLflow uses
def test_a_dataset_that_was_logged_to_mlflow_is_found_by_its_run(tmp_path, monkeypatch):
    """Where its source is a folder on this machine."""
    mlflow = pytest.importorskip("mlflow")
    # The variable alone: what set_tracking_uri says would hold for all other tests as well.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    folder = write_folder(tmp_path / "set", files(1))
    with mlflow.start_run() as run:
        source = mlflow.data.sources.LocalArtifactDatasetSource(str(folder))
        mlflow.log_input(mlflow.data.meta_dataset.MetaDataset(source=source, name="colours"))

    found = open_dataset(f"mlflow:{run.info.run_id}")
    named = open_dataset(f"mlflow:{run.info.run_id}/colours")

    assert labels_of(found) == labels_of(named) == labels_of(open_dataset(str(folder)))
    with pytest.raises(DatasetError, match="it has: colours"):
        open_dataset(f"mlflow:{run.info.run_id}/other")
    with pytest.raises(DatasetError, match="nobody"):
        open_dataset("mlflow:nobody")


def test_a_survey_reads_each_image_once_and_keeps_what_fits(tmp_path):
    """The rest is read again when it is wanted."""
    dataset = open_dataset(str(write_folder(tmp_path, files(3))))
    contents = [dataset.read(number) for number in range(9)]
    budget = len(contents[0]) + len(contents[1])

    all_kept, some_kept = survey(dataset, quiet), survey(dataset, quiet, budget)
    write_folder(tmp_path, {"red/0000.png": b"changed"})

    assert all_kept.digests == tuple(hashlib.sha256(one).hexdigest() for one in contents)
    assert [all_kept.read(number) for number in range(9)] == contents
    assert sum(map(len, some_kept.kept.values())) <= budget
    assert some_kept.digest == all_kept.digest
    assert some_kept.read(6) == b"changed"


def test_the_digest_is_of_names_labels_and_bytes(tmp_path):
    """Whichever of them changes."""
    write_folder(tmp_path, {"a.png": RED, "b.png": RED, "c.png": picture("red", 2)})
    digests = set()
    for text in ("a.png,red", "b.png,red", "a.png,blue", "a.png,-1", "c.png,red"):
        (tmp_path / "t.csv").write_text(text)
        digests.add(surveyed(tmp_path / "t.csv").digest)

    assert len(digests) == 5
