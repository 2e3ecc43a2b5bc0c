"""From a user's network and labels to a published model package."""

from __future__ import annotations

import datetime
import platform
import tempfile
from importlib.metadata import version as installed_version
from pathlib import Path

import onnx

from model_store.answers import ServingGraph
from model_store.errors import PackageError, ParityError
from model_store.examination import Examined, examine
from model_store.golden import write_golden
from model_store.original import Progress, expected_answers
from model_store.package import (
    LABELS_FILE,
    MANIFEST_FILE,
    Manifest,
    ModelPackage,
    Provenance,
    Variant,
    load_package,
    sha256_of,
    write_manifest,
)
from model_store.parity import prove
from model_store.publishing import publish, staging
from model_store.request import PackageRequest, check_path
from model_store.serving_graph import build_serving_graph
from model_store.session import reason
from model_store.sources.opened import Source
from model_store.variants import Workshop, first_precision, wanted

__all__ = ["PackageRequest", "package"]

_TOOLS = ("millrace", "numpy", "onnx", "onnxruntime", "pillow")


def package(request: PackageRequest, store: Path, progress: Progress) -> ModelPackage:
    """Make a package of ``request`` and publish it in ``store`` as the next version of its name.

    ``progress`` is told what is being done, how much of it, and of how much. On any failure the
    store is as it was.

    Raises:
        SourceError: the network, labels, images or settings do not fit.
        ParityError: the serving graph does not give the original's answers, or another variant
            does not give the first one's.
        PackageError: the store cannot take it.
    """
    check_path(store)
    with staging(store, request.name) as folder, tempfile.TemporaryDirectory() as work:
        manifest = _fill(folder, request, examine(request, Path(work), progress), progress)
        path = publish(
            folder,
            lambda number: write_manifest(folder, manifest.model_copy(update={"version": number})),
        )
    return load_package(path)


def _fill(
    folder: Path, request: PackageRequest, examined: Examined, progress: Progress
) -> Manifest:
    """Write everything but ``model.yaml``, and say what belongs into that (as version 1)."""
    network, image, output = examined.network, examined.image, examined.output
    precision = first_precision(examined)
    more = wanted(request, examined.source, precision)
    variant = Variant(file=f"{precision}.onnx", runtime="onnx", precision=precision)
    graph = folder / variant.file
    onnx.save_model(build_serving_graph(network, image, output, examined.top_k), str(graph))
    expected = expected_answers(examined.raw, output, examined.top_k)
    serving = _loaded(graph, request.source)
    parity = prove(serving, network, image, examined.pixels, expected, progress)
    golden = write_golden(folder, examined.images, examined.encoded, expected)
    others: tuple[Variant, ...] = ()
    if more:
        workshop = Workshop(folder, request, examined, variant, golden, progress)
        others = tuple(workshop.make(each) for each in more)
        variant = variant.model_copy(update={"measured": workshop.first_measured})
    (folder / LABELS_FILE).write_text("\n".join(examined.labels) + "\n", encoding="utf-8")
    return Manifest(
        name=request.name,
        version=1,
        input=image,
        output=output,
        classes=len(examined.labels),
        top_k=examined.top_k,
        accuracy_bound=request.least_agreement if others else None,
        variants=(variant, *others),
        golden=golden,
        parity=parity,
        provenance=_provenance(examined.source, request.origin),
        files=_hashes(folder),
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


def _provenance(source: Source, origin: str) -> Provenance:
    tools = {tool: installed_version(tool) for tool in _TOOLS}
    if source.torch is not None:
        tools["torch"] = installed_version("torch")
    return Provenance(
        source=f"{origin} {source.located.title}".lstrip(),
        source_sha256=source.digest,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        tools={"python": platform.python_version(), **tools},
    )
