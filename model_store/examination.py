"""Whether a network, its labels, its images and what was said about them fit together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pydantic

from model_store.errors import SourceError
from model_store.labels import read_labels
from model_store.network import Network
from model_store.original import (
    Progress,
    Scores,
    check_scores_kind,
    original_outputs,
)
from model_store.package import ImageInput, OriginalInput, OriginalOutput
from model_store.reference import Pixels, reference_pixels, sample_images
from model_store.request import PackageRequest
from model_store.sources.opened import Source, open_source

DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True)
class Examined:
    """A request whose source, labels and images have been read and found to fit together."""

    source: Source
    image: ImageInput
    output: OriginalOutput
    labels: tuple[str, ...]
    top_k: int
    images: tuple[Path, ...]
    encoded: list[bytes]
    pixels: list[Pixels]
    raw: Scores

    @property
    def network(self) -> Network:
        """The source as ONNX."""
        return self.source.network


def examine(request: PackageRequest, folder: Path, progress: Progress) -> Examined:
    """Read everything ``request`` names, run the original network, and check that all fits.

    A network that is not ONNX is exported into ``folder``.

    Raises:
        SourceError: with the file and the reason, in one line.
    """
    source = open_source(request, folder)
    network = source.network
    image = _image_input(request, network)
    labels = read_labels(request.labels)
    output = OriginalOutput(
        name=_output_name(request, network, len(labels)),
        scores=request.scores,
        class_offset=request.class_offset,
    )
    top_k = _top_k(request, len(labels))
    images = sample_images(request.parity_images)
    encoded, pixels = _read_images(images, image, progress)
    raw = original_outputs(source.original(image.original), pixels, output.name, progress)
    _check_classes(request, raw.shape[1], len(labels))
    check_scores_kind(request.source, raw, request.scores)
    return Examined(source, image, output, labels, top_k, images, encoded, pixels, raw)


def _image_input(request: PackageRequest, network: Network) -> ImageInput:
    source, size = request.source, request.input_size
    height, width = network.height, network.width
    if size is None:
        if height is None or width is None:
            raise SourceError(f"{source}: leaves its image size open; give --input-size")
        size = (height, width)
    if height not in (None, size[0]) or width not in (None, size[1]):
        raise SourceError(
            f"{source}: takes {height or '?'}x{width or '?'} images, not {size[0]}x{size[1]}"
        )
    if request.crop not in (None, size):
        raise SourceError(
            f"{source}: a crop of {request.crop[0]}x{request.crop[1]} does not fill the input "
            f"of {size[0]}x{size[1]}; they must be equal"
        )
    _check_normalisation(request, network)
    try:
        return ImageInput(
            height=size[0],
            width=size[1],
            resize=request.resize,
            original=OriginalInput(
                name=network.input_name,
                layout=network.layout,
                dtype=network.dtype,
                channels=request.channels,
                scale=request.scale,
                mean=request.mean,
                std=request.std,
            ),
        )
    except pydantic.ValidationError as error:
        raise SourceError(f"{source}: {_said(error)}") from error


def _said(error: pydantic.ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def _check_normalisation(request: PackageRequest, network: Network) -> None:
    numbers = (request.scale, *request.mean, *request.std)
    if not all(math.isfinite(number) for number in numbers) or 0 in (request.scale, *request.std):
        raise SourceError(
            f"{request.source}: --scale, --mean and --std must be finite, --scale and --std not 0"
        )
    if network.dtype == "uint8" and numbers != (1, 0, 0, 0, 1, 1, 1):
        raise SourceError(
            f"{request.source}: takes uint8 pixels and so normalises inside; leave --scale, "
            "--mean and --std away"
        )


def _output_name(request: PackageRequest, network: Network, classes: int) -> str:
    names = network.output_names
    if request.output is not None:
        if request.output not in names:
            raise SourceError(
                f"{request.source}: has no output {request.output!r}, only {', '.join(names)}"
            )
        return request.output
    if len(names) == 1:
        return names[0]
    fitting = network.outputs_of_size(classes + request.class_offset)
    if len(fitting) == 1:
        return fitting[0]
    raise SourceError(
        f"{request.source}: has {len(names)} outputs ({', '.join(names)}); say which one holds "
        "the scores with --output"
    )


def _top_k(request: PackageRequest, classes: int) -> int:
    if request.top_k is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= request.top_k <= classes:
        raise SourceError(f"{request.labels}: --top-k {request.top_k} of {classes} classes")
    return request.top_k


def _read_images(
    images: tuple[Path, ...], image: ImageInput, progress: Progress
) -> tuple[list[bytes], list[Pixels]]:
    encoded, pixels = [], []
    for number, file in enumerate(images):
        try:
            encoded.append(file.read_bytes())
            pixels.append(reference_pixels(encoded[-1], image))
        except (OSError, SourceError) as error:
            raise SourceError(f"{file}: {error}") from error
        progress("reference images", number + 1, len(images))
    return encoded, pixels


def _check_classes(request: PackageRequest, outputs: int, labels: int) -> None:
    classes = outputs - request.class_offset
    if classes == labels:
        return
    hint = ""
    if outputs - labels == 1 and request.class_offset == 0:
        hint = "; if output 0 is a background class, say --class-offset 1"
    raise SourceError(
        f"{request.labels}: {labels} labels, but {request.source} has {outputs} outputs"
        + (f" less an offset of {request.class_offset}" if request.class_offset else "")
        + hint
    )
