"""From a user's network and labels to a published model package."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal

import onnx
import pydantic

from model_store.answers import ServingGraph
from model_store.errors import PackageError, ParityError, SourceError
from model_store.golden import write_golden
from model_store.labels import read_labels
from model_store.network import Layout, Network, read_network
from model_store.package import (
    LABELS_FILE,
    MANIFEST_FILE,
    ImageInput,
    Manifest,
    ModelPackage,
    OriginalInput,
    OriginalOutput,
    Provenance,
    Resize,
    Triple,
    Variant,
    load_package,
    sha256_of,
    write_manifest,
)
from model_store.parity import (
    TOLERANCE,
    Progress,
    check_scores_kind,
    expected_answers,
    original_outputs,
    prove,
    sample_images,
)
from model_store.reference import OriginalNetwork, Pixels, Scores, reference_pixels
from model_store.serving_graph import build_serving_graph
from model_store.session import reason
from model_store.store import publish, staging

DEFAULT_TOP_K = 5
EXACT = Resize(policy="exact")
_TOOLS = ("millrace", "numpy", "onnx", "onnxruntime", "pillow")


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """What packaging needs to be told about a network.

    The network sees ``(pixel * scale - mean) / std`` with ``mean`` and ``std`` in the order of
    ``channels``. Sizes are (height, width) in pixels; None takes the network's own.
    ``output`` and ``layout`` are only for networks that leave them open.
    """

    source: Path
    name: str
    labels: Path
    parity_images: Path
    input_size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    resize: Resize = EXACT
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    class_offset: int = 0
    scores: Literal["logits", "probabilities"] = "logits"
    top_k: int | None = None
    layout: Layout | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class _Examined:
    """A request whose source, labels and images have been read and found to fit together."""

    network: Network
    image: ImageInput
    output: OriginalOutput
    labels: tuple[str, ...]
    top_k: int
    images: tuple[Path, ...]
    encoded: list[bytes]
    pixels: list[Pixels]
    raw: Scores


def package(request: PackageRequest, store: Path, progress: Progress) -> ModelPackage:
    """Make a package of ``request`` and publish it in ``store`` as the next version of its name.

    ``progress`` is told what is being done, how much of it, and of how much. On any failure the
    store is as it was.

    Raises:
        SourceError: the network, labels, images or settings do not fit.
        ParityError: the serving graph does not give the original's answers.
        PackageError: the store cannot take it.
    """
    examined = _examine(request, progress)
    precision: Literal["fp32", "fp16"] = "fp16" if examined.network.half_precision else "fp32"
    tolerance = TOLERANCE[precision]
    with staging(store, request.name) as folder:
        variant = Variant(file=f"{precision}.onnx", runtime="onnx", precision=precision)
        graph = build_serving_graph(
            examined.network, examined.image, examined.output, examined.top_k
        )
        onnx.save_model(graph, str(folder / variant.file))
        expected = expected_answers(examined.raw, examined.output, examined.top_k)
        parity = prove(
            _loaded(folder / variant.file, request.source),
            examined.network,
            examined.image,
            examined.pixels,
            expected,
            tolerance,
            progress,
        )
        golden = write_golden(folder, examined.images, examined.encoded, expected)
        (folder / LABELS_FILE).write_text("\n".join(examined.labels) + "\n", encoding="utf-8")
        unversioned = Manifest(
            name=request.name,
            version=1,
            input=examined.image,
            output=examined.output,
            classes=len(examined.labels),
            top_k=examined.top_k,
            variants=(variant,),
            golden=golden,
            parity=parity,
            provenance=_provenance(request.source),
            files=_hashes(folder),
        )
        path = publish(
            folder,
            lambda number: write_manifest(
                folder, unversioned.model_copy(update={"version": number})
            ),
        )
    return load_package(path)


def _examine(request: PackageRequest, progress: Progress) -> _Examined:
    network = read_network(request.source, request.layout)
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
    original = OriginalNetwork(network, image.original)
    raw = original_outputs(original, pixels, output.name, progress)
    _check_classes(request, raw.shape[1], len(labels))
    check_scores_kind(request.source, raw, request.scores)
    return _Examined(network, image, output, labels, top_k, images, encoded, pixels, raw)


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
    normalisation = (request.scale, request.mean, request.std)
    if network.dtype == "uint8" and normalisation != (1.0, (0.0,) * 3, (1.0,) * 3):
        raise SourceError(
            f"{source}: takes uint8 pixels and so normalises inside; leave --scale, --mean and "
            "--std away"
        )
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
        raise SourceError(f"{source}: {error.errors()[0]['msg']}") from error


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


def _loaded(graph: Path, source: Path) -> ServingGraph:
    try:
        return ServingGraph(graph)
    except PackageError as error:
        raise ParityError(f"{source}: its serving graph does not load: {reason(error)}") from error


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): sha256_of(file)
        for file in files
        if file.name != MANIFEST_FILE
    }


def _provenance(source: Path) -> Provenance:
    tools = {tool: installed_version(tool) for tool in _TOOLS}
    return Provenance(
        source=source.name,
        source_sha256=sha256_of(source),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        tools={"python": platform.python_version(), **tools},
    )
