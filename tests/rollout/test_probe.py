"""Versions asked about images: what is right, agrees, or is not answered, and who is not there."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_store.package import ModelPackage, read_manifest, sha256_of, write_manifest
from rollout.errors import ForbiddenError, PlanError, RolloutError, UnreachableError
from rollout.probe import DatasetProbe, spread
from rollout.probe_ask import MOST_LOST, Asker
from rollout.types import Agreement, Golden, Route
from tests.conftest import COLOURS, as_version, colour_image
from tests.end_to_end.conftest import TOKEN, Pod
from tests.rollout.web import Web

MODEL = "/v2/models/colours"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Two images of each colour in folders named by class, written in other letters."""
    folder = tmp_path_factory.mktemp("golden")
    for colour in COLOURS:
        (folder / colour.upper()).mkdir()
        for kind in ("JPEG", "PNG"):
            (folder / colour.upper() / f"1.{kind.lower()}").write_bytes(colour_image(colour, kind))
    return folder


@pytest.fixture(scope="module")
def pod(colours: ModelPackage, tmp_path_factory) -> Iterator[Pod]:
    """Version 1 serves; version 2, beside it, calls red green and green red."""
    store = tmp_path_factory.mktemp("store")
    first = as_version(colours, 1, store)
    swapped = store / "colours" / "2"
    as_version(colours, 2, store)
    (swapped / "labels.txt").write_text("green\nred\nblue\n", encoding="utf-8")
    _rewrite_hash(swapped)
    flags = ("--repository-token", TOKEN, "--drain-delay-s", "0")
    running = Pod(first.path, *flags)
    body = {"parameters": {"version": "2", "traffic": 0}}
    shown = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{running.url}/v2/repository/models/colours/load"
    httpx.post(url, headers=shown, json=body, timeout=60).raise_for_status()
    yield running
    running.close()


def _rewrite_hash(folder: Path) -> None:
    """Have the manifest fit the files."""
    manifest = read_manifest(folder)
    files = {**manifest.files, "labels.txt": sha256_of(folder / "labels.txt")}
    write_manifest(folder, manifest.model_copy(update={"files": files}))


@pytest.fixture
def web() -> Iterator[Web]:
    """Something that answers as it is told to."""
    with contextlib.closing(Web()) as answering:
        yield answering


def answer(label: str) -> str:
    """A v2 answer in JSON whose first class is called so."""
    values = (("indices", [0]), ("scores", [0.9]), ("labels", [label]))
    return json.dumps(
        {"outputs": [{"name": name, "shape": [1, 1], "data": data} for name, data in values]}
    )


def route(pod: Pod, version: str) -> Route:
    """The way to one version."""
    return Route(f"{pod.url}{MODEL}/versions/{version}", version=version)


def test_golden_images_are_right_by_the_name_of_their_class(pod, images):
    """In whatever letters; another order of classes makes no difference, other names do."""
    probe = DatasetProbe(str(images))

    assert probe.golden(route(pod, "1")) == Golden(asked=6, answered=6, right=6)
    assert probe.golden(route(pod, "2")) == Golden(asked=6, answered=6, right=2)


def test_two_versions_agree_by_the_name_of_the_first_class(pod, images):
    """The set that is replayed is the golden one where no other is named, and needs no classes."""
    flat = DatasetProbe(replay=str(images / "BLUE"))

    assert DatasetProbe(str(images)).shadow(route(pod, "1"), route(pod, "2")) == Agreement(6, 2, 0)
    assert flat.shadow(route(pod, "1"), route(pod, "2")) == Agreement(2, 2, 0)


def test_images_are_asked_at_the_lowest_priority_and_marked(images, web):
    """What clients ask goes first; and with the headers of the route, as a gateway wants them."""
    web.says(f"{MODEL}/config", json.dumps({"dynamic_batching": {"priority_levels": 3}}))
    web.says(f"{MODEL}/infer", answer("red"))

    found = DatasetProbe(str(images), most=3).golden(
        Route(f"{web.url}{MODEL}", {"Host": "colours.shop.example"})
    )

    assert found == Golden(asked=3, answered=3, right=1)
    config, *asked = web.asked
    assert config.headers["host"] == "colours.shop.example"
    assert len(asked) == 3
    for each in asked:
        length = int(each.headers["inference-header-content-length"])
        assert json.loads(each.body[:length])["parameters"] == {"priority": 3}
        assert each.headers["x-millrace-probe"] == "1"
        assert each.headers["host"] == "colours.shop.example"


def test_a_pod_with_one_level_is_not_asked_for_another(pod, images):
    """It would refuse; and what the pod counts is a probe, and no client."""
    DatasetProbe(str(images)).golden(Route(f"{pod.url}{MODEL}"))

    text = httpx.get(f"{pod.url}/metrics").text
    assert 'protocol="probe",version="1"' in text
    assert 'code="200",model="colours",protocol="v2",version="1"} 0.0' in text


