"""Which pool speaks a protocol."""

from __future__ import annotations

from collections.abc import Callable

from loadgen.endpoint import Endpoint
from loadgen.exchange import Pool
from loadgen.form import Form


def pool_maker(form: Form, timeout_s: float, connections: int) -> Callable[[Endpoint], Pool]:
    """Makes the pool of an endpoint; a protocol's module is imported where it is spoken."""
    if form.protocol == "grpc":
        from loadgen.grpc_pool import GrpcPool

        return lambda where: GrpcPool(where, timeout_s, connections, form.headers)
    from loadgen.http_pool import HttpPool

    return lambda where: HttpPool(where, timeout_s, connections)
