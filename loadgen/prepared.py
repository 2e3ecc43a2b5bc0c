"""A plan made ready: its servers are there and have the model, its requests are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.endpoint import Endpoint, Resolve, Source, parse, resolve
from loadgen.errors import LoadError
from loadgen.form import Form
from loadgen.plan import Plan
from loadgen.preflight import only_model, require_model
from loadgen.requests import Request, render


@dataclass(frozen=True, slots=True)
class Prepared:
    """What all measurements of a plan share."""

    sources: tuple[Source, ...]
    form: Form
    requests: tuple[Request, ...]


def prepare(plan: Plan) -> Prepared:
    """Ask every endpoint for the model, and render the requests.

    Raises:
        LoadError: an endpoint is not there or has no such model, or there is nothing to send.
    """
    sources = tuple(parse(text, plan.protocol) for text in plan.endpoints)
    form = Form(
        plan.protocol,
        _model(plan, sources),
        plan.images_per_request,
        plan.priority,
        tuple(plan.headers.items()),
        any(image.right is not None and bool(image.right.labels) for image in plan.images),
    )
    return Prepared(sources, form, render(plan.images, form))


def addresses_now(source: Source, resolve: Resolve = resolve) -> tuple[Endpoint, ...]:
    """What a source stands for now.

    Raises:
        LoadError: its name has no address.
    """
    try:
        found = source.addresses(resolve)
    except OSError as error:
        raise LoadError(
            f"{source.endpoint.host} has no address: {error.strerror or error}"
        ) from None
    if not found:
        raise LoadError(f"{source.endpoint.host} has no address")
    return found


def _model(plan: Plan, sources: Sequence[Source]) -> str:
    """The model's name, once it is known that all endpoints have it."""
    model = plan.model
    for source in sources:
        addresses = addresses_now(source)
        model = model or only_model(addresses[0], plan.headers)
        _require_somewhere(addresses, model, plan)
    return model or ""


def _require_somewhere(addresses: Sequence[Endpoint], model: str, plan: Plan) -> None:
    """One address of a name is enough: others may be pods that are starting or stopping."""
    for place, address in enumerate(addresses):
        try:
            require_model(address, model, plan.protocol, plan.headers)
        except LoadError:
            if place == len(addresses) - 1:
                raise
        else:
            return
