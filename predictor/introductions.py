"""How a version of the model comes to a frontend: checked aside, then served on shared memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

from model_store.package import ModelPackage
from predictor.calibration import decode_timings
from predictor.classifier import ImageClassifier
from predictor.control import Message
from predictor.counts import StatisticsLayout
from predictor.decode_pool import DecodePool
from predictor.dispatch import Dispatcher, Queueing
from predictor.header import Header
from predictor.metrics import FrontendMetrics
from predictor.preloaded import Preloaded
from predictor.process import VersionOrder, same_package
from predictor.served_version import ServedVersion
from predictor.settings import Settings
from predictor.slab import Board, Slab, SlabLayout
from predictor.statistics import Statistics
from predictor.versions import Versions


@dataclass(frozen=True, slots=True)
class Prepared:
    """What takes long of introducing a version: its files checked, its golden images decoded."""

    package: ModelPackage
    decode_timings: list[tuple[Header, float]]

    @classmethod
    def of(cls, message: Message) -> Prepared:
        """For a message that introduces one.

        Raises:
            ModelStoreError: the package is damaged.
        """
        package = same_package(message.content["package"], message.content["digest"])
        return cls(package, decode_timings(package))


class Introductions:
    """Adds versions to those that a frontend serves.

    Args:
        frontend: its number.
        settings: of the pod.
        versions: those it serves.
        pool: its decoders, which all versions share.
        preloaded: images that requests may name.
    """

    def __init__(
        self,
        frontend: int,
        settings: Settings,
        versions: Versions,
        pool: DecodePool,
        preloaded: Preloaded,
    ) -> None:
        self._frontend = frontend
        self._settings = settings
        self._queueing = settings.queueing
        self._versions = versions
        self._pool = pool
        self._preloaded = preloaded

    def introduce(self, message: Message, prepared: Prepared) -> None:
        """Serve one version more; its instances are attached one by one, by later messages."""
        package = prepared.package
        slab, board, statistics = message.fds
        order = VersionOrder(**{k: v for k, v in message.content.items() if k != "ask"})
        settings, frontend = self._settings, self._frontend
        metrics = FrontendMetrics(self._versions.name, package.version)
        dispatcher = Dispatcher(
            Slab(slab, SlabLayout(**order.layout)),
            Board(board, order.board_rows, settings.frontends).outstanding,
            frontend,
            self._pool,
            Queueing(self._queueing, settings.preserve_ordering, package.manifest.input),
            metrics,
            self._versions.changed,
        )
        dispatcher.learn_decoding(prepared.decode_timings)
        self._versions.add(
            ServedVersion(
                ImageClassifier(
                    package, self._versions.name, dispatcher, self._queueing, self._preloaded
                ),
                metrics,
                Statistics(statistics, StatisticsLayout(**order.statistics)),
                frontend,
                tuple(order.devices),
                loaded=order.loaded,
            )
        )
        for fd in message.fds:
            os.close(fd)  # the mappings keep the memory
