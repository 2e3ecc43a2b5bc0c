"""What the OpenAPI document depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Served:
    """A pod, as far as its document differs from another one's.

    Attributes:
        name: the model's, as in its URLs.
        versions: of the model, those that are loaded.
        top_k: classes in an answer, at most.
        max_images: most images in one request.
        repository_open: whether there is a token, and so a repository at all.
    """

    name: str
    versions: tuple[str, ...]
    top_k: int
    max_images: int
    repository_open: bool
