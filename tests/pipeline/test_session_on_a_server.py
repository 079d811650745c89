"""Whole sessions on a loopback Stable Diffusion server that fails in every way it knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from pipeline import provenance
from pipeline.domain import Box, Detection, StepDone, StepFailed, StepState
from pipeline.engine import EngineOptions, Pipeline
from pipeline.generators.automatic1111 import Automatic1111
from pipeline.store import Store
from tests.fakes import FixedSegmenter, PlainWriter
from tests.loopback_a1111 import LoopbackA1111

PASSING = ["503", "502", "504", "drop", "half", "cut_json", "empty", "not_image", "busy", "progress_500"]
SAID = ["401", "404", "405", "422", "500", "500_html", "oom", "redirect", "not_json", "slow"]
SILENT = {
    "wrong_checkpoint": "checkpoint",
    "wrong_sampler": "sampler",
    "wrong_seed": "seed",
    "wrong_size": "size",
}


@asynccontextmanager
async def open_pipeline(server: LoopbackA1111, store: Store, **options) -> AsyncIterator[Pipeline]:
    generator = Automatic1111(
        url=server.url,
        native_size=64,
        checkpoint=options.pop("checkpoint", ""),
        sampler="Euler a",
        timeout=options.pop("timeout", 60),
        backoff=0.01,
        poll_every=0.02,
    )
    segmenter = options.pop("segmenter", FixedSegmenter())
    pipeline = Pipeline(
        generator=generator,
        segmenter=segmenter,
        writer=PlainWriter(),
        store=store,
        options=EngineOptions(width=96, height=96, **options),
    )
    try:
        yield pipeline
    finally:
        await generator.aclose()


async def start(pipeline: Pipeline, request: str):
    session = await pipeline.imagine(
        "1girl, red jacket", client="cli", owner="", request=request, seed=7, depth=1
    )
    return await pipeline.store.steps(session.id)


async def run(pipeline: Pipeline, step_id: int):
    return [event async for event in pipeline.run(step_id)][-1]


async def undisturbed(pipeline: Pipeline) -> list[bytes | None]:
    first, second = await start(pipeline, "undisturbed")
    assert isinstance(await run(pipeline, first.id), StepDone)
    assert isinstance(await run(pipeline, second.id), StepDone)
    return [await pipeline.store.picture(step.id) for step in (first, second)]


@pytest.mark.parametrize("how", PASSING)
async def test_what_passes_is_retried_and_leaves_no_trace(store, how):
    async with LoopbackA1111() as server, open_pipeline(server, store) as pipeline:
        expected = await undisturbed(pipeline)
        first, second = await start(pipeline, how)
        server.fail(how=how)
        assert isinstance(await run(pipeline, first.id), StepDone)
        server.fail(how=how, next=2)
        assert isinstance(await run(pipeline, second.id), StepDone)
        assert [await store.picture(step.id) for step in (first, second)] == expected
        assert not any(seen.unknown for seen in server.requests)


@pytest.mark.parametrize("how", SAID)
async def test_what_does_not_pass_is_said_and_the_session_goes_on_later(store, how):
    timeout = 2 if how == "slow" else 60
    async with (
        LoopbackA1111(slow_seconds=600) as server,
        open_pipeline(server, store, timeout=timeout) as pipeline,
    ):
        expected = await undisturbed(pipeline)
        first, second = await start(pipeline, how)
        await run(pipeline, first.id)
        painted = len(server.painted)
        server.fail(how="data_url")  # a variant of a good answer: the first object is painted
        server.fail(how=how)  # and the second one is not
        failed = await run(pipeline, second.id)
        assert isinstance(failed, StepFailed)
        assert "Stable Diffusion server" in failed.message
        assert "\n" not in failed.message
        assert server.address not in failed.message
        assert (await store.step(second.id)).state is StepState.FAILED
        assert [item.painted for item in await store.objects(second.id)] == [True, False, False]
        assert await pipeline.retry(second.id)
        assert isinstance(await run(pipeline, second.id), StepDone)
        assert [await store.picture(step.id) for step in (first, second)] == expected
        assert len(server.painted) - painted <= 4, "the first object is not painted again"


async def test_a_server_that_is_not_there_is_said(store):
    async with LoopbackA1111() as server:
        pass
    async with open_pipeline(server, store) as pipeline:
        first, _ = await start(pipeline, "gone")
        failed = await run(pipeline, first.id)
    assert isinstance(failed, StepFailed)
    assert "Stable Diffusion server" in failed.message


@pytest.mark.parametrize("how", SILENT)
async def test_what_the_server_did_otherwise_is_noted_once(store, how):
    async with (
        LoopbackA1111() as server,
        open_pipeline(server, store, checkpoint="sd_xl_base_1.0") as pipeline,
    ):
        first, second = await start(pipeline, how)
        await run(pipeline, first.id)
        server.fail(how=how, next=3)
        assert isinstance(await run(pipeline, second.id), StepDone)
        notes = (await store.step(second.id)).notes
        assert any(SILENT[how] in note for note in notes), notes
        assert len(notes) == len(set(notes))


async def test_a_disc_of_radius_8_in_a_wide_picture_is_repainted(store):
    """The server's own arithmetic: the mask shrunk to latent cells and rounded."""
    rows, columns = np.ogrid[:720, :1280]
    disc = (rows - 300) ** 2 + (columns - 900) ** 2 <= 8**2

    class OneDisc(FixedSegmenter):
        async def segment(self, png, *, depth):
            return [Detection("Bag", 0.9, Box(292, 892, 309, 909), disc)]

    async with LoopbackA1111() as server, open_pipeline(server, store, segmenter=OneDisc()) as pipeline:
        session = await pipeline.imagine(
            "p", client="cli", owner="", request="r", seed=7, depth=1, width=1280, height=720
        )
        first, second = await store.steps(session.id)
        await run(pipeline, first.id)
        assert isinstance(await run(pipeline, second.id), StepDone)
        pictures = [await store.picture(step.id) for step in (first, second)]
    before, after = [provenance.decode(png) for png in pictures if png]
    changed = (before != after).any(axis=-1)
    assert changed[disc].mean() > 0.95
    assert changed[(rows - 300) ** 2 + (columns - 900) ** 2 > 14**2].sum() == 0
