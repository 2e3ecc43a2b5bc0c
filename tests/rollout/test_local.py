"""A rollout on real pods: beside each other, shared out, taken over or withdrawn, nothing lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from analyzer.estimate import Estimate
from examples.slow_network import slowed
from model_store.errors import RegistryDownError
from model_store.package import ModelPackage
from model_store.registry.cache import Cache
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from rollout.errors import ForbiddenError, NotFoundError, RolloutError, UnreachableError
from rollout.local import LocalPlace
from rollout.local_store import from_registry, put
from rollout.scrape import ScrapeMeter
from rollout.types import Readiness, Standing, Version
from tests.conftest import as_version, colour_image, colour_network, package_colours
from tests.end_to_end.conftest import TOKEN, Pod
from tests.end_to_end.load import Load
from tests.registry.server import free_port

RED = colour_image("red")
RAW = {"Inference-Header-Content-Length": "0"}
GOOD, SLOW, WRONG = (Version("colours", v, f"models:/colours/{v}") for v in ("2", "3", "4"))


@pytest.fixture(scope="session")
def candidates(colours: ModelPackage, tmp_path_factory) -> dict[str, ModelPackage]:
    """By version: as the stable one, slow, and one that does not keep its golden promise."""
    folder = tmp_path_factory.mktemp("candidates")
    slow = package_colours(folder, slowed(colour_network(), layers=30), "colours")
    first, *others = colours.manifest.golden
    wrong = (first.model_copy(update={"indices": first.indices[::-1]}), *others)
    made = folder / "made"
    return {
        "2": as_version(colours, 2, made),
        "3": as_version(slow, 3, made),
        "4": as_version(colours, 4, made, golden=wrong),
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder that pods serve out of."""
    return tmp_path / "store"


@pytest.fixture
def serve(colours: ModelPackage, store: Path) -> Iterator[Callable[..., Pod]]:
    """Start pods that serve version 1 out of the store; each is stopped when the test ends."""
    first = as_version(colours, 1, store)
    with contextlib.ExitStack() as pods:

        def starter(*flags: str, package: ModelPackage = first) -> Pod:
            token = ("--repository-token", TOKEN, "--drain-delay-s", "0")
            pod = Pod(package.path, *token, *flags)
            pods.callback(pod.close)
            return pod

        yield starter


@pytest.fixture
def place_of(
    store: Path, candidates: dict[str, ModelPackage]
) -> Iterator[Callable[..., LocalPlace]]:
    """Places on pods, whose candidates need no registry."""
    with contextlib.ExitStack() as places:

        def make(*pods: Pod | str, token: str = TOKEN, fetch: object = None) -> LocalPlace:
            urls = [pod if isinstance(pod, str) else pod.url for pod in pods]
            fetched = fetch or (lambda version: candidates[version.version])
            place = LocalPlace(urls, "colours", token, store, fetched)
            places.callback(place.close)
            return place

        yield make


def settled(place: LocalPlace, candidate: Version) -> Readiness:
    """What has become of a launch, once it has."""
    while (found := place.readiness(candidate)).standing is Standing.STARTING:
        pass
    return found


def launched(place: LocalPlace, candidate: Version) -> None:
    """It is ready."""
    place.launch(candidate)
    assert settled(place, candidate) == Readiness(Standing.READY)


def answered_by(url: str) -> str:
    """The version that answers a request."""
    answer = httpx.post(f"{url}/infer", content=RED, headers=RAW)
    answer.raise_for_status()
    length = int(answer.headers["inference-header-content-length"])
    return httpx.Response(200, content=answer.content[:length]).json()["model_version"]


def begun(meter: ScrapeMeter, *versions: str) -> float:
    """A moment from which the versions are counted."""
    since = time.time()
    for version in versions:
        assert meter.traffic(version, since).requests == 0
    return since


def load_on(pod: Pod, clients: int = 8) -> Load:
    """Requests to the public address, all the time."""
    return Load(f"{pod.url}/v1/models/colours:predict", RED, clients)


