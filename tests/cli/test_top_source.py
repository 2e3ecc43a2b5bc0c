"""How ``millrace top`` asks pods, against a real HTTP server that dies and comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from millrace import top_source
from millrace.top_report import Sight
from millrace.top_source import PodError, Watch, ask, ask_report
from tests.cli.top_pod import STAGES, Pod, stages_body

NEWS_S = 20  # far more than it takes


@pytest.fixture
def pod():
    """A pod of the model ``digits``."""
    with Pod() as pod:
        yield pod


def until(watch: Watch, true_of: Callable[[list[Sight]], bool]) -> list[Sight]:
    """Wait for news until they are these."""
    while not true_of(sights := watch.sights()):
        assert watch.news.wait(NEWS_S), sights
        watch.news.clear()
    return sights


def problem(url: str, **about: str) -> str:
    """What is said when this cannot be asked."""
    with pytest.raises(PodError) as raised:
        ask_report(top_source.Pod(url, **about))
    return str(raised.value)


def test_the_only_model_is_found_by_itself(pod):
    """Without a name."""
    assert ask_report(top_source.Pod(pod.url)).name == "digits"
    assert json.loads(ask(top_source.Pod(pod.url))) == stages_body()


def test_a_model_and_a_version_are_asked_for_as_named(pod):
    """Whatever signs the name has."""
    pod.pages["/v2/models/a%2Fb%20c/versions/2/stages"] = stages_body(name="a/b c", version="2")

    report = ask_report(top_source.Pod(pod.url, "a/b c", "2"))

    assert (report.name, report.version) == ("a/b c", "2")


def test_a_pod_behind_a_path_is_asked_there(pod):
    """As behind an ingress."""
    pod.pages["/pods/a" + STAGES] = stages_body(name="behind")

    assert ask_report(top_source.Pod(pod.url + "/pods/a", "digits")).name == "behind"


def test_batch_sizes_are_numbers(pod):
    """JSON knows only texts as keys."""
    assert ask_report(top_source.Pod(pod.url)).batch_sizes == {1: 20, 4: 88}


def test_fields_of_a_later_pod_are_ignored(pod):
    """It may say more."""
    pod.pages[STAGES] = stages_body(weather="fine")

    assert ask_report(top_source.Pod(pod.url)).name == "digits"


def test_a_wrong_model_is_told_in_the_servers_words(pod):
    """And where to put the right one."""
    said = problem(pod.url, model="nobody")

    assert said == (
        f"{pod.url}: nothing at /v2/models/nobody/stages (404): see --model and --version"
    )


def test_several_models_are_listed(pod):
    """To choose from."""
    pod.pages["/v2/models"] = {"models": ["digits", "cats"]}

    assert problem(pod.url).endswith("say --model, one of digits, cats")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"models": []}, "no model yet"),
        ({}, "is it a Millrace pod?"),
        ([], "is it a Millrace pod?"),
        (b"<html>", "gave no JSON"),
        (b"[" * 200_000, "gave no JSON"),
        (b"\xff\xfe", "gave no JSON"),
    ],
)
def test_another_server_is_told_in_one_line(pod, models, words):
    """Whatever it says."""
    pod.pages["/v2/models"] = models

    assert words in problem(pod.url)
    assert "\n" not in problem(pod.url)


def test_a_report_of_another_shape_names_the_field(pod):
    """In one line."""
    pod.pages[STAGES] = stages_body(queue={"slots": "many", "taken": 1, "coming": 1})

    assert "queue.slots: Input should be a valid integer" in problem(pod.url)


def test_an_endless_answer_is_cut_short(pod, monkeypatch):
    """It costs no more memory than the limit."""
    monkeypatch.setattr(top_source, "MAX_BODY_BYTES", 100)

    assert "gave no JSON" in problem(pod.url, model="digits")


def test_a_dead_pod_is_told_with_what_to_do(pod):
    """The reason in brackets."""
    pod.die()

    assert problem(pod.url) == (
        f"{pod.url}: no answer (Connection refused): "
        "start the pod (millrace serve), or say where it is (--url)"
    )


@pytest.mark.parametrize("host", ["a" * 70, "no-such-host.invalid"])
def test_a_host_that_cannot_be_is_no_answer(host):
    """Neither by its name nor by its place."""
    assert "no answer" in problem(f"http://{host}")


def test_a_pod_that_hangs_is_no_answer(monkeypatch):
    """After a while."""
    monkeypatch.setattr(top_source, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no answer (timed out)" in problem(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_watch_sees_a_pod_die_and_come_back(pod):
    """On the same address; meanwhile it says since when."""
    with Watch([top_source.Pod(pod.url)], interval_s=0.01) as watch:
        assert until(watch, lambda sights: sights[0].report is not None)[0].problem is None

        pod.die()
        (away,) = until(watch, lambda sights: sights[0].problem is not None)
        assert "no answer" in away.problem
        assert away.report is None
        assert away.silent_s >= 0

        pod.pages[STAGES] = stages_body(images_per_second=1.5)
        pod.start()
        (back,) = until(watch, lambda sights: sights[0].report is not None)
        assert back.report.images_per_second == 1.5


def test_a_pod_that_hangs_keeps_no_other_waiting(pod):
    """Each is asked by itself, and is in its place."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Watch([top_source.Pod(hung), top_source.Pod(pod.url)], interval_s=0.01) as watch:
            first, second = until(watch, lambda sights: sights[1].report is not None)

    assert first == Sight(hung)
    assert second.report.name == "digits"
