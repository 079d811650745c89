"""The queue: members take turns, what is foretold comes true, limits hold, cancelling is final."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from pipeline.domain import Limits, StepKind, StepState
from pipeline.errors import InvalidRequest
from pipeline.queue import Line, Waiting, forecast
from pipeline.store import Store


async def ask(
    store: Store, member: str, *, depth: int = 0, guild: str = "1", client: str = "bot", name: str = ""
) -> int:
    """Ask for a session; return its first step."""
    session = await store.create_session(
        client=client,
        owner=member,
        request=name or f"{member} {random.random()}",
        prompt="a hat",
        negative_prompt="",
        seed=1,
        width=64,
        height=64,
        steps=1,
        guidance=1.0,
        depth=depth,
        guild=guild,
    )
    return (await store.steps(session.id))[0].id


async def work_off(store: Store) -> list[tuple[int, str]]:
    """Run the queue one by one; return (step, member) in the order of the turns."""
    order = []
    while (step := await store.claim("bot")) is not None:
        order.append((step.id, step.asked_by))
        await store.finish(step.id, png=b"png", model="m", notes=())
    return order


async def test_nobody_waits_for_more_than_one_step_of_each_other_member(store: Store) -> None:
    for number in range(4):  # who asks first asks for everything first
        for _ in range(number + 2):
            await ask(store, f"m{number}", depth=1)
    order = await work_off(store)
    assert len(order) == 2 * (2 + 3 + 4 + 5)
    ahead: dict[str, Counter[str]] = {}
    for _, member in order:
        for other in ahead:
            if other != member:
                ahead[other][member] += 1
        assert max(ahead.get(member, Counter({"": 0})).values(), default=0) <= 1
        ahead[member] = Counter()


async def test_a_newcomer_goes_before_who_was_served_already(store: Store) -> None:
    for _ in range(3):
        await ask(store, "early")
    first = await store.claim("bot")
    assert first is not None
    late = await ask(store, "late")
    following = await store.claim("bot")
    assert following is not None
    assert following.id == late


async def test_priority_goes_first_in_its_own_server_only(store: Store) -> None:
    plain = [await ask(store, "plain") for _ in range(2)]
    urgent = [await ask(store, "urgent") for _ in range(2)]
    elsewhere = await ask(store, "urgent", guild="2")
    await store.set_priority("1", "urgent", True)
    await store.set_priority("1", "urgent", True)
    assert [step for step, _ in await work_off(store)] == [*urgent, plain[0], elsewhere, plain[1]]
    await store.set_priority("1", "urgent", False)
    plain, urgent = [await ask(store, "plain")], [await ask(store, "urgent")]
    assert [step for step, _ in await work_off(store)] == [*urgent, *plain]


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_foretold_comes_true(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    await ask(store, "m0")
    await work_off(store)  # somebody has been served before
    for _ in range(12):
        await ask(store, f"m{chance.randint(0, 3)}", depth=chance.randint(0, 2))
    await store.set_priority("1", "m2", seed % 2 == 0)
    running = await store.claim("bot")
    assert running is not None
    line = await store.line("bot")
    told = forecast(line, slots=1, now=datetime.now(UTC).timestamp())
    assert set(told) == {step.step_id for step in line.steps} - {running.id}
    await store.finish(running.id, png=b"png", model="m", notes=())
    order = [step for step, _ in await work_off(store)]
    assert order == sorted(told, key=lambda step: told[step].ahead)


def waiting(number: int, member: str, *, parent: int | None = None, since: float | None = None) -> Waiting:
    kind = StepKind.GENERATE if parent is None else StepKind.RECURSE
    return Waiting(number, 1, parent, kind, member, "", False, since)


def test_times_are_added_up_over_the_slots_and_unknown_ones_are_said_to_be() -> None:
    steps = (
        waiting(1, "a", since=90.0),
        waiting(2, "b"),
        waiting(3, "a", parent=1),
        waiting(4, "c"),
        waiting(5, "b", parent=2),
    )
    seconds = {StepKind.GENERATE: 20.0, StepKind.RECURSE: 60.0}
    told = forecast(Line(steps, {"a": 90.0}, seconds), slots=1, now=100.0)
    # 10 seconds are left of the first; then b and c, who have waited, then a's and b's second steps.
    assert {key: (value.ahead, value.starts, value.ends) for key, value in told.items()} == {
        2: (0, 10.0, 30.0),
        4: (1, 30.0, 50.0),
        3: (2, 50.0, 110.0),
        5: (3, 110.0, 170.0),
    }
    two = forecast(Line(steps, {"a": 90.0}, seconds), slots=2, now=100.0)
    assert [two[number].starts for number in (2, 4, 3, 5)] == [0.0, 10.0, 20.0, 30.0]
    # Without a measure for recursions: what comes after one is not known, and nobody pretends.
    unsure = forecast(Line(steps, {"a": 90.0}, {StepKind.GENERATE: 20.0}), slots=1, now=100.0)
    assert (unsure[3].starts, unsure[3].ends) == (50.0, None)
    assert (unsure[5].ahead, unsure[5].starts, unsure[5].ends) == (3, None, None)
    # Longer than usual already: it is not foretold to have ended in the past.
    late = forecast(Line((waiting(1, "a", since=0.0), waiting(2, "b")), {}, seconds), slots=1, now=100.0)
    assert late[2].starts == 2.0


async def test_durations_are_measured_and_kept(store: Store) -> None:
    await ask(store, "a", depth=1)
    assert (await store.line("bot")).seconds == {}
    await store.claim("bot")
    await store.finish(1, png=b"png", model="m", notes=())
    await ask(store, "b")
    line = await store.line("bot")
    assert set(line.seconds) == {StepKind.GENERATE}
    assert 0 <= line.seconds[StepKind.GENERATE] < 60
    assert {step.kind for step in line.steps} == {StepKind.GENERATE, StepKind.RECURSE}


async def test_limits_count_what_waits_and_what_a_day_has_had(database_url: str) -> None:
    store = Store(database_url, limits=Limits(member_waiting=4, server_waiting=6))
    try:
        await ask(store, "a", depth=1)
        await ask(store, "a", depth=1)
        with pytest.raises(InvalidRequest, match="At most 4 pictures of yours"):
            await ask(store, "a")
        assert len(await store.sessions()) == 2  # nothing of what was refused is there
        with pytest.raises(InvalidRequest, match="At most 4"):
            await store.add_step(parent_id=1, kind=StepKind.RECURSE, asked_by="a", origin="o")
        await ask(store, "a", guild="2")  # another server is another matter
        await ask(store, "b", depth=1)
        with pytest.raises(InvalidRequest, match="6 pictures may be waiting in this server"):
            await store.add_step(parent_id=1, kind=StepKind.RECURSE, asked_by="c", origin="p")
        await work_off(store)
        await ask(store, "a", depth=1)
        await work_off(store)
        # A server may be stricter than everywhere, not laxer.
        await store.set_preference("server", "1", "member_waiting", "50")
        with pytest.raises(InvalidRequest, match="At most 4"):
            await ask(store, "a", depth=4)
        await store.set_preference("server", "1", "member_daily", "6")
        with pytest.raises(InvalidRequest, match="At most 6 pictures a day"):
            await ask(store, "a")
        await store.set_preference("server", "1", "member_daily", None)
        again = await ask(store, "a", name="the same")
        assert await ask(store, "a", name="the same") == again
    finally:
        await store.aclose()


async def test_many_at_once_do_not_slip_through_a_limit(database_url: str) -> None:
    store = Store(database_url, limits=Limits(member_waiting=3))
    try:
        results = await asyncio.gather(*(ask(store, "a") for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 3
    finally:
        await store.aclose()


async def test_a_cancelled_step_stays_cancelled_whatever_its_work_still_does(store: Store) -> None:
    first = await ask(store, "a", depth=1)
    await store.claim("bot")
    assert await store.cancel(first, why="Cancelled by someone.") == (first, first + 1)
    await store.finish(first, png=b"late", model="m", notes=())
    await store.fail(first, "late")
    step = await store.step(first)
    assert (step.state, step.error) == (StepState.CANCELLED, "Cancelled by someone.")
    assert await store.picture(first) is None
    assert await store.claim("bot") is None
    assert await store.recover("bot") == 0
    # It is shown once, and what hung on it is not.
    assert [step.id for step in await store.undelivered("bot")] == [first]
    assert not await store.retry(first + 1)
    assert await store.retry(first)
    assert [step.state for step in await store.steps(step.session_id)] == [StepState.QUEUED] * 2