def test_a_good_candidate_takes_over_step_by_step_without_an_error(serve, place_of):
    """Its share of the clients' requests is what was said, and at the end it serves alone."""
    pod = serve("--frontends", "2")
    place = place_of(pod)
    meter = ScrapeMeter([pod.url], "colours")
    load = load_on(pod)
    load.wait_for(20)
    assert place.stable() == "1"

    launched(place, GOOD)
    since = time.time()
    assert meter.traffic("2", since).requests == 0
    load.wait_for(50)
    assert meter.traffic("2", since).requests == 0
    assert answered_by(place.direct("2").url) == "2"
    for percent in (5, 50):
        place.share(GOOD, percent)
        since = begun(meter, "1", "2")
        load.wait_for(400)
        new, old = meter.traffic("2", since), meter.traffic("1", since)
        seen = 100 * new.requests / (new.requests + old.requests)
        assert abs(seen - percent) < 2
        assert (new.errors, new.rejected) == (0, 0)
    place.promote(GOOD)
    load.wait_for(50)
    place.promote(GOOD)

    assert set(load.stop()) == {200}
    meter.close()
    assert place.stable() == "2"
    assert {answered_by(place.public().url) for _ in range(10)} == {"2"}
    assert httpx.get(place.direct("1").url).status_code == 404


def test_a_slow_candidate_shows_in_its_share_and_is_withdrawn_without_an_error(serve, place_of):
    """It answers the same, and later; once it is gone it is nowhere."""
    pod = serve()
    place = place_of(pod)
    meter = ScrapeMeter([pod.url], "colours")
    launched(place, SLOW)
    place.share(SLOW, 20)
    since = begun(meter, "1", "3")
    load = load_on(pod, clients=2)
    load.wait_for(300)
    found = {version: meter.traffic(version, since) for version in ("1", "3")}

    place.withdraw(SLOW)
    after = time.time()
    meter.traffic("3", after)
    load.wait_for(100)

    assert set(load.stop()) == {200}
    assert meter.traffic("3", after).requests == 0
    meter.close()
    middle = {
        version: Estimate.quantile_of_buckets(each.edges_s, each.counts, 0.5)
        for version, each in found.items()
    }
    assert middle["3"].low > middle["1"].figure
    assert httpx.get(place.direct("3").url).status_code == 404
    place.withdraw(SLOW)
    assert place.stable() == "1"
    assert place.readiness(SLOW).standing is Standing.ABSENT


def test_a_candidate_that_fails_its_golden_check_has_failed(serve, place_of):
    """Waiting would not help; the pod's reason is told, and nothing else has changed."""
    pod = serve()
    place = place_of(pod)

    place.launch(WRONG)
    found = settled(place, WRONG)

    assert found.standing is Standing.FAILED
    assert "golden check failed" in found.reason
    with pytest.raises(NotFoundError, match="has no version 4"):
        place.share(WRONG, 5)
    place.withdraw(WRONG)
    assert answered_by(place.public().url) == "1"


def test_who_goes_on_finds_things_as_they_are(serve, place_of):
    """A rollout that was killed repeats its last order, which takes nothing back."""
    pod = serve()
    launched(place_of(pod), GOOD)
    place_of(pod).share(GOOD, 40)

    again = place_of(pod)
    again.launch(GOOD)

    assert again.readiness(GOOD).standing is Standing.READY
    answers = [answered_by(again.public().url) for _ in range(10)]
    assert answers.count("2") == 4
    place_of(pod).withdraw(GOOD)
    assert {answered_by(again.public().url) for _ in range(5)} == {"1"}


