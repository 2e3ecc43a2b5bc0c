"""The pipeline as KFP's IR YAML, the same bytes on every machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.definition import Cluster, build
from pipelines.errors import PipelineError

GOLDEN = Path(__file__).parent / "compiled" / "millrace.yaml"  # by default settings; reviewed


def compiled(cluster: Cluster) -> str:
    """The YAML; of two documents, the second being what Kubernetes gives the steps' pods."""
    from kfp import compiler

    with tempfile.TemporaryDirectory(prefix="millrace-compile-") as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(build(cluster), str(file))
        return file.read_text(encoding="utf-8")


def write(cluster: Cluster, file: Path) -> None:
    """Write it.

    Raises:
        PipelineError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(compiled(cluster), encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{file}: cannot be written: {error.strerror or error}") from error


if __name__ == "__main__":
    write(Cluster(), GOLDEN)
