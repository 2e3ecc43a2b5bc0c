"""Which endpoints there are, and how they are followed."""

from __future__ import annotations

import asyncio

import pytest

from loadgen.endpoint import Endpoint, parse
from loadgen.errors import LoadError
from loadgen.fleet import Fleet


class FakePool:
    """Knows where it leads and whether it was closed."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = asyncio.Event()

    async def close(self) -> None:
        """Say so."""
        self.closed.set()


class Names:
    """A resolver that a test sets."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: list[str] | None = list(addresses)

    def __call__(self, _name: str, _port: int) -> list[str]:
        """The addresses there are at the moment."""
        if self.addresses is None:
            raise OSError("no such name")
        return self.addresses


def addresses(fleet: Fleet) -> list[str]:
    """Where it sends."""
    return [str(pool.endpoint) for pool in fleet.pools]


@pytest.mark.parametrize(
    ("text", "protocol", "expected"),
    [
        ("http://pod:80", "v2", "http://pod:80"),
        ("pod:8080", "v1", "http://pod:8080"),
        ("pod:8081", "grpc", "grpc://pod:8081"),
        ("grpc://pod", "grpc", "grpc://pod:8081"),
        ("https://pod/", "v2", "https://pod:443"),
        ("http://[::1]:80", "v2", "http://[::1]:80"),
    ],
)
def test_endpoints_are_written_as_people_do(text, protocol, expected):
    """With or without what can be guessed."""
    source = parse(text, protocol)

    assert str(source.endpoint) == expected
    assert not source.resolved


@pytest.mark.parametrize("text", ["", "http://", "http://a:99999", "ftp://a", "a b", "http://a/b"])
def test_anything_else_is_refused_with_what_to_write(text):
    """In one line."""
    with pytest.raises(LoadError, match="write http://host:port"):
        parse(text, "v2")


@pytest.mark.parametrize(("text", "protocol"), [("grpc://a:1", "v2"), ("http://a:1", "grpc")])
def test_an_endpoint_of_another_protocol_is_refused(text, protocol):
    """It would answer nothing that can be read."""
    with pytest.raises(LoadError, match="not spoken"):
        parse(text, protocol)


def test_a_name_stands_for_all_its_addresses_and_keeps_its_host():
    """Each gets a pool; requests still carry the name."""
    source = parse("dns+http://pods:8080", "v2")

    found = source.addresses(Names("10.0.0.2", "10.0.0.1", "10.0.0.1"))

    assert [str(endpoint) for endpoint in found] == ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]
    assert {endpoint.authority for endpoint in found} == {"pods:8080"}


def test_new_addresses_get_a_pool_and_gone_ones_are_drained():
    """Whoever listens hears of both; what stays keeps its pool."""
    names = Names("10.0.0.1", "10.0.0.2")

    async def follow() -> None:
        fleet = Fleet([parse("dns+http://pods:80", "v2")], FakePool, resolve=names, drain_s=0)
        heard: list[tuple[str, str]] = []
        await fleet.start()
        fleet.added = lambda pool: heard.append(("added", pool.endpoint.address))
        fleet.removed = lambda pool: heard.append(("removed", pool.endpoint.address))
        gone, kept = fleet.pools
        names.addresses = ["10.0.0.2", "10.0.0.3"]
        await fleet.refresh()
        assert addresses(fleet) == ["http://10.0.0.2:80", "http://10.0.0.3:80"]
        assert fleet.pools[0] is kept
        assert heard == [("removed", "10.0.0.1"), ("added", "10.0.0.3")]
        await gone.closed.wait()
        assert not kept.closed.is_set()
        await fleet.close()
        assert kept.closed.is_set()

    asyncio.run(follow())


def test_a_name_is_asked_again_and_again():
    """Without anybody calling."""
    names = Names("10.0.0.1")

    async def follow() -> None:
        came = asyncio.Event()
        fleet = Fleet([parse("dns+http://pods:80", "v2")], FakePool, resolve=names, every_s=0.01)
        await fleet.start()
        fleet.added = lambda _pool: came.set()
        names.addresses = ["10.0.0.1", "10.0.0.9"]
        await came.wait()
        await fleet.close()

    asyncio.run(follow())


def test_a_resolver_that_fails_costs_no_pod():
    """The addresses there were stay."""
    names = Names("10.0.0.1")

    async def follow() -> None:
        fleet = Fleet([parse("dns+http://pods:80", "v2")], FakePool, resolve=names)
        await fleet.start()
        for nothing in (None, []):
            names.addresses = nothing
            await fleet.refresh()
            assert addresses(fleet) == ["http://10.0.0.1:80"]
        await fleet.close()

    asyncio.run(follow())


def test_a_name_without_address_is_refused_at_the_start():
    """With the name."""
    names = Names()

    async def start() -> None:
        await Fleet([parse("dns+http://pods:80", "v2")], FakePool, resolve=names).start()

    with pytest.raises(LoadError, match="pods has no address"):
        asyncio.run(start())
