"""``millrace study``: how far it scales, on real pods and beyond them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from millrace.output import print_table
from model_store.package import ModelPackage, load_package
from model_store.store import resolve
from study.balancing import BALANCING
from study.errors import StudyError
from study.fleet_plan import FleetPlan, read_plan
from study.shape import CORES, LOOP_S, NETWORK_S, PodShape

if TYPE_CHECKING:
    from study.bench import Bench
    from study.scaling import Series

progress = Console(stderr=True, highlight=False, soft_wrap=True)


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers above 0, separated by commas."""

    name = "numbers"

    def __init__(self, kind: Callable[[str], float]) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            numbers = tuple(self._kind(part) for part in value.split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r}: numbers separated by commas, such as 1,2,4", param, ctx)
        if not all(number > 0 for number in numbers):
            self.fail(f"{value!r}: each must be above 0", param, ctx)
        return numbers


class _Refusal(click.ClickException):
    """What a study cannot do."""

    exit_code = 2


@contextmanager
def refusals() -> Iterator[None]:
    """What a study cannot do is one line and exit code 2."""
    try:
        yield
    except StudyError as error:
        raise _Refusal(str(error)) from error


@click.group("study")
def command() -> None:
    """Study how far it scales, on real pods and on simulated ones.

    What is real, what is simulated, and every assumption: docs/study.md.
    """


@command.command("scaling")
@click.option(
    "--counts",
    type=_Numbers(int),
    default="1,2,4,8,16,24",
    show_default=True,
    help="Devices in a real pod, and simulated pods beside each other; in growing numbers.",
)
@click.option(
    "--device-rate",
    "rates",
    type=_Numbers(float),
    default="1200,150",
    show_default=True,
    help="Images/s of an emulated device in full batches. Slow devices show the frontends of more "
    "of them on few cores.",
)
@click.option(
    "--images", default=16, show_default=True, type=click.IntRange(1, 1024), help="Of a request."
)
@click.option("--frontends", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option(
    "--seconds",
    default=8.0,
    show_default=True,
    type=click.FloatRange(0.5),
    help="That are measured, of each real pod.",
)
@click.option("--real/--no-real", default=True, show_default=True, help="Start real pods at all.")
@click.option("--beyond", is_flag=True, help="Measure also what the cores here do not carry.")
@click.option("--model", help="Name in the store.  [default: a tiny network made for this]")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="var/store",
    envvar="MILLRACE_STORE",
    show_default=True,
    help="Folder of model packages.",
)
@click.option("--cores", default=CORES, show_default=True, type=click.IntRange(2), help="Of a pod.")
@click.option("--decode-ms", type=click.FloatRange(0), help="Of a JPEG.  [default: measured here]")
@click.option(
    "--jpeg",
    type=click.Path(path_type=Path),
    help="What is decoded to measure that.  [default: a synthetic photo]",
)
@click.option(
    "--loop-ms",
    default=LOOP_S * 1e3,
    show_default=True,
    type=click.FloatRange(0),
    help="What a request of one JPEG costs a frontend besides decoding.",
)
@click.option(
    "--balancing", type=click.Choice(list(BALANCING)), default="least_request", show_default=True
)
@click.option("--network-ms", default=NETWORK_S * 1e3, show_default=True, type=click.FloatRange(0))
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
    from study.jpeg import measure_decode
    from study.scaling import measure_series, simulate_pods
    from study.scaling_report import Scaling, tables

    with refusals(), tempfile.TemporaryDirectory(prefix="millrace-study-") as folder:
        series: tuple[Series, ...] = ()
        if real:
            package = _package(model, store, Path(folder))
            bench = _bench(package, Path(folder), images, frontends, seconds)
            series = tuple(
                measure_series(bench, rate, counts, progress.print, beyond=beyond) for rate in rates
            )
        decode_s = measure_decode(jpeg) if decode_ms is None else decode_ms / 1e3
        shape = PodShape(Device.of_rate(1200.0), cores, decode_s, loop_ms / 1e3)
        if series:
            measured = series[0].calibration
            shape = PodShape(
                shape.device,
                cores,
                decode_s,
                loop_ms / 1e3,
                measured.handling_s,
                measured.message_s,
            )
        pods = simulate_pods(shape, counts, balancing, network_ms / 1e3, progress.print)
        found = Scaling(series, shape, balancing, tuple(pods))
        if chart:
            from study.chart import draw_scaling

            draw_scaling(found, chart)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    elif as_csv:
        click.echo(found.as_csv(), nl=False)
    else:
        for table in tables(found):
            print_table(table)
    if check and not all(holds for _, _, holds in found.findings):
        ctx.exit(1)


def _package(model: str | None, store: Path, folder: Path) -> ModelPackage:
    from study.tiny_package import tiny_package

    return tiny_package(folder) if model is None else load_package(resolve(model, store))


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


def _fleet_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each assumption, which is None where it is not given."""
    for name, field in reversed(FleetPlan.model_fields.items()):
        shown = ",".join(map(str, field.default)) if name == "pods" else field.default
        function = click.option(
            f"--{name.replace('_', '-')}",
            name,
            default=None,
            type=_Numbers(int) if name == "pods" else str,
            metavar="VALUE",
            help=f"{field.description}.  [default: {shown}]",
        )(function)
    return function


@command.command("fleet")
@_fleet_flags
@click.option("--config", type=click.Path(path_type=Path), help="YAML file of the same names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the day into this file.")
def fleet_command(
    *, config: Path | None, as_json: bool, as_csv: bool, chart: Path | None, **given: Any
) -> None:
    """Fleets of 10 to 10,000 pods behind one gateway over a day, and what a million images cost.

    All simulated: load that comes and goes, an autoscaler, cold starts and pods that are lost.
    Prints every assumption with its source.
    """
    from study.fleet_report import as_csv as csv_of
    from study.fleet_report import as_dict, tables
    from study.fleet_study import study_fleets

    with refusals():
        plan = read_plan(
            config, {name: value for name, value in given.items() if value is not None}
        )
        found = study_fleets(plan, progress.print)
        if chart:
            from study.chart import draw_fleets

            draw_fleets(found, chart)
    if as_json:
        click.echo(json.dumps(as_dict(found)))
    elif as_csv:
        click.echo(csv_of(found), nl=False)
    else:
        for table in tables(found):
            print_table(table)
