"""The gRPC messages, compiled from inference.proto, in a descriptor pool of their own.

Servers' and other clients' stubs declare the same names, and a process may hold each name only
once in protobuf's common pool.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "/inference.GRPCInferenceService"
INFER = f"{SERVICE}/ModelInfer"
READY = f"{SERVICE}/ModelReady"


def _load() -> DescriptorPool:
    compiled = files("loadgen").joinpath("inference.binpb").read_bytes()
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load()


def message(name: str) -> Any:
    """The class of a message of inference.proto, such as ``ModelInferRequest``."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))
