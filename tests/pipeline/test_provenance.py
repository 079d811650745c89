"""What is written into a PNG comes back out of it, and equal input gives equal bytes."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

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
