"""Small pictures that the page carries with it, as many as fit."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from analyzer.report.rows import Table
from analyzer.report.selection import ranked
from predictor.decode import DEFAULT_LIMITS, FORMATS

# Longest sides in pixels, and bytes that a photo of that size takes as WebP in base64, or less.
SIZES = ((320, 15_000), (224, 8_500), (160, 5_000), (96, 2_200))
QUALITY = 70
EFFORT = 2  # of 0 to 6: a third larger than the best, five times as fast

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, slots=True)
class Pictures:
    """How a report gets at a dataset's images.

    Attributes:
        read: an image's encoded bytes, by its name; None, or OSError, where it cannot be read.
        folder: where the names lie as files, which the page then shows in full size as long as
            they stay there; None where they do not (a zip).
    """

    read: Callable[[str], bytes | None]
    folder: Path | None = None


def side_for(images: int, budget_bytes: int) -> int:
    """The longest side in pixels at which that many photos fit; the least there is if none does."""
    return next(
        (side for side, each in SIZES if images * each <= budget_bytes),
        SIZES[-1][0],
    )


def thumbnail(encoded: bytes, side: int) -> bytes | None:
    """A WebP no larger than ``side`` and no larger than the image; None for a broken one."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            if opened.width * opened.height > DEFAULT_LIMITS.max_pixels:
                return None
            opened.draft("RGB", (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(opened)
            upright.thumbnail((side, side))
            small = io.BytesIO()
            upright.convert("RGB").save(small, "WEBP", quality=QUALITY, method=EFFORT)
            return small.getvalue()
    # A decoder on hostile bytes raises whatever it likes; the page then shows the name alone.
    except Exception:  # noqa: BLE001 (says why above)
        return None


def thumbnails(
    tables: Sequence[Table],
    pictures: Mapping[str, Pictures],
    budget_bytes: int,
    progress: Progress | None = None,
) -> list[dict[int, bytes]]:
    """Thumbnails by table and row; what should be shown first, first.

    Args:
        tables: the images.
        pictures: how to get at them, by dataset; those of others have none.
        budget_bytes: of all of them in base64; once it is used up, no more are made.
        progress: is told of each.
    """
    found: list[dict[int, bytes]] = [{} for _ in tables]
    wanted = [place for place in ranked(tables) if tables[place[0]].dataset in pictures]
    side = side_for(len(wanted), budget_bytes)
    for done, (place, row) in enumerate(wanted):
        table = tables[place]
        small = _read(pictures[table.dataset], table.names[row], side)
        if small is not None:
            budget_bytes -= len(in_base64(small))
            if budget_bytes < 0:
                break
            found[place][row] = small
        if progress:
            progress("thumbnails", done + 1, len(wanted))
    if progress and wanted:
        progress("thumbnails", len(wanted), len(wanted))  # also where the page is full
    return found


def in_base64(small: bytes) -> str:
    """As the page carries it."""
    return base64.b64encode(small).decode("ascii")


def _read(pictures: Pictures, name: str, side: int) -> bytes | None:
    try:
        encoded = pictures.read(name)
    except OSError:
        return None
    return None if encoded is None else thumbnail(encoded, side)
