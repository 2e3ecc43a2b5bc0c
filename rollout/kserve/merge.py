"""The JSON merge patch (RFC 7386) that makes one object of another."""

from __future__ import annotations

from rollout.kserve.resources import Manifest


def merge_patch(before: Manifest, after: Manifest) -> Manifest:
    """What is to be sent so that ``before`` becomes ``after``; empty if they are the same.

    Lists are replaced whole: a merge patch knows nothing smaller.
    """
    patch: Manifest = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            inner = merge_patch(old, value)
            if inner:
                patch[key] = inner
        elif key not in before or old != value:
            patch[key] = value
    return patch
