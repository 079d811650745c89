"""The engine on fast fakes: what it saves, what it never does twice, what it says when something fails."""

import hashlib
import io
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline import masks, provenance
from pipeline.context import TemplateContextWriter
from pipeline.domain import (
    ContextWritten,
    Detection,
    Event,
    ObjectsFound,
    PaintParams,
    PictureSaved,
    Progress,
    StepDone,
    StepFailed,
    StepKind,
    StepState,
)
from pipeline.engine import EngineOptions, Pipeline, clean_text
from pipeline.errors import GeneratorError, InvalidRequest, NotFound
from pipeline.store import Store
from tests.fakes import FixedSegmenter, PaintingGenerator, PlainWriter

PROMPT = "1girl, red jacket, night sky"


@pytest_asyncio.fixture
async def pipeline(store):
    return build(store)


class SmallPipeline(Pipeline):
    """A pipeline whose fakes a test can reach."""

    def __init__(self, store: Store, options: EngineOptions) -> None:
        self.generator, self.segmenter, self.writer = PaintingGenerator(), FixedSegmenter(), PlainWriter()
        super().__init__(
            generator=self.generator,
            segmenter=self.segmenter,
            writer=self.writer,
            store=store,
            options=options,
        )

    async def read(self, step_id: int) -> bytes:
        png = await self.store.picture(step_id)
        assert png is not None
        return png


def build(store: Store, **options) -> SmallPipeline:
    return SmallPipeline(store, EngineOptions(**options))


async def imagine(pipeline: Pipeline, request: str = "r", depth: int = 2, **more):
    return await pipeline.imagine(
        PROMPT, client="cli", owner="", request=request, seed=7, depth=depth, **more
    )


async def run(pipeline: Pipeline, step_id: int) -> list[Event]:
    return [event async for event in pipeline.run(step_id)]


async def run_all(pipeline: Pipeline, session_id: int) -> None:
    for step in await pipeline.store.steps(session_id):
        if step.state in (StepState.QUEUED, StepState.RUNNING):
            assert isinstance((await run(pipeline, step.id))[-1], StepDone)


async def pictures(pipeline: SmallPipeline, session_id: int) -> list[bytes]:
    return [await pipeline.read(step.id) for step in await pipeline.store.steps(session_id)]


async def test_a_session_is_painted_described_and_saved(pipeline):
    session = await imagine(pipeline)
    first, second, third = await pipeline.store.steps(session.id)
    assert isinstance((await run(pipeline, first.id))[-1], StepDone)
    events = await run(pipeline, second.id)
    kinds = [type(event) for event in events if not isinstance(event, Progress)]
    assert kinds == [ObjectsFound, ContextWritten, PictureSaved, PictureSaved, PictureSaved, StepDone]
    shares = [event.share for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)
    assert next(event.label for event in events if isinstance(event, Progress) and event.preview) == "jacket"
    await run(pipeline, third.id)
    assert pipeline.segmenter.depths == [0, 1], (
        "each recursion looks with the weights of the picture it looks at"
    )
    done = await pipeline.store.step(third.id)
    assert (done.state, done.story, done.source) == (StepState.DONE, PlainWriter().story, "test writer")
    record = provenance.read(await pipeline.read(third.id))
    assert record is not None
    assert (record["prompt"], record["depth"], record["story"]) == (PROMPT, 2, PlainWriter().story)
    assert [item["name"] for item in record["objects"]] == ["jacket", "bag", "hat"]
    assert record["models"] == {"picture": "fake painter", "segmentation": "fixed"}


