"""A rollout on pods that run here, without a cluster: through their repository API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from model_store.errors import ModelStoreError, RegistryDownError
from rollout.errors import NotFoundError, RolloutError, UnreachableError
from rollout.local_pod import PodRepository, RefusedError
from rollout.local_store import Fetch, put
from rollout.types import Readiness, Route, Standing, Version

WHOLE = 100  # shares are percent


class LocalPlace:
    """One pod or several of the same model and store, each of which holds both versions.

    Each pod shares out its own requests, so each is told the same. Public and direct ways go to the
    first of them.

    Args:
        pods: their addresses, ``http://HOST:PORT``; one at least.
        model: the name it is served under.
        token: of the pods' repositories.
        store: the folder in which they find ``NAME/VERSION`` of what they serve.
        fetch: gets the package of a candidate.
    """

    def __init__(
        self, pods: Sequence[str], model: str, token: str, store: Path, fetch: Fetch
    ) -> None:
        self._pods = [PodRepository(pod, model, token) for pod in pods]
        self._model = model
        self._store = store
        self._fetch = fetch
        self._launches: dict[str, _Launch] = {}

    @property
    def title(self) -> str:
        """For people."""
        return f"{self._model} at " + ", ".join(pod.url for pod in self._pods)

    def stable(self) -> str:
        """The version with most of the requests; where two have the same, the one loaded first.

        Raises:
            RolloutError: pods differ, or one cannot be asked.
        """
        found = {pod.url: _most(pod.shares()) for pod in self._pods}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{version} at {url}" for url, version in found.items())
            raise RolloutError(f"the pods serve different versions: {told}; have all serve one")
        return found[self._pods[0].url]

    def launch(self, candidate: Version) -> None:
        """Begin to load the candidate beside what is served; see ``Place``.

        Raises:
            RolloutError: a pod cannot be asked, will not be told by this token, or has a third
                version.
        """
        for pod in self._pods:
            _stable(pod, pod.shares(), candidate)
        if self._loaded(candidate):
            return
        running = self._launches.get(candidate.version)
        if running is None or not running.running:
            self._launches[candidate.version] = _Launch(
                lambda launch: self._load(launch, candidate)
            )

    def readiness(self, candidate: Version) -> Readiness:
        """How far the candidate has come; see ``Place``.

        Absent is what no pod has and nobody loads, also after a pod was started again.
        """
        version = candidate.version
        if self._loaded(candidate):
            return Readiness(Standing.READY)
        launch = self._launches.get(version)
        if launch is not None and launch.problem is None and launch.running:
            return Readiness(Standing.STARTING, "it is being fetched and loaded")
        if all(version in pod.shares() for pod in self._pods):
            return Readiness(Standing.STARTING, "its instances are starting")
        if launch is not None and launch.problem is not None:
            return launch.problem
        return Readiness(Standing.ABSENT, f"not every pod has version {version}")

    def share(self, candidate: Version, percent: int) -> None:
        """Send so much of every pod's requests to the candidate, the rest to the stable one.

        Raises:
            NotFoundError: a pod does not have the candidate (any more); launch it again.
            RolloutError: as ``launch``; or there is no version beside it, or more than one.
        """
        for pod, shares in [(pod, pod.shares()) for pod in self._pods]:
            if candidate.version not in shares:
                raise NotFoundError(
                    f"{pod.url}: has no version {candidate.version}; was the pod started again?"
                )
            stable = _stable(pod, shares, candidate)
            wanted = {stable: WHOLE - percent, candidate.version: percent}
            if shares != wanted:
                pod.share(wanted)

    def promote(self, candidate: Version) -> None:
        """Have the candidate answer everything; what was served answers what it has, and goes."""
        for pod in self._pods:
            pod.load(candidate.version)

    def withdraw(self, candidate: Version) -> None:
        """All requests to the stable version at once; then the candidate goes; see ``Place``.

        Raises:
            RolloutError: as ``launch``; or the candidate is all that the pods have, and stays.
        """
        launch = self._launches.pop(candidate.version, None)
        if launch is not None:
            launch.cancel()
        promoted, stable = [], ""
        for pod in self._pods:
            shares = pod.shares()
            if shares.keys() == {candidate.version}:
                promoted.append(pod)
            else:
                stable = _give_back(pod, shares, candidate)
        if launch is not None:
            launch.join()  # what the pod is loading is let go of when it has been loaded
        for pod in promoted if stable else ():
            pod.load(stable)  # a promotion got as far as here, and no further
        for pod in self._pods:
            _beside(pod, pod.shares(), candidate)
            pod.unload(candidate.version)

    def public(self) -> Route:
        """The first pod, which shares out its requests as all do."""
        return Route(f"{self._pods[0].address}/v2/models/{self._model}")

    def direct(self, version: str) -> Route:
        """The way to one version at the first pod, whatever its share."""
        return Route(f"{self.public().url}/versions/{version}")

    def close(self) -> None:
        """Close connections; the pods go on as they are."""
        for pod in self._pods:
            pod.close()

    def _loaded(self, candidate: Version) -> bool:
        """Whether all pods have it ready and may give it a share, which they can a moment later.

        All are asked, so that one that cannot be is told of.
        """
        have = [pod.ready() & pod.shares().keys() for pod in self._pods]
        return all(candidate.version in versions for versions in have)

    def _load(self, launch: _Launch, candidate: Version) -> None:
        package = self._fetch(candidate)
        if package.version != candidate.version:
            raise RefusedError(
                f"{candidate.uri}: its package says version {package.version}; fetch it from the "
                "registry, which numbers it"
            )
        put(package, self._store)
        for pod in self._pods:
            if launch.cancelled:
                return
            if candidate.version not in pod.ready():
                pod.load(candidate.version, share=0)


class _Launch:
    """The loading of one candidate, in a thread of its own.

    It ends with its process; the pods go on loading then, and launching again finds it done.

    Attributes:
        problem: why it came to nothing; None for what went well, or goes on.
    """

    def __init__(self, load: Callable[[_Launch], None]) -> None:
        self._load = load
        self._cancelled = threading.Event()
        self.problem: Readiness | None = None
        self._thread = threading.Thread(target=self._run, name="launch", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is still at it."""
        return self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Have it begin with no other pod."""
        self._cancelled.set()

    def join(self) -> None:
        """Wait until it is through."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._load(self)
        except (UnreachableError, RegistryDownError) as error:
            self.problem = Readiness(Standing.ABSENT, str(error))
        except (RolloutError, ModelStoreError, OSError) as error:
            self.problem = Readiness(Standing.FAILED, str(error))


