"""One version of the model as the supervisor holds it: its package, its memory, its instances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from model_store.package import ModelPackage
from predictor.child import Child
from predictor.counts import StatisticsLayout
from predictor.placement import Placement
from predictor.settings import Settings
from predictor.slab import Board, Slab, SlabLayout
from predictor.statistics import Statistics
from predictor.warm_up import LARGEST


@dataclass(slots=True, eq=False)
class LoadedVersion:
    """A version that is loaded, is being loaded, or was unloaded and may be loaded again.

    Attributes:
        package: what it is.
        places: where its instances run, in their order.
        first: number of its first instance; numbers are unique in the pod.
        slab_layout: sizes of the slab that each frontend has for it.
        statistics_layout: sizes of its counts.
        board: descriptor of what is outstanding at its instances.
        statistics: descriptor of its counts.
        instances: its instances, in the order of ``places``.
        slabs: descriptor of each frontend's slab, by the frontend's number.
        open: frontends know it.
        complete: all its instances have been ready at one time; from then on frontends are
            connected to those that are.
        loaded: its instances are meant to run.
        variants: file of the variant that each kind of device serves, where there was a choice.
    """

    package: ModelPackage
    places: Sequence[Placement]
    first: int
    slab_layout: SlabLayout
    statistics_layout: StatisticsLayout
    board: int
    statistics: int
    instances: list[Child]
    slabs: dict[int, int] = field(default_factory=dict)
    open: bool = False
    complete: bool = False
    loaded: bool = True
    variants: dict[str, str] = field(default_factory=dict)

    @classmethod
    def reserve(
        cls, settings: Settings, package: ModelPackage, places: Sequence[Placement], first: int
    ) -> LoadedVersion:
        """Make the memory for a version whose instances will be numbered from ``first``.

        Raises:
            OSError: there is not enough.
        """
        counts = StatisticsLayout(
            settings.frontends, len(places), settings.max_batch_size or LARGEST, first
        )
        shape = package.manifest
        layout = SlabLayout(
            settings.max_queue_size, shape.input.height, shape.input.width, shape.top_k
        )
        return cls(
            package=package,
            places=places,
            first=first,
            slab_layout=layout,
            statistics_layout=counts,
            board=Board.create(board_rows(places, first), settings.frontends),
            statistics=Statistics.create(counts),
            instances=[Child("instance", first + number) for number in range(len(places))],
        )

    @property
    def name(self) -> str:
        """The version, as in URLs."""
        return self.package.version

    def place(self, instance: Child) -> Placement:
        """Where an instance of this version runs."""
        return self.places[instance.number - self.first]

    def agree(self, kind: str, proposed: str) -> str:
        """What a kind of device serves: what its first instance proposes, for all that follow."""
        return self.variants.setdefault(kind, proposed)

    def keep(self, instances: int) -> None:
        """Have only the first so many instances: it has been found that they are enough."""
        del self.instances[instances:]

    def renew_slab(self, frontend: int) -> None:
        """Fresh slots for a new frontend; what its predecessor left undone, nobody waits for.

        Raises:
            OSError: there is not enough memory.
        """
        new = Slab.create(self.slab_layout)
        old = self.slabs.pop(frontend, None)
        if old is not None:
            os.close(old)
        self.slabs[frontend] = new

    def forget_work_of(self, frontend: int) -> None:
        """A frontend has died: what it had outstanding, others need not reckon with any more."""
        rows = board_rows(self.places, self.first)
        Board(self.board, rows, self.statistics_layout.frontends).outstanding[:, frontend] = 0

    def release(self) -> None:
        """Give the memory back, once no process uses it any more."""
        for fd in (self.board, self.statistics, *self.slabs.values()):
            os.close(fd)
        self.slabs.clear()


def board_rows(places: Sequence[Placement], first: int) -> int:
    """Rows of a version's board: one for each instance number, and the last (see ``Links``)."""
    return first + len(places) + 1
