"""inference.proto against the stubs that clients have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from predictor.protocol.messages import POOL, SERVICE

PROTO = Path(__file__).parents[2] / "predictor" / "protocol" / "inference.proto"

# Each client's stubs in a process of their own: they declare the same names as each other.
DESCRIBE = """
import importlib, json, sys
from google.protobuf import descriptor_pb2
files = []
for name in sys.argv[1:]:
    file = descriptor_pb2.FileDescriptorProto()
    importlib.import_module(name).DESCRIPTOR.CopyToProto(file)
    files.append(file)

def fields(prefix, messages):
    for message in messages:
        path = f"{prefix}{message.name}"
        for field in message.field:
            yield path, field.name, [field.number, field.type, field.label]
        yield from fields(f"{path}.", message.nested_type)

found = {}
for file in files:
    for path, name, what in fields("", file.message_type):
        found.setdefault(path, {})[name] = what
services = [service for file in files for service in file.service]
methods = {m.name: [m.input_type, m.output_type] for s in services for m in s.method}
print(json.dumps({"messages": found, "methods": methods}))
"""
TRITON = ("tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2")
KSERVE = ("kserve.protocol.grpc.grpc_predict_v2_pb2",)
# KServe has the model's name where Triton has the repository's; the server reads either.
DIFFERENT_IN_KSERVE = {
    ("RepositoryModelLoadRequest", "model_name"),
    ("RepositoryModelUnloadRequest", "model_name"),
}


def described(*modules: str) -> dict[str, Any]:
    """Fields and methods of a client's stubs."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DESCRIBE, *modules], capture_output=True, check=True
    )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def field(path: str, name: str) -> list[int] | None:
    """Number, type and label of one of our own fields."""
    from google.protobuf.descriptor_pb2 import DescriptorProto

    message = DescriptorProto()
    POOL.FindMessageTypeByName(f"inference.{path}").CopyToProto(message)
    for candidate in message.field:
        if candidate.name == name:
            return [candidate.number, candidate.type, candidate.label]
    return None


@pytest.mark.parametrize("modules", [TRITON, KSERVE], ids=["tritonclient", "kserve"])
def test_every_field_both_know_has_the_same_number_and_type(modules):
    """So that whatever a client's own stubs write is read as it was meant."""
    theirs = described(*modules)["messages"]
    shared = 0
    for path, fields in theirs.items():
        try:
            POOL.FindMessageTypeByName(f"inference.{path}")
        except KeyError:
            continue
        for name, what in fields.items():
            ours = field(path, name)
            if ours is not None and (path, name) not in DIFFERENT_IN_KSERVE - {
                entry for entry in DIFFERENT_IN_KSERVE if modules == TRITON
            }:
                assert what == ours, (path, name)
                shared += 1

    assert shared > 40


def test_our_methods_take_and_give_what_tritons_clients_expect():
    """A method of another signature could not be called with their stubs."""
    theirs = described(*TRITON)["methods"]
    service = POOL.FindServiceByName(SERVICE)

    ours = {
        method.name: [f".{method.input_type.full_name}", f".{method.output_type.full_name}"]
        for method in service.methods
    }

    assert {name: theirs[name] for name in ours} == ours


def test_the_compiled_description_is_that_of_the_proto_file(tmp_path):
    """Whoever edits inference.proto also runs ``make proto``."""
    out = tmp_path / "inference.binpb"
    command = ["--proto_path", str(PROTO.parent), "--descriptor_set_out", str(out), PROTO.name]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *command], check=True)

    assert out.read_bytes() == PROTO.with_suffix(".binpb").read_bytes()
