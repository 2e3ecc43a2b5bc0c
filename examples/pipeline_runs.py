"""``millrace pipeline run`` for one candidate after another, and what each came to."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.server import MILLRACE, ServerError

GATE = """\
absolute:
  top1: {at_least: 0.9}
relative:
  top1: {worse_by_at_most: 0.02}
"""
# Some of the requests and then all of them, each until p99 is proven, which takes 368 requests. The
# limit leaves a good one room where others use the same cores; see examples.candidates.SLOW_LAYERS.
PLAN = """\
dark: {{golden: {{dataset: {images}, at_least: 0.8}}}}
shadow: {{dataset: {images}, at_least: 0.8}}
steps:
  - {{percent: 15, hold_s: 2, least_requests: 400}}
  - {{percent: 100, hold_s: 2, least_requests: 400}}
limits:
  errors: {{at_most: 0.02}}
  rejected: {{at_most: 0.02}}
  p99: {{ratio_at_most: 6}}
inconclusive_limit: 60
interval_s: 0.5
"""
GOLDEN_IMAGES = 10  # of each class
PACKAGING = "input-size: 32\nresize: exact\nmean: 127.5\nstd: 127.5\nscores: logits\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of the pipeline ended.

    Attributes:
        network: whose.
        outcome: promoted, refused, aborted or failed.
        why: one line.
        version: that was registered; empty for none.
        mlflow_run: where all of it is.
        seconds: that it took.
    """

    network: str
    outcome: str
    why: str
    version: str
    mlflow_run: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Shop:
    """What all runs have in common.

    Attributes:
        folder: of the demo.
        name: of the model.
        url: of the pod.
        registry: tracking URI.
    """

    folder: Path
    name: str
    url: str
    registry: str

    @property
    def token_file(self) -> Path:
        """With the token of the pod's repository."""
        return self.folder / "repository-token"

    @property
    def store(self) -> Path:
        """Where the pod finds its packages."""
        return self.folder / "pod"

    def prepare(self) -> None:
        """Write what runs are told by files, and lay the golden images beside them."""
        images = self.folder / "golden"
        for kind in sorted((self.folder / "digits/test").iterdir()):
            (images / kind.name).mkdir(parents=True)
            for scan in sorted(kind.iterdir())[:GOLDEN_IMAGES]:
                shutil.copy(scan, images / kind.name)
        (self.folder / "gate.yaml").write_text(GATE, encoding="utf-8")
        (self.folder / "plan.yaml").write_text(PLAN.format(images=images), encoding="utf-8")
        (self.folder / "package.yaml").write_text(PACKAGING, encoding="utf-8")

    def command(self, network: str) -> list[str | Path]:
        """What runs the pipeline for ``network``."""
        folder = self.folder
        command: list[str | Path] = [MILLRACE, "pipeline", "run", folder / network]
        command += ["--name", self.name, "--labels", folder / "labels.txt"]
        command += ["--parity-images", folder / "golden/7"]
        command += ["--dataset", f"held-out={folder / 'digits/test'}"]
        command += ["--package-config", folder / "package.yaml"]
        command += ["--gate", folder / "gate.yaml", "--plan", folder / "plan.yaml"]
        command += ["--pod", self.url, "--pod-store", self.store]
        command += ["--repository-token-file", self.token_file]
        return [*command, "--registry", self.registry, "--out", folder / "pipeline"]


def run(command: Sequence[str | Path], network: str) -> Outcome:
    """Run the pipeline, whose progress is seen meanwhile.

    Raises:
        ServerError: it could not be run.
    """
    ran = subprocess.run([*command, "--json"], check=False, stdout=subprocess.PIPE, text=True)
    try:
        told = json.loads(ran.stdout)
    except ValueError as error:
        raise ServerError("the pipeline could not be run; the reason is above") from error
    return Outcome(
        network=network,
        outcome=told["outcome"],
        why=told["why"],
        version=told["version"],
        mlflow_run=told["mlflow_run"],
        seconds=sum(step["seconds"] for step in told["steps"]),
    )
