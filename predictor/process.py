"""How a Millrace process starts: its title, its log, and what it is told to do."""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from model_store.errors import PackageError, one_line
from model_store.package import ModelPackage, load_package
from predictor.control import Control, Message
from predictor.counts import StatisticsLayout
from predictor.placement import Placement
from predictor.settings import Settings

# Read by prometheus_client when it is imported, so it must be there before a process starts.
METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class InstanceOrder:
    """What the supervisor tells a new instance; plain data, since it travels as JSON."""

    package: str
    digest: str
    model_name: str
    instance: int
    generation: int  # 0 for the first process in this place, then 1, 2, …
    device: str
    kind: str
    cores: tuple[int, ...]
    threads: int
    emulated: dict[str, Any] | None  # an EmulatedCost
    variant: str  # auto, a precision, or a file of the package
    nice: int
    max_batch_size: int
    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_us: int
    priority_levels: int
    priority_step_us: int
    hang_timeout_s: float
    log_level: str
    calibrate: bool  # measure decoding as well
    statistics: dict[str, int]  # a StatisticsLayout

    @classmethod
    def of(
        cls,
        settings: Settings,
        package: ModelPackage,
        variant: str,
        model_name: str,
        place: Placement,
        number: int,
        generation: int,
        calibrate: bool,
        statistics: StatisticsLayout,
    ) -> InstanceOrder:
        """The order for instance ``number``, at ``place``."""
        return cls(
            package=str(package.path),
            digest=package.digest,
            model_name=model_name,
            instance=number,
            generation=generation,
            device=place.device,
            kind=place.kind,
            cores=place.cores,
            threads=place.threads,
            emulated=asdict(place.emulated) if place.emulated else None,
            variant=variant,
            # A GPU's instance only launches kernels; holding it up would idle the device.
            nice=settings.instance_nice if place.on_cores else 0,
            max_batch_size=settings.max_batch_size,
            preferred_batch_sizes=settings.preferred_sizes,
            max_queue_delay_us=settings.max_queue_delay_us,
            priority_levels=settings.priority_levels,
            priority_step_us=settings.priority_step_us,
            hang_timeout_s=settings.hang_timeout_s,
            log_level=settings.log_level,
            calibrate=calibrate,
            statistics=asdict(statistics),
        )

    def content(self) -> dict[str, Any]:
        """As the content of a control message."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FrontendOrder:
    """What the supervisor tells a new frontend; plain data, since it travels as JSON."""

    model_name: str
    frontend: int
    generation: int  # 0 for the first process in this place, then 1, 2, …
    decode_threads: int
    cores: int  # that the pod may keep busy
    grpc_port: int
    versions: int  # how many ``VersionOrder`` follow before it may serve
    traffic: dict[str, int]  # percent by version
    settings: dict[str, Any]

    def content(self) -> dict[str, Any]:
        """As the content of a control message."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class VersionOrder:
    """What a frontend is told of a version of the model that it is to serve."""

    package: str
    digest: str
    board_rows: int
    devices: tuple[str, ...]  # of its instances
    loaded: bool
    layout: dict[str, int]  # of its slab, a SlabLayout
    statistics: dict[str, int]  # a StatisticsLayout

    def content(self) -> dict[str, Any]:
        """As the content of a control message."""
        return asdict(self)


def same_package(path: str, digest: str) -> ModelPackage:
    """The package at ``path``, if it is still the one that a version was made of.

    Raises:
        ModelStoreError: it is damaged, or another one by now.
    """
    package = load_package(Path(path))
    if package.digest != digest:
        raise PackageError(
            f"{path}: another package than was loaded lies here now; put it in a version of its own"
        )
    return package


def told(error: Exception) -> str:
    """What an error says, fit for a message and for one line of a log."""
    return one_line(error)[:300] or type(error).__name__


def begin_child() -> tuple[Control, Message]:
    """The first steps of a process that the supervisor has started.

    The signals that end a pod are ignored: children are told over their control channels, in the
    order in which nothing is lost. The process ends here if the supervisor is gone already.

    Returns:
        The channel, whose descriptor is the process's one argument, and what it is told first.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = Control.from_fd(int(sys.argv[1]))
    start = control.receive()
    if start is None:
        sys.exit()
    return control, start


def enter_process(title: str, log_level: str) -> None:
    """Name this process (for ps, top and a runbook) and let it log one line per event to stderr."""
    setproctitle(title)
    logging.basicConfig(
        stream=sys.stderr,
        level=log_level.upper(),
        format=f"%(asctime)s %(levelname)s [{title}] %(message)s",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it announces what we announce
