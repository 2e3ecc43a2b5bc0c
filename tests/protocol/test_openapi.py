"""The OpenAPI document: complete, valid, and true as far as that shows without a pod."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import pytest
import schemathesis

from predictor.classifier import ImageClassifier
from predictor.counts import StatisticsLayout
from predictor.metrics import FrontendMetrics
from predictor.preloaded import Preloaded
from predictor.protocol import oip, openapi, v1
from predictor.protocol.aside import Aside
from predictor.protocol.openapi_bodies import INFER_BODY, PREDICT_BODY
from predictor.protocol.openapi_served import Served
from predictor.protocol.rest import RestRoutes
from predictor.protocol.status import TABLE
from predictor.repository import Repository
from predictor.served_version import ServedVersion
from predictor.statistics import Statistics
from predictor.versions import Versions

INFER_EXAMPLES = INFER_BODY["content"]["application/json"]["examples"]
PREDICT_EXAMPLES = PREDICT_BODY["content"]["application/json"]["examples"]
SERVED = Served("cats", ("3",), top_k=5, max_images=8, repository_open=True)
CLOSED = Served("cats", ("3",), top_k=5, max_images=8, repository_open=False)
REFERENCE = re.compile(r'"\$ref": "#/components/(\w+)/(\w+)"')


@dataclass
class Slots:
    """A dispatcher as the routes' table sees it."""

    able: bool = True

    def admit(self, admitting: bool) -> None:
        """Nothing to take."""


class Silence:
    """A description as the routes' table sees it."""

    def server(self) -> dict[str, object]:
        """Nothing to say."""
        return {}


@pytest.fixture
def routes(colours):
    """The real table, of a model under a name that is not its package's."""
    layout = StatisticsLayout(1, 1, 4)
    versions = Versions("cats", 8, {colours.version: 100}, lambda: None)
    versions.add(
        ServedVersion(
            ImageClassifier(colours, "cats", Slots(), 1.0, Preloaded()),
            FrontendMetrics("cats", colours.version),
            Statistics(Statistics.create(layout), layout),
            0,
            ("cpu:0",),
            loaded=True,
        )
    )
    repository = Repository(versions, "", lambda message: None)
    return RestRoutes(
        versions, Silence(), repository, Preloaded(), Aside(), one_priority=True
    ).table()


@pytest.mark.parametrize("served", [SERVED, CLOSED], ids=["open", "closed"])
def test_the_document_is_valid(served):
    """By the JSON Schema of OpenAPI 3.1."""
    schemathesis.openapi.from_dict(openapi.document(served)).validate()


def test_every_route_is_described_and_nothing_else(routes):
    """Paths and methods of the document are those of the table."""
    served = Served("cats", ("1",), top_k=3, max_images=8, repository_open=False)

    described = openapi.operations(served)

    assert {path: set(methods) for path, methods in routes.items()} == {
        path: set(methods) for path, methods in described.items()
    }


def test_the_document_is_served_with_this_pods_names_and_limits(routes):
    """Model, version, top-k, most images and the closed repository come from the pod itself."""
    endpoint = routes["/openapi.json"]["GET"].endpoint
    with pytest.raises(StopIteration) as stopped:
        endpoint(None).send(None)
    answer = stopped.value.value

    served = Served("cats", ("1",), top_k=3, max_images=8, repository_open=False)
    assert openapi.document(served) == json.loads(answer.body)


def test_every_error_has_its_status_in_the_document():
    """But 404: a path that is in the document is served."""
    statuses = {status for _, status, _ in TABLE}

    assert statuses - {404} == set(openapi.REFUSALS)


def test_every_reference_has_its_component_and_every_component_a_reference():
    """Nothing dangles, nothing is left over."""
    document = openapi.document(SERVED)
    closed = openapi.document(CLOSED)
    components = document["components"]
    there = {
        (kind, name)
        for kind in ("schemas", "parameters", "headers", "responses")
        for name in components[kind]
    }

    found = REFERENCE.findall(json.dumps([document, closed]))

    assert there == set(found)


def test_operation_ids_are_unique():
    """Client generators make method names of them."""
    operations = [
        operation.id
        for methods in openapi.operations(SERVED).values()
        for operation in methods.values()
    ]

    assert [name for name, times in Counter(operations).items() if times > 1] == []


def test_a_closed_repository_promises_only_refusals():
    """501 is all there is without a token in the settings."""
    for path, methods in openapi.document(CLOSED)["paths"].items():
        for operation in methods.values():
            assert ("200" in operation["responses"]) == ("/repository/" not in path)
            assert ("501" in operation["responses"]) == ("/repository/" in path)


@pytest.mark.parametrize("name", INFER_EXAMPLES)
def test_an_infer_example_is_taken(name):
    """As it stands, by the parser itself."""
    example = INFER_EXAMPLES[name]["value"]

    assert len(oip.parse(json.dumps(example).encode(), {}, 8).request.images) == 1


@pytest.mark.parametrize("name", PREDICT_EXAMPLES)
def test_a_predict_example_is_taken(name):
    """With no error in any place."""
    example = PREDICT_EXAMPLES[name]["value"]

    (image,) = v1.parse("POST", {}, json.dumps(example).encode(), 8).images

    assert not isinstance(image, Exception)
