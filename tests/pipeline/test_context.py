"""Stories, tags and replies: with a language model, with a bad one, and with none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import random
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.context import OpenAIContextWriter, TemplateContextWriter
from pipeline.context.words import COLOURS, MAX_STORY, MAX_TAG, clean, clean_tags, is_sentence, spoken
from pipeline.domain import MAX_TAGS, Box, ContextWriter, Detection, ObjectContext, SceneContext
from pipeline.errors import ConfigurationError, NotUnderstood
from tests.loopback_openai import KEY, Answer, LoopbackOpenAI, completion, fails, says

H, W = 96, 160
PROMPT = "1girl, full body, city background, walking, red jacket, night sky"


def detection(label: str, x1: int, y1: int, x2: int, y2: int) -> Detection:
    mask = np.zeros((H, W), np.bool_)
    mask[y1:y2, x1:x2] = True
    return Detection(label, 0.9, Box(y1, x1, y2, x2), mask)


SCENE = [
    detection("Jacket", 60, 30, 90, 60),
    detection("Sky", 0, 0, 160, 28),
    detection("Shoe", 80, 84, 90, 92),
    detection("Shoe", 60, 84, 70, 92),
]
OBJECTS = (
    ObjectContext(1, "jacket", ("blue leather", "striped", "warm")),
    ObjectContext(2, "sky", ("night", "starry")),
    ObjectContext(3, "right shoe", ("dark red", "plain")),
    ObjectContext(4, "left shoe", ("black",)),
    ObjectContext(5, "body of water", ("calm",)),
    ObjectContext(6, "light source", ("yellow", "glowing")),
    ObjectContext(7, "bag", ("brown", "plaid")),
)


def picture(side: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (W * side, H * side), "#889").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def server() -> AsyncIterator[LoopbackOpenAI]:
    async with LoopbackOpenAI() as server:
        yield server


MakeWriter = Callable[..., OpenAIContextWriter]


@pytest.fixture
async def writer(server: LoopbackOpenAI) -> AsyncIterator[MakeWriter]:
    made: list[OpenAIContextWriter] = []

    def make(**changes: object) -> OpenAIContextWriter:
        given = {"model": "small-model", "api_key": KEY, "base_url": server.url, "timeout": 20, "retries": 0}
        made.append(OpenAIContextWriter(**{**given, **changes}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def described(writer: ContextWriter, seed: int = 7) -> SceneContext:
    return await writer.describe(PROMPT, SCENE, picture=picture(), seed=seed)


def assert_valid(scene: SceneContext, count: int = len(SCENE)) -> None:
    """Assert what every scene must be, whoever wrote it."""
    assert [thing.number for thing in scene.objects] == list(range(1, count + 1))
    assert 0 < len(scene.story) <= MAX_STORY
    assert scene.source
    for thing in scene.objects:
        assert 0 < len(thing.name) <= 60
        assert 0 < len(thing.tags) <= MAX_TAGS
        assert len({tag.casefold() for tag in thing.tags}) == len(thing.tags)
        assert all(0 < len(tag) <= MAX_TAG and tag == tag.strip() for tag in thing.tags)
        assert not any(is_sentence(tag) for tag in thing.tags)
    for text in (scene.story, scene.source, *(tag for thing in scene.objects for tag in thing.tags)):
        assert_harmless(text)


def assert_harmless(text: str) -> None:
    assert not any(
        unicodedata.category(character) in ("Cc", "Cs", "Co")
        or (unicodedata.category(character) == "Cf" and character not in "\u200c\u200d")
        for character in text
    ), repr(text)
    assert not re.search(r"[<>@]|https?://", text), repr(text)
    text.encode()


# -- the template --------------------------------------------------------------------------------


async def test_template_is_the_same_every_time_and_varied() -> None:
    writer: ContextWriter = TemplateContextWriter()
    scenes = [await described(writer, seed) for seed in range(30)]
    assert scenes == [await described(writer, seed) for seed in range(30)]
    for scene in scenes:
        assert_valid(scene)
        assert scene.source == "template"
        assert [thing.name for thing in scene.objects] == ["jacket", "sky", "right shoe", "left shoe"]
        assert all(thing.name in scene.story for thing in scene.objects)
        assert scene.objects[2].tags == scene.objects[3].tags, "a pair of shoes"
    assert len({scene.objects[2].tags for scene in scenes}) > 12
    assert len({scene.story for scene in scenes}) > 12


async def test_template_keeps_to_the_prompt() -> None:
    for seed in range(30):
        jacket, sky, shoe, _ = (await described(TemplateContextWriter(), seed)).objects
        assert jacket.tags[0] == "red"
        assert [tag for tag in jacket.tags if tag in COLOURS] == ["red"]
        assert sky.tags[0] == "night"
        assert sky.tags[1] in ("clear", "starry")
        assert "red" not in shoe.tags[1:]


@pytest.mark.parametrize(
    ("prompt", "label", "tags"),
    [
        ("a girl in a dark red leather jacket", "Jacket", ["dark red", "leather"]),
        ("red and black striped skirt", "Skirt", ["red", "black", "striped"]),
        ("red skirt and blue coat", "Jacket", ["blue"]),
        ("red skirt and blue coat", "Skirt", ["red"]),
        ("red quilted jacket", "Jacket", ["red", "quilted"]),
        ("a fluffy hat", "Hat", ["fluffy"]),
        ("the jacket is green", "Jacket", ["green"]),
        ("city at sunset", "Sky", ["sunset"]),
        ("blue lake, mountains", "BodyofWater", ["blue"]),
        ("RED JACKETS", "Jacket", ["red"]),
        ("1girl, jacket, walking", "Jacket", []),
        ("girl jacket", "Jacket", []),
        ("a red car", "Jacket", []),
        ("crimson-coloured", "Jacket", []),
    ],
)
async def test_words_bind_to_their_object(prompt: str, label: str, tags: list[str]) -> None:
    one = [detection(label, 0, 0, 10, 10)]
    scene = await TemplateContextWriter().describe(prompt, one, seed=3)
    assert list(scene.objects[0].tags[: len(tags)]) == tags
    if not tags:
        others = [(await TemplateContextWriter().describe(prompt, one, seed=seed)) for seed in range(20)]
        assert len({scene.objects[0].tags[0] for scene in others}) > 3


async def test_template_with_nothing_found_or_a_strange_class() -> None:
    writer = TemplateContextWriter()
    assert_valid(await writer.describe("", [], seed=1), 0)
    labels = ["", "traffic light", "Wein­glas", "猫", "@everyone", "x" * 300]
    scene = await writer.describe(
        "@everyone <@1> \u202e", [detection(label, 0, 0, 9, 9) for label in labels], seed=1
    )
    assert_valid(scene, 6)
    crowd = [detection("Buildings", 0, 0, 9, 9)] * 24
    assert_valid(await writer.describe("x" * 4000, crowd, seed=1), 24)


def test_classes_as_people_say_them() -> None:
    said = {
        "BodyofWater": "body of water", "Alleyshops": "alley shop", "Lightsource": "light source",
        "Shelfs": "shelf", "Residentialcomplex": "residential complex", "Brightwindow": "bright window",
        "Cars": "car", "Buildings": "building", "Dress": "dress", "traffic_light": "traffic light",
        "Bus": "bus", "Glasses": "glass",
    }  # fmt: skip
    assert {label: spoken(label) for label in said} == said


# -- cleaning ------------------------------------------------------------------------------------


def test_tags_are_cleaned() -> None:
    assert clean_tags(["Red", "red", " RED. ", "- shiny", "2. wet", "“soft”", "", "  ", "***"]) == (
        "Red", "shiny", "wet", "soft",
    )  # fmt: skip
    assert clean_tags([", ".join(f"tag {n}" for n in range(50))]) == tuple(f"tag {n}" for n in range(10))
    assert clean_tags(["<@123> <@!1> <@&2> <#3> red", "<:cat:12>", "<a:wave:1>", "@everyone", "@here"]) == (
        "red", "cat", "wave", "everyone", "here",
    )  # fmt: skip
    assert clean_tags(["@\u200beveryone", "<@<@1>2>", "\u202ered\u202c", "a\x00b", "\ud83d"]) == (
        "everyone", "2", "red", "ab",
    )  # fmt: skip
    assert clean_tags(["x" * 300]) == ("x" * 60,)
    assert clean_tags(["👩‍🚀", "빨간 가죽", "أحمر", "(red:1.3)"]) == (
        "👩‍🚀",
        "빨간 가죽",
        "أحمر",
        "(red:1.3)",
    )


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=200))
def test_any_text_becomes_harmless(text: str) -> None:
    assert_harmless(clean(text, 100))
    for tag in clean_tags([text]):
        assert_harmless(tag)
        assert clean_tags([tag]) == (tag,), "cleaning what is clean changes nothing"


# -- the language model --------------------------------------------------------------------------


async def test_a_good_answer(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    scene = await described(writer())
    assert_valid(scene)
    assert scene.source == "small-model"
    assert scene.story.startswith("A quiet street")
    assert [thing.tags for thing in scene.objects] == [("teal", f"number {n}") for n in (1, 2, 3, 4)]
    (request,) = server.requests
    assert not server.refused
    assert (request["model"], request["temperature"], request["seed"]) == ("small-model", 0.7, 7)
    items = request["response_format"]["json_schema"]["schema"]["properties"]["objects"]["items"]
    assert items["properties"]["id"]["enum"] == [1, 2, 3, 4]
    question = json.loads(request["messages"][1]["content"])
    assert question["prompt"] == PROMPT
    assert [thing["name"] for thing in question["objects"]] == ["jacket", "sky", "right shoe", "left shoe"]
    assert question["objects"][1]["where"] == "top middle, 29% of the picture"


async def test_no_objects_is_a_story(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    scene = await writer().describe(PROMPT, [], picture=picture(), seed=1)
    assert_valid(scene, 0)
    assert scene.source == "small-model"
    assert not server.refused


async def test_vision_sends_the_outlined_picture(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    scene = await writer(vision=True).describe(PROMPT, SCENE, picture=picture(), seed=1)
    assert scene.source == "small-model"
    text, image = server.requests[0]["messages"][1]["content"]
    assert json.loads(text["text"])["prompt"] == PROMPT
    data = base64.b64decode(image["image_url"]["url"].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)  # [H, W, RGB]
    assert max(pixels.shape) <= 1024
    coloured = (pixels.max(-1) - pixels.min(-1)) > 60
    assert 0.005 < coloured.mean() < 0.2, "outlines and numbers in colour on a grey picture"


async def test_a_server_that_sees_nothing_is_asked_without_the_picture(
    server: LoopbackOpenAI, writer: MakeWriter
) -> None:
    server.answers.append(fails(400, "Invalid content type: image_url is not supported by this model."))
    one = writer(vision=True)
    assert (await described(one)).source == "small-model"
    assert (await described(one)).source == "small-model"
    kinds = [type(request["messages"][1]["content"]) for request in server.requests]
    assert kinds == [list, str, str], "and not shown another"


async def test_what_a_model_does_not_know_is_left_out(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    server.unsupported = {"temperature", "seed", "max_completion_tokens", "response_format"}
    one = writer()
    assert (await described(one)).source == "template (the language model's answer could not be used)"
    assert len(server.refused) == 4
    assert not {"temperature", "seed", "response_format"} & set(server.requests[0])
    server.answers.append(says('{"story": "Rain.", "objects": [{"id": 1, "tags": ["blue"]}]}'))
    scene = await described(one)
    assert len(server.refused) == 4, "remembered"
    assert scene.source == "small-model; template for the tags of 2, 3, 4"


ENTRIES = [{"id": number, "tags": ["wet", f"t{number}"]} for number in (1, 2, 3, 4)]
GOOD: dict[str, object] = {"story": "Rain falls on the jacket.", "objects": ENTRIES}
TAGS = [("wet", f"t{n}") for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(GOOD),
        "```json\n" + json.dumps(GOOD, indent=2) + "\n```",
        "Sure! Here is {what} you asked for:\n```\n" + json.dumps(GOOD) + "\n```\nAnything else? {}",
        "Of course. " + json.dumps(GOOD) + " I hope you like it [1].",
        "<think>the user wants {\"story\": 1}</think>\n" + json.dumps(GOOD),
        "\ufeff  " + json.dumps(GOOD),
        [{"type": "text", "text": json.dumps(GOOD)}],
        json.dumps({**GOOD, "mood": "grim", "objects": [*ENTRIES, {"id": 9, "tags": ["ghost"]}]}),
        json.dumps({**GOOD, "objects": {str(n): ["wet", f"t{n}"] for n in (1, 2, 3, 4)}}),
        json.dumps({**GOOD, "objects": [{"id": f"#{n}", "tags": f"wet, t{n}"} for n in (4, 3, 2, 1)]}),
        json.dumps({**GOOD, "objects": {
            "Jacket": {"tags": ["wet", "t1"]}, "Sky": ["wet", "t2"],
            "right shoe": ["wet", "t3"], "Shoes": "wet,t4",
        }}),
        json.dumps({**GOOD, "objects": [
            {"name": "Left Shoe", "tags": ["wet", "t4"]}, {"label": "Jackets", "tags": ["wet", "t1"]},
            {"id": 99, "class": "SKY", "tags": ["wet", "t2"]}, {"id": "shoe", "tags": ["wet", "t3"]},
        ]}),
    ],
)  # fmt: skip
async def test_answers_of_many_shapes_are_read(
    server: LoopbackOpenAI, writer: MakeWriter, content: object
) -> None:
    server.answers.append(says(content))
    scene = await described(writer())
    assert_valid(scene)
    assert scene.story == GOOD["story"]
    assert scene.source == "small-model"
    assert [sorted(tag.lower() for tag in thing.tags) for thing in scene.objects] == [
        sorted(tags) for tags in TAGS
    ]
    assert len(server.requests) == 1


async def test_missing_objects_get_template_tags(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    objects = [
        {"id": 1, "tags": ["The jacket is very nice and warm.", "It has a long zip down the whole front"]},
        {"id": 2, "tags": ["stormy"]},
        {"id": 2, "tags": ["twice"]},
        {"id": 3, "tags": [PROMPT, PROMPT.upper(), "@everyone"]},
        {"id": 4, "tags": [None, 3, {"tag": "x"}, ["y"], "wool"]},
    ]
    server.answers.append(says(json.dumps({"story": "", "objects": objects})))
    scene = await described(writer())
    template = await described(TemplateContextWriter())
    assert_valid(scene)
    assert scene.source == "small-model; template for the story and the tags of 1"
    assert scene.story == template.story
    assert scene.objects[0] == template.objects[0]
    assert scene.objects[1].tags == ("stormy",)
    assert "wool" in scene.objects[3].tags


async def test_one_turn_to_mend_an_answer(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    server.answers.extend([says("I would love to!", finish_reason="length"), says(json.dumps(GOOD))])
    assert (await described(writer())).source == "small-model"
    first, second = server.requests
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][-2] == {"role": "assistant", "content": "I would love to!"}
    assert "cut off" in second["messages"][-1]["content"]
    server.answers.extend([says("no"), says("still no"), says(json.dumps(GOOD))])
    assert (await described(writer())).source.startswith("template (")
    assert len(server.requests) == 4, "never a third turn"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fails(401, "Incorrect API key"), "refused the key"),
        (fails(403, "no"), "refused the key"),
        (fails(404, "The model `small-model` does not exist"), "was not found"),
        (fails(429, "quota"), "had no time"),
        (fails(400, "bad"), "did not answer"),
        (fails(500, "oops"), "did not answer"),
        (Answer(b"<html>Bad Gateway</html>", 502, "text/html"), "did not answer"),
        (Answer(b"[" * 100_000, 500), "did not answer"),
        (Answer(b"", 200), "answer could not be used"),
        (Answer(b"<html>log in</html>", 200, "text/html"), "answer could not be used"),
        (Answer(b"\xff\xfe{", 200), "answer could not be used"),
        (Answer(b"[" * 200_000, 200), "answer could not be used"),
        (Answer(b'{"choices": 3}', 200), "answer could not be used"),
        (Answer(json.dumps({"error": {"message": "hidden in a 200"}}).encode()), "answer could not be used"),
        (Answer(b"x" * 1000, 200, cut_after=10), "did not answer"),
        (Answer(b"", 200, headers={"Content-Encoding": "gzip"}), "answer could not be used"),
        (Answer(b"no gzip", 200, headers={"Content-Encoding": "gzip"}), "did not answer"),
        (Answer(b"", hang=True), "did not answer"),
        (completion([]), "answer could not be used"),
        (completion(None), "answer could not be used"),
        (completion([None]), "answer could not be used"),
        (completion([{"message": None}]), "answer could not be used"),
        (says(None, refusal="I can't help with that."), "refused"),
        (says(None, finish_reason="content_filter"), "refused"),
    ],
)
async def test_a_failing_server_is_the_template(
    server: LoopbackOpenAI, writer: MakeWriter, answer: Answer, reason: str
) -> None:
    server.answers.append(answer)
    scene = await described(writer(timeout=1 if answer.hang else 20))
    template = await described(TemplateContextWriter())
    assert_valid(scene)
    assert reason in scene.source
    assert scene.source.startswith("template (the language model")
    assert (scene.story, scene.objects) == (template.story, template.objects)


async def test_no_server_at_all(writer: MakeWriter, unused_tcp_port: int) -> None:
    for url in (f"http://127.0.0.1:{unused_tcp_port}/v1", "no url", "ftp://x", "http://127.0.0.1:99999/v1"):
        scene = await described(writer(base_url=url))
        assert_valid(scene)
        assert scene.source.startswith("template (the language model")
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL"):
        writer(base_url="http://[::1")


async def test_a_busy_server_is_asked_again(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    server.answers.extend([fails(429, "slow down", **{"retry-after-ms": "20"}), fails(500, "oops")])
    assert (await described(writer(retries=2))).source == "small-model"


async def test_the_deadline_is_for_everything(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    server.answers.extend(fails(429, "slow down", **{"retry-after": "50"}) for _ in range(3))
    start = time.monotonic()
    scene = await described(writer(timeout=0.5, retries=2))
    assert time.monotonic() - start < 5
    assert scene.source == "template (the language model did not answer)"


async def test_a_cancelled_step_is_cancelled(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    server.answers.append(Answer(b"", hang=True))
    task = asyncio.create_task(described(writer()))
    await server.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (KEY, fails(401, f"Incorrect API key provided: {KEY}. See {KEY[:9]}****")),
        (KEY, fails(500, f"Authorization: Bearer {KEY}")),
        (KEY, Answer(f"plain {KEY}".encode(), 400, "text/plain")),
        (KEY + "x", None),
        (f"  {KEY}\n", None),
    ],
)
async def test_the_key_is_never_logged(
    server: LoopbackOpenAI,
    writer: MakeWriter,
    caplog: pytest.LogCaptureFixture,
    key: str,
    answer: Answer | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    if answer:
        server.answers.append(answer)
    one = writer(api_key=key)
    scene = await described(one)
    assert_valid(scene)
    assert scene.source == ("small-model" if key.strip() == KEY and not answer else scene.source)
    assert "0123456789" not in caplog.text
    assert "0123456789" not in scene.source
    assert "0123456789" not in repr(one) + repr(vars(one).get("_template"))


EVIL = [  # what must not come through
    *("@everyone", "<@123456>", "<#42>", "<:cat:99>"),
    *("\x00\x07\x1b[31m", "\u202e\u2066", "\ud800", "`", "😀", "红"),
]


def test_a_key_that_cannot_be_sent_is_refused() -> None:
    for key in (KEY + "\nX-Other: 1", KEY + "ä", KEY + " twice"):
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as caught:
            OpenAIContextWriter(model="m", api_key=key, base_url="http://127.0.0.1:9/v1")
        assert "0123" not in str(caught.value)


def malformed(count: int) -> list[tuple[str, Answer]]:
    """Make answers of every bad kind, each a little different: (kind, answer)."""
    chance = random.Random(20)
    pick = chance.choice
    pieces = [*EVIL, "red ", "wet, ", '"', "{", "}", "[", ":", "\\", " "]

    def noise(size: int) -> str:
        return "".join(pick(pieces) for _ in range(size))

    def tags() -> list[str]:
        return [f"{pick(EVIL)} {pick(['red', 'wet'])}{chance.randrange(99)}" for _ in range(3)]

    def sentence() -> str:
        return f"The object is {pick(['red', 'blue'])} and it has {chance.randrange(9)} stripes on its side."

    def told(make: Callable[[], object], ids: Sequence[object] = (1, 2, 3, 4), story: object = "x") -> str:
        return json.dumps({"story": story, "objects": [{"id": name, "tags": make()} for name in ids]})

    good = told(tags)
    huge = ["x" * 100_000, "{" * 100_000, '{"a":' * 20_000, told(lambda: ["z" * 25_000, "w, " * 9000])]
    stories: list[object] = [1, None, [], {}, True]
    listed: list[object] = [1, "red", None, [1, 2], {"1": 5}, [{"id": {}, "tags": 3}], [{"id": 1}]]
    kinds: dict[str, Callable[[], Answer]] = {
        "not JSON": lambda: says(noise(chance.randrange(1, 400))),
        "cut JSON": lambda: says(good[: chance.randrange(len(good))], finish_reason="length"),
        "other JSON": lambda: says(pick(["null", "3", '"red"', "[]", "{}", "[[1]]", '{"a": 1}', "NaN"])),
        "renamed": lambda: says(told(tags, ["Coat", "Cloud", "foot", 77])),
        "missing": lambda: says(told(tags, [chance.randint(1, 4)])),
        "50 tags": lambda: says(told(lambda: tags() * 17)),
        "sentences": lambda: says(told(lambda: [sentence(), sentence()])),
        "empty": lambda: says(pick(["", " ", "\n\n", None, [], [{"type": "text"}]])),
        "refusal": lambda: says(None, refusal=pick(["I can't.", "No " + noise(9)])),
        "prose refusal": lambda: says(f"I'm sorry, but I can't assist with {noise(20)}"),
        "mentions": lambda: says(told(lambda: [f"red {noise(5)}", "<@1>"], story=noise(60))),
        "control": lambda: says(told(lambda: ["\x1b", "\u200b"], story="\u202e\x00a")),
        "100 kB": lambda: says(pick(huge)),
        "long story": lambda: says(told(tags, story="y " * 50_000)),
        "wrong types": lambda: says(json.dumps({"story": pick(stories), "objects": pick(listed)})),
        "no choices": lambda: completion(pick([[], None, {}, [{}], [[]], "x"])),
        "broken body": lambda: Answer(noise(50).encode(errors="replace"), pick([200, 200, 201])),
        "error status": lambda: fails(pick([400, 401, 404, 409, 418, 429, 500, 503]), noise(20)),
    }
    return [(kind, kinds[kind]()) for kind in (list(kinds) * (count // len(kinds) + 1))[:count]]


async def test_200_malformed_answers(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    one = writer()
    seen: dict[str, list[str]] = {}
    for seed, (kind, answer) in enumerate(malformed(200)):
        server.answers.clear()
        server.answers.extend([answer, answer])  # no better the second time
        scene = await one.describe(PROMPT, SCENE, picture=picture(), seed=seed)
        assert_valid(scene)
        seen.setdefault(kind, []).append(scene.source)
        server.answers.clear()
        server.answers.extend([answer, answer])
        (bag,) = await one.revise("make her bag yellow", OBJECTS[6:], prompt="", story="", seed=seed)
        assert 0 < len(bag.tags) <= MAX_TAGS
    for kind in ("not JSON", "empty", "refusal", "no choices", "sentences", "error status", "control"):
        assert all(source.startswith("template (") for source in seen[kind]), kind
    for kind in ("50 tags", "missing", "mentions"):
        assert all(source.startswith("small-model") for source in seen[kind]), kind
    assert not server.refused, "and nothing was unlearnt because of them"


# -- replies -------------------------------------------------------------------------------------

ADDRESSED = [
    ("2: red leather", {2: ("red leather",)}),
    ("#2 red, leather", {2: ("red", "leather")}),
    ("2 = cloudy", {2: ("cloudy",)}),
    ("2) cloudy", {2: ("cloudy",)}),
    ("number 2: cloudy", {2: ("cloudy",)}),
    ("1: a; 3: b", {1: ("a",), 3: ("b",)}),
    ("1: a, c, 3: b", {1: ("a", "c"), 3: ("b",)}),
    ("1: red\n\n3: blue, dotted", {1: ("red",), 3: ("blue", "dotted")}),
    ("1, 3: red", {1: ("red",), 3: ("red",)}),
    ("jacket: green", {1: ("green",)}),
    ("JACKETS: green", {1: ("green",)}),
    ("the coat = green", {1: ("green",)}),
    ("BodyofWater: green", {5: ("green",)}),
    ("body of water 5: green", {5: ("green",)}),
    ("left shoe: red", {4: ("red",)}),
    ("shoe #3: red", {3: ("red",)}),
    ("shoes: red", {3: ("red",), 4: ("red",)}),
    ("Love it!\n2: dawn", {2: ("dawn",)}),
    ("2: make it yellow", {2: ("yellow",)}),
    ("2: red with yellow dots and a zip", {2: ("red", "yellow dots", "zip")}),
    ("2: night, 23:59", {2: ("night", "23:59")}),
    ("2: 빨간 가죽, 🌸", {2: ("빨간 가죽", "🌸")}),
    ("2：赤い、革", {2: ("赤い", "革")}),
    ("٢: أحمر", {2: ("أحمر",)}),
    ("2: <@123> red, @everyone", {2: ("red", "everyone")}),
    ("2: " + ", ".join(f"t{n}" for n in range(50)), {2: tuple(f"t{n}" for n in range(10))}),
]
PLAIN = [
    ("make her bag yellow", {7: ("yellow", "plaid")}),
    ("Note: make her bag yellow, please!", {7: ("yellow", "plaid")}),
    ("make the bag light blue", {7: ("light blue", "plaid")}),
    ("make the coat and the bag red", {1: ("red", "leather", "striped", "warm"), 7: ("red", "plaid")}),
    ("the bag dotted and the sky a sunset", {2: ("sunset", "starry"), 7: ("dotted", "brown")}),
    ("number 2 should be cloudy", {2: ("cloudy", "night")}),
    ("the jacket should not be striped", {1: ("plain", "blue leather", "warm")}),
    ("make the left shoe green but leave the right shoe", {4: ("green",)}),
    ("make the shoes green", {3: ("green", "plain"), 4: ("green",)}),
]


def changes(objects: Sequence[ObjectContext]) -> dict[int, tuple[str, ...]]:
    return {thing.number: thing.tags for thing in objects}


@pytest.mark.parametrize(("reply", "expected"), ADDRESSED + PLAIN)
async def test_replies_without_a_model(reply: str, expected: dict[int, tuple[str, ...]]) -> None:
    revised = await TemplateContextWriter().revise(reply, OBJECTS)
    assert changes(revised) == expected
    assert all(thing.name == OBJECTS[thing.number - 1].name for thing in revised)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("hello, nice picture", "7 bag"),
        ("make it rain", "1 jacket, 2 sky"),
        ("", "write its number"),
        ("9: red", "no object 9"),
        ("1: red; 9: blue", "no object 9"),
        ("shoe: red", "3 right shoe and 4 left shoe"),
        ("make the shoe red", "3 right shoe and 4 left shoe"),
        ("2:", "Say what 2 sky should become"),
        ("2: <@123> \u202e\x00", "Say what 2 sky should become"),
        ("가방을 노랗게", "which object"),
        ("make her bag", "which object"),
    ],
)
async def test_what_is_not_understood_is_answered_in_one_sentence(reply: str, message: str) -> None:
    with pytest.raises(NotUnderstood, match=re.escape(message)) as caught:
        await TemplateContextWriter().revise(reply, OBJECTS)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 1900


async def test_one_object_needs_no_name() -> None:
    revise = TemplateContextWriter().revise
    assert changes(await revise("yellow, please", OBJECTS[6:])) == {7: ("yellow", "plaid")}
    with pytest.raises(NotUnderstood):
        await revise("thanks a lot", OBJECTS[6:])
    with pytest.raises(NotUnderstood, match="no object in this picture"):
        await revise("2: red", [])


async def test_addressed_replies_ask_no_model(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    one = writer()
    for reply, expected in ADDRESSED:
        assert changes(await one.revise(reply, OBJECTS, prompt=PROMPT, story="s", seed=1)) == expected
    with pytest.raises(NotUnderstood):
        await one.revise("9: red", OBJECTS, prompt=PROMPT, story="s", seed=1)
    assert not server.requests


async def test_plain_words_are_the_models(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    one = writer()
    answer = {"objects": [{"id": 7, "tags": ["yellow", "plaid"]}, {"id": 12, "tags": ["ghost"]}]}
    server.answers.append(says(json.dumps(answer)))
    revised = await one.revise("mach ihre Tasche gelb", OBJECTS, prompt=PROMPT, story="Rain.", seed=5)
    assert changes(revised) == {7: ("yellow", "plaid")}
    (request,) = server.requests
    items = request["response_format"]["json_schema"]["schema"]["properties"]["objects"]["items"]
    assert items["properties"]["id"]["enum"] == [1, 2, 3, 4, 5, 6, 7]
    assert json.loads(request["messages"][1]["content"])["objects"][6]["tags"] == ["brown", "plaid"]

    nothing = says('{"objects": []}')
    server.answers.append(nothing)
    assert changes(await one.revise("make her bag yellow", OBJECTS, prompt="", story="", seed=5)) == {
        7: ("yellow", "plaid")
    }
    server.answers.append(nothing)
    with pytest.raises(NotUnderstood):
        await one.revise("what a night", OBJECTS, prompt="", story="", seed=5)
    assert len(server.requests) == 3, "an empty list is an answer, not a mistake to mend"
    assert not server.refused


async def test_plain_words_when_the_model_fails(server: LoopbackOpenAI, writer: MakeWriter) -> None:
    for reply, expected in PLAIN:
        server.answers.append(fails(500, "oops"))
        assert changes(await writer().revise(reply, OBJECTS, prompt="", story="", seed=1)) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.characters(exclude_categories=[]), max_size=80),
    st.sampled_from(["", "2: ", "#1 ", "jacket: ", "make the bag ", "1, 2 = "]),
)
def test_any_reply_is_harmless(text: str, before: str) -> None:
    try:
        revised = asyncio.run(TemplateContextWriter().revise(before + text, OBJECTS))
    except NotUnderstood as err:
        assert_harmless(str(err))
        return
    assert revised
    for thing in revised:
        assert 0 < len(thing.tags) <= MAX_TAGS
        for tag in thing.tags:
            assert_harmless(tag)
            assert 0 < len(tag) <= MAX_TAG


@pytest.mark.parametrize(
    "piece",
    [
        "x ",
        "1,",
        "1 and ",
        "1" + " " * 99,
        "\n",
        "a:",
        "1:a;",
        "<@",
        "make bag 3 red, ",
        "#",
        "빨강 ",
        "😀",
        "\u202e",
    ],
)
def test_4000_characters_cost_little(piece: str) -> None:
    text = (piece * 4000)[:4000]
    crowd = [ObjectContext(number, f"residential complex {number}", ("red",)) for number in range(1, 25)]
    start = time.process_time()
    with contextlib.suppress(NotUnderstood):
        revised = asyncio.run(TemplateContextWriter().revise(text, crowd))
        assert all(len(thing.tags) <= MAX_TAGS for thing in revised)
    assert time.process_time() - start < 1
