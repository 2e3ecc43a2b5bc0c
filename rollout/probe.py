"""Asks versions about images that the rollout brings along: whether they are right, and agree."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from analyzer.dataset import Dataset
from analyzer.dataset_labels import alike
from analyzer.errors import BrokenImageError, DatasetError
from analyzer.sources import open_dataset
from rollout.errors import PlanError
from rollout.probe_ask import Asker
from rollout.types import Agreement, Golden, Route

# Enough to bound a share to within 5 %, and some seconds' work of a pod.
MOST_IMAGES = 500


class DatasetProbe:
    """A probe of datasets, as the analyzer reads them: a folder, a ``.csv``, a ``.zip``.

    Of a larger set every so-manieth image is asked, in the order in which they are listed: the same
    ones every time, and of every class in turn. Images are sent as they are, one a request and two
    requests at a time, at the lowest priority that there is. Images that cannot be read are left
    out: they say nothing about a model.

    Args:
        golden: a dataset whose images have classes; empty for none.
        replay: any dataset; empty for the golden one.
        most: images asked of a set.

    Raises:
        PlanError: a dataset cannot be opened, or golden images have no class.
    """

    def __init__(self, golden: str = "", replay: str = "", most: int = MOST_IMAGES) -> None:
        self._golden = _open(golden) if golden else None
        self._replay = _open(replay) if replay else self._golden
        self._most = most
        if self._golden is not None and any(item.label is None for item in self._golden.items):
            raise PlanError(
                f"{golden}: has images without a class; golden images lie in folders named by "
                "class, or in a table with their labels"
            )

    def golden(self, route: Route) -> Golden:
        """The golden set, through ``route``; a label is right whatever its letter case.

        Raises:
            PlanError: there is none.
            RolloutError: as ``Asker.labels``.
        """
        dataset = _given(self._golden, "dark.golden")
        numbers, images = self._sample(dataset)
        with Asker(route) as asker:
            found = asker.labels(images)
        truth = [alike(dataset.items[number].label or "") for number in numbers]
        return Golden(
            asked=len(images),
            answered=sum(label is not None for label in found),
            right=sum(
                label is not None and alike(label) == true
                for label, true in zip(found, truth, strict=True)
            ),
        )

    def shadow(self, stable: Route, candidate: Route) -> Agreement:
        """The replay set, to both at once.

        Raises:
            PlanError: there is none.
            RolloutError: as ``Asker.labels``.
        """
        _, images = self._sample(_given(self._replay, "shadow.replay"))
        with (
            Asker(stable) as one,
            Asker(candidate) as other,
            ThreadPoolExecutor(1, "probe-candidate") as pool,
        ):
            theirs = pool.submit(other.labels, images)
            ours = one.labels(images)
            both = [pair for pair in zip(ours, theirs.result(), strict=True) if pair[0] is not None]
        compared = [pair for pair in both if pair[1] is not None]
        return Agreement(
            compared=len(compared),
            same=sum(mine == yours for mine, yours in compared),
            unanswered=len(both) - len(compared),
        )

    def _sample(self, dataset: Dataset) -> tuple[list[int], list[bytes]]:
        """Numbers and bytes of the images that are asked."""
        numbers, images = [], []
        for number in spread(len(dataset.items), self._most):
            try:
                images.append(dataset.read(number))
            except BrokenImageError:
                continue
            numbers.append(number)
        return numbers, images


def spread(count: int, most: int) -> Sequence[int]:
    """``most`` of ``count`` numbers, evenly spread; all where there are no more."""
    if count <= most:
        return range(count)
    return [number * count // most for number in range(most)]


def _open(source: str) -> Dataset:
    try:
        return open_dataset(source)
    except DatasetError as error:
        raise PlanError(str(error)) from None


def _given(dataset: Dataset | None, field: str) -> Dataset:
    if dataset is None:
        raise PlanError(f"{field}: names no dataset")
    return dataset
