"""A registered package as ``mlflow.pyfunc`` loads it: the server's decoder and runtime, in process.

MLflow imports this module by its name, which a registered model's ``MLmodel`` states, and hands it
the package's folder. Nothing is unpickled.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_store.package import ModelPackage, load_package
from predictor.decode import decode
from predictor.errors import BadImageError
from predictor.runtimes import Runtime
from predictor.runtimes.loading import candidates, load_runtime

IMAGE_COLUMN = "image"
BATCH = 32  # images computed at a time; a table may have any number of rows


class PackageModel:
    """Classifies the encoded images of a table's column ``image``.

    Args:
        package: what to classify with; its first variant that may be served on a CPU.
    """

    def __init__(self, package: ModelPackage) -> None:
        self._package = package
        variant = candidates(package.manifest, "auto", "cpu")[0]
        threads = len(os.sched_getaffinity(0))
        self._runtime: Runtime = load_runtime(package, "cpu", threads, None, variant)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """One row per image: ``label``, ``index`` and ``score`` of the best class, and ``top``.

        Args:
            model_input: a ``pandas.DataFrame`` with a column ``image``: bytes, or base64 text.
            params: ``top_k``, how many classes ``top`` is to have.

        Raises:
            BadImageError: an image cannot be decoded; says which row.
        """
        import pandas as pd

        top_k = int((params or {}).get("top_k", self._package.manifest.top_k))
        images = list(model_input[IMAGE_COLUMN])
        size = min(BATCH, self._runtime.largest_batch or BATCH)
        rows = []
        for first in range(0, len(images), size):
            rows += self._classify(images[first : first + size], first, top_k)
        columns = ["label", "index", "score", "top"]
        return pd.DataFrame(rows, columns=columns, index=model_input.index)

    def _classify(self, images: Iterable[Any], first: int, top_k: int) -> list[dict[str, Any]]:
        pixels = [self._pixels(image, row) for row, image in enumerate(images, first)]
        answers = self._runtime.run(np.stack(pixels))
        rows = []
        for indices, scores in zip(answers.indices.tolist(), answers.scores.tolist(), strict=True):
            top = [
                {"label": self._package.labels[index], "index": index, "score": score}
                for index, score in zip(indices, scores, strict=True)
            ]
            rows.append({**top[0], "top": top[: max(1, top_k)]})
        return rows

    def _pixels(self, image: Any, row: int) -> Any:
        try:
            return decode(_encoded(image), self._package.manifest.input)
        except BadImageError as error:
            raise BadImageError(f"row {row}: {error}") from None


def _encoded(image: Any) -> bytes:
    if isinstance(image, str):
        try:
            return base64.b64decode(image, validate=True)
        except binascii.Error as error:
            raise BadImageError(f"the image is text, but not base64: {error}") from None
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    raise BadImageError(f"the image must be bytes, not {type(image).__name__}")


def _load_pyfunc(path: str) -> PackageModel:
    """MLflow's entry.

    Raises:
        ModelStoreError: the package is damaged.
    """
    return PackageModel(load_package(Path(path)))
