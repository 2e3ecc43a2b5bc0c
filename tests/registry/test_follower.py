"""One follower by itself, with the supervisor's end of its channel in the test's hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from model_store.registry.promotion import promote
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from predictor import follower as follower_module
from predictor.control import Control
from predictor.follower import Follower
from predictor.follower_order import FollowerOrder


@pytest.fixture
def following(name, tmp_path) -> Iterator[Callable[[str], tuple[Follower, Control]]]:
    """Followers of the model's champion, at version 1."""
    with ExitStack() as ends:

        def begin(uri: str) -> tuple[Follower, Control]:
            theirs, ours = Control.pair()
            ours.socket.setblocking(False)  # a look has told what it tells when it returns
            ends.callback(theirs.close)
            ends.callback(ours.close)
            cache = str(tmp_path / "cache")
            order = FollowerOrder(name, f"models:/{name}@champion", uri, cache, 0.5, "1", "INFO")
            return Follower(order, theirs), ours

        yield begin


def state(supervisor: Control) -> tuple[str, str]:
    """What the follower has told of the registry."""
    message = supervisor.receive()
    assert message is not None
    assert message.kind == "registry"
    return message.content["state"], message.content["problem"]


def test_a_version_that_raises_whatever_it_may_is_given_up(
    put, registry, name, following, monkeypatch, caplog
):
    """One line, once: a version nobody foresaw does not end the follower, again and again."""
    put(alias="champion")
    put()
    promote(registry, name, "2")
    tried: list[str] = []

    def fetch(found: object, *_: object) -> None:
        tried.append(str(found))
        raise ValueError("month must be in 1..12")

    monkeypatch.setattr(follower_module, "fetch_package", fetch)
    follower, supervisor = following(registry.uri)

    follower.look()
    follower.look()

    assert state(supervisor) == ("up", "")
    assert len(tried) == 1
    (line,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
    assert line.endswith("it moves: ValueError: month must be in 1..12")


def test_an_alias_that_is_gone_is_told_without_listing_the_registry(
    put, name, following, way, monkeypatch
):
    """A look costs one request, whatever else is registered."""
    put()
    listed: list[str] = []
    monkeypatch.setattr(Registry, "_what_exists", lambda *_: listed.append("all"))
    follower, supervisor = following(way.uri)

    follower.look()

    gone, problem = state(supervisor)
    assert gone == "gone"
    assert problem.startswith(f"no models:/{name}@champion: ")
    assert listed == []


def test_an_embedded_registry_that_was_moved_away_is_down(colours, name, following, tmp_path):
    """Though whoever has its file open could go on reading it."""
    file: Path = tmp_path / "var" / "mlflow.db"
    uri = f"sqlite:///{file}"
    register(Registry(uri, create=True), colours, name, "champion")
    follower, supervisor = following(uri)

    follower.look()
    assert state(supervisor) == ("up", "")
    file.rename(tmp_path / "elsewhere")
    follower.look()
    down, problem = state(supervisor)
    assert (down, problem.endswith("mlflow.db: its file was moved or deleted")) == ("down", True)
    (tmp_path / "elsewhere").rename(file)
    follower.look()
    assert state(supervisor) == ("up", "")
