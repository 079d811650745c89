"""The order of the queue, foretold: who is before whom, and when it will be their turn."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain import StepKind


@dataclass(frozen=True, slots=True)
class Waiting:
    """An unfinished step: whose it is, and since when it runs (seconds since 1970), None while queued."""

    step_id: int
    session_id: int
    parent_id: int | None
    kind: StepKind
    member: str
    guild: str
    first: bool  # its member has priority
    running_since: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """All unfinished steps of a client, oldest first, and what foretelling their order takes."""

    steps: tuple[Waiting, ...]
    served: Mapping[str, float]  # by member: when a step of theirs was last begun, seconds since 1970
    seconds: Mapping[StepKind, float]  # by kind: how long such a step takes; a kind not seen yet is missing


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many steps begin before a queued one, and when it should begin and end; None = not known."""

    ahead: int
    starts: float | None  # seconds from now
    ends: float | None


def forecast(line: Line, *, slots: int, now: float) -> dict[int, Forecast]:
    """Foretell each queued step's turn, as `Store.claim` will give it; by step id.

    Of the members with something to run, who was served longest ago comes next; a member's steps keep their
    order, and a step waits for its parent. `slots` steps run at a time.
    """
    seconds, told = line.seconds, dict[int, Forecast]()
    # Turns are numbered: who was served later has the higher number, who never was has none.
    served = {member: turn for turn, member in enumerate(sorted(line.served, key=lambda m: line.served[m]))}
    turn = len(served)
    below: dict[int, list[Waiting]] = {}
    unfinished = {step.step_id for step in line.steps}
    ends: list[tuple[float, int, bool]] = []  # heap of the running: (end, step, whether that is known)
    ready: dict[tuple[bool, str], list[tuple[int, Waiting]]] = {}  # heaps of what can run
    turns: list[tuple[bool, int, int, str]] = []  # heap: (not first, last turn, oldest step, member)

    def enter(step: Waiting) -> None:
        key = (not step.first, step.member)
        own = ready.setdefault(key, [])
        heapq.heappush(own, (step.step_id, step))
        heapq.heappush(turns, (key[0], served.get(step.member, -1), own[0][0], step.member))

    for step in line.steps:
        if step.running_since is not None:
            usual = seconds.get(step.kind)
            # Longer than usual already: it may end at any moment, and a tenth is as good a guess as any.
            left = 1.0 if usual is None else max(usual / 10, usual - (now - step.running_since))
            heapq.heappush(ends, (now + left, step.step_id, usual is not None))
        elif step.parent_id in unfinished:
            below.setdefault(step.parent_id or 0, []).append(step)
        else:
            enter(step)
    clock, known = now, True
    while turns or ends:
        while ends and (len(ends) >= slots or not turns):
            clock, ended, sure = heapq.heappop(ends)
            known = known and sure
            for child in below.pop(ended, ()):
                enter(child)
        if not turns:
            continue
        late, last, oldest, member = heapq.heappop(turns)
        own = ready.get((late, member))
        if not own or own[0][0] != oldest or last != served.get(member, -1):
            continue  # an entry from before this member's last turn
        _, step = heapq.heappop(own)
        usual = seconds.get(step.kind)
        begins = clock - now if known else None
        finishes = None if begins is None or usual is None else begins + usual
        told[step.step_id] = Forecast(len(told), begins, finishes)
        served[member], turn = turn, turn + 1
        for key in ((False, member), (True, member)):
            if rest := ready.get(key):
                heapq.heappush(turns, (key[0], served[member], rest[0][0], member))
        heapq.heappush(ends, (clock + (1.0 if usual is None else usual), step.step_id, usual is not None))
    return told
