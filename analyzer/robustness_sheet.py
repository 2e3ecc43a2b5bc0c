"""A contact sheet: one image after every augmentation at every intensity, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from analyzer.augmentations import AUGMENTATIONS, augment
from analyzer.robustness_pictures import bounded
from predictor.types import Pixels

ROW, WIDEST, GAP, NAME, TITLE = 176, 240, 4, 132, 22  # pixels
COLUMNS = 2  # of augmentations
PAPER, INK = (255, 255, 255), (30, 30, 30)


def contact_sheet(picture: Pixels, image: str, intensities: Sequence[float]) -> bytes:
    """Draw it.

    Args:
        picture: uint8 (h, w, 3) RGB.
        image: its name, by which chance is drawn: as in the analysis.
        intensities: each in (0, 1].

    Returns:
        A PNG file.
    """
    picture = bounded(picture)
    size = _thumbnail(picture.shape[1], picture.shape[0])
    across = NAME + (1 + len(intensities)) * (size[0] + GAP)
    rows = -(-len(AUGMENTATIONS) // COLUMNS)
    whole = (COLUMNS * across + GAP, TITLE + rows * (size[1] + GAP))
    sheet = PillowImage.new("RGB", whole, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, name in enumerate(AUGMENTATIONS):
        column, row = divmod(place, rows)
        left, top = column * across + GAP, TITLE + row * (size[1] + GAP)
        pen.text((left, top + size[1] // 2 - 8), name, INK, font)
        for step, intensity in enumerate((0.0, *intensities)):
            done = augment(picture, name, intensity, image) if intensity else picture
            at = left + NAME + step * (size[0] + GAP)
            thumbnail = PillowImage.fromarray(done).resize(size, PillowImage.Resampling.BICUBIC)
            sheet.paste(thumbnail, (at, top))
            if row == 0:
                pen.text((at, 3), f"{intensity:.2f}" if intensity else "as it is", INK, font)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _thumbnail(width: int, height: int) -> tuple[int, int]:
    """(width, height) of what is shown of a picture."""
    scale = min(ROW / height, WIDEST / width)
    return max(1, round(width * scale)), max(1, round(height * scale))
