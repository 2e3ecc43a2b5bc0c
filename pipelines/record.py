"""A run of the pipeline as MLflow has it: one run, found by the pipeline's own key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from model_store.registry.address import registry_uri
from model_store.registry.connection import speaking_to
from model_store.registry.registering import experiment
from model_store.registry.versions import TAG, Registry
from pipelines.steps.registration import RUN_TAG

EXPERIMENT = "millrace-pipeline"
OUTCOME_TAG = f"{TAG}outcome"  # promoted, refused, aborted or failed
WHY_TAG = f"{TAG}why"
STEP_TAG = f"{TAG}step."  # and a step's name: what it said at its end
PROMOTED, REFUSED, ABORTED, FAILED = "promoted", "refused", "aborted", "failed"
LONGEST_TEXT = 4000  # characters of a tag; MLflow's servers take 5,000 at least


class Record:
    """What is known of one run; each step of it may add something.

    Args:
        name: of the model.
        key: of the pipeline's run: KFP's own, or the one of a local run.
        registry: tracking URI; empty as in ``registry_uri``.

    Raises:
        RegistryError: MLflow refuses, or does not answer; so do all methods.
    """

    def __init__(self, name: str, key: str, registry: str) -> None:
        self.registry = Registry(registry_uri(registry), create=True)
        self._name, self._key = name, key
        self.run_id = self._find() or self._begin()

    def tag(self, tags: Mapping[str, str]) -> None:
        """Say something; what was said under the same name before is forgotten."""
        with speaking_to(self.registry.uri):
            for key, text in tags.items():
                self.registry.client.set_tag(self.run_id, key, text[:LONGEST_TEXT])

    def step(self, name: str, text: str) -> None:
        """What a step came to."""
        self.tag({STEP_TAG + name: text})

    def metrics(self, figures: Iterable[tuple[str, float]]) -> None:
        """Figures by which runs can be compared."""
        with speaking_to(self.registry.uri):
            for key, value in figures:
                self.registry.client.log_metric(self.run_id, key, value)

    def file(self, path: Path, folder: str = "") -> None:
        """A file or a folder, kept with the run."""
        with speaking_to(self.registry.uri):
            if path.is_dir():
                self.registry.client.log_artifacts(self.run_id, str(path), folder or None)
            else:
                self.registry.client.log_artifact(self.run_id, str(path), folder or None)

    def text(self, text: str, file: str) -> None:
        """A text, kept with the run as a file."""
        with speaking_to(self.registry.uri):
            self.registry.client.log_text(self.run_id, text, file)

    def tags(self) -> dict[str, str]:
        """All that was said, MLflow's own tags left out."""
        with speaking_to(self.registry.uri):
            found = self.registry.client.get_run(self.run_id).data.tags
        return {key: text for key, text in found.items() if key.startswith(TAG)}

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        with speaking_to(self.registry.uri):
            status = self.registry.client.get_run(self.run_id).info.status
        return str(status) in ("FINISHED", "FAILED")

    def end(self, *, well: bool) -> None:
        """Say that nothing more comes."""
        with speaking_to(self.registry.uri):
            status = "FINISHED" if well else "FAILED"
            self.registry.client.set_terminated(self.run_id, status)

    def _find(self) -> str | None:
        quoted = self._key.replace("'", "")
        client = self.registry.client
        with speaking_to(self.registry.uri):
            found: Any = client.search_runs(
                [experiment(self.registry, EXPERIMENT)], f"tags.`{RUN_TAG}` = '{quoted}'"
            )
        return str(found[0].info.run_id) if found else None

    def _begin(self) -> str:
        tags = {RUN_TAG: self._key, f"{TAG}model": self._name}
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with speaking_to(self.registry.uri):
            run = self.registry.client.create_run(
                experiment(self.registry, EXPERIMENT), tags=tags, run_name=f"{self._name} {when}"
            )
        return str(run.info.run_id)
