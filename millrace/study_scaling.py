"""``millrace study scaling``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from millrace.cli import ANSWER_IS_NO
from millrace.numbers import Number, Numbers
from millrace.options import package_named, store_option
from millrace.output import print_table
from millrace.study_output import progress, refusals, require
from model_store.package import ModelPackage
from study.balancing import BALANCING
from study.shape import CORES, LOOP_S, NETWORK_S, PodShape
from study.workplace import workplace

if TYPE_CHECKING:
    from study.bench import Bench
    from study.scaling import Series
    from study.scaling_report import Scaling

MOST = 100  # numbers in a list
RATE = Number(0.1, 100_000)
MILLISECONDS = Number(0, 60_000)


@click.command("scaling")
@click.option(
    "--counts",
    type=Numbers(Number(1, 1000, whole=True), MOST),
    default="1,2,4,8,16,24",
    show_default=True,
    help="Devices in a real pod, and simulated pods beside each other.",
)
@click.option(
    "--device-rate",
    "rates",
    type=Numbers(RATE, MOST),
    default="1200,150",
    show_default=True,
    help="Images/s of an emulated device in full batches. Slow devices show the frontends of more "
    "of them on few cores.",
)
@click.option(
    "--images",
    default=16,
    show_default=True,
    type=Number(1, 1024, whole=True),
    help="Of a request.",
)
@click.option("--frontends", default=1, show_default=True, type=Number(1, 64, whole=True))
@click.option(
    "--seconds",
    default=8.0,
    show_default=True,
    type=Number(0.5, 3600),
    help="That are measured, of each real pod.",
)
@click.option("--real/--no-real", default=True, show_default=True, help="Start real pods at all.")
@click.option("--beyond", is_flag=True, help="Measure also what the cores here do not carry.")
@click.option("--model", help="Name in the store.  [default: a tiny network made for this]")
@store_option
@click.option(
    "--cores", default=CORES, show_default=True, type=Number(2, 1024, whole=True), help="Of a pod."
)
@click.option("--decode-ms", type=MILLISECONDS, help="Of a JPEG.  [default: measured here]")
@click.option(
    "--jpeg",
    type=click.Path(path_type=Path),
    help="What is decoded to measure that.  [default: a synthetic photo]",
)
@click.option(
    "--loop-ms",
    default=LOOP_S * 1e3,
    show_default=True,
    type=MILLISECONDS,
    help="What a request of one JPEG costs a frontend besides decoding.",
)
@click.option(
    "--balancing", type=click.Choice(list(BALANCING)), default="least_request", show_default=True
)
@click.option("--network-ms", default=NETWORK_S * 1e3, show_default=True, type=MILLISECONDS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw it into this file: SVG, PNG.")
@click.option("--check", is_flag=True, help="Exit with 1 unless everything wanted was reached.")
@click.pass_context
def scaling_command(
    ctx: click.Context,
    /,
    *,
    counts: tuple[int, ...],
    rates: tuple[float, ...],
    images: int,
    frontends: int,
    seconds: float,
    real: bool,
    beyond: bool,
    model: str | None,
    store: Path,
    cores: int,
    decode_ms: float | None,
    jpeg: Path | None,
    loop_ms: float,
    balancing: str,
    network_ms: float,
    as_json: bool,
    as_csv: bool,
    chart: Path | None,
    check: bool,
) -> None:
    """Images/s against devices in one pod, and against pods.

    Real pods of emulated devices, as far as the cores here carry them, beside the same pods
    simulated; then simulated pods of one accelerator and cores that decode for it.
    """
    # The simulator, the packaging and the load client: only this command pays for them.
    from study.device import Device
    from study.findings import failures
    from study.jpeg import measure_decode
    from study.scaling import measure_series, simulate_pods
    from study.scaling_report import Scaling

    counts = tuple(sorted(set(counts)))
    rates = tuple(sorted(set(rates), reverse=True))
    with refusals():
        require(chart)
        with workplace() as folder:
            series: tuple[Series, ...] = ()
            decode_s = measure_decode(jpeg) if decode_ms is None else decode_ms / 1e3
            if real:
                package = _package(model, store, folder)
                bench = _bench(package, folder, images, frontends, seconds)
                series = tuple(
                    measure_series(bench, rate, counts, progress.print, beyond=beyond)
                    for rate in rates
                )
        shape = PodShape(Device.of_rate(1200.0), cores, decode_s, loop_ms / 1e3)
        if series:
            measured = series[0].calibration
            shape = replace(shape, handling_s=measured.handling_s, message_s=measured.message_s)
        pods = simulate_pods(shape, counts, balancing, network_ms / 1e3, progress.print)
        found = Scaling(series, shape, balancing, tuple(pods))
        _show(found, as_json=as_json, as_csv=as_csv)
        if chart:
            from study.chart import draw_scaling

            draw_scaling(found, chart)
    failed = failures(found.findings) if check else ()
    if failed:
        click.echo(f"millrace: the check failed: {'; '.join(failed)}", err=True)
        ctx.exit(ANSWER_IS_NO)


def _show(found: Scaling, *, as_json: bool, as_csv: bool) -> None:
    from study.scaling_tables import tables

    if as_json:
        click.echo(json.dumps(found.as_dict()))
    elif as_csv:
        click.echo(found.as_csv(), nl=False)
    else:
        for table in tables(found):
            print_table(table)


def _package(model: str | None, store: Path, folder: Path) -> ModelPackage:
    from study.tiny_package import tiny_package

    return tiny_package(folder) if model is None else package_named(model, store)


def _bench(
    package: ModelPackage, folder: Path, images: int, frontends: int, seconds: float
) -> Bench:
    from study.bench import Bench
    from study.load_client import load_client

    return Bench(
        load_client,
        package.name,
        package.path.parents[1],
        (package.manifest.input.height, package.manifest.input.width),
        images,
        frontends,
        seconds,
        folder,
    )
