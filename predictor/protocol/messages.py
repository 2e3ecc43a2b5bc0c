"""The gRPC service's messages, compiled from inference.proto.

They live in a descriptor pool of their own: KServe's and Triton's stubs declare the same names, and
a process may hold each name only once in protobuf's common pool.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"


def _load() -> DescriptorPool:
    compiled = files("predictor.protocol").joinpath("inference.binpb").read_bytes()
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _load()


def message(name: str) -> Any:
    """The class of a message of inference.proto, such as ``ModelInferRequest``."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))
