"""Loads and unloads, one at a time, each answered."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from predictor.child import Child
from predictor.control import Message
from predictor.model_control import STOPPING, ModelControl


class Asker(Child):
    """A frontend that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("frontend", 0)
        self.told: list[Message] = []

    def tell(self, message: Message) -> None:
        """Keep it."""
        self.told.append(message)


class Hanging(ModelControl):
    """Model control whose unloads never end."""

    def __init__(self) -> None:
        nothing = cast("Any", None)
        super().__init__(nothing, nothing, nothing, nothing)
        self.began = asyncio.Event()

    async def _unload(self, wanted: str) -> None:
        self.began.set()
        await asyncio.Event().wait()


def asked(number: int) -> Message:
    """A request to unload."""
    return Message("control", {"number": number, "action": "unload", "parameters": {}})


def test_a_stop_answers_whoever_is_served_waits_for_a_turn_or_comes_late():
    """All three are told that the pod is stopping."""

    async def life() -> list[tuple[int, str]]:
        control, frontend = Hanging(), Asker()
        control.ask(frontend, asked(1))
        control.ask(frontend, asked(2))
        await control.began.wait()
        control.close()
        control.ask(frontend, asked(3))
        while len(frontend.told) < 3:
            await asyncio.sleep(0)
        return [(told.content["number"], told.content["error"]) for told in frontend.told]

    assert sorted(asyncio.run(life())) == [(1, STOPPING), (2, STOPPING), (3, STOPPING)]
