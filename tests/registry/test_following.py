"""A pod follows an alias: a new version takes over under load, and a registry may go away."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import httpx
import psutil
import pytest

from model_store.registry.promotion import delete_alias, promote
from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import Pod
from tests.end_to_end.load import Load

RED = colour_image("red")
RAW = {"Inference-Header-Content-Length": "0"}
WAIT_S = 90


@pytest.fixture
def follow(tmp_path, name) -> Iterator[Callable[..., Pod]]:
    """Start pods that follow the model's champion."""
    with ExitStack() as pods:

        def starter(uri: str, *flags: str) -> Pod:
            settings = ("--registry", uri, "--cache", str(tmp_path / "cache"))
            often = ("--follow", "--follow-interval-s", "0.5", "--drain-delay-s", "0")
            pod = Pod(f"models:/{name}@champion", *settings, *often, *flags)
            pods.callback(pod.close)
            return pod

        yield starter


def wait_for(what: Callable[[], bool], told: str, log: Sequence[str] = ()) -> None:
    """Until it holds."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError(f"{told}\n{''.join(log)}")


def logged(pod: Pod, text: str) -> int:
    """How many lines of the log have it."""
    return sum(text in line for line in list(pod.log))


def wait_for_log(pod: Pod, text: str) -> None:
    """Until a line has it."""
    wait_for(lambda: logged(pod, text) > 0, f"{text!r} is not in the log:", pod.log)


def versions(pod: Pod, name: str) -> list[str]:
    """That are served."""
    return list(httpx.get(f"{pod.url}/v2/models/{name}").json()["versions"])


def parameters(pod: Pod, name: str) -> dict[str, str]:
    """Of the model's configuration."""
    config = httpx.get(f"{pod.url}/v2/models/{name}/config").json()
    return {key: value["string_value"] for key, value in config["parameters"].items()}


def registry_up(pod: Pod, name: str) -> float | None:
    """The metric, once there is one."""
    for line in httpx.get(f"{pod.url}/metrics").text.splitlines():
        if line.startswith(f'millrace_registry_up{{model="{name}"}}'):
            return float(line.split()[-1])
    return None


def test_a_moved_alias_is_followed_under_load_without_an_error(
    put, registry, registry_server, follow, name
):
    """There and back again; the version served bears the registry's number."""
    put(alias="champion")
    put()
    pod = follow(registry_server.uri, "--instances", "1")
    load = Load(f"{pod.url}/v1/models/{name}:predict", RED, clients=4)
    load.wait_for(50)

    promote(registry, name, "2")
    wait_for(lambda: versions(pod, name) == ["2"], "version 2 is not served")
    load.wait_for(50)
    promote(registry, name, "1")
    wait_for(lambda: versions(pod, name) == ["1"], "version 1 is not served again")
    load.wait_for(50)

    assert set(load.stop()) == {200}
    assert parameters(pod, name) == {"source": f"models:/{name}@champion", "registry": "up"}
    assert registry_up(pod, name) == 1
    supervisor = psutil.Process(pod.process.pid)
    assert not any("mlflow" in mapped.path for mapped in supervisor.memory_maps())


def test_an_alias_on_a_version_that_fails_its_golden_check_changes_nothing(
    put, registry, registry_server, follow, name, colours, tmp_path
):
    """One line, once; and the next good version is followed."""
    first, *others = colours.manifest.golden
    wrong = (first.model_copy(update={"indices": first.indices[::-1]}), *others)
    put(alias="champion")
    put(as_version(colours, 2, tmp_path / "store", golden=wrong))
    put()
    pod = follow(registry_server.uri)

    promote(registry, name, "2")
    wait_for_log(pod, "cannot be followed to version 2")
    time.sleep(2)  # four more looks

    assert versions(pod, name) == ["1"]
    assert logged(pod, "cannot be followed to version 2") == 1
    assert logged(pod, "golden check failed") > 0
    promote(registry, name, "3")
    wait_for(lambda: versions(pod, name) == ["3"], "version 3 is not served")


def test_a_version_whose_artifact_is_gone_changes_nothing(
    put, registry, registry_server, follow, name, colours, tmp_path
):
    """Nor does an alias that is taken away."""
    put(alias="champion")
    parity = colours.manifest.parity.model_copy(update={"images": 7})
    other = as_version(colours, 2, tmp_path / "store", parity=parity)
    run = put(other).source.split("/")[-3]
    pod = follow(registry_server.uri)
    (model,) = registry_server.artifacts.glob(f"*/{run}/artifacts/model")
    (model / "data/package/model.yaml").unlink()

    promote(registry, name, "2")
    wait_for_log(pod, "was moved or deleted")
    delete_alias(registry, name, "champion")
    wait_for_log(pod, f"no models:/{name}@champion")

    assert versions(pod, name) == ["1"]
    assert parameters(pod, name)["registry"] == "gone"
    assert registry_up(pod, name) == 1


def test_a_registry_that_goes_away_and_comes_back_costs_nothing(put, registry, follow, name, way):
    """Said once each way, in the log, as a metric and in the configuration."""
    put(alias="champion")
    put()
    pod = follow(way.uri)
    wait_for(lambda: registry_up(pod, name) == 1, "the registry is not up")
    load = Load(f"{pod.url}/v1/models/{name}:predict", RED, clients=2)

    way.allow(0)
    wait_for(lambda: registry_up(pod, name) == 0, "the registry is not down")
    load.wait_for(50)
    promote(registry, name, "2")
    assert parameters(pod, name)["registry"] == "down"
    assert way.uri in parameters(pod, name)["registry_problem"]
    assert logged(pod, "what is loaded goes on being served") == 1
    assert logged(pod, "WARNING [millrace: follower]") == 1
    way.allow(None)
    wait_for(lambda: versions(pod, name) == ["2"], "version 2 is not served")

    load.wait_for(50)
    assert set(load.stop()) == {200}
    wait_for_log(pod, "answers, and has")
    wait_for(lambda: registry_up(pod, name) == 1, "the registry is not up again")


