"""A model that is served and registered, and all that a run of the pipeline is told by files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store.registry.registering import register
from model_store.registry.versions import Registry
from tests.analyzer.colour_sets import files, write_folder
from tests.conftest import as_version, colour_image, colour_network, package_colours
from tests.end_to_end.conftest import TOKEN, Pod
from tests.end_to_end.load import Load

PAGE = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text(encoding="utf-8")
COMMANDS = [
    command.replace("\\\n", " ") for command in re.findall(r"^\$ ((?:\\\n|.)*)", PAGE, re.MULTILINE)
]
NAME = "colours"
PLAN = {
    "dark": {"golden": {"dataset": "data", "at_least": 0.8}},
    "shadow": {"dataset": "data", "at_least": 0.8},
    "steps": [
        {"percent": 30, "hold_s": 1, "least_requests": 100},
        {"percent": 100, "hold_s": 1, "least_requests": 100},
    ],
    "limits": {"errors": {"at_most": 0.05}, "rejected": {"at_most": 0.05}, "p99": None},
    "inconclusive_limit": 100,  # however slow this machine is now
    "interval_s": 0.5,
}


class Workshop:
    """A folder in which the commands of docs/pipeline.md can be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        first = package_colours(folder, colour_network(), NAME)
        write_folder(folder / "data", files(20))
        (folder / "package.yaml").write_text("scale: 1/255\n")
        (folder / "gate.yaml").write_text("absolute: {top1: {at_least: 0.8}}\n")
        (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))
        (folder / "token").write_text(TOKEN)
        self.uri = f"sqlite:///{folder}/var/mlflow.db"
        self.registry = Registry(self.uri, create=True)
        register(self.registry, first, NAME, alias="champion")
        served = as_version(first, 1, folder / "pod")
        flags = ("--repository-token", TOKEN, "--drain-delay-s", "0")
        self.pod = Pod(served.path, "--store", str(folder / "pod"), *flags)
        self.outcomes: Counter[int | str] = Counter()  # of clients during rollouts

    def run(self, *more: str, command: str = COMMANDS[0]) -> tuple[int, dict[str, Any], str]:
        """A command of the page, at this pod; its exit code, its JSON, and what it said."""
        with self.start(*more, command=command) as process:
            assert process.stdout is not None
            said = self.follow(process)
            told = process.stdout.read()
        assert told, said
        return process.returncode, json.loads(told), said

    def start(
        self, *more: str, command: str = COMMANDS[0], form: str = "--json"
    ) -> subprocess.Popen[str]:
        """The same, as a process in a group of its own."""
        _, *words = shlex.split(command.replace("http://127.0.0.1:8080", self.pod.url))
        ours = ("MILLRACE_REGISTRY", "MLFLOW_TRACKING_URI", "MILLRACE_CACHE", "MILLRACE_STORE")
        return subprocess.Popen(
            [sys.executable, "-m", "millrace", *words, *more, *form.split()],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name not in ours},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def follow(
        self, process: subprocess.Popen[str], heard: Callable[[str], None] = lambda _: None
    ) -> str:
        """What the run says; clients ask the pod from when the rollout begins."""
        assert process.stderr is not None
        said, load = "", None
        for line in process.stderr:
            said += line
            heard(line)
            if load is None and line.split() == ["rollout", "began"]:
                url = f"{self.pod.url}/v1/models/{NAME}:predict"
                load = Load(url, colour_image("red"), clients=2)
        if load is not None:
            self.outcomes += load.stop()
        return said

    @property
    def aliases(self) -> dict[str, str]:
        """Of the model."""
        return self.registry.aliases(NAME)

    def tags(self, run_id: str) -> dict[str, str]:
        """Of one of MLflow's runs."""
        return dict(self.registry.client.get_run(run_id).data.tags)

    def close(self) -> None:
        """Stop the pod."""
        self.pod.close()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One for all tests of a module."""
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    yield made
    made.close()
