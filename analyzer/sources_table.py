"""A table of images and their classes: CSV with the columns file and label."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from analyzer.dataset import is_image
from analyzer.errors import DatasetError

FILE_HEADERS = ("file", "filename", "file_name", "image", "path", "name")
LABEL_HEADERS = ("label", "class", "target", "class_index", "truth")
NO_LABEL = ("", "-1")


@dataclass(frozen=True, slots=True)
class TableRow:
    """An image's path as the table has it, and its label; None where it says that there is none."""

    file: str
    label: str | None


def read_table(content: bytes, name: str) -> list[TableRow]:
    """The rows of a table: ``file,label``, with or without a header; -1 is no label.

    With a header the columns are found by their names, without one they are the first two.

    Raises:
        DatasetError: it is no text, or a row names no file.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{name}: a table of labels must be UTF-8 text") from None
    try:
        lines = [(number, row) for number, row in _rows(text) if any(row)]
    except csv.Error as error:
        raise DatasetError(f"{name}: is no CSV: {error}") from None
    if not lines:
        raise DatasetError(f"{name}: is empty; lines such as `cat.jpg,tabby` go here")
    at_file, at_label, header = _columns(lines[0][1], name)
    rows = []
    for number, row in lines[1:] if header else lines:
        file = row[at_file] if at_file < len(row) else ""
        if not file:
            raise DatasetError(f"{name}: line {number} names no file")
        label = row[at_label] if at_label is not None and at_label < len(row) else ""
        rows.append(TableRow(file.replace("\\", "/"), None if label in NO_LABEL else label))
    if not rows:
        raise DatasetError(f"{name}: has a header and no images")
    return rows


def _rows(text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    return [(reader.line_num, [cell.strip() for cell in row]) for row in reader]


def _columns(first: list[str], name: str) -> tuple[int, int | None, bool]:
    """Where file and label stand, and whether ``first`` is a header."""
    words = [cell.lower() for cell in first]
    files = [words.index(word) for word in FILE_HEADERS if word in words]
    if not files:
        if not is_image(first[0]) and any(is_image(cell) for cell in first):
            raise DatasetError(f"{name}: the first column must name the file, the second its label")
        return 0, 1 if len(first) > 1 else None, False
    labels = [words.index(word) for word in LABEL_HEADERS if word in words]
    if not labels and len(first) > 1:
        raise DatasetError(f"{name}: has no column `label`; its header is {', '.join(first)}")
    return files[0], labels[0] if labels else None, True