def test_a_pod_starts_from_the_cache_while_the_registry_is_away(put, registry, follow, name, way):
    """With what was served last, and says so; and follows when the registry is back."""
    put(alias="champion")
    put()
    pod = follow(way.uri)
    promote(registry, name, "2")
    wait_for(lambda: versions(pod, name) == ["2"], "version 2 is not served")
    pod.close()
    promote(registry, name, "1")
    way.allow(0)

    again = follow(way.uri)

    assert versions(again, name) == ["2"]
    assert logged(again, "serving version 2") == 1
    assert logged(again, "which was served last") == 1
    assert parameters(again, name)["registry"] == "down"
    way.allow(None)
    wait_for(lambda: versions(again, name) == ["1"], "version 1 is not served")


def test_a_pod_starts_with_what_was_served_last_while_the_alias_names_a_broken_version(
    put, registry, registry_server, follow, name, colours, tmp_path
):
    """And says so; the next good version is followed."""
    put(alias="champion")
    parity = colours.manifest.parity.model_copy(update={"images": 7})
    broken = put(as_version(colours, 2, tmp_path / "store", parity=parity))
    put()
    run = broken.source.split("/")[-3]
    (model,) = registry_server.artifacts.glob(f"*/{run}/artifacts/model")
    (model / "data/package/model.yaml").write_text("name: another\n", encoding="utf-8")
    follow(registry_server.uri).close()
    promote(registry, name, "2")

    again = follow(registry_server.uri)

    assert versions(again, name) == ["1"]
    assert logged(again, "model.yaml: its sha256 in the registry differs") > 0
    assert logged(again, "which was served last") == 1
    promote(registry, name, "3")
    wait_for(lambda: versions(again, name) == ["3"], "version 3 is not served")


def test_a_follower_that_dies_is_replaced_and_knows_what_is_served(
    put, registry, registry_server, follow, name
):
    """The pod serves on meanwhile."""
    put(alias="champion")
    put()
    pod = follow(registry_server.uri)
    promote(registry, name, "2")
    wait_for(lambda: versions(pod, name) == ["2"], "version 2 is not served")

    (victim,) = pod._titled("millrace: follower")
    victim.kill()
    wait_for_log(pod, "the follower ended with code -9")
    wait_for(lambda: pod._titled("millrace: follower") != [], "there is no other follower")
    promote(registry, name, "1")

    wait_for(lambda: versions(pod, name) == ["1"], "version 1 is not served")
    assert logged(pod, "points to version 2") == 1


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``millrace serve`` that cannot start."""
    command = [sys.executable, "-m", "millrace", "serve", *arguments]
    ports = ("--http-port", "0", "--grpc-port", "0", "--host", "127.0.0.1")
    return subprocess.run([*command, *ports], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("reference", "flags", "told"),
    [
        ("models:/{name}/1", ("--follow",), "follow: models:/{name}/1 is one version"),
        ("{name}", ("--follow",), "follow: {name} is no alias"),
        ("models:/{name}@nobody", (), "no models:/{name}@nobody"),
        ("models:/{name}@champion", ("--registry", "http://127.0.0.1:1"), "served as models:/"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    reference, flags, told, put, registry_server, name, tmp_path
):
    """Exit code 2."""
    put(alias="champion")
    where = ("--registry", registry_server.uri, "--cache", str(tmp_path / "cache"))

    ran = serve(reference.format(name=name), *where, *flags)

    (line,) = ran.stderr.splitlines()
    assert (ran.returncode, told.format(name=name) in line) == (2, True), line


def test_the_containers_entry_understands_the_same(registry_server):
    """--model-dir may name a registered version as well; exit code 2, one line."""
    command = [sys.executable, "-m", "predictor", "--model-dir", "models:/nobody-has-this@champion"]

    ran = subprocess.run(
        [*command, "--registry", registry_server.uri], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert ran.stderr.startswith("millrace: no models:/nobody-has-this@champion: ")


def test_a_pod_that_waits_for_its_registry_stops_when_told(tmp_path):
    """Exit code 0, and whoever did the asking is gone as well."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "millrace", "serve", "models:/x@champion"]
        process = subprocess.Popen([*command, "--registry", uri, "--cache", str(tmp_path)])
        connection, _ = silent.accept()
        with connection:
            (asker,) = psutil.Process(process.pid).children()
            process.terminate()
            assert process.wait(WAIT_S) == 0
            wait_for(lambda: not asker.is_running(), "it goes on asking")


def test_frontends_that_replace_others_know_how_the_registry_is(put, registry_server, follow, name):
    """What they are told when they start."""
    put(alias="champion")
    pod = follow(registry_server.uri)
    before = parameters(pod, name)
    (victim,) = pod.frontends()

    victim.kill()
    victim.wait()
    wait_for(lambda: _ready(pod), "no frontend took its place")

    assert parameters(pod, name) == before


def _ready(pod: Pod) -> bool:
    try:
        return httpx.get(f"{pod.url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False
