"""The picture model that we ship, as a backend; here with weights of no skill, and small."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pipeline import provenance
from pipeline.domain import GenerationRequest
from pipeline.generators.embedded import Embedded


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from tests.ldm.ldm_tiny import tiny_model

    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    tiny_model().save(path)
    return path


async def test_a_picture_is_painted_over_another(weights):
    rows, columns = np.mgrid[:96, :128]
    picture = np.stack([rows * 2, columns * 2, 255 - rows], -1).astype(np.uint8)
    with ThreadPoolExecutor(1) as executor:
        generator = Embedded(executor=executor, weights=weights)

        async def paint(strength: float, image: bytes | None) -> np.ndarray:
            request = GenerationRequest("a red bus", "", 7, 128, 96, 2, 2.5, image, strength)
            png = (await generator.generate(request)).png
            with Image.open(io.BytesIO(png)) as opened:
                assert opened.size == (128, 96)
            return provenance.decode(png).astype(int)

        source = provenance.encode(picture)
        # What the model's encoder and decoder alone make of the picture is the nearest it can get.
        near, same, far = await paint(0.02, source), await paint(0.02, source), await paint(1.0, source)
        other = await paint(0.02, provenance.encode(255 - picture))
        plain = await paint(1.0, None)
    assert (near == same).all()
    assert (near != other).mean() > 0.5, "what is painted depends on the picture"
    assert np.abs(near - far).mean() > np.abs(near - same).mean()
    assert plain.shape == far.shape
