"""What reports and verdicts call the package that is measured."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.package import ModelPackage, load_package, write_manifest

CANDIDATE = "candidate"


@contextmanager
def as_candidate(package: ModelPackage) -> Iterator[ModelPackage]:
    """The package under a name by which reports tell it from the champion, who has its own."""
    with tempfile.TemporaryDirectory(prefix="millrace-candidate-") as folder:
        copy = Path(folder) / CANDIDATE / "1"
        shutil.copytree(package.path, copy)
        write_manifest(copy, package.manifest.model_copy(update={"name": CANDIDATE, "version": 1}))
        yield load_package(copy)
