"""Datasets of red, green and blue images, and models of them, for the analyzer's tests."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from analyzer.dataset_survey import Survey, survey
from analyzer.local import LocalModel, Place
from analyzer.sources import open_dataset
from model_store.package import ModelPackage
from predictor.types import DecodeLimits
from tests.conftest import COLOURS, quiet

HERE = Place("cpu", len(os.sched_getaffinity(0)), DecodeLimits(50_000_000, 2), scaled=True)


def picture(colour: str, seed: int, kind: str = "PNG", size: tuple[int, int] = (20, 18)) -> bytes:
    """An image of mostly one colour; every seed makes another one."""
    pixels = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
    pixels[:, :, COLOURS.index(colour)] += 150
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, kind)
    return encoded.getvalue()


def files(each: int) -> dict[str, bytes]:
    """So many images of each colour, by ``COLOUR/NUMBER.png``."""
    return {
        f"{colour}/{number:04}.png": picture(colour, 1000 * place + number)
        for place, colour in enumerate(COLOURS)
        for number in range(each)
    }


def write_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    """The files in a folder."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(file: Path, contents: dict[str, bytes]) -> Path:
    """The files in an archive, by exactly these names."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


def surveyed(source: Path | str) -> Survey:
    """A dataset, opened and read."""
    return survey(open_dataset(str(source)), quiet)


def local(package: ModelPackage, name: str = "colours") -> LocalModel:
    """A package's first variant, to run on the CPU."""
    return LocalModel(name, name, package, package.manifest.variants[0], HERE)