async def test_no_pixel_outside_the_feathered_masks_changes(pipeline):
    session = await imagine(pipeline, depth=1, width=200, height=120)
    await run_all(pipeline, session.id)
    first, second = await pipeline.store.steps(session.id)
    before, after = [provenance.decode(await pipeline.read(step.id)) for step in (first, second)]
    may = np.zeros(before.shape[:2], np.bool_)
    for item in await pipeline.store.objects(second.id):
        params = item.params
        patch = masks.plan_patch(
            item.detection.mask, grow=params.grow, blur=params.blur, padding=params.padding,
            native_size=64, multiple=8,
        )  # fmt: skip
        box = patch.window
        may[box.y1 : box.y2, box.x1 : box.x2] |= patch.alpha > 0
        assert (after[item.detection.mask] != before[item.detection.mask]).any(axis=-1).mean() > 0.9
    assert not (before != after).any(axis=-1)[~may].any()
    assert may.mean() < 0.6


async def test_the_same_seed_gives_the_same_files_whatever_the_database_numbers(store, pipeline):
    one = await imagine(pipeline, "one")
    await run_all(pipeline, one.id)
    two = await imagine(pipeline, "two")
    await run_all(pipeline, two.id)
    assert await pictures(pipeline, one.id) == await pictures(pipeline, two.id)
    other = await pipeline.imagine(PROMPT, client="cli", owner="", request="three", seed=8, depth=0)
    await run_all(pipeline, other.id)
    assert (await pictures(pipeline, other.id))[0] != (await pictures(pipeline, one.id))[0]


async def test_stopped_after_every_event_it_goes_on_without_painting_twice(store):
    undisturbed = build(store)
    reference = await imagine(undisturbed, "reference", depth=1)
    await run_all(undisturbed, reference.id)
    expected = await pictures(undisturbed, reference.id)
    step = (await store.steps(reference.id))[1]
    total = len(undisturbed.generator.inpainted)
    assert total == 3
    stops = 0
    for stop in range(100):
        pipeline = build(store)
        session = await imagine(pipeline, f"stopped-{stop}", depth=1)
        first, step = await store.steps(session.id)
        await run(pipeline, first.id)
        saved = seen = 0
        async with aclosing(pipeline.run(step.id)) as events:
            async for event in events:
                saved += isinstance(event, PictureSaved)
                seen += 1
                if seen > stop:
                    break
        if (await store.step(step.id)).state is StepState.DONE:
            break
        stops += 1
        assert await store.recover("cli") == 1
        again = build(store)
        await run(again, step.id)
        assert await pictures(again, session.id) == expected
        assert len(again.generator.inpainted) <= total - saved
    assert stops >= 8


async def test_a_failing_backend_fails_the_step_and_a_retry_goes_on_where_it_was(pipeline):
    session = await imagine(pipeline)
    first, second, third = await pipeline.store.steps(session.id)
    await run(pipeline, first.id)
    pipeline.generator.turns.add(None, GeneratorError("The server is not there; start it.", retryable=True))
    failed = (await run(pipeline, second.id))[-1]
    assert failed == StepFailed(second.id, "The server is not there; start it.", (third.id,))
    assert (await pipeline.store.step(second.id)).error == "The server is not there; start it."
    assert await run(pipeline, second.id) == [], "a failed step is not run again unasked"
    assert await pipeline.retry(second.id)
    painted = len(pipeline.generator.inpainted)
    assert isinstance((await run(pipeline, second.id))[-1], StepDone)
    assert len(pipeline.generator.inpainted) - painted == 2, "the first object was paid for"
    assert (await pipeline.store.step(third.id)).state is StepState.QUEUED


async def test_what_nobody_foresaw_ends_in_one_sentence_without_the_secret(pipeline):
    session = await imagine(pipeline, depth=0)
    (step,) = await pipeline.store.steps(session.id)
    pipeline.generator.turns.add(RuntimeError("password=hunter2"))
    (*_, failed) = await run(pipeline, step.id)
    assert isinstance(failed, StepFailed)
    assert "hunter2" not in failed.message
    assert f"step {step.id}" in failed.message


