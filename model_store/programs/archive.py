"""A ``.pt2`` file made safe to load: a ``torch.export`` program (PyTorch 2.13) without any code.

A package is data, and ``torch.export.load`` unpickles: weights and constants whose entry says
``use_pickle``, custom and opaque objects, files of the legacy format, and sample inputs. So it does
not get the file. Each entry is read once, checked, and written into a new archive in memory, in
which nothing is left that PyTorch would unpickle (sample inputs are left out). Nor can two readers
of the zip format see two different archives in it, as they may in a file.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from pathlib import Path

from torch.export.pt2_archive import PT2ArchiveWriter, constants

from model_store.errors import PackageError
from model_store.programs.document import RefusedError, cleaned

TENSOR = re.compile(r"data/(?:weights/weight|constants/tensor)_\d+")
DOCUMENT = re.compile(
    r"models/model\.json|data/(?:weights|constants)/model_(?:weights|constants)_config\.json"
)
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
# The writer makes these itself; what others say must be the same.
MARKS = {
    "archive_format": constants.ARCHIVE_FORMAT_VALUE,
    "archive_version": constants.ARCHIVE_VERSION_VALUE,
    "byteorder": "little",
}
WRITERS_OWN = re.compile(r"version|\.data/(?:version|serialization_id)")
# What the zip format's readers raise on files that are none: damaged, encrypted, compressed oddly.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
)


def checked_program(program: Path) -> io.BytesIO:
    """An archive for ``torch.export.load`` with what was checked of a ``.pt2`` file, and no more.

    Raises:
        PackageError: the file is none, or loading it could run code; names the entry.
    """
    try:
        with zipfile.ZipFile(program) as archive:
            return _rewritten(program, archive)
    except BROKEN as error:
        raise PackageError(f"{program}: not a torch.export program: {error}") from error


def _rewritten(program: Path, archive: zipfile.ZipFile) -> io.BytesIO:
    content = io.BytesIO()
    seen: set[str] = set()
    with PT2ArchiveWriter(content) as writer:
        for entry in archive.infolist():
            record = entry.filename.partition("/")[2]
            try:
                if record in seen:
                    raise RefusedError("there are two of this name")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise RefusedError("it is compressed")
                seen.add(record)
                checked = _checked(record, archive.read(entry))
            except RefusedError as error:
                raise PackageError(f"{program}: {entry.filename}: {error}") from error
            if checked is not None:
                writer.write_bytes(record, checked)
    content.seek(0)
    return content


def _checked(record: str, content: bytes) -> bytes | None:
    """What of an entry may be loaded; None for nothing."""
    if TENSOR.fullmatch(record):
        return content
    if DOCUMENT.fullmatch(record):
        return json.dumps(cleaned(json.loads(content))).encode()
    if record == SAMPLE_INPUTS:
        return b""
    if record in MARKS:
        if content.decode() != MARKS[record]:
            raise RefusedError(f"it is {content.decode()!r}, not {MARKS[record]!r}")
        return None
    if WRITERS_OWN.fullmatch(record):
        return None
    raise RefusedError("this entry is not expected in a serving graph")
