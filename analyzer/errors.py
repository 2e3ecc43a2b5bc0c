"""What an analysis cannot do."""

from __future__ import annotations


class AnalyzerError(Exception):
    """An analysis cannot go on; the text is one line that says what to do."""


class DatasetError(AnalyzerError):
    """A dataset cannot be read at all."""


class BrokenImageError(Exception):
    """One image of a dataset cannot be read; the text is its row's error, and the rest go on."""