async def test_a_picture_without_objects_is_said(pipeline):
    session = await imagine(pipeline, depth=1)
    pipeline.segmenter.objects = []
    first, second = await pipeline.store.steps(session.id)
    await run(pipeline, first.id)
    (*_, failed) = await run(pipeline, second.id)
    assert isinstance(failed, StepFailed)
    assert "No objects were found" in failed.message


async def test_a_tweak_repaints_the_object_that_is_meant_and_no_other(pipeline):
    session = await imagine(pipeline, depth=1)
    await run_all(pipeline, session.id)
    _, parent = await pipeline.store.steps(session.id)
    tweak = await pipeline.tweak(parent.id, "2: red\x00 leather", asked_by="9", origin="reply-1")
    painted = len(pipeline.generator.inpainted)
    assert isinstance((await run(pipeline, tweak.id))[-1], StepDone)
    assert len(pipeline.generator.inpainted) - painted == 1
    assert pipeline.generator.inpainted[-1].prompt == "red leather, Bag"
    objects = await pipeline.store.objects(tweak.id)
    assert [item.repaint for item in objects] == [False, True, False]
    assert objects[1].tags == ("red leather",)
    before, after = [provenance.decode(await pipeline.read(item)) for item in (parent.id, tweak.id)]
    assert (before == after)[objects[0].detection.mask].all()
    assert (before != after)[objects[1].detection.mask].any(axis=-1).mean() > 0.9
    deeper = await pipeline.recurse(tweak.id, asked_by="9", origin="reaction-1")
    assert deeper.depth == 2


async def test_a_tweak_of_a_first_picture_finds_the_objects_itself(pipeline):
    session = await imagine(pipeline, depth=0)
    await run_all(pipeline, session.id)
    (parent,) = await pipeline.store.steps(session.id)
    tweak = await pipeline.tweak(parent.id, "1: green", asked_by="", origin="reply")
    assert isinstance((await run(pipeline, tweak.id))[-1], StepDone)
    assert len(await pipeline.store.objects(tweak.id)) == 3


async def test_a_reply_that_names_nothing_is_told_so(pipeline):
    session = await imagine(pipeline, depth=1)
    await run_all(pipeline, session.id)
    parent = (await pipeline.store.steps(session.id))[1]
    tweak = await pipeline.tweak(parent.id, "hello?", asked_by="", origin="reply")
    (*_, failed) = await run(pipeline, tweak.id)
    assert isinstance(failed, StepFailed)
    assert "2: red leather" in failed.message


class TwoLevels(FixedSegmenter):
    """Find large things at depth 0 and small ones below; both find the car."""

    async def segment(self, png: bytes, *, depth: int) -> Sequence[Detection]:
        coarse = [("Jacket", 0.3, 0.1, 0.75, 0.45), ("Cars", 0.6, 0.6, 0.8, 0.9)]
        self.objects = coarse if depth == 0 else [("Hat", 0.08, 0.15, 0.25, 0.4), coarse[1]]
        return await super().segment(png, depth=depth)

    def weights_at(self, depth: int) -> str:
        return "coarse" if depth == 0 else "fine"


async def test_a_reply_may_name_what_only_other_weights_find(pipeline):
    """Who sees a hat in the picture does not know which depth's weights find hats."""
    pipeline._segmenter, pipeline._writer = TwoLevels(), TemplateContextWriter()
    session = await imagine(pipeline, depth=1)
    await run_all(pipeline, session.id)
    parent = (await pipeline.store.steps(session.id))[1]
    assert [item.detection.label for item in await pipeline.store.objects(parent.id)] == ["Jacket", "Cars"]
    tweak = await pipeline.tweak(parent.id, "make the hat red", asked_by="", origin="reply")
    assert isinstance((await run(pipeline, tweak.id))[-1], StepDone)
    objects = await pipeline.store.objects(tweak.id)
    assert [(item.number, item.detection.label, item.repaint) for item in objects] == [
        (1, "Jacket", False),
        (2, "Cars", False),
        (3, "Hat", True),
    ]
    assert objects[2].tags == ("red",)
    before, after = [provenance.decode(await pipeline.read(item)) for item in (parent.id, tweak.id)]
    assert (before == after)[objects[0].detection.mask].all()
    assert (before != after)[objects[2].detection.mask].any(axis=-1).mean() > 0.9
    again = await pipeline.tweak(tweak.id, "3: blue", asked_by="", origin="second reply")
    assert isinstance((await run(pipeline, again.id))[-1], StepDone)
    lost = await pipeline.tweak(parent.id, "make the shoes red", asked_by="", origin="third reply")
    (*_, failed) = await run(pipeline, lost.id)
    assert isinstance(failed, StepFailed)
    assert "there are 1 jacket and 2 car." in failed.message


