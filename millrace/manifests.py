"""``millrace manifests``: a kustomize overlay for a model, sized from measured figures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from millrace.options import package_named, store_option
from millrace.overlay import AUTOSCALING, DEVICES, Wanted, write_overlay
from millrace.sizing import TARGET_LOAD, Measured, PodKind, Sizing, SizingError, read_measured, size
from model_store.package import MANIFEST_FILE, ModelPackage, sha256_of

ANSWER_IS_NO = 1
BASE = Path(__file__).parents[1] / "manifests"
# Those that hold nothing of the model's name, and go with any other.
COMPONENTS = (
    "cloud-identity",
    "monitoring",
    "pipeline-access",
    "pipeline-access-candidate",
    "pipeline-access-route",
    "registry",
    "repository-token",
    "store-in-cluster",
    "topology-spread",
)
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")  # as KServe's webhook has it
RATES = (
    "say what was measured: --measured FILE, which `curl …/v2/models/NAME/stages` of a loaded pod "
    "wrote; or --instance-rate (images/s of one instance) and --core-rate (images/s that one core "
    "receives, decodes and answers)"
)


class _Refusal(click.ClickException):
    """What cannot be written."""

    exit_code = 2


@click.command("manifests", short_help="write a kustomize overlay sized from measured figures")
@click.argument("model")
@click.option(
    "--target-rps",
    required=True,
    type=click.FloatRange(0, min_open=True),
    help="Requests/s at the peak, of one image each.",
)
@click.option(
    "--pods",
    type=click.IntRange(1),
    help=f"How many.  [default: the target at {TARGET_LOAD} of their capacity]",
)
@click.option(
    "--measured",
    "measured_file",
    type=click.Path(path_type=Path),
    help="A saved answer of /v2/models/NAME/stages, of a pod under load on such a device.",
)
@click.option(
    "--instance-rate",
    type=click.FloatRange(0, min_open=True),
    help="Images/s of one instance on its device, in full batches.",
)
@click.option(
    "--core-rate",
    type=click.FloatRange(0, min_open=True),
    help="Images/s that one core receives, decodes and answers.",
)
@click.option("--device", type=click.Choice(list(DEVICES)), default="nvidia", show_default=True)
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(1, 16), help="Of a pod.")
@click.option(
    "--cores", default=8, show_default=True, type=click.IntRange(1, 256), help="Of a pod."
)
@click.option(
    "--autoscaling",
    type=click.Choice(list(AUTOSCALING)),
    default="none",
    show_default=True,
    help="With it --pods is the most.",
)
@click.option(
    "--least-pods", default=2, show_default=True, type=click.IntRange(1), help="With --autoscaling."
)
@click.option(
    "--component",
    "components",
    multiple=True,
    type=click.Choice(COMPONENTS),
    help="Of manifests/components; may be given again.",
)
@click.option(
    "--image",
    help="NAME:TAG, or better NAME@sha256:…; with NAME alone the tag is the version's for --device."
    "  [default: millrace]",
)
@click.option(
    "--storage-uri", help="Of the package.  [default: pvc://millrace-models/NAME/VERSION]"
)
@click.option("--namespace", default="millrace", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.  [default: manifests/overlays/NAME]",
)
@click.option(
    "--manifests",
    "manifests",
    type=click.Path(path_type=Path),
    default=BASE,
    show_default="beside this package",
    help="Folder of base and components.",
)
@store_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    target_rps: float,
    pods: int | None,
    measured_file: Path | None,
    instance_rate: float | None,
    core_rate: float | None,
    device: str,
    gpus: int,
    cores: int,
    autoscaling: str,
    least_pods: int,
    components: tuple[str, ...],
    image: str | None,
    storage_uri: str | None,
    namespace: str,
    out: Path | None,
    manifests: Path,
    store: Path,
) -> None:
    """Write an overlay that serves MODEL, for so many requests a second.

    MODEL is a name in the store, NAME/VERSION or a path. What pods can answer is reckoned from
    what was measured (docs/operations.md, capacity planning). Exit code 1, and nothing written,
    if --pods cannot answer the target.
    """
    if not (manifests / "base" / "kustomization.yaml").is_file():
        raise _Refusal(f"{manifests}: no base here: say --manifests FOLDER of Millrace's source")
    measured = _measured(measured_file, instance_rate, core_rate)
    package = package_named(model, store)
    if SERVICE_NAME.fullmatch(package.name) is None:
        raise _Refusal(
            f"{package.name}: no name of an InferenceService (a-z, 0-9 and -): "
            "package it under another"
        )
    instances = 0 if device == "cpu" else gpus
    kind = _pod_kind(package, cores, instances)
    sizing = size(measured, kind, target_rps, pods)
    click.echo(said := _said(sizing, target_rps))
    if not sizing.is_enough:
        need = size(measured, kind, target_rps)
        click.echo(f"millrace: too few: {need.pods} pods carry it at {need.load:.0%}", err=True)
        ctx.exit(ANSWER_IS_NO)
    name = package.name
    wanted = Wanted(
        name=name,
        namespace=namespace,
        storage_uri=storage_uri or f"pvc://millrace-models/{name}/{package.version}",
        package_sha256=sha256_of(package.path / MANIFEST_FILE),
        image=image,
        device=device,
        instances=instances,
        cores=cores,
        autoscaling=autoscaling,
        least_pods=min(least_pods, sizing.pods),
        components=components,
    )
    folder = out or manifests / "overlays" / name
    write_overlay(folder, manifests, wanted, sizing, _why(measured, said))
    click.echo(f"{folder}: kubectl apply -k {shlex.quote(str(folder))}")


def _measured(file: Path | None, instance_rate: float | None, core_rate: float | None) -> Measured:
    """From the file, and what flags say instead."""
    if file is not None:
        try:
            found = read_measured(file)
        except SizingError as error:
            raise _Refusal(str(error)) from error
        return Measured(instance_rate or found.instance_rate, core_rate or found.core_rate)
    if instance_rate is None or core_rate is None:
        raise _Refusal(RATES)
    return Measured(instance_rate, core_rate)


def _pod_kind(package: ModelPackage, cores: int, instances: int) -> PodKind:
    height, width, channels = package.manifest.input.shape
    files = [package.path / variant.file for variant in package.manifest.variants]
    return PodKind(
        cores=cores,
        instances=instances,
        input_bytes=height * width * channels,
        model_bytes=max(file.stat().st_size for file in files),
    )


def _said(sizing: Sizing, target_rps: float) -> str:
    return (
        f"{sizing.pods} pods of {sizing.pod_rate:,.0f} images/s each ({sizing.limit} is the limit) "
        f"are {sizing.pods * sizing.pod_rate:,.0f}/s: {target_rps:,.0f} requests/s are "
        f"{sizing.load:.0%} of that"
    )


def _why(measured: Measured, said: str) -> str:
    return (
        "# Written by `millrace manifests`, from measured figures: an instance does "
        f"{measured.instance_rate:,.1f}\n# images/s, a core receives and decodes "
        f"{measured.core_rate:,.1f}.\n"
        f"# {said}.\n"
    )