def test_of_a_large_set_the_same_images_are_asked_every_time_and_of_every_class():
    """Evenly spread over the list, in which classes stand one after the other."""
    chosen = spread(1000, 10)

    assert list(chosen) == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert list(spread(3, 10)) == [0, 1, 2]
    classes = Counter(number // 25 for number in spread(100, 40))
    assert classes == {0: 10, 1: 10, 2: 10, 3: 10}


def test_images_that_cannot_be_read_are_left_out(images, web, tmp_path):
    """They say nothing of a model; those that it refuses do."""
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "good.jpg").write_bytes(colour_image("red"))
    (tmp_path / "red" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    web.says(f"{MODEL}/infer", json.dumps({"error": "bad image"}), 400)

    found = DatasetProbe(str(tmp_path)).golden(Route(f"{web.url}{MODEL}"))

    assert found == Golden(asked=1, answered=0, right=0)


def test_what_only_the_stable_version_answers_is_counted(images, web):
    """And what the stable one did not answer says nothing of the candidate."""
    web.says("/v2/models/good/infer", answer("red"))
    web.says("/v2/models/bad/infer", json.dumps({"error": "the runtime failed"}), 500)
    good, bad = Route(f"{web.url}/v2/models/good"), Route(f"{web.url}/v2/models/bad")

    assert DatasetProbe(str(images)).shadow(good, bad) == Agreement(0, 0, 6)
    assert DatasetProbe(str(images)).shadow(bad, good) == Agreement(0, 0, 0)


def test_a_version_without_room_is_asked_again_for_a_while(web):
    """Then the image is not answered, which counts, and the next one is asked."""
    web.says(f"{MODEL}/infer", json.dumps({"error": "queue full"}), 503)
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 7:
            web.says(f"{MODEL}/infer", answer("blue"))
        return False

    with Asker(Route(f"{web.url}{MODEL}"), wait) as asker:
        first = asker.labels([b"one"])
    with Asker(Route(f"{web.url}{MODEL}"), wait) as asker:
        second = asker.labels([b"two"])

    assert (first, second) == ([None], ["blue"])
    assert waited[:4] == sorted(waited[:4])


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        (
            404,
            '{"error": "no version 9"}',
            UnreachableError,
            "no way to the model yet: 404: no version 9",
        ),
        (403, "RBAC: access denied", ForbiddenError, "403: RBAC: access denied"),
        (200, "<html>welcome</html>", RolloutError, "no v2 answer"),
    ],
)
def test_what_another_image_would_not_change_ends_it(web, images, status, body, error, told):
    """In one line, with the address and what was said there."""
    web.says(f"{MODEL}/infer", body, status)

    with pytest.raises(error, match=told) as problem:
        DatasetProbe(str(images)).golden(Route(f"{web.url}{MODEL}"))

    assert str(problem.value).startswith(web.url)


@pytest.mark.parametrize(
    ("said", "told"), [({"model_version": "1"}, "version 1 answers"), ({}, "says no version")]
)
def test_what_another_version_answers_is_no_answer(web, images, said, told):
    """A gateway that does not know the way yet sends it to the stable version."""
    web.says(f"{MODEL}/infer", json.dumps(json.loads(answer("red")) | said))
    asked = Route(f"{web.url}{MODEL}", {"millrace-version": "2"}, "2")

    with pytest.raises(UnreachableError, match=f"there is no way to version 2 yet: .*{told}"):
        DatasetProbe(str(images)).golden(asked)
    web.says(f"{MODEL}/infer", json.dumps(json.loads(answer("red")) | {"model_version": "2"}))
    assert DatasetProbe(str(images)).golden(asked).answered == 6


def test_one_version_asked_in_place_of_another_is_noticed(pod, images):
    """By what a pod says of itself."""
    wrong = Route(f"{pod.url}{MODEL}/versions/1", version="2")

    with pytest.raises(UnreachableError, match="no way to version 2 yet: version 1 answers"):
        DatasetProbe(str(images)).shadow(route(pod, "1"), wrong)


def test_where_nobody_is_not_every_image_is_tried():
    """It is unreachable, and no model that answers nothing."""
    nobody = Route(f"http://127.0.0.1:9{MODEL}")

    with (
        Asker(nobody, lambda _: False) as asker,
        pytest.raises(UnreachableError, match="cannot be asked"),
    ):
        asker.labels([b"image"] * 50 * MOST_LOST)


@pytest.mark.parametrize(
    ("golden", "told"),
    [("nowhere", "nowhere"), ("flat", "images without a class")],
)
def test_a_set_that_cannot_be_golden_is_refused_at_once(tmp_path, golden, told):
    """Before anything has been started."""
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat.csv").write_text("path\nflat/1.jpg\n", encoding="utf-8")
    (tmp_path / "flat" / "1.jpg").write_bytes(colour_image("red"))
    source = tmp_path / ("flat.csv" if golden == "flat" else golden)

    with pytest.raises(PlanError, match=told):
        DatasetProbe(str(source))


def test_a_set_that_is_not_given_is_not_asked():
    """What to name is said."""
    with pytest.raises(PlanError, match="golden"):
        DatasetProbe().golden(Route("http://127.0.0.1:9/v2/models/m"))
