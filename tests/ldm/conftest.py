from pathlib import Path

import pytest
from ldm_tiny import tiny_model

from ldm.data import KINDS, draw_shards
from ldm.model import LatentDiffusion


@pytest.fixture(scope="session")
def model() -> LatentDiffusion:
    return tiny_model()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    for _ in draw_shards(folder, [(KINDS[0], 0), (KINDS[1], 0), (KINDS[3], 0)], 6, 1):
        pass
    return folder
