"""How the requests of a model are shared out among its versions. Pure: no clock, no chance."""

from __future__ import annotations

from collections.abc import Container, Mapping

WHOLE = 100  # shares are percent


class Traffic:
    """Chooses a version for one request after the other, as close to the shares as can be.

    The smooth weighted round robin of nginx: whoever is owed most goes next, so that in any stretch
    of requests each version has had its share to within one request per version.

    Args:
        shares: percent by version.
    """

    def __init__(self, shares: Mapping[str, int]) -> None:
        self.shares = dict(shares)
        self._owed = dict.fromkeys(self.shares, 0)

    def choose(self, able: Container[str]) -> str | None:
        """The version for the next request, among those ``able`` to take it; None if none is.

        What an unable version would have had goes to the others, a version without a share last.
        """
        candidates = [version for version in self.shares if version in able]
        weights = {version: self.shares[version] for version in candidates}
        if not any(weights.values()):
            return candidates[0] if candidates else None
        for version, weight in weights.items():
            self._owed[version] += weight
        chosen = max((v for v in candidates if weights[v]), key=lambda v: self._owed[v])
        self._owed[chosen] -= sum(weights.values())
        return chosen


def with_share(shares: Mapping[str, int], version: str, share: int) -> dict[str, int]:
    """``shares`` with ``version`` at ``share`` percent and the others scaled to the rest.

    Args:
        shares: percent by version, with or without ``version``.
        version: whose share is given.
        share: 0 to 100; taken as 100 where there is no other version.
    """
    others = {name: old for name, old in shares.items() if name != version}
    if not others:
        return {version: WHOLE}
    return {**_scaled(others, WHOLE - share), version: share}


def without_share(shares: Mapping[str, int], version: str) -> dict[str, int]:
    """``shares`` without ``version``, the others scaled to the whole.

    Where they have none of it, the last one gets all.
    """
    return _scaled({name: share for name, share in shares.items() if name != version}, WHOLE)


def _scaled(shares: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole percents in proportion to ``shares`` that sum to ``total`` (largest remainders)."""
    weight = sum(shares.values())
    if not shares:
        return {}
    if weight == 0:
        *_, last = shares
        return dict.fromkeys(shares, 0) | {last: total}
    exact = {name: share * total / weight for name, share in shares.items()}
    whole = {name: int(part) for name, part in exact.items()}
    most_left = sorted(exact, key=lambda name: exact[name] - whole[name], reverse=True)
    for name in most_left[: total - sum(whole.values())]:
        whole[name] += 1
    return whole
