"""What a report cannot do."""

from __future__ import annotations


class ReportError(Exception):
    """A report cannot be written; the text says why and what to do."""