def test_a_pod_that_is_killed_comes_back_without_the_candidate(serve, place_of, store):
    """That is told, and launching again brings it back."""
    port = str(free_port())
    pod = serve("--http-port", port)
    place = place_of(f"http://127.0.0.1:{port}")
    launched(place, GOOD)
    place.share(GOOD, 50)

    family = psutil.Process(pod.process.pid).children(recursive=True)
    pod.process.kill()
    pod.process.wait()
    psutil.wait_procs(family)
    for attempt in (
        place.stable,
        lambda: place.readiness(GOOD),
        lambda: place.share(GOOD, 50),
        lambda: place.withdraw(GOOD),
        lambda: place.launch(GOOD),
    ):
        with pytest.raises(UnreachableError, match=f"{port}: cannot be asked"):
            attempt()
    secretive = place_of(f"http://bob:s3cret@127.0.0.1:{port}")
    with pytest.raises(UnreachableError, match=f"^http://127.0.0.1:{port}: cannot be asked"):
        secretive.stable()
    assert "s3cret" not in secretive.title
    serve("--http-port", port)

    assert place.readiness(GOOD).standing is Standing.ABSENT
    with pytest.raises(NotFoundError, match="was the pod started again"):
        place.share(GOOD, 50)
    launched(place, GOOD)
    place.share(GOOD, 50)
    assert {answered_by(place.public().url) for _ in range(4)} == {"1", "2"}


def test_a_candidate_whose_instances_died_is_starting(serve, place_of):
    """The pod brings them back by itself: there is nothing to launch."""
    pod = serve()
    launched(place_of(pod), GOOD)
    place = place_of(pod)
    *_, instance = pod.instances()

    instance.suspend()  # a second without signs of life, and it gets no requests
    while (found := place.readiness(GOOD)).standing is Standing.READY:
        pass
    instance.resume()

    assert found.standing is Standing.STARTING
    assert settled(place, GOOD) == Readiness(Standing.READY)


def test_a_candidate_that_is_withdrawn_while_it_loads_does_not_stay(serve, place_of):
    """The pod has it for a moment, and lets go of it; the next one can be launched."""
    pod = serve()
    place = place_of(pod)

    place.launch(SLOW)
    place.withdraw(SLOW)

    assert place.readiness(SLOW).standing is Standing.ABSENT
    launched(place, GOOD)
    assert place.stable() == "1"


def test_all_pods_are_told_the_same(serve, place_of):
    """And a place with pods of different versions is none."""
    pods = [serve(), serve()]
    place = place_of(*pods)
    assert place.title == f"colours at {pods[0].url}, {pods[1].url}"

    launched(place, GOOD)
    place.share(GOOD, 100)

    for pod in pods:
        assert answered_by(f"{pod.url}/v2/models/colours") == "2"
    place_of(pods[1]).withdraw(GOOD)
    with pytest.raises(RolloutError, match=f"2 at {pods[0].url}, 1 at {pods[1].url}"):
        place.stable()


def test_a_promotion_that_got_to_some_of_the_pods_is_taken_back(serve, place_of):
    """The next one refused; nobody asks in vain meanwhile, and all serve what they did."""
    pods = [serve(), serve()]
    place = place_of(*pods)
    launched(place, GOOD)
    place.share(GOOD, 100)
    load = load_on(pods[0])
    place_of(pods[0]).promote(GOOD)

    place.withdraw(GOOD)

    load.wait_for(20)
    assert set(load.stop()) == {200}
    assert place.stable() == "1"
    for pod in pods:
        assert answered_by(f"{pod.url}/v2/models/colours") == "1"
        assert httpx.get(f"{pod.url}/v2/models/colours/versions/2").status_code == 404


def test_the_last_version_of_a_pod_is_not_withdrawn(serve, place_of):
    """Nobody would be left to answer."""
    pod = serve()
    place = place_of(pod)
    launched(place, GOOD)
    place.promote(GOOD)

    with pytest.raises(RolloutError, match="version 2 is all that it serves"):
        place.withdraw(GOOD)

    assert answered_by(place.public().url) == "2"


def load_by_hand(pod: Pod, version: str) -> None:
    """As an operator does, with no share."""
    httpx.post(
        f"{pod.url}/v2/repository/models/colours/load",
        headers={"Authorization": f"Bearer {TOKEN}"},
        json={"parameters": {"version": version, "traffic": 0}},
        timeout=60,
    ).raise_for_status()