async def test_a_class_has_parameters_of_its_own(store):
    base = PaintParams(strength=0.9, steps=11)
    pipeline = build(
        store,
        params=base,
        negative_prompt="blurry",
        class_params={"Hat": {"strength": 0.3, "prompt_prefix": "felt", "negative_prompt": "straw"}},
    )
    session = await imagine(pipeline, depth=1, negative_prompt="ugly")
    await run_all(pipeline, session.id)
    jacket, _, hat = pipeline.generator.inpainted
    assert (jacket.strength, jacket.steps, jacket.negative_prompt) == (0.9, 11, "ugly, blurry")
    assert (hat.strength, hat.steps, hat.negative_prompt) == (0.3, 11, "ugly, blurry, straw")
    assert hat.prompt.startswith("felt, ")
    step = (await store.steps(session.id))[1]
    params = [item.params for item in await store.objects(step.id)]
    assert params[0] == base
    assert params[2] == replace(base, strength=0.3, prompt_prefix="felt", negative_prompt="straw")


async def test_a_replay_gives_the_same_files(pipeline):
    session = await imagine(pipeline)
    await run_all(pipeline, session.id)
    last = (await pipeline.store.steps(session.id))[-1]
    tweak = await pipeline.tweak(last.id, "3: blue", asked_by="", origin="reply")
    await run(pipeline, tweak.id)
    pipeline.writer.story = "Another story that a model would tell today."
    pipeline.options = EngineOptions(negative_prompt="other", params=PaintParams(steps=3, guidance=1.0))
    pipeline.segmenter.objects = []
    copy = await pipeline.replay(session.id, client="cli", request="replay")
    await run_all(pipeline, copy.id)
    assert await pictures(pipeline, copy.id) == await pictures(pipeline, session.id)
    assert len(await pipeline.store.steps(copy.id)) == 4


async def test_running_a_done_step_does_nothing(pipeline):
    session = await imagine(pipeline, depth=0)
    (step,) = await pipeline.store.steps(session.id)
    await run(pipeline, step.id)
    assert await run(pipeline, step.id) == []
    assert len(pipeline.generator.generated) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"prompt": " \x00\n "}, "empty"),
        ({"prompt": "x" * 4001}, "4,001 characters"),
        ({"negative_prompt": "x" * 4001}, "negative prompt"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "4,294,967,295"),
        ({"depth": -1}, "from 0 to 8"),
        ({"depth": 9}, "from 0 to 8"),
        ({"width": 31}, "width must be from 32 to 1024"),
        ({"height": 1025}, "height must be from 32 to 1024"),
    ],
)
async def test_what_is_out_of_range_is_refused_with_the_range(pipeline, more, words):
    asked = {"prompt": "p", "client": "cli", "owner": "", "request": "r", **more}
    with pytest.raises(InvalidRequest, match=words):
        await pipeline.imagine(asked.pop("prompt"), **asked)
    assert await pipeline.store.sessions() == []


async def test_sides_are_cut_to_what_the_backend_can_do(pipeline):
    session = await imagine(pipeline, width=101, height=99)
    assert (session.width, session.height) == (96, 96)


