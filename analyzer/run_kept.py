"""Predictions on disk as they come, so that an analysis that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from analyzer.errors import AnalyzerError
from analyzer.run_model import Block

ROWS, FACTS, ERRORS = "rows.npy", "facts.json", "errors.jsonl"
FORMAT = 1  # of these files; another one starts anew


class Kept:
    """A model's answers to a dataset, row by row, in a file that is mapped into memory.

    What is written there outlives this process, however it ends. The folder's name is made of what
    the model and the dataset are, so that neither can change unnoticed.

    Args:
        folder: of all that is kept.
        model: its identity.
        dataset: its digest.
        count: images.
        top_k: classes in an answer.

    Raises:
        AnalyzerError: the folder cannot be written.
    """

    def __init__(self, folder: Path, model: str, dataset: str, count: int, top_k: int) -> None:
        key = f"{FORMAT} {count} {top_k} {dataset} {model}"
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:20]
        self._row = np.dtype(
            [("done", "?"), ("indices", "<i8", (top_k,)), ("scores", "<f4", (top_k,))]
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._rows = self._open(count)
            self.errors = self._read_errors()
            self.facts = self._read_facts()
            self.passing: set[int] = set()
            self._error_file = (self.folder / ERRORS).open("a", encoding="utf-8")
        except OSError as error:
            raise AnalyzerError(f"{self.folder}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.flush()
        self._error_file.close()
        self.save_facts()

    def save_facts(self) -> None:
        """Write ``facts``, whole or not at all."""
        temporary = self.folder / (FACTS + ".new")
        temporary.write_text(json.dumps(self.facts), encoding="utf-8")
        temporary.replace(self.folder / FACTS)

    @property
    def done(self) -> NDArray[np.bool_]:
        """(n,): which images are answered, or known to be broken."""
        return np.array(self._rows["done"])

    @property
    def indices(self) -> NDArray[np.int64]:
        """(n, k); -1 where there is no answer."""
        return np.array(np.where(self._rows["done"][:, None], self._rows["indices"], -1))

    @property
    def scores(self) -> NDArray[np.float32]:
        """(n, k); NaN where there is no answer."""
        rows = self._rows
        return np.where(rows["done"][:, None], rows["scores"], np.float32(np.nan))

    def put(self, block: Block) -> None:
        """Keep answers; a row counts once all of it is there.

        Failures that pass are known to this run alone: the next one asks again.
        """
        self.passing |= block.passing
        for number, error in block.errors.items():
            self.errors[number] = error
            if number not in block.passing:
                self._error_file.write(json.dumps([number, error]) + "\n")
        if block.errors:
            self._error_file.flush()
        numbers, width = block.numbers, block.indices.shape[1]
        self._rows["indices"][numbers, :width] = block.indices
        self._rows["scores"][numbers, :width] = block.scores
        lasting = [number not in block.passing for number in numbers.tolist()]
        self._rows["done"][numbers] = lasting

    def _open(self, count: int) -> np.memmap[Any, np.dtype[Any]]:
        file = self.folder / ROWS
        size = np.lib.format.open_memmap
        if file.exists():
            try:
                rows = size(file, mode="r+")
                if rows.dtype == self._row and rows.shape == (count,):
                    return rows
            except ValueError:
                pass  # cut off while it was made
        return size(file, mode="w+", dtype=self._row, shape=(count,))

    def _read_errors(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for line in _lines(self.folder / ERRORS):
            try:
                number, error = json.loads(line)
            except ValueError:
                continue  # cut off; its row is not marked as done then
            found[int(number)] = str(error)
        return {number: error for number, error in found.items() if self._rows["done"][number]}

    def _read_facts(self) -> dict[str, Any]:
        try:
            facts = json.loads((self.folder / FACTS).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
