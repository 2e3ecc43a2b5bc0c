"""What an analysis cannot do, each as one line that says why and what to do."""

from __future__ import annotations


class AnalyzerError(Exception):
    """Root of everything this room refuses; its text is fit to be shown to a user as it is."""


class DatasetError(AnalyzerError):
    """A dataset cannot be read at all."""


class HierarchyError(AnalyzerError):
    """A file of groups of labels cannot be used with a model."""


class AgreementError(AnalyzerError):
    """Two models' answers cannot be compared."""


class GateError(AnalyzerError):
    """A gate cannot be read, or there is nothing that it could judge."""


class ReportError(AnalyzerError):
    """A report or its charts cannot be written."""


class BrokenImageError(Exception):
    """One image of a dataset cannot be read; the text is its row's error, and the rest go on."""
