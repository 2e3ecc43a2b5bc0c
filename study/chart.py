"""Charts, as SVG or what else the file's name says; matplotlib is imported where one is drawn."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.errors import StudyError
from study.fleet import HOUR_S, STEP_S
from study.fleet_study import FleetStudy
from study.scaling import GOAL
from study.scaling_report import Scaling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TALK = 0.98  # efficiency at 24 pods that the talk of 2020 told of


def require_charts(file: Path) -> None:
    """Return if a chart can be drawn: that is to be known before anything is measured for one.

    Raises:
        StudyError: matplotlib is not here, or draws no such file as this one's suffix says.
    """
    try:
        bases = importlib.import_module("matplotlib.backend_bases")
    except ImportError as error:
        raise StudyError("charts need matplotlib: pip install 'millrace[study]'") from error
    known = bases.FigureCanvasBase.get_supported_filetypes()
    if file.suffix.removeprefix(".").lower() not in known:
        raise StudyError(f"{file}: a chart's name must end in one of .{', .'.join(sorted(known))}")


@contextmanager
def figure(file: Path, panels: int) -> Iterator[list[Axes]]:
    """Panels below each other, written to ``file`` at the end.

    Raises:
        StudyError: matplotlib is not here, or cannot write that.
    """
    require_charts(file)
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 3.4 * panels), layout="constrained")
    axes = drawn.subplots(panels, 1, squeeze=False)
    yield [axis[0] for axis in axes]
    try:
        drawn.savefig(file)
    except (OSError, ValueError) as error:
        raise StudyError(f"{file}: {error}") from error


def draw_scaling(scaling: Scaling, file: Path) -> None:
    """Images a second and efficiency against the number of devices or pods."""
    lines = scaling.lines()
    with figure(file, 2) as (speed, efficiency):
        for series in scaling.series:
            rate = series.device.rate
            own = [line for line in lines if line["kind"] == "devices" and line["rate"] == rate]
            counts = [line["count"] for line in own]
            label = f"{rate:g} images/s a device"
            for axis, name in (
                (speed, "simulated_images_per_second"),
                (efficiency, "simulated_efficiency"),
            ):
                axis.plot(counts, [line[name] for line in own], "--", label=f"{label}, simulated")
            measured = [line for line in own if line["real_images_per_second"] is not None]
            # A row that cannot be compared says nothing of the simulator: it is crossed out.
            for lines_of, marker, what in (
                ([line for line in measured if line["agrees"] is not None], "o", "real pod"),
                ([line for line in measured if line["agrees"] is None], "x", "not compared"),
            ):
                if not lines_of:
                    continue
                for axis, name in ((speed, "real_images_per_second"), (efficiency, "efficiency")):
                    axis.plot(
                        [line["count"] for line in lines_of],
                        [line[name] for line in lines_of],
                        marker,
                        label=f"{label}, {what}",
                    )
        pods = [line for line in lines if line["kind"] == "pods"]
        counts = [line["count"] for line in pods]
        for axis, name in (
            (speed, "simulated_images_per_second"),
            (efficiency, "simulated_efficiency"),
        ):
            axis.plot(counts, [line[name] for line in pods], "-", label="pods, simulated")
        efficiency.axhline(TALK, color="grey", linewidth=0.8)
        efficiency.axhline(GOAL, color="black", linewidth=0.8)
        efficiency.annotate("98 %: the talk", (1, TALK), fontsize=7, va="top")
        efficiency.set_ylim(0, 1.1)
        speed.set_ylabel("images/s")
        efficiency.set_ylabel("of so many times one")
        efficiency.set_xlabel("devices in a pod, or pods")
        for axis in (speed, efficiency):
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
        speed.set_yscale("log")
        ticks = sorted({line["count"] for line in lines})
        for axis in (speed, efficiency):
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks, [str(count) for count in ticks])


def draw_fleets(study: FleetStudy, file: Path) -> None:
    """Pods, load and what was refused over the day, each as a share of what the peak needs."""
    plan = study.plan
    every = max(1, round(60 / STEP_S))
    with figure(file, 3) as (pods, load, refused):
        for row, day in zip(study.rows, study.days, strict=True):
            hours = np.arange(0, len(day.asked), every) * STEP_S / HOUR_S
            label = f"{row.pods:,} pods"
            pods.plot(hours, day.ready[::every] / row.pods, label=f"{label}, ready", linewidth=0.9)
            load.plot(hours, day.load[::every], label=label, linewidth=0.6)
            share = day.refused / np.maximum(day.asked, 1e-9)
            refused.plot(hours, 100 * share[::every], label=label, linewidth=0.9)
        peak = row.pods * plan.target * study.curve.capacity * STEP_S
        pods.plot(hours, day.asked[::every] / peak, "k--", label="load ÷ peak", linewidth=0.7)
        load.axhline(plan.target, color="grey", linewidth=0.8)
        pods.set_ylabel("pods ÷ those of the peak")
        load.set_ylabel("load of a pod")
        refused.set_ylabel("refused, %")
        refused.set_xlabel(f"hours ({plan.autoscaler})")
        for axis in (pods, load, refused):
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
