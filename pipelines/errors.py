"""What a pipeline cannot do; each is one line that says what to do."""

from __future__ import annotations


class PipelineError(Exception):
    """Root of everything this room refuses; its text is fit to be shown to a user as it is."""


class RefusedError(PipelineError):
    """The answer is no: the gate's, or the rollout's."""
