"""What the supervisor tells a follower; apart from it, since the one keeps MLflow out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FollowerOrder:
    """What to follow; plain data, since it travels as JSON.

    Attributes:
        model_name: the name the model is served under.
        uri: ``models:/NAME@ALIAS``.
        registry: tracking URI.
        cache: folder of fetched packages.
        interval_s: how often to look, in seconds.
        version: that is served.
        log_level: least severe message that is logged.
    """

    model_name: str
    uri: str
    registry: str
    cache: str
    interval_s: float
    version: str
    log_level: str

    def content(self) -> dict[str, Any]:
        """As the content of a control message."""
        return asdict(self)
