"""What is written into a PNG comes back out of it, and equal input gives equal bytes."""

import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline import provenance
from pipeline.domain import (
    Box,
    Detection,
    GenerationRequest,
    SceneObject,
    Session,
    Step,
    StepKind,
    StepState,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("prompt", ["a, b", '밤하늘 🌃 «quote» "x"\nnext: line', "x" * 4000])
def test_round_trip(prompt):
    session = Session(1, "cli", "", "r", "", prompt, "blurry", 7, 64, 48, 20, 5.0, NOW, {})
    step = Step(
        2, 1, 1, StepKind.RECURSE, StepState.RUNNING, 1, 8, "", "", "o", 1, "", "", "", (), "", NOW, None
    )
    mask = np.ones((48, 64), np.bool_)
    item = SceneObject(1, Detection("Hat", 0.9, Box(1, 2, 3, 4), mask), "straw hat", ("yellow", "woven"), 5)
    texts = provenance.describe(
        session,
        step,
        [item],
        GenerationRequest(prompt, "blurry", 8, 64, 48, 20, 5.0),
        story="Once.",
        source="template",
        picture_model="ldm [1]",
        segmentation_model="surface [2]",
    )
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    png = provenance.encode(picture, texts)
    assert png == provenance.encode(picture.copy(), dict(texts))
    assert (provenance.decode(png) == picture).all()
    record = provenance.read(png)
    assert record is not None
    assert record["prompt"] == prompt
    assert record["seed"] == 8
    assert record["story"] == "Once."
    assert record["models"] == {"picture": "ldm [1]", "segmentation": "surface [2]"}
    assert record["objects"][0]["box"] == [1, 2, 3, 4]
    assert record["objects"][0]["tags"] == ["yellow", "woven"]
    assert record["objects"][0]["params"]["strength"] == item.params.strength
    with Image.open(io.BytesIO(png)) as image:
        parameters = image.info["parameters"]
    assert parameters.startswith(prompt)
    assert "\nNegative prompt: blurry\n" in parameters
    assert "Seed: 8, Size: 64x48, Model: ldm [1]" in parameters


def test_other_pictures_have_none():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    assert provenance.read(buffer.getvalue()) is None
    assert provenance.read(provenance.encode(np.zeros((4, 4, 3), np.uint8), {provenance.KEY: "{"})) is None


def _texts() -> dict[str, str]:
    record = {"prompt": "밤 <&\"'> night", "seed": 7, "objects": [{"number": 1, "name": "Hat"}]}
    return {"parameters": "밤 night\nSteps: 20, Seed: 7", provenance.KEY: json.dumps(record)}


def _saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 70}])
def test_a_webp_of_ours_tells_the_same(options):
    png = provenance.encode(np.full((8, 8, 3), 90, np.uint8), _texts())
    with Image.open(io.BytesIO(png)) as image:
        webp = _saved(image, "WEBP", **options, **provenance.webp_metadata(png))
    assert provenance.read(webp) == provenance.read(png)
    with Image.open(io.BytesIO(webp)) as image:
        assert provenance.texts_of(image) == _texts()
    assert provenance.webp_metadata(_saved(Image.new("RGB", (4, 4)), "PNG")) == {}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_a_program_that_keeps_xmp_keeps_what_we_wrote(kind):
    png = provenance.encode(np.full((8, 8, 3), 90, np.uint8), _texts())
    with Image.open(io.BytesIO(png)) as image:
        packet = image.info["xmp"]
        again = Image.fromarray(np.asarray(image))
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt(provenance.XMP, packet.decode())
        data = _saved(again, kind, pnginfo=info)
    else:
        # As exiftool writes it: an attribute instead of an element.
        packet = packet.replace(b"><cd:record>", b' cd:record="').replace(b"</cd:record>", b'">')
        data = _saved(again, kind, xmp=packet)
    assert provenance.read(data) == provenance.read(png)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "7", "[" * 100_000, '{"seed": "x"}', '{"objects": 4}', '{"objects": [{"name": 1}]}'],
)
def test_what_others_wrote_in_our_place_is_not_believed(text):
    png = provenance.encode(np.zeros((4, 4, 3), np.uint8), {provenance.KEY: text})
    with Image.open(io.BytesIO(png)) as image:
        assert provenance.record_of(provenance.texts_of(image)) is None
    provenance.read(png)


def test_a_members_words_can_be_taken_out():
    texts = {"parameters": "a", provenance.KEY: json.dumps({"prompt": "a", "reply": "2: red"})}
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    png = provenance.encode(picture, texts)
    cleaned = provenance.without_reply(png)
    assert provenance.read(cleaned) == {"prompt": "a", "reply": ""}
    assert (provenance.decode(cleaned) == picture).all()
    assert b"2: red" not in cleaned
    assert provenance.without_reply(cleaned) == cleaned
