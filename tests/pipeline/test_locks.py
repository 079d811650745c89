"""Objects that members keep: known again by label and place, and not a pixel of them changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import locks, provenance
from pipeline.domain import Box, Detection, SceneObject, StepDone, StepFailed, StepKind, StepState
from pipeline.errors import InvalidRequest, NotFound
from tests.pipeline.test_engine import SmallPipeline, build, imagine, run, run_all


def thing(number: int, label: str, y1: int, x1: int, y2: int, x2: int, **more) -> SceneObject:
    mask = np.zeros((64, 64), np.bool_)  # [H, W]
    mask[y1:y2, x1:x2] = True
    return SceneObject(number, Detection(label, 0.9, Box(y1, x1, y2, x2), mask), label.lower(), **more)


def test_a_later_wish_overrules_an_earlier_one_for_the_same_object() -> None:
    kept, moved = thing(1, "Hat", 0, 0, 20, 20, kept=True), thing(4, "Hat", 2, 2, 22, 22, kept=False)
    other = thing(2, "Bag", 0, 0, 20, 20, kept=True)
    assert locks.kept_after([kept, other]) == (kept, other)
    assert locks.kept_after([kept, other, moved]) == (other,)
    again = replace(moved, kept=True)
    assert locks.kept_after([kept, moved, again]) == (again,)


def test_what_is_kept_takes_the_place_of_what_was_found_of_it() -> None:
    kept = thing(3, "Hat", 10, 10, 30, 30, kept=True, tags=("straw",))
    found = [
        thing(1, "Hat", 40, 40, 60, 60),  # another hat
        thing(2, "Hat", 12, 12, 32, 32),
        thing(3, "Badge", 15, 15, 18, 18),  # within the kept one
        thing(4, "Sky", 0, 0, 64, 64),
    ]
    result = locks.lock(found, [kept])
    assert [(item.number, item.detection.label, item.locked) for item in result] == [
        (1, "Hat", False),
        (2, "Hat", True),
        (3, "Badge", True),
        (4, "Sky", False),
    ]
    assert result[1].detection.mask is kept.detection.mask
    assert (result[1].tags, result[1].repaint, result[1].kept) == (("straw",), False, None)


def test_what_is_kept_and_not_found_again_is_added() -> None:
    kept = thing(1, "Hat", 10, 10, 30, 30, kept=True)
    result = locks.lock([thing(1, "Bag", 40, 40, 60, 60)], [kept])
    assert [(item.number, item.detection.label, item.locked) for item in result] == [
        (1, "Bag", False),
        (2, "Hat", True),
    ]
    assert locks.lock(result, []) == result


async def pixels(pipeline: SmallPipeline, step_id: int) -> np.ndarray:
    return provenance.decode(await pipeline.read(step_id)).astype(int)  # [H, W, 3]


async def test_no_pixel_of_a_kept_object_changes_below_it_whatever_lies_over_it(store) -> None:
    pipeline = build(store)
    session = await imagine(pipeline, depth=1)
    await run_all(pipeline, session.id)
    jacket = (await store.objects(2))[0]
    assert [item.number for item in await pipeline.keep(2, [1])] == [1]
    # A thing that covers half of the jacket would repaint it.
    pipeline.segmenter.objects.append(("Sky", 0.0, 0.0, 0.6, 1.0))
    third = await pipeline.recurse(2, asked_by="", origin="third")
    await run(pipeline, third.id)
    fourth = await pipeline.tweak(third.id, "4: clouds", asked_by="", origin="fourth")
    await run(pipeline, fourth.id)
    kept = locks.protected([replace(jacket, locked=True)])
    assert kept is not None
    assert kept.sum() > jacket.detection.mask.sum()
    before = await pixels(pipeline, 2)
    for step in (third, fourth):
        assert (await store.step(step.id)).state is StepState.DONE
        after = await pixels(pipeline, step.id)
        assert (before == after).all(axis=2)[kept].all()
        assert (before != after).any()
    assert [item.locked for item in await store.objects(third.id)] == [True, False, False, False]
    sky = (await store.objects(fourth.id))[3]
    changed = (await pixels(pipeline, third.id) != await pixels(pipeline, fourth.id)).any(axis=2)
    assert changed[sky.detection.mask & ~kept].mean() > 0.9

    # Released below the third picture, it changes there; beside it, below the second, it stays.
    await pipeline.keep(third.id, [])
    assert await pipeline.kept(third.id) == ()
    assert [item.name for item in await pipeline.kept(2)] == ["jacket"]
    fifth = await pipeline.recurse(third.id, asked_by="", origin="fifth")
    await run(pipeline, fifth.id)
    assert (before != await pixels(pipeline, fifth.id)).any(axis=2)[jacket.detection.mask].mean() > 0.9
    # Kept once more there, the wish is the inherited one again.
    await pipeline.keep(third.id, [1])
    assert await store.wishes([third.id]) == ()


async def test_a_tweak_of_a_kept_object_and_a_picture_all_kept_are_refused(store) -> None:
    pipeline = build(store)
    session = await imagine(pipeline, depth=0)
    await run_all(pipeline, session.id)
    assert [item.name for item in await pipeline.objects(1)] == ["Jacket", "Bag", "Hat"]
    await pipeline.keep(1, [2])
    step = await pipeline.tweak(1, "2: blue", asked_by="", origin="a")
    failed = (await run(pipeline, step.id))[-1]
    assert isinstance(failed, StepFailed)
    assert "Object 2 (Bag) is kept as it is here" in failed.message
    await pipeline.keep(1, [1, 2, 3])
    step = await pipeline.recurse(1, asked_by="", origin="b")
    failed = (await run(pipeline, step.id))[-1]
    assert isinstance(failed, StepFailed)
    assert "is kept as it is" in failed.message
    # Released, both can be tried again.
    await pipeline.keep(1, [])
    for again in (2, 3):
        assert await pipeline.retry(again)
        assert isinstance((await run(pipeline, again))[-1], StepDone)


async def test_a_replay_keeps_what_the_original_kept_and_not_what_was_wished_later(store) -> None:
    pipeline = build(store)
    session = await imagine(pipeline, depth=1)
    await run_all(pipeline, session.id)
    await pipeline.keep(2, [1])
    await run(pipeline, (await pipeline.recurse(2, asked_by="", origin="third")).id)
    await pipeline.keep(2, [2, 3])  # said after the third picture was painted
    copy = await pipeline.replay(session.id, client="cli", request="copy")
    await run_all(pipeline, copy.id)
    originals = [await pipeline.read(step.id) for step in await store.steps(session.id)]
    assert originals == [await pipeline.read(step.id) for step in await store.steps(copy.id)]


async def test_again_is_the_same_step_with_another_seed(store) -> None:
    pipeline = build(store)
    session = await imagine(pipeline, depth=1)
    await run_all(pipeline, session.id)
    tweak = await pipeline.tweak(2, "2: red", asked_by="ada", origin="tweak")
    steps = [await store.step(1), await store.step(2), tweak]
    agains = [await pipeline.again(step.id, asked_by="bob", origin=f"again{step.id}") for step in steps]
    assert (await pipeline.again(1, asked_by="bob", origin="again1")).id == agains[0].id
    await run_all(pipeline, session.id)
    for step, again in zip(steps, agains, strict=True):
        assert (again.kind, again.parent_id, again.depth, again.request, again.asked_by) == (
            step.kind,
            step.parent_id,
            step.depth,
            step.request,
            "bob",
        )
        assert again.seed != step.seed
        assert await pipeline.read(again.id) != await pipeline.read(step.id)
    assert (await pipeline.again(agains[0].id, asked_by="bob", origin="x")).seed not in {
        steps[0].seed,
        agains[0].seed,
    }


async def test_undo_moves_back_cancels_what_waits_and_deletes_nothing(store) -> None:
    pipeline = build(store)
    session = await imagine(pipeline, depth=3)  # 1, 2, 3, 4
    await run(pipeline, 1)
    await run(pipeline, 2)
    current = await store.current(session.id)
    assert current is not None
    assert current.id == 2
    assert await store.undo(2) == (True, (3, 4))
    assert await store.undo(2) == (False, ())
    current = await store.current(session.id)
    assert current is not None
    assert current.id == 1
    assert [step.state for step in await store.steps(session.id)] == [
        StepState.DONE,
        StepState.DONE,
        StepState.CANCELLED,
        StepState.CANCELLED,
    ]
    with pytest.raises(InvalidRequest, match="nothing before it"):
        await store.undo(1)
    assert await store.go_to(2)
    assert not await store.go_to(2)
    branch = await pipeline.recurse(1, asked_by="", origin="branch")
    assert (await store.session(session.id)).head == branch.id
    assert await store.undo(2) == (False, ())


async def test_a_deleted_step_leaves_nothing_but_its_origin(store) -> None:
    pipeline = build(store)
    session = await imagine(pipeline, depth=2)
    await run_all(pipeline, session.id)
    other = await pipeline.tweak(1, "2: red", asked_by="", origin="other")
    await store.begin_post(3, "picture", "place")
    assert await store.delete_step(2) == (2, 3)
    assert [step.id for step in await store.steps(session.id)] == [1, other.id]
    for step_id in (2, 3):
        assert await store.picture(step_id) is None
        assert await store.objects(step_id) == ()
        assert await store.posts(step_id) == []
        with pytest.raises(NotFound):
            await store.step(step_id)
        with pytest.raises(NotFound):
            await store.finish(step_id, png=b"", model="", notes=())
        with pytest.raises(NotFound):
            await store.begin_post(step_id, "picture", "place")
    assert await store.count_origins("cli:r:") == 3
    with pytest.raises(NotFound):
        await store.delete_step(2)
    with pytest.raises(NotFound):
        await pipeline.recurse(3, asked_by="", origin="late")
    seeds = {step.seed for step in await store.steps(session.id)}
    fresh = await pipeline.recurse(1, asked_by="", origin="fresh")
    assert fresh.seed not in seeds
    assert fresh.kind is StepKind.RECURSE
    assert await store.delete_step(1) == (1, other.id, fresh.id)
    assert await store.steps(session.id) == []
    assert await store.current(session.id) is None
