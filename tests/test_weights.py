"""weights/README.md says what the files are."""

import hashlib
import re
from pathlib import Path

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def test_every_weights_file_is_listed_with_its_size_and_checksum():
    text = (WEIGHTS / "README.md").read_text("utf-8")
    files = [path for path in WEIGHTS.iterdir() if path.suffix in (".npz", ".h5")]
    assert files
    for path in files:
        data = path.read_bytes()
        line = next(line for line in text.splitlines() if hashlib.sha256(data).hexdigest() in line)
        assert str(len(data)) in re.findall(r"\d+", line)


def test_all_weights_together_stay_small_enough_for_git():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 40e6
