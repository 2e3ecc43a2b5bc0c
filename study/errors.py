"""What a study cannot do."""

from __future__ import annotations


class StudyError(Exception):
    """A study cannot go on; the text says why and what to do."""
