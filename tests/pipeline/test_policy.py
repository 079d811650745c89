"""Words and styles: read from their files, and what they do to a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.domain import StepKind
from pipeline.engine import EngineOptions, Pipeline
from pipeline.errors import ConfigurationError, InvalidRequest
from pipeline.policy import load_policy
from pipeline.store import Store
from pipeline.styles import Style, load_styles
from tests.fakes import FixedSegmenter, PaintingGenerator, PlainWriter

POLICY = load_policy()


@pytest.mark.parametrize(
    "text",
    ["a nude on a beach", "NÜDES", "nsfw_art", "ｎｕｄｅ", "nu\u200bde", "two, naked; people", "erotic\tart"],
)
def test_restricted_words_are_for_age_restricted_channels(text: str) -> None:
    with pytest.raises(InvalidRequest, match="age-restricted channels only"):
        POLICY.check(text, mature=False)
    POLICY.check(text, mature=True)


@pytest.mark.parametrize(
    "text", ["a red jacket", "1girl, city", "Essex and Sussex", "a cucumber", "sextant", "children at play"]
)
def test_other_words_are_left_alone(text: str) -> None:
    POLICY.check(text, mature=False)


@pytest.mark.parametrize("text", ["nude child", "kids, erotic", "1boy, underage, sex"])
@pytest.mark.parametrize("mature", [False, True])
def test_some_words_never_stand_together(text: str, mature: bool) -> None:
    with pytest.raises(InvalidRequest, match="not painted here or anywhere"):
        POLICY.check(text, mature=mature)


def test_a_servers_own_words_are_added() -> None:
    POLICY.check("a clown", mature=False)
    for text in ("two Clowns", "나체를 그려", "a plastic  bag"):
        with pytest.raises(InvalidRequest, match="age-restricted"):
            POLICY.check(text, mature=False, more=["clown", " 나체", "plastic bag", ""])
    POLICY.check("plastic and a bag", mature=False, more=["plastic bag", ""])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.txt"):
        load_policy(tmp_path / "nowhere.txt")
    broken = tmp_path / "styles.toml"
    for text in ("[a\n", '[a]\npromt = "x"\n', 'a = "x"\n', "[a]\nprompt = 3\n", f'["{"x" * 65}"]\n'):
        broken.write_text(text)
        with pytest.raises(ConfigurationError, match=r"styles\.toml"):
            load_styles(broken)
    assert load_styles()["night"].prompt


async def test_style_model_and_sampler_reach_every_picture_and_its_replay(store: Store) -> None:
    generator = PaintingGenerator()
    pipeline = Pipeline(
        generator=generator,
        segmenter=FixedSegmenter(),
        writer=PlainWriter(),
        store=store,
        options=EngineOptions(negative_prompt="blurry", styles={"ink": Style("ink drawing", "colour")}),
    )
    session = await pipeline.imagine(
        "a hat",
        client="cli",
        owner="",
        request="r",
        style="ink",
        model="large",
        sampler="Euler",
        negative_prompt="rain",
    )
    for step in await store.steps(session.id):
        async for _ in pipeline.run(step.id):
            pass
    # The styles may change later: what was meant stays.
    again = Pipeline(
        generator=generator,
        segmenter=FixedSegmenter(),
        writer=PlainWriter(),
        store=store,
        options=EngineOptions(),
    )
    copy = await again.replay(session.id, client="cli", request="again")
    for step in await store.steps(copy.id):
        async for _ in again.run(step.id):
            pass
    first, second = generator.generated
    assert first == second
    assert (first.prompt, first.negative_prompt) == ("a hat, ink drawing", "rain, colour, blurry")
    assert {(item.model, item.sampler) for item in (first, *generator.inpainted)} == {("large", "Euler")}
    assert all(item.prompt.endswith(", ink drawing") for item in generator.inpainted)
    for old, new in zip(await store.steps(session.id), await store.steps(copy.id), strict=True):
        assert await store.picture(old.id) == await store.picture(new.id)
    with pytest.raises(InvalidRequest, match="there are: ink"):
        await pipeline.imagine("a hat", client="cli", owner="", request="s", style="oil")


async def test_prompts_and_replies_are_checked_where_not_everyone_is_of_age(store: Store) -> None:
    pipeline = Pipeline(
        generator=PaintingGenerator(),
        segmenter=FixedSegmenter(),
        writer=PlainWriter(),
        store=store,
        options=EngineOptions(policy=POLICY),
    )
    await store.set_preference("server", "9", "words", "clown, mime")

    async def imagine(prompt: str, mature: bool):
        return await pipeline.imagine(
            prompt, client="bot", owner="1", request=f"{prompt} {mature}", guild="9", mature=mature, depth=0
        )

    for prompt in ("a nude", "a mime"):
        with pytest.raises(InvalidRequest, match="age-restricted"):
            await imagine(prompt, False)
    await imagine("a nude mime", True)
    session = await imagine("a hat", False)
    (step,) = await store.steps(session.id)
    with pytest.raises(InvalidRequest, match="age-restricted"):
        await pipeline.tweak(step.id, "1: naked", asked_by="1", origin="a")
    assert (await pipeline.tweak(step.id, "1: red", asked_by="1", origin="b")).kind is StepKind.TWEAK