def _most(shares: dict[str, int]) -> str:
    return max(shares, key=lambda version: shares[version])


def _beside(pod: PodRepository, shares: dict[str, int], candidate: Version) -> dict[str, int]:
    """What a pod has beside the candidate, and its shares.

    Raises:
        RolloutError: nothing.
    """
    others = {name: share for name, share in shares.items() if name != candidate.version}
    if not others:
        raise RolloutError(
            f"{pod.url}: version {candidate.version} is all that it serves; "
            "load another one before this one goes"
        )
    return others


def _stable(pod: PodRepository, shares: dict[str, int], candidate: Version) -> str:
    """The version beside the candidate.

    With a third one nobody could tell, once the candidate has all requests, whose they were.

    Raises:
        RolloutError: there is none, or there are several.
    """
    stable, *more = _beside(pod, shares, candidate)
    if more:
        told = ", ".join([stable, *more])
        raise RolloutError(
            f"{pod.url}: has versions {told} beside the candidate {candidate.version}; unload all "
            f"but the one that is served: POST /v2/repository/models/{pod.model}/unload with "
            '{"parameters": {"version": …}}'
        )
    return stable


def _give_back(pod: PodRepository, shares: dict[str, int], candidate: Version) -> str:
    """Its requests to what has most of the others; where all have none, to what was loaded first.

    That is the stable version: a third one was not there when the candidate was launched.
    """
    stable = _most(_beside(pod, shares, candidate))
    freed = shares.get(candidate.version, 0)
    if freed:
        pod.share(shares | {candidate.version: 0, stable: shares[stable] + freed})
    return stable