async def test_too_deep_and_gone_are_told(pipeline, store):
    shallow = build(store, max_depth=1)
    session = await imagine(shallow, depth=1)
    await run_all(shallow, session.id)
    last = (await store.steps(session.id))[1]
    with pytest.raises(InvalidRequest, match="1 recursions deep"):
        await shallow.recurse(last.id, asked_by="", origin="x")
    with pytest.raises(InvalidRequest, match="empty"):
        await shallow.tweak(last.id, "\x07", asked_by="", origin="x")
    with pytest.raises(NotFound, match="deleted"):
        await shallow.recurse(999, asked_by="", origin="x")


@given(st.text(max_size=300))
def test_cleaned_text_can_be_stored_and_shown(text):
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    assert "\x00" not in cleaned
    assert clean_text(cleaned) == cleaned


def test_cleaning_keeps_every_script_and_emoji():
    text = "밤하늘 ليل 夜空 👩🏽\u200d🎨 @everyone **bold**"
    assert clean_text(f"\u202e {text}\n\x1b") == text


def test_kinds_are_stored_as_words():
    assert [kind.value for kind in StepKind] == ["generate", "recurse", "tweak"]


# -- from a picture -------------------------------------------------------------------------------


def photograph(width: int = 300, height: int = 150) -> bytes:
    buffer = io.BytesIO()
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


async def test_a_session_may_start_from_a_picture(pipeline):
    session = await imagine(pipeline, depth=1, image=photograph(), strength=0.3)
    assert (session.width, session.height) == (136, 64), "its shape, the backend's area"
    source = await pipeline.store.source(session.id)
    assert source is not None
    await run_all(pipeline, session.id)
    (request,) = pipeline.generator.generated
    assert (request.image, request.strength) == (source, 0.3)
    first, second = await pictures(pipeline, session.id)
    for png in (first, second):
        record = provenance.read(png)
        assert record is not None
        assert record["source"] == {"sha256": hashlib.sha256(source).hexdigest(), "strength": 0.3}
    near = np.abs(provenance.decode(first).astype(int) - provenance.decode(source)).mean()
    plain = await imagine(pipeline, "plain", depth=0, width=136, height=64)
    await run_all(pipeline, plain.id)
    other = await pictures(pipeline, plain.id)
    far = np.abs(provenance.decode(other[0]).astype(int) - provenance.decode(source)).mean()
    assert near < 0.5 * far
    assert "source" not in (provenance.read(other[0]) or {})


async def test_a_replay_and_another_go_start_from_the_same_picture(pipeline):
    session = await imagine(pipeline, depth=1, image=photograph())
    assert session.source is not None
    assert session.source.strength == 0.6
    first = (await pipeline.store.steps(session.id))[0]
    pipeline.generator.turns.add(GeneratorError("no"))
    assert isinstance((await run(pipeline, first.id))[-1], StepFailed)
    await pipeline.retry(first.id)
    await run_all(pipeline, session.id)
    copy = await pipeline.replay(session.id, client="cli", request="again")
    assert copy.source == session.source
    await run_all(pipeline, copy.id)
    assert await pictures(pipeline, copy.id) == await pictures(pipeline, session.id)
    await pipeline.store.delete_session(session.id)
    assert await pipeline.store.source(session.id) is None
    assert await pipeline.store.source(copy.id) is not None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"image": b"no picture"}, "not a PNG"),
        ({"image": photograph(), "strength": 0.0}, "strength must be"),
        ({"image": photograph(), "strength": 1.1}, "strength must be"),
        ({"strength": 0.5}, "needs a picture"),
        ({"image": photograph(), "width": 5000}, "width must be from"),
    ],
)
async def test_pictures_that_cannot_be_started_from_are_refused(pipeline, more, words):
    with pytest.raises(InvalidRequest, match=words):
        await imagine(pipeline, **more)
    assert await pipeline.store.sessions() == []
