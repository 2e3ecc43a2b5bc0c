"""An ONNX Runtime session on the CPU, and its failures as one line each."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from onnxruntime.capi import (
    onnxruntime_pybind11_state as ort_state,
)

from model_store.errors import one_line

ONNXRUNTIME_VERSION: str = onnxruntime.__version__

# ONNX Runtime's exceptions share no base below Exception.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    ort_state.EPFail,
    ort_state.EngineError,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoModel,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
    ValueError,
)

_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_CPP_PLACE = re.compile(r"/\S+\.(?:cc|h|cpp):\d+ .*?\)(?: const)? (?=\S)")
_LONGEST_REASON = 300
_LOG_FATAL_ONLY = 4


class Session(Protocol):
    """What is used of ``onnxruntime.InferenceSession``, which ships no types."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[object]:
        """The named outputs for the named inputs; arrays, but for exotic networks."""


def open_session(model: Path | bytes) -> Session:
    """Load a network, given as a file or as its serialised bytes, for the CPU.

    Threads do not spin while idle, because packaging shares its cores with whoever runs beside it.

    Raises:
        Exception: one of ``RUNTIME_ERRORS``, when ONNX Runtime refuses the network.
    """
    options = onnxruntime.SessionOptions()
    # Every failure is raised as well; the copy on stderr would break "one line".
    options.log_severity_level = _LOG_FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    network = model if isinstance(model, bytes) else str(model)
    session: Session = onnxruntime.InferenceSession(
        network, options, providers=["CPUExecutionProvider"]
    )
    return session


def reason(error: Exception) -> str:
    """The text of an ONNX or ONNX Runtime exception as one line, without C++ places."""
    text = one_line(error)
    text = _CPP_PLACE.sub("", _CODE.sub("", text))
    text = re.sub(r"^Load model from \S+ failed:\s*", "", text)
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
