"""The rollout's step that is tried again, stopped, or dies, and the exit handler after it."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest

from model_store.errors import RegistryDownError
from model_store.registry.promotion import set_alias
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from pipelines import tasks
from pipelines.steps import conclusion, ending, rolling_out
from pipelines.steps.place import Where
from pipelines.steps.registration import RUN_TAG
from rollout.errors import RolloutError
from rollout.handover import LONGEST_S
from rollout.state import Outcome, Phase, begin, read_state
from rollout.types import Version
from tests.conftest import colour_network, package_colours
from tests.registry.server import free_port
from tests.rollout.world import CANDIDATE, VERSION, KilledError, Quality, World, plan

RUN = "run 1"
STORAGE = "s3://models/{name}-v{version}/onnx"  # whose number nobody finds who does not know it


class Shop(World):
    """A world whose time is that of the step, and a registry with the champion and a candidate."""

    registry: Registry

    def carry_out(self, replaces: str = "1") -> rolling_out.Rolled:
        """The step, as KFP tries it."""
        return rolling_out.carry_out(
            VERSION.uri,
            plan(storage=STORAGE).model_dump_json(),
            Where(),
            self.registry.uri,
            self.said.append,
            run=RUN,
            replaces=replaces,
        )

    def conclude(self, registry: str = "") -> conclusion.Conclusion:
        """The exit handler."""
        place = {"service": "digits"}
        run = tasks.Run("digits", registry or self.registry.uri, RUN)
        return conclusion.conclude(
            run.name, run.key, run.registry, place, "a step died", self.said.append
        )

    @property
    def state(self):
        """What the ledger holds."""
        assert self.kept is not None
        return read_state(self.kept.state)

    @property
    def remembered(self) -> Version | None:
        """What an InferenceService remembers of its rollout."""
        return None if self.launched_at is None else VERSION

    def elsewhere(self) -> None:
        """The step's process has died on another machine: nobody can see it from here."""
        state = self.state.but(process="")
        self.write(state.text(), self.kept.revision)


class Clock:
    """The world's time; it says to stop after so long."""

    def __init__(self, world: World, longest_s: float | None = None) -> None:
        self._world = world
        self._end = None if longest_s is None else world.clock + longest_s
        self._stopped = False

    def now(self) -> float:
        """See Time."""
        return self._world.now()

    def wait(self, seconds: float) -> bool:
        """See Time."""
        self._world.wait(0 if self._stopped else seconds)
        return self._stopped or (self._end is not None and self._world.clock >= self._end)

    def stop(self) -> None:
        """See WallTime."""
        self._stopped = True


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """One in which version 2 is to replace version 1."""
    world = Shop()
    world.said, world.plans = [], []
    world.registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", create=True)
    package = package_colours(tmp_path, colour_network(), "digits")
    register(world.registry, package, alias="champion")
    register(world.registry, package, alias="challenger", tags={RUN_TAG: RUN})

    @contextmanager
    def open_parts(_where, _name, plan, _registry, **_named):
        world.plans.append(plan)
        yield world.parts

    for module in (rolling_out, ending):
        monkeypatch.setattr(module, "open_parts", open_parts)
        monkeypatch.setattr(module, "WallTime", lambda longest_s=None: Clock(world, longest_s))
    monkeypatch.setattr(ending, "open_ledger", lambda _where, _name: world)
    monkeypatch.setattr(ending, "left_candidate", lambda _where, _name: world.remembered)
    handler = signal.getsignal(signal.SIGTERM)
    yield world
    signal.signal(signal.SIGTERM, handler)


def test_what_was_taken_back_gets_no_second_chance_by_a_step_that_is_tried_again(shop):
    """It is told once more how it ended; no request goes to it."""
    shop.candidate_does = Quality(errors=0.5)
    first = shop.carry_out()
    assert not first.promoted
    calls = list(shop.calls)

    again = shop.carry_out()

    assert (again.promoted, again.why) == (False, first.why)
    assert shop.calls == calls


