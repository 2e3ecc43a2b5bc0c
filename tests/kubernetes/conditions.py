"""Conditions of a status, as controllers keep them."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def condition(
    kind: str, status: bool | None, reason: str = "", message: str = "", *, severity: str = ""
) -> Object:
    """One condition; ``status`` None is Unknown."""
    word = "Unknown" if status is None else str(status)
    found = {"type": kind, "status": word}
    told = {"reason": reason, "message": message, "severity": severity}
    return found | {name: value for name, value in told.items() if value}


def dated(new: list[Object], old: list[Object] | None, now: str) -> list[Object]:
    """The conditions, with the time at which each took its status; by type."""
    before = {each["type"]: each for each in old or ()}
    found = []
    for each in sorted(new, key=lambda each: str(each["type"])):
        was = before.get(each["type"])
        same = was is not None and was["status"] == each["status"]
        time = was["lastTransitionTime"] if was and same else now
        found.append({**each, "lastTransitionTime": time})
    return found


def is_true(status: Object | None, kind: str) -> bool:
    """Whether a condition is there and True."""
    conditions = (status or {}).get("conditions") or ()
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def all_of(new: list[Object], kinds: tuple[str, ...]) -> bool | None:
    """True if all of them are, False if one is, else None."""
    found = {each["type"]: each["status"] for each in new}
    words = [found.get(kind, "Unknown") for kind in kinds]
    if all(word == "True" for word in words):
        return True
    return False if "False" in words else None
