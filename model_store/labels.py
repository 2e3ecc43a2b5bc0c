"""Class labels: one per line, line number = class index."""

from __future__ import annotations

from pathlib import Path

from model_store.errors import SourceError


def read_labels(file: Path) -> tuple[str, ...]:
    """The labels in ``file``, UTF-8 with or without a byte order mark, stripped of outer blanks.

    Raises:
        SourceError: naming the line, when one is blank or holds a line separator of another kind.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourceError(f"{file}: no such file of labels") from None
    except UnicodeDecodeError:
        raise SourceError(f"{file}: labels must be UTF-8 text") from None
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror}") from error
    labels = tuple(line.strip() for line in text.rstrip().split("\n"))
    for number, label in enumerate(labels, start=1):
        if not label:
            raise SourceError(f"{file}: line {number} is blank; every class needs a label")
        # A separator that splitlines() knows would shift every later label by one.
        if len(label.splitlines()) > 1:
            raise SourceError(f"{file}: line {number} holds a stray line separator")
    return labels
