"""A closed loop of gRPC clients that keeps asking until told to stop, and keeps every outcome."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

from predictor.protocol.messages import SERVICE, message

WAIT_S = 60
OK, LOST, REFUSED = "OK", "UNAVAILABLE", "refused"
BROKEN = (LOST, REFUSED)  # what a connection does not survive


def image_request(model: str, image: bytes) -> Any:
    """A ModelInferRequest with one encoded image."""
    request = message("ModelInferRequest")(model_name=model)
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(image)
    return request


def best_label(answer: Any) -> str:
    """Of the first image of a ModelInferResponse."""
    place = [output.name for output in answer.outputs].index("labels")
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[place]
        return str(raw[4 : 4 + int.from_bytes(raw[:4], "little")], "utf-8")
    return str(answer.outputs[place].contents.bytes_contents[0], "utf-8")


class GrpcLoad:
    """``clients`` connections on an event loop in a thread, each asking again when answered.

    An outcome is the name of a gRPC code, or ``wrong`` for an answer that ``right`` does not take,
    or ``refused`` for a connection or a call that a pod which stops has not taken; whoever was
    refused asks no more.
    """

    def __init__(
        self, address: str, request: Any, clients: int, right: Callable[[Any], bool]
    ) -> None:
        self._address = address
        self._request = request
        self._right = right
        self.outcomes: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()  # that answered
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._life(clients)))
        self._thread.start()

    def wait_for(self, count: int, outcome: str = OK) -> None:
        """Return once ``count`` more of ``outcome`` have come."""
        with self._changed:
            target = self.outcomes[outcome] + count
            assert self._changed.wait_for(lambda: self.outcomes[outcome] >= target, WAIT_S), (
                f"{count} more {outcome} did not come: {self.outcomes}"
            )

    def stop(self) -> Counter[str]:
        """Let everybody finish; all outcomes."""
        self._stopping.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "a call was never answered"
        return self.outcomes

    async def _life(self, clients: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        # A pool of its own, or all clients would share one connection, and so one frontend.
        options = [("grpc.use_local_subchannel_pool", 1)]
        outcome = ""
        while outcome != REFUSED and not self._stopping.is_set():
            async with grpc.aio.insecure_channel(self._address, options) as channel:
                outcome = await self._ask_on(channel)

    async def _ask_on(self, channel: grpc.aio.Channel) -> str:
        """Ask on one channel until it breaks or all is over; the last outcome."""
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=message("ModelInferRequest").SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )
        outcome = ""
        while outcome not in BROKEN and not self._stopping.is_set():
            version = ""
            try:
                answer = await call(self._request, timeout=WAIT_S)
            except grpc.aio.AioRpcError as error:
                outcome = error.code().name
                details = error.details() or ""
                if "failed to connect" in details or "the pod is stopping" in details:
                    outcome = REFUSED
            else:
                outcome, version = OK if self._right(answer) else "wrong", answer.model_version
            self._note(outcome, version)
        return outcome

    def _note(self, outcome: str, version: str) -> None:
        with self._changed:
            self.outcomes[outcome] += 1
            if version:
                self.versions[version] += 1
            self._changed.notify_all()
