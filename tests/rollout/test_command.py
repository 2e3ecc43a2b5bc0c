"""``millrace rollout`` as it is typed, on a real pod, with a real registry and real requests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner

from examples.slow_network import slowed
from millrace.cli import commands
from model_store.package import ModelPackage
from model_store.registry.cache import Cache
from model_store.registry.promotion import delete_alias, set_alias
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from rollout.aliases import ROLLOUT_TAG
from rollout.local_store import from_registry, put
from rollout.types import Version
from tests.analyzer.colour_sets import files, write_folder
from tests.conftest import colour_image, colour_network, package_colours
from tests.end_to_end.conftest import TOKEN, Pod
from tests.end_to_end.load import Load

WAIT_S = 120
NEVER = [{"percent": 30, "hold_s": 3600, "least_requests": 100}]
LAYERS = 60  # some 60 ms of a core that is not shared


class Command:
    """A command that runs; its lines are read as they come."""

    def __init__(self, *words: object, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "millrace", "rollout", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        )  # fmt: skip
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Until a line has it."""
        with self._more:
            found = self._more.wait_for(
                lambda: any(text in line for line in self.lines) or self.process.poll() is not None,
                WAIT_S,
            )
        assert found, f"{text!r} did not come: {self.output}"
        assert any(text in line for line in self.lines), self.output

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send it a signal."""
        self.process.send_signal(number)
        return self.end()

    @property
    def output(self) -> str:
        """All of it."""
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with self._more:
                    self.lines.append(line)
                    self._more.notify_all()
        with self._more:
            self._more.notify_all()


class Shop:
    """A pod that serves version 1 of a model of the registry, with clients that keep asking."""

    def __init__(self, registry: Registry, first: ModelPackage, folder: Path) -> None:
        self.registry = registry
        self.folder = folder
        self.name = f"shop-{uuid.uuid4().hex[:8]}"
        self.store = folder / "pods"
        self.put(first, "champion")
        fetch = from_registry(registry, Cache(folder / "cache"))
        package = fetch(Version(self.name, "1", f"models:/{self.name}/1"))
        token = ("--repository-token", TOKEN)
        self.pod = Pod(put(package, self.store), *token, "--drain-delay-s", "0")
        (folder / "token").write_text(TOKEN)
        write_folder(folder / "golden", files(20))
        self.load = Load(
            f"{self.pod.url}/v1/models/{self.name}:predict", colour_image("red"), clients=3
        )

    def put(self, package: ModelPackage, alias: str) -> str:
        """Register one more version."""
        made = register(self.registry, package, self.name, "", {})
        set_alias(self.registry, self.name, alias, made.version)
        return made.version

    def command(self, verb: str, *words: object) -> Command:
        """``millrace rollout VERB NAME …`` on this pod."""
        registry = ["--registry", self.registry.uri, "--cache", self.folder / "cache"]
        further = registry if verb in ("start", "abort") else []
        return Command(verb, self.name, *words, *self.place(), *further, cwd=self.folder)

    def place(self) -> list[str]:
        """The pod, as options."""
        token = str(self.folder / "token")
        place = ["--pod", self.pod.url, "--pod-store", str(self.store)]
        return [*place, "--repository-token-file", token]

    def start(self, *words: object, **plan: object) -> Command:
        """``millrace rollout start``."""
        content = {
            "dark": {"golden": {"dataset": str(self.folder / "golden"), "at_least": 0.8}},
            "steps": [
                {"percent": 30, "hold_s": 2, "least_requests": 100},
                {"percent": 100, "hold_s": 1, "least_requests": 100},
            ],
            "limits": {
                "errors": {"at_most": 0.05},
                "rejected": {"at_most": 0.05},
                "p99": {"ratio_at_most": 100},
            },
            "inconclusive_limit": 30,  # however slow this machine is now
            "interval_s": 0.5,
        }
        (self.folder / "plan.yaml").write_text(yaml.safe_dump(content | plan))
        uri = f"models:/{self.name}@challenger"
        return self.command("start", uri, "--plan", self.folder / "plan.yaml", *words)

    def run(self, verb: str, *words: object, code: int = 0) -> str:
        """A command that ends by itself; what it printed."""
        command = self.command(verb, *words)
        assert command.end() == code, command.output
        return command.output

    def ask(self, verb: str) -> str:
        """A command that needs no process of its own; what it printed."""
        ran = CliRunner().invoke(commands, ["rollout", verb, self.name, *self.place()])
        assert ran.exit_code == 0, ran.output
        return ran.output

    def wait_until(self, found: Callable[[], bool]) -> None:
        """Look again with every answer that a client gets."""
        for _ in range(100_000):
            if found():
                return
            self.load.wait_for(1)
        raise AssertionError(self.ask("status"))

    def tag(self, version: str) -> str:
        """How its rollout ended."""
        found = {each.version: each.tags for each in self.registry.versions(self.name)}
        return found[version].get(ROLLOUT_TAG, "")

    def aliases(self) -> dict[str, str]:
        """Of the registry."""
        return self.registry.aliases(self.name)


@pytest.fixture(scope="module")
def registry(registry_server) -> Registry:
    """A client of the server."""
    return Registry(registry_server.uri)


@pytest.fixture
def shop(registry, colours, tmp_path) -> Iterator[Shop]:
    """One of its own for each test."""
    made = Shop(registry, colours, tmp_path)
    with contextlib.ExitStack() as ends:
        ends.callback(made.pod.close)
        ends.callback(made.load.stop)
        made.load.wait_for(20)
        yield made


def test_a_good_candidate_is_promoted_though_its_rollout_is_killed_on_the_way(shop, colours):
    """And nobody who asks notices."""
    shop.put(colours, "challenger")

    first = shop.start()
    first.wait_for("step 1 of 2: 30 %: set")
    assert first.kill() == -signal.SIGKILL
    status = json.loads(shop.run("status", "--json"))
    second = shop.start()

    assert (status["where"], status["held"]) == ("step 1 of 2: 30 %", False)
    assert second.end() == 0, second.output
    assert "carries it out, in step 1 of 2: 30 %" in second.output
    assert shop.aliases() == {"champion": "2", "previous": "1"}
    assert shop.tag("2") == "promoted"
    assert set(shop.load.stop()) == {200}
    shown = shop.ask("status")
    assert "phase     promoted" in shown
    assert "errors of" in shown


def test_a_slow_candidate_passes_its_golden_images_and_is_rolled_back(shop, tmp_path):
    """By its p99, which only requests show."""
    (tmp_path / "slow").mkdir()
    slow = package_colours(tmp_path / "slow", slowed(colour_network(), LAYERS), "colours")
    shop.put(slow, "challenger")

    rollout = shop.start(limits={"p99": {"at_most_s": 0.01}})

    assert rollout.end() == 1, rollout.output
    assert "dark: passed" in rollout.output
    assert "p99 of" in shop.tag("2")
    assert shop.tag("2").startswith("aborted: ")
    assert shop.aliases() == {"champion": "1"}
    shop.load.wait_for(20)
    assert set(shop.load.stop()) == {200}


def test_other_processes_pause_resume_and_abort_it(shop, colours):
    """But may not carry out a second one."""
    shop.put(colours, "challenger")
    rollout = shop.start(steps=NEVER)
    rollout.wait_for("step 1 of 1: 30 %: set")

    second = shop.start(steps=NEVER)
    assert second.end() == 2
    assert "is being rolled out by" in second.output
    assert "paused in step 1 of 1: 30 %" in shop.ask("pause")
    assert "phase     step 1 of 1: 30 %, paused" in shop.ask("status")
    assert "resumed in step 1 of 1: 30 %" in shop.ask("resume")
    assert "aborting: it was asked for" in shop.run("abort")

    assert rollout.end() == 1, rollout.output
    assert shop.aliases() == {"champion": "1"}
    assert set(shop.load.stop()) == {200}


def test_an_abort_is_carried_out_though_nobody_is_there_to_do_it(shop, colours):
    """The rollout was told to stop, which leaves it as it stands."""
    shop.put(colours, "challenger")
    rollout = shop.start(steps=NEVER)
    rollout.wait_for("step 1 of 1: 30 %: set")

    assert rollout.kill(signal.SIGTERM) == 2
    assert "start it again to go on" in rollout.output
    assert "held by   nobody" in shop.ask("status")
    other = shop.start()
    assert other.end() == 2
    assert "plan.yaml: the rollout of" in other.output
    abort = ("abort", shop.name, *shop.place())
    nowhere = Command(*abort, "--registry", "sqlite:///nowhere.db", cwd=shop.folder)
    assert nowhere.end() == 2
    assert "goes on without the registry: no registry at sqlite:///nowhere.db" in nowhere.output
    assert "cannot be recorded, its registry is not there" in nowhere.output
    assert "trouble   how the rollout of" in shop.ask("status")
    again = Command(*abort, cwd=shop.folder)  # it knows the registry
    assert again.end() == 0, again.output

    assert shop.tag("2") == "aborted: it was asked for"
    assert "no rollout is under way" in shop.run("abort", code=2)
    assert set(shop.load.stop()) == {200}


def test_a_rollout_that_was_killed_at_its_very_end_is_gone_on_with_by_the_same_words(shop, colours):
    """The alias by which it was begun is gone by then."""
    shop.put(colours, "challenger")
    rollout = shop.start(steps=NEVER)
    rollout.wait_for("step 1 of 1: 30 %: set")
    assert rollout.kill() == -signal.SIGKILL
    delete_alias(shop.registry, shop.name, "challenger")

    again = shop.start(steps=NEVER)
    again.wait_for("carries it out, in step 1 of 1: 30 %")
    shop.run("abort")
    assert again.end() == 1
    other = shop.start(steps=NEVER)

    assert other.end() == 2
    assert f"no models:/{shop.name}@challenger" in other.output


def test_a_version_is_not_rolled_out_in_place_of_one_that_it_was_not_compared_with(shop, colours):
    """It is compared anew first."""
    shop.put(colours, "challenger")

    rollout = shop.start("--against", "7")

    assert rollout.end() == 2
    assert "was compared with version 7, but" in rollout.output
    assert "serves version 1 by now" in rollout.output


def test_a_rollout_in_the_background_goes_on_by_itself(shop, colours):
    """What it says is in the file; a promotion that is asked for skips the rest."""
    shop.put(colours, "challenger")
    log = shop.folder / "rollout.log"

    told = shop.start("--detach", log, steps=NEVER)
    assert told.end() == 0, told.output
    number = int(re.search(r"process (\d+)", told.output)[1])
    try:
        shop.wait_until(lambda: log.is_file() and "30 %: set" in log.read_text())
        assert "promoting: it was asked for" in shop.ask("promote")
        shop.wait_until(lambda: shop.aliases().get("champion") == "2")
        shop.wait_until(lambda: not psutil.pid_exists(number))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    assert log.read_text().splitlines()[-1].endswith("promoted")
    assert set(shop.load.stop()) == {200}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "m", "--pod", "http://127.0.0.1:1"], "by --pod and --pod-store, both"),
        (
            ["status", "m", "--pod-store", ".", "--pod", "x", "--namespace", "n", "--keep-name"],
            "--keep-name, --namespace: of a cluster, and --pod is none",
        ),
        (["status", "m", "--pod-store", ".", "--pod", "x"], "there has been no rollout of m here"),
        (["pause", "m", "--pod-store", ".", "--pod", "x"], "there is nothing to pause"),
        (["status", "m", "--kubeconfig", "none"], "no way to a cluster"),
    ],
)
def test_wrong_usage_is_one_line(words, said, tmp_path):
    """And exit code 2."""
    ran = Command(*words, cwd=tmp_path)

    assert ran.end() == 2
    assert said in ran.output
    assert len(ran.lines) == 1