def test_a_step_that_is_tried_again_waits_for_the_lease_of_the_one_that_died(shop):
    """On another node, where nobody can see that it has; then it goes on to the end."""
    shop.kill_at = 40
    with pytest.raises(KilledError):
        shop.carry_out()
    shop.kill_at = -1
    shop.elsewhere()
    died = shop.clock
    assert not shop.state.done

    assert shop.carry_out().promoted
    assert died < shop.clock
    assert shop.served == CANDIDATE


def test_the_exit_handler_takes_back_what_died_with_a_share_of_the_requests(shop):
    """Once the lease of the dead one has ended."""
    killed_in_a_step(shop)
    assert shop.percent == 10
    died = shop.clock

    found = shop.conclude()

    assert (shop.percent, shop.state.outcome) == (0, Outcome.ABORTED)
    assert shop.clock - died < LONGEST_S + 15
    assert (found.outcome, found.left) == ("aborted", "")
    assert shop.registry.aliases("digits") == {"champion": "1"}
    assert (shop.state.phase, shop.tag) == (Phase.DONE, "aborted: it was asked for")
    assert {each.storage for each in shop.plans} == {STORAGE}


def test_the_exit_handler_takes_requests_back_without_the_registry_and_records_it_later(shop):
    """A registry that is away may be what has failed the run; KFP tries the step again."""
    killed_in_a_step(shop)
    shop.out_of_reach = {"registry"}

    with pytest.raises(RegistryDownError):
        shop.conclude(f"http://127.0.0.1:{free_port()}")

    assert (shop.percent, shop.state.outcome) == (0, Outcome.ABORTED)
    assert (shop.state.phase, shop.tag) == (Phase.RECORDING, "")
    shop.out_of_reach = set()
    found = shop.conclude()
    assert (found.outcome, found.why, found.left) == ("aborted", "it was asked for", "")
    assert (shop.state.phase, shop.tag) == (Phase.DONE, "aborted: it was asked for")
    assert shop.registry.aliases("digits") == {"champion": "1"}


def test_the_exit_handler_takes_back_what_the_place_alone_remembers(shop):
    """Somebody has deleted the rollout's state; the candidate still had its share."""
    killed_in_a_step(shop)
    shop.kept = None
    found = shop.conclude()
    assert (shop.percent, shop.launched_at) == (0, None)
    assert (found.outcome, found.why, found.left) == ("failed", "a step died", "")
    assert shop.registry.aliases("digits") == {"champion": "1"}


def test_what_the_place_alone_remembers_and_does_not_give_up_is_left(shop):
    """And stays the challenger."""
    killed_in_a_step(shop)
    shop.kept, shop.refuses = None, {"withdraw"}
    found = shop.conclude()
    assert found.left == "its rollout could not be ended: withdraw is refused"
    assert shop.registry.aliases("digits")["challenger"] == CANDIDATE


def test_what_cannot_be_ended_is_said_though_the_registry_is_away_as_well(shop):
    """Whoever reads the step's log has to know that the candidate may get requests."""
    killed_in_a_step(shop)
    shop.out_of_reach = {"place"}
    with pytest.raises(RegistryDownError):
        shop.conclude(f"http://127.0.0.1:{free_port()}")
    assert "a rollout of digits could not be ended" in shop.said[-1]


def test_a_run_that_was_refused_is_not_failed_by_a_place_that_is_away(shop):
    """The gate said no: there is no rollout that could be left."""
    tasks.Run("digits", shop.registry.uri, RUN).record.tag({"millrace.outcome": "refused"})
    shop.out_of_reach = {"ledger"}
    found = shop.conclude()
    assert (found.outcome, found.left) == ("refused", "")


def test_what_cannot_be_ended_is_told_with_the_command_and_stays_the_challenger(
    shop, capsys, tmp_path
):
    """The exit handler does not try for ever, and fails; the registry does not claim it is gone."""
    killed_in_a_step(shop)
    shop.out_of_reach = {"place"}

    with pytest.raises(SystemExit):
        tasks.conclude(
            tasks.Run("digits", shop.registry.uri, RUN), {"service": "shop"}, "it died", ""
        )

    assert "`millrace rollout abort shop`" in capsys.readouterr().out
    record = tasks.Run("digits", shop.registry.uri, RUN).record
    assert record.ended
    assert record.tags()["millrace.outcome"] == "failed"
    assert shop.registry.aliases("digits")["challenger"] == CANDIDATE


