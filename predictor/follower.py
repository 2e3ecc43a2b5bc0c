"""Watches where an alias of the registry points, and fetches what it is moved to.

A process of its own beside the supervisor, which holds no model and stays light: MLflow is large,
and a download may take long or break off. It changes nothing in the pod by itself: it tells the
supervisor which package there is now, and is told what became of it.
"""

from __future__ import annotations

import logging
import select
from pathlib import Path

from model_store.errors import (
    ModelStoreError,
    NotRegisteredError,
    RegistryDownError,
    RegistryError,
    one_line,
)
from model_store.registry.address import shown
from model_store.registry.cache import Cache
from model_store.registry.fetch import fetch_package
from model_store.registry.reference import ModelReference, parse_model
from model_store.registry.versions import RegisteredVersion, Registry
from predictor.control import Control, Message
from predictor.follower_order import FollowerOrder
from predictor.metrics import registry_is
from predictor.process import begin_child, enter_process, told

logger = logging.getLogger(__name__)


class Follower:
    """Follows one alias.

    Args:
        order: which one.
        control: the supervisor's.
    """

    def __init__(self, order: FollowerOrder, control: Control) -> None:
        self._order = order
        self._control = control
        self._reference: ModelReference = parse_model(order.uri)
        self._cache = Cache(Path(order.cache))
        self._where = shown(order.registry)
        self._registry: Registry | None = None
        # What has been dealt with, well or badly: it is not tried again until the alias moves.
        self._dealt_with = (order.version, "")
        self._state = ""  # as last told

    def run(self) -> None:
        """Look at the alias again and again until the supervisor is gone."""
        while True:
            self.look()
            readable, _, _ = select.select([self._control.socket], [], [], self._order.interval_s)
            if readable and self._control.receive() is None:
                return

    def look(self) -> None:
        """See where the alias points now; if it was moved, have the pod follow."""
        try:
            found = self._found()
            if found is not None and self._is_news(found):
                self._follow(found)
        except RegistryError as error:
            self._say("down", told(error))
            return
        if found is not None:
            self._say("up", "")

    def _found(self) -> RegisteredVersion | None:
        try:
            registry = self._connected()
            registry.check_there()
            return registry.find(self._reference, tell_what_exists=False)
        except NotRegisteredError as error:
            self._say("gone", told(error))
            return None

    def _connected(self) -> Registry:
        if self._registry is None:
            self._registry = Registry(self._order.registry)
        return self._registry

    def _is_news(self, found: RegisteredVersion) -> bool:
        version, sha256 = self._dealt_with
        return found.version != version or (sha256 not in ("", found.sha256))

    def _follow(self, found: RegisteredVersion) -> None:
        """Have the pod serve ``found``, unless it is unfit for that.

        Raises:
            RegistryDownError: the registry does not answer, or no longer; to be tried again.
        """
        logger.info("%s points to version %s", self._reference, found.version)
        try:
            package = fetch_package(found, self._connected(), self._cache)
        except RegistryDownError:
            raise
        except ModelStoreError as error:
            self._give_up(found, told(error))
        # Whoever registers a version must not be able to end whoever looks at it, again and again.
        except Exception as error:  # noqa: BLE001
            self._give_up(found, f"{type(error).__name__}: {one_line(error)[:200]}")
        else:
            self._hand_over(found, package.path)

    def _hand_over(self, found: RegisteredVersion, path: Path) -> None:
        content = {"path": str(path), "version": found.version}
        self._control.send(Message("moved", content))
        answer = self._control.receive()
        if answer is None:
            return
        self._dealt_with = (found.version, found.sha256)
        if answer.content["error"]:
            self._give_up(found, answer.content["error"])

    def _give_up(self, found: RegisteredVersion, why: str) -> None:
        self._dealt_with = (found.version, found.sha256)
        logger.error(
            "%s cannot be followed to version %s, and is not tried again until it moves: %s",
            self._reference,
            found.version,
            why,
        )

    def _say(self, state: str, problem: str) -> None:
        """Tell of a change, once: in the log, to Prometheus, and to whoever asks the pod.

        Args:
            state: ``up``; ``gone``, where the registry has no such alias any more; ``down``.
            problem: what the registry, or the way to it, said.
        """
        registry_is(self._order.model_name, up=state != "down")
        if state == self._state:
            return
        if problem:
            logger.warning("%s; what is loaded goes on being served", problem)
        elif self._state:
            logger.info("the registry %s answers, and has %s", self._where, self._reference)
        self._state = state
        self._control.send(Message("registry", {"state": state, "problem": problem}))


def main() -> None:
    """Entry of the process: ``python -m predictor.follower CONTROL_FD``."""
    control, start = begin_child()
    order = FollowerOrder(**start.content)
    enter_process("millrace: follower", order.log_level)
    try:
        Follower(order, control).run()
    except (BrokenPipeError, ConnectionResetError):
        return  # the supervisor is gone


if __name__ == "__main__":
    main()
