"""The weights that come with the project."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mrcnn import MaskRCNN
from mrcnn.data import with_classes
from mrcnn.evaluate import evaluate
from mrcnn.train import open_any

WEIGHTS = Path(__file__).parents[2] / "weights"
CLASSES = {
    "surface": "Sky Buildings Residentialcomplex BodyofWater Alleyshops Cars Jacket Shirt Dress Skirt",
    "detail": "Hat Bag Shoe Shelfs Lightsource Brightwindow Cars",
}

DIGEST = """
import hashlib, sys
import numpy as np
from mrcnn import MaskRCNN
found = MaskRCNN.from_file(sys.argv[1]).detect([np.load(sys.argv[2])])[0]
print(hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in found.values())).hexdigest())
"""


@pytest.mark.parametrize("name", list(CLASSES))
def test_they_find_what_is_in_new_scenes(name: str) -> None:
    path = WEIGHTS / f"{name}.h5"
    assert path.stat().st_size < 6_000_000
    model = MaskRCNN.from_file(path)
    assert model.classes == tuple(CLASSES[name].split())
    box, mask = evaluate(model, with_classes(open_any("scenes:500-509"), model.classes), range(10))
    assert box.ap50 > 0.75
    assert mask.ap50 > 0.7


def test_another_process_finds_the_same_to_the_byte(tmp_path: Path) -> None:
    image = open_any("scenes:500-500").load(0).image
    np.save(tmp_path / "image.npy", image)
    path = WEIGHTS / "surface.h5"
    found = MaskRCNN.from_file(path).detect([image])[0]
    assert len(found["scores"])
    mine = hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in found.values())).hexdigest()
    command = [sys.executable, "-c", DIGEST, str(path), str(tmp_path / "image.npy")]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True, cwd=WEIGHTS.parent)
    assert theirs.stdout.split()[-1] == mine