def test_a_pod_with_a_third_version_is_no_place_for_a_rollout(serve, place_of, candidates, store):
    """Whose requests they were could not be told once the candidate has all of them."""
    pod = serve()
    place = place_of(pod)
    put(candidates["3"], store)
    load_by_hand(pod, "3")

    with pytest.raises(RolloutError, match=r"versions 1, 3 beside the candidate 2; unload"):
        place.launch(GOOD)
    place.withdraw(GOOD)
    place.withdraw(SLOW)
    launched(place, GOOD)

    assert place.stable() == "1"


def test_a_third_version_that_comes_later_gets_no_requests_of_others(
    serve, place_of, candidates, store
):
    """No share is set any more; what the candidate had goes to the stable version."""
    pod = serve()
    place = place_of(pod)
    launched(place, GOOD)
    place.share(GOOD, 100)
    put(candidates["3"], store)
    load_by_hand(pod, "3")

    with pytest.raises(RolloutError, match=r"versions 1, 3 beside the candidate 2"):
        place.share(GOOD, 50)
    assert answered_by(place.public().url) == "2"
    place.withdraw(GOOD)

    assert {answered_by(place.public().url) for _ in range(5)} == {"1"}
    assert answered_by(place.direct("3").url) == "3"


def test_who_may_not_is_told_what_to_give(serve, place_of):
    """Another token, and a pod that has none."""
    pod = serve()
    stranger = place_of(pod, token="guess")

    for attempt in (stranger.stable, lambda: stranger.launch(GOOD)):
        with pytest.raises(ForbiddenError, match="give the token that the pod has"):
            attempt()
    off = serve("--repository-token", "")
    with pytest.raises(NotFoundError, match="set repository_token"):
        place_of(off).stable()


def test_another_package_in_its_place_is_not_written_over(serve, place_of, store, candidates):
    """Whoever put it there may need it."""
    pod = serve()
    as_version(candidates["3"], 2, store)
    place = place_of(pod)

    place.launch(GOOD)
    found = settled(place, GOOD)

    assert found.standing is Standing.FAILED
    assert "holds another package than version 2 of the registry" in found.reason


@pytest.mark.parametrize(
    ("error", "standing"),
    [
        (RegistryDownError("the registry does not answer"), Standing.ABSENT),
        (NotFoundError("no version 2"), Standing.FAILED),
    ],
)
def test_a_candidate_that_cannot_be_fetched(serve, place_of, error, standing):
    """Where trying again may help it is absent, else it has failed."""

    def fetch(_version: Version) -> ModelPackage:
        raise error

    place = place_of(serve(), fetch=fetch)
    place.launch(GOOD)

    assert settled(place, GOOD) == Readiness(standing, str(error))


def test_a_version_is_put_beside_others_once_and_whole(candidates, store):
    """Files are shared with where they came from, and a second time changes nothing."""
    target = put(candidates["2"], store)
    written = (target / "model.yaml").stat().st_mtime_ns

    assert put(candidates["2"], store) == target == store / "colours" / "2"

    assert (target / "model.yaml").stat().st_mtime_ns == written
    source = candidates["2"].path / "labels.txt"
    assert (target / "labels.txt").stat().st_ino == source.stat().st_ino
    assert [path.name for path in (store / "colours").iterdir()] == ["2"]


def test_a_candidate_comes_out_of_the_registry_with_its_number(
    registry_server, colours, serve, place_of, tmp_path
):
    """Whatever number it was packaged with."""
    registry = Registry(registry_server.uri)
    name = f"colours-{free_port()}"
    for _ in range(2):
        register(registry, colours, name, "", {})
    fetch = from_registry(registry, Cache(tmp_path / "cache"))
    first = fetch(Version(name, "1", f"models:/{name}/1"))
    store = tmp_path / "registered"
    put(first, store)
    pod = serve(package=first)
    place = LocalPlace([pod.url], name, TOKEN, first.path.parent.parent, fetch)
    candidate = Version(name, "2", f"models:/{name}/2")

    launched(place, candidate)
    place.share(candidate, 100)

    assert answered_by(place.public().url) == "2"
    place.close()