def test_a_run_is_promoted_though_a_step_failed_after_its_rollout(shop):
    """What has all of the traffic is not called failed."""
    assert shop.carry_out().promoted
    found = shop.conclude()
    assert found.outcome == "promoted"
    assert "a step died" in found.why


def test_a_candidate_replaces_no_other_version_than_it_was_judged_against(shop):
    """Another run was quicker: nothing is begun."""
    shop.served = "3"
    with pytest.raises(RolloutError, match=r"compared with version 1, but .* serves version 3"):
        shop.carry_out()
    assert (shop.kept, shop.calls) == (None, [])
    shop.served = "1"
    assert shop.carry_out().promoted


def test_a_version_that_nobody_named_may_be_replaced(shop):
    """There was no champion, or somebody compared with another one on purpose."""
    shop.served = "3"
    shop.carry_out(replaces="")
    assert shop.calls[0] == "launch"


def test_sigterm_takes_the_candidates_share_away_and_the_next_try_sets_it_again(shop):
    """KFP does not always run an exit handler after it."""
    shop.at = {60.0: lambda: os.kill(os.getpid(), signal.SIGTERM)}
    with pytest.raises(RolloutError, match="was told to stop in step 1 of 2: 10 %"):
        shop.carry_out()
    assert shop.calls[-2:] == ["share 10", "share 0"]
    assert (shop.percent, shop.state.phase, shop.state.holder) == (0, Phase.STEP, "")
    assert "all requests are back at version 1" in shop.said[-1]

    assert shop.carry_out().promoted
    assert shop.calls.count("share 10") == 2


def test_sigterm_tries_again_to_take_the_share_away_for_as_long_as_a_pod_has(shop):
    """A lost connection must not leave the candidate its requests."""

    def stop() -> None:
        shop.takes = 2  # each order is through by its second time
        shop.given = 0
        os.kill(os.getpid(), signal.SIGTERM)

    shop.at = {60.0: stop}
    with pytest.raises(RolloutError, match="was told to stop in step 1"):
        shop.carry_out()
    assert shop.percent == 0
    assert "all requests are back at version 1" in shop.said[-1]


def test_a_share_that_stays_though_the_step_is_stopped_is_told(shop):
    """With what is to be done about it."""

    def stop() -> None:
        shop.out_of_reach = {"place"}
        os.kill(os.getpid(), signal.SIGTERM)

    shop.at = {60.0: stop}
    with pytest.raises(RolloutError, match="was told to stop in step 1"):
        shop.carry_out()
    assert shop.percent == 10
    assert shop.said[-1].startswith("models:/digits/2 may keep its share of the requests, abort")


def killed_in_a_step(shop: Shop) -> None:
    """The step dies on another node while the candidate has its share."""

    def die() -> None:
        raise KilledError

    shop.at = {60.0: die}
    with pytest.raises(KilledError):
        shop.carry_out()
    assert shop.state.phase is Phase.STEP
    shop.elsewhere()


def test_the_last_step_sees_who_is_champion_and_changes_nothing(shop, capsys):
    """It may run after somebody rolled back."""
    run = tasks.Run("digits", shop.registry.uri, RUN)
    with pytest.raises(SystemExit, match="version 1 is the champion"):
        tasks.promote(run, VERSION.uri)
    assert shop.registry.aliases("digits")["champion"] == "1"
    assert "millrace.outcome" not in run.record.tags()

    set_alias(shop.registry, "digits", "champion", CANDIDATE)
    tasks.promote(run, VERSION.uri)
    assert run.record.tags()["millrace.outcome"] == "promoted"


def test_another_rollout_of_the_model_is_left_alone(shop):
    """The exit handler ends that of its own version only."""
    other = begin(Version("digits", "7", "models:/digits/7"), "1", plan(), shop.clock)
    shop.write(other.text(), None)
    assert shop.conclude().outcome == "failed"
    assert shop.state.wish is None
