"""The versions of the model that one frontend serves, and which of them takes a request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from predictor.errors import RefusedError, UnknownModelError
from predictor.served_version import ServedVersion
from predictor.traffic import Traffic


class Versions:
    """All versions of one model, by their names.

    Args:
        name: the name the model is served under.
        max_images: most images in one request.
        traffic: percent of the requests by version, for those that name none.
        on_change: called when a version comes or goes or ``ready`` may have changed.

    Attributes:
        source: the registry that the versions come from, and how it is; empty for none.
    """

    def __init__(
        self,
        name: str,
        max_images: int,
        traffic: Mapping[str, int],
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.max_images = max_images
        self._traffic = Traffic(traffic)
        self._refused = Traffic(traffic)
        self._on_change = on_change
        self._served: dict[str, ServedVersion] = {}
        self._able: frozenset[str] = frozenset()
        self._draining = False
        self.source: dict[str, str] = {}

    def __iter__(self) -> Iterator[ServedVersion]:
        return iter(self._served.values())

    @property
    def ready(self) -> bool:
        """A version takes requests, and the pod is not about to stop."""
        return bool(self._able) and not self._draining

    @property
    def draining(self) -> bool:
        """Whether the pod is about to stop."""
        return self._draining

    @property
    def current(self) -> ServedVersion:
        """The version with most of the requests: what is said of the model is said of it."""
        shares = self._traffic.shares
        return max(self._served.values(), key=lambda served: shares.get(served.name, -1))

    def known(self, name: str, version: str = "") -> ServedVersion:
        """The version a client names; ``current`` where it names none.

        Raises:
            UnknownModelError: there is no such model or version.
        """
        if name != self.name:
            raise UnknownModelError(f"no model {name!r} here")
        if not version:
            return self.current
        served = self._served.get(version)
        if served is None:
            raise UnknownModelError(f"no version {version!r} of model {name!r} here")
        return served

    def choose(self, version: str = "") -> ServedVersion:
        """Who takes a request: the version it names, else one by the shares.

        Nothing may be awaited between this and handing the request over, lest the version goes.

        Raises:
            UnknownModelError: there is no such version.
        """
        if version:
            return self.known(self.name, version)
        chosen = self._traffic.choose(self._able)
        return self.current if chosen is None else self._served[chosen]

    def foresee(self, version: str, limit_us: int | None) -> None:
        """Refuse a request by its head alone, if none that may take it will.

        Raises:
            NotReadyError, OverloadedError: as ``ImageClassifier.foresee``.
        """
        *others, last = [self._served[version]] if version else self._takers
        for served in others:
            with contextlib.suppress(RefusedError):
                served.classifier.foresee(limit_us)
                return
        try:
            last.classifier.foresee(limit_us)
        except RefusedError as refusal:
            last.dispatcher.count(refusal)
            raise

    @property
    def _takers(self) -> list[ServedVersion]:
        """Those that requests which name no version go to now."""
        shares = self._traffic.shares
        return [self._served[name] for name in self._able if shares.get(name)] or [self.current]

    def turned_away(self) -> ServedVersion:
        """For whom a request counts that named no version, and was refused before one was chosen.

        They are shared out as the others are, and apart from them: so each version is seen to get
        its share of all requests, and its exact share of those that are taken.
        """
        chosen = self._refused.choose(self._able)
        return self.current if chosen is None else self._served[chosen]

    def get(self, version: str) -> ServedVersion | None:
        """A version by its name; None if it has gone, or never came."""
        return self._served.get(version)

    # What the supervisor changes

    def add(self, served: ServedVersion) -> None:
        """Serve one version more."""
        self._served[served.name] = served
        self.changed()

    def remove(self, version: str) -> ServedVersion | None:
        """Serve one version less; requests that have it go on with it."""
        served = self._served.pop(version, None)
        self.changed()
        return served

    def share(self, traffic: Mapping[str, int]) -> None:
        """From now on, share requests out like this."""
        self._traffic = Traffic(traffic)
        self._refused = Traffic(traffic)
        self.changed()

    def come_from(self, source: Mapping[str, str]) -> None:
        """Know how the registry is."""
        self.source = dict(source)

    def drain(self) -> None:
        """The pod is about to stop: not ready, while requests are still taken."""
        self._draining = True
        self.changed()

    def changed(self) -> None:
        """Look again who takes requests."""
        self._able = frozenset(served.name for served in self._served.values() if served.ready)
        for served in self._served.values():
            served.classifier.ready = served.ready and not self._draining
        self._on_change()

    @property
    def traffic(self) -> dict[str, int]:
        """Percent of the requests by version, of those that there are."""
        shares = self._traffic.shares
        return {name: share for name, share in shares.items() if name in self._served}
