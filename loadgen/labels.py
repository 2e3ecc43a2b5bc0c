"""Which answers are right: from a table of labels, or from the folders the images lie in."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from loadgen.errors import LoadError
from loadgen.images import Image, Right

FOLDERS = "folders"  # in place of a table: an image's folder is its label
LABEL_SEPARATOR = "|"


def with_labels(images: Sequence[Image], source: str) -> tuple[Image, ...]:
    """The images with what is right for them.

    Args:
        images: to be labelled.
        source: ``folders``, or a CSV file whose column ``file`` names images relative to it (or by
            the file's name alone), with ``accepted_class_indices`` separated by spaces, or
            ``accepted_labels`` separated by ``|``, or both.

    Raises:
        LoadError: the table cannot be read, or fits none of the images.
    """
    if source == FOLDERS:
        return tuple(replace(image, right=_by_folder(image)) for image in images)
    file = Path(source)
    table = _read_table(file)
    labelled = tuple(replace(image, right=_by_table(image, table, file.parent)) for image in images)
    if not any(image.right for image in labelled):
        raise LoadError(
            f"{source} names none of the {len(images)} images: its column `file` must hold their "
            "paths relative to it, or their file names"
        )
    return labelled


def _by_folder(image: Image) -> Right:
    label = PurePath(image.name).parent.name
    if not label:
        raise LoadError(f"image {image.name} lies in no folder that could be its label")
    return Right(labels=frozenset({label}))


def _by_table(image: Image, table: dict[str, Right], folder: Path) -> Right | None:
    if image.content is not None:
        path = Path(image.name).resolve()
        if path.is_relative_to(folder.resolve()):
            relative = path.relative_to(folder.resolve()).as_posix()
            if relative in table:
                return table[relative]
    return table.get(image.name) or table.get(PurePath(image.name).name)


def _read_table(file: Path) -> dict[str, Right]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeError, csv.Error) as error:
        raise LoadError(f"cannot read labels {file}: {error}") from None
    columns = set(rows[0]) if rows else set()
    if "file" not in columns or not columns & {"accepted_class_indices", "accepted_labels"}:
        raise LoadError(
            f"labels {file} need the columns file and accepted_class_indices or accepted_labels"
        )
    try:
        return {row["file"]: _right(row) for row in rows}
    except ValueError as error:
        raise LoadError(f"labels {file}: a class index is no number: {error}") from None


def _right(row: dict[str, str]) -> Right:
    indices = (row.get("accepted_class_indices") or "").split()
    labels = (row.get("accepted_labels") or "").split(LABEL_SEPARATOR)
    return Right(
        frozenset(int(index) for index in indices),
        frozenset(label.strip() for label in labels if label.strip()),
    )
