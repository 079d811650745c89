"""The embedded context writer, on a loopback server that answers what a small model might."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.assembly import make_writer
from pipeline.context import EmbeddedContextWriter, OpenAIContextWriter, TemplateContextWriter
from pipeline.context.embedded import named, sound
from pipeline.context.vocabulary import fitted, kinds_of, looks
from pipeline.domain import SceneContext, Vocabulary
from pipeline.errors import NotUnderstood, WriterError
from pipeline.generators.embedded import vocabulary
from pipeline.language_server import find_model
from pipeline.settings import Settings
from tests.loopback_openai import KEY, Answer, LoopbackOpenAI, says
from tests.pipeline.test_context import OBJECTS, PROMPT, SCENE, assert_valid, detection, picture

STORY = "The red jacket hangs in the wind. A dog sleeps under the starry night sky."


class LoopbackServer:
    """A language server that is already there, or that cannot be started."""

    name = "tiny-model"
    key = KEY

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls  # of each time it is asked for; the last one stays

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        if not self.urls:
            raise WriterError("the language model could not be started")
        yield self.urls.pop(0) if len(self.urls) > 1 else self.urls[0]

    async def aclose(self) -> None:
        self.urls = []


@pytest.fixture
async def server() -> AsyncIterator[LoopbackOpenAI]:
    async with LoopbackOpenAI() as server:
        server.extensions = {"repeat_penalty", "cache_prompt", "x-guidance"}
        yield server


@pytest.fixture
async def writer(server: LoopbackOpenAI) -> AsyncIterator[EmbeddedContextWriter]:
    writer = EmbeddedContextWriter(LoopbackServer([server.url]), vocabulary=vocabulary())  # type: ignore[arg-type]
    yield writer
    await writer.aclose()


async def describe(writer: EmbeddedContextWriter, seed: int = 7, prompt: str = PROMPT) -> SceneContext:
    scene = await writer.describe(prompt, SCENE, picture=picture(), seed=seed)
    assert_valid(scene)
    return scene


def first_choice(server: LoopbackOpenAI) -> Answer:
    """Answer with what the template would offer first; the schema is read from a request like it."""
    return says(json.dumps({number: options[0] for number, options in offered(server).items()}))


def offered(server: LoopbackOpenAI) -> dict[str, list[str]]:
    """List what the last request for looks offered, by number."""
    for request in reversed(server.requests):
        properties = request["response_format"]["json_schema"]["schema"]["properties"]
        if "story" not in properties:
            return {number: of["enum"] for number, of in properties.items()}
    raise AssertionError("no looks were asked for")


async def test_looks_are_chosen_and_then_told_of(
    server: LoopbackOpenAI, writer: EmbeddedContextWriter
) -> None:
    scene = await describe(writer)
    assert scene.source == "tiny-model"
    assert not server.refused
    looks_asked, story_asked = server.requests
    assert looks_asked["repeat_penalty"] == story_asked["repeat_penalty"] == 1.1
    assert (looks_asked["cache_prompt"], "cache_prompt" in story_asked) == (False, False)
    assert looks_asked["max_completion_tokens"] == 400
    assert looks_asked["messages"][-1]["content"] == (
        f"Picture: {PROMPT}\nThings: jacket, sky, right shoe, left shoe"
    )
    # The conversation goes on: its beginning need not be read again.
    assert story_asked["messages"][: len(looks_asked["messages"])] == looks_asked["messages"]
    for options in offered(server).values():
        assert 1 < len(options) <= 12
        assert len(set(options)) == len(options)
    assert all(re.search(r"\bred\b.*jacket$", look) for look in offered(server)["1"])
    assert all(look.endswith("night sky") for look in offered(server)["2"])
    jacket, sky, right, left = scene.objects
    assert jacket.tags[0] == "red"
    assert sky.tags[0] == "night"
    assert right.tags == left.tags, "a pair of shoes"
    pattern = story_asked["response_format"]["json_schema"]["schema"]["properties"]["story"]["pattern"]
    assert re.fullmatch(pattern, scene.story), "the loopback server obeys the pattern"
    assert r"\ " not in pattern, "the real server ignores a pattern with that escape"


async def test_offers_differ_from_seed_to_seed(server: LoopbackOpenAI, writer: EmbeddedContextWriter) -> None:
    first = [(await describe(writer, seed)).objects[2].tags for seed in range(12)]
    assert len(set(first)) > 6
    assert first == [(await describe(writer, seed)).objects[2].tags for seed in range(12)]


@pytest.mark.parametrize(
    "story",
    [
        "",
        "The red jacket",
        "Red.",
        "A dog sleeps by the fire and dreams of the sea.",
        '{"story": "The jacket is red and the sky is dark."}',
        "The jacket is red, the jacket is red, the jacket is red, the jacket is red.",
        "The jacket went down the road to the. The sky was dark and it was.",
        "The jacket ### Instruction: write more about the sky.",
    ],
)
async def test_a_broken_story_is_the_templates(
    server: LoopbackOpenAI, writer: EmbeddedContextWriter, story: str
) -> None:
    await describe(writer)
    server.answers.extend(
        [first_choice(server), says(json.dumps({"story": story})), says(json.dumps({"story": story}))]
    )
    scene = await describe(writer)
    assert scene.source == "tiny-model; template for the story"
    assert scene.story
    assert scene.story != story
    assert "jacket" in scene.story
    server.answers.extend(
        [first_choice(server), says(json.dumps({"story": story})), says(json.dumps({"story": STORY}))]
    )
    scene = await describe(writer)
    assert (scene.source, scene.story) == ("tiny-model", STORY), "the second try is good"


async def test_broken_looks_are_the_templates(server: LoopbackOpenAI, writer: EmbeddedContextWriter) -> None:
    bad = [says("red!"), says('{"1": "golden jacket", "2": 3}')]
    server.answers.extend([*bad, says(json.dumps({"story": STORY}))])
    scene = await describe(writer)
    template = await TemplateContextWriter(vocabulary()).describe(PROMPT, SCENE, seed=7)
    assert scene.source == "tiny-model; template for the tags"
    assert scene.objects == template.objects
    server.answers.extend([*bad, *bad])
    scene = await describe(writer)
    assert scene.source == "template (the language model's answer could not be used)"
    assert scene.story == template.story


async def test_no_server_is_the_template() -> None:
    writer = EmbeddedContextWriter(LoopbackServer([]), vocabulary=vocabulary())  # type: ignore[arg-type]
    scene = await describe(writer)
    template = await TemplateContextWriter(vocabulary()).describe(PROMPT, SCENE, seed=7)
    assert scene.source == "template (the language model could not be started)"
    assert (scene.story, scene.objects) == (template.story, template.objects)
    await writer.aclose()


async def test_a_server_that_dies_in_the_middle_is_asked_once_more(
    server: LoopbackOpenAI, unused_tcp_port: int
) -> None:
    dead = f"http://127.0.0.1:{unused_tcp_port}/v1"
    writer = EmbeddedContextWriter(LoopbackServer([dead, server.url]), vocabulary=vocabulary())  # type: ignore[arg-type]
    assert (await describe(writer)).source == "tiny-model"
    await writer.aclose()
    writer = EmbeddedContextWriter(LoopbackServer([dead]), vocabulary=vocabulary())  # type: ignore[arg-type]
    assert (await describe(writer)).source.startswith("template (")
    await writer.aclose()


async def test_a_server_that_hangs_is_the_template(server: LoopbackOpenAI) -> None:
    writer = EmbeddedContextWriter(LoopbackServer([server.url]), timeout=0.5)  # type: ignore[arg-type]
    server.answers.append(Answer(b"", hang=True))
    scene = await describe(writer)
    assert scene.source == "template (the language model did not answer)"
    await writer.aclose()


async def test_without_a_vocabulary_and_with_strange_classes(server: LoopbackOpenAI) -> None:
    writer = EmbeddedContextWriter(LoopbackServer([server.url]))  # type: ignore[arg-type]
    labels = ["猫", "traffic light (old)", "x" * 300, "a|b.*", "@everyone", ""]
    crowd = [detection(label, 0, 0, 9, 9) for label in labels * 4]
    scene = await writer.describe("@everyone " * 400, crowd, picture=picture(), seed=1)
    assert_valid(scene, 24)
    assert scene.source == "tiny-model"
    scene = await writer.describe("", [], picture=picture(), seed=1)
    assert_valid(scene, 0)
    assert not server.refused
    await writer.aclose()


async def test_replies_are_read_without_the_model(
    server: LoopbackOpenAI, writer: EmbeddedContextWriter
) -> None:
    (jacket,) = await writer.revise("make the jacket green", OBJECTS, prompt="", story="", seed=1)
    assert jacket.tags[0] == "green"
    with pytest.raises(NotUnderstood):
        await writer.revise("hello", OBJECTS, prompt="", story="", seed=1)
    assert not server.requests


def test_stories_are_cut_and_read() -> None:
    assert sound("The hat is old. The bag is new. And then it", ["hat"]) == "The hat is old. The bag is new."
    five = "A hat fell down. It was red. Nobody saw it fall. The dog did. He took it."
    assert sound(five, ["hat"]) == "A hat fell down. It was red. Nobody saw it fall. The dog did."
    assert sound("The hat is here to stay.", ["bag"]) is None
    said = named(
        "Her coat's lining, two boots, and a pond", ["jacket", "left shoe", "body of water", "sky", "bag"]
    )
    assert said == {"jacket", "left shoe", "body of water"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, EmbeddedContextWriter if find_model() else TemplateContextWriter),
        ({"LLM_MODEL": "gpt-x"}, EmbeddedContextWriter if find_model() else TemplateContextWriter),
        ({"LLM_MODEL": "template"}, TemplateContextWriter),
        ({"OPENAI_API_KEY": "sk-1"}, OpenAIContextWriter),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, OpenAIContextWriter),
        ({"OPENAI_API_KEY": "sk-1", "LLM_MODEL": "template"}, TemplateContextWriter),
    ],
)
async def test_settings_choose_who_writes(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], kind: type
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    writer = make_writer(Settings(_env_file=None), None)  # type: ignore[call-arg]
    assert type(writer) is kind
    await writer.aclose()


def test_without_the_packages_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.language_server.find_spec", lambda name: None)
    assert find_model() is None


# -- vocabularies --------------------------------------------------------------------------------


def test_the_embedded_picture_model_knows_its_vocabulary() -> None:
    from ldm import Vocabulary as ModelWords

    known = set(ModelWords().words)
    table = vocabulary()
    assert table.looks["Jacket"].keys() == {"colour", "pattern"}
    assert table.looks["Sky"].keys() == {"light", "weather"}
    assert table.looks["BodyofWater"].keys() == {"colour", "surface"}
    for kinds in table.looks.values():
        for kind in kinds.values():
            assert set(kind) <= known
    assert set(table.aliases.values()) <= known


@pytest.mark.parametrize(
    ("tags", "label", "expected"),
    [
        (["crimson"], "Jacket", ("red",)),
        (["dark red", "leather"], "Jacket", ("red",)),
        (["leather"], "Jacket", ("brown",)),
        (["quilted", "tartan"], "Jacket", ("plaid",)),
        (["dusk"], "Sky", ("sunset",)),
        (["red"], "left shoe", ("red",)),
        (["striped"], "Sky", ()),
        (["RED", "red"], "cars", ("red",)),
        (["green", "emerald"], "Umbrella", ("green",)),
    ],
)
def test_words_are_fitted_to_the_vocabulary(tags: list[str], label: str, expected: tuple[str, ...]) -> None:
    assert fitted(tags, label, vocabulary()) == expected
    assert fitted(tags, label, None) == tuple(tags)


def test_looks_agree() -> None:
    sky = kinds_of("Sky", vocabulary())
    every = looks((), sky)
    assert ("night", "starry") in every
    assert not any("starry" in look and "night" not in look for look in every)
    assert looks(("starry",), sky) == [("starry", "night")]
    assert looks(("day", "starry"), sky) == [("day", "starry")], "who asks for it gets it"
    assert looks(("red", "striped"), kinds_of("Hat", None)) == [("red", "striped")]


async def test_the_template_keeps_to_the_vocabulary() -> None:
    table = vocabulary()
    labels = list(table.looks)
    scene = [detection(label, 0, 0, 9, 9) for label in labels]
    for seed in range(30):
        prompt = "crimson leather jacket, dusk, silk skirt, starry sky" if seed % 2 else "starry sky, gown"
        for thing, label in zip(
            (await TemplateContextWriter(table).describe(prompt, scene, seed=seed)).objects,
            labels,
            strict=True,
        ):
            assert thing.tags
            for tag in thing.tags:
                assert any(tag in kind for kind in table.looks[label].values()), (label, tag)


async def test_a_large_model_is_given_the_vocabulary_and_held_to_it(server: LoopbackOpenAI) -> None:
    table: Vocabulary = vocabulary()
    writer = OpenAIContextWriter(model="large", api_key=KEY, base_url=server.url, retries=0, vocabulary=table)
    scene = await writer.describe(PROMPT, SCENE, picture=picture(), seed=7)
    assert_valid(scene)
    assert not server.refused
    assert scene.source == "large"
    question = json.loads(server.requests[0]["messages"][1]["content"])
    assert question["words"]["sky"]["weather"] == ["clear", "cloudy", "starry"]
    # A server that ignores the schema: what the painter cannot read is left out, or said in its words.
    entries = [
        {"id": 1, "tags": ["crimson", "weathered leather", "brass zip"]},
        {"id": 2, "tags": ["brooding"]},
        {"id": 3, "tags": ["teal", "striped"]},
        {"id": 4, "tags": ["teal", "striped"]},
    ]
    server.answers.append(says(json.dumps({"story": STORY, "objects": entries})))
    scene = await writer.describe(PROMPT, SCENE, picture=picture(), seed=7)
    assert scene.objects[0].tags == ("red",)
    assert scene.objects[1].tags[0] == "night"
    assert scene.objects[2].tags == ("teal", "striped")
    assert scene.source == "large; template for the tags of 2"
    await writer.aclose()
