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

# ONNX Runtime's slower way in 8 bits, which clips nothing. With VNNI nothing is clipped anyway, and
# MobileNetV2 would lose all that 8 bits gain: 7.4 ms an image for 3.4.
EXACT_INT8 = ("session.x64quantprecision", "1")

_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_CPP_PLACE = re.compile(r"/\S+\.(?:cc|h|cpp):\d+ .*?\)(?: const)? (?=\S)")
_LONGEST_REASON = 300
_LOG_FATAL_ONLY = 4


class Session(Protocol):
    """What is used of ``onnxruntime.InferenceSession``, which ships no types."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[object]:
        """The named outputs for the named inputs; arrays, but for exotic networks."""


def saturates() -> bool:
    """Whether this CPU's fastest way to multiply uint8 by int8 clips what two products add up to.

    So it is on x86 with AVX2 or AVX-512 but no VNNI; answers in 8 bits would depend on the machine.
    """
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return "avx2" in flags and flags.isdisjoint({"avx512_vnni", "avx_vnni"})


def open_session(model: Path | bytes, threads: int | None = None) -> Session:
    """Load a network, given as a file or as its serialised bytes, for the CPU.

    Runs on all cores unless told how many ``threads``. They do not spin while idle, because
    packaging shares its cores with whoever runs beside it.

    Raises:
        Exception: one of ``RUNTIME_ERRORS``, when ONNX Runtime refuses the network.
    """
    options = onnxruntime.SessionOptions()
    # Every failure is raised as well; the copy on stderr would break "one line".
    options.log_severity_level = _LOG_FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    if saturates():
        options.add_session_config_entry(*EXACT_INT8)
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
