"""Do our weights files work in Matterport's own code on TensorFlow 1, and theirs in ours?

    python -m benchmarks.tf1_compat ours FOLDER                    here: write files, and what we find
    TF1-PYTHON benchmarks/tf1_compat.py theirs FOLDER MATTERPORT   there: load it, detect, save it again
    python -m benchmarks.tf1_compat back FOLDER                    here: load theirs, strictly, and detect

TF1-PYTHON is Python 3.6 or 3.7 with tensorflow 1.13.2, keras 2.0.8, h5py below 3 and scikit-image 0.16;
MATTERPORT the folder that holds their package `mrcnn`. This file runs on both sides. Random weights, from a
seed: ResNet-50 and ResNet-101, 5 classes. Each step ends with an error at the first difference.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

BACKBONES = ("resnet50", "resnet101")
CLASSES = 5
SIDE = 256


def ours(folder):
    """Write weights, a picture and what we find in it."""
    from mrcnn import Config, MaskRCNN
    from tests.mrcnn import oracle

    folder.mkdir(parents=True, exist_ok=True)
    picture = oracle.picture("syn:200:300:7")
    np.save(folder / "picture.npy", picture)
    for backbone in BACKBONES:
        config = Config(
            backbone=backbone,
            num_classes=CLASSES,
            image_min_dim=SIDE,
            image_max_dim=SIDE,
            detection_min_confidence=0,
        )
        model = MaskRCNN(config)
        oracle.fill(model.network, 11)
        model.save_weights(folder / f"{backbone}-ours.h5")
        found: dict[str, Any] = model.detect([picture])[0]
        np.savez(folder / f"{backbone}-ours.npz", **found)
        print(f"wrote {backbone}-ours.h5")


def theirs(folder, matterport):
    """Load our files into their model both ways, find the same, and save them; runs on TensorFlow 1."""
    sys.path.insert(0, matterport)
    keras, tensorflow, h5py = (importlib.import_module(name) for name in ("keras", "tensorflow", "h5py"))
    base = importlib.import_module("mrcnn.config").Config
    code = importlib.import_module("mrcnn.model")
    print(f"TensorFlow {tensorflow.__version__}, Keras {keras.__version__}, h5py {h5py.__version__}")
    picture = np.load(str(folder / "picture.npy"))
    for backbone in BACKBONES:
        settings = {
            "NAME": "compat",
            "BACKBONE": backbone,
            "NUM_CLASSES": CLASSES,
            "IMAGE_MIN_DIM": SIDE,
            "IMAGE_MAX_DIM": SIDE,
            "DETECTION_MIN_CONFIDENCE": 0,
            "IMAGES_PER_GPU": 1,
        }
        config = type("Settings", (base,), settings)()
        path = folder / f"{backbone}-ours.h5"
        with h5py.File(str(path), "r") as file:
            wanted = [
                file[group][name][()]
                for group in file.attrs["layer_names"]
                for name in file[group].attrs["weight_names"]
            ]
        for by_name in (False, True):
            keras.backend.clear_session()
            model = code.MaskRCNN("inference", config, str(folder / "logs"))
            model.load_weights(str(path), by_name=by_name)
            got = [value for layer in model.keras_model.layers for value in layer.get_weights()]
            # Their nested model gives its weights as one layer's, as the file's group does.
            assert len(got) == len(wanted), f"{len(got)} arrays there, {len(wanted)} in the file"
            assert all(np.array_equal(a, b) for a, b in zip(got, wanted)), "an array differs"  # noqa: B905
            print(f"{backbone}-ours.h5: all {len(got)} arrays loaded, by_name={by_name}")
        found = model.detect([picture])[0]
        compare(dict(np.load(str(folder / f"{backbone}-ours.npz"))), found)
        model.keras_model.save_weights(str(folder / f"{backbone}-theirs.h5"))


def back(folder):
    """Load what they saved, strictly, and find the same."""
    from mrcnn import Config, MaskRCNN
    from mrcnn.weights import read_groups

    picture = np.load(folder / "picture.npy")
    for backbone in BACKBONES:
        config = Config(
            backbone=backbone,
            num_classes=CLASSES,
            image_min_dim=SIDE,
            image_max_dim=SIDE,
            detection_min_confidence=0,
        )
        model = MaskRCNN(config)
        model.load_weights(folder / f"{backbone}-theirs.h5")
        first, second = (read_groups(folder / f"{backbone}-{side}.h5") for side in ("ours", "theirs"))
        assert first.keys() == second.keys()
        for name, arrays in first.items():
            assert all(np.array_equal(a, b) for a, b in zip(arrays, second[name], strict=True)), name
        print(f"{backbone}-theirs.h5: loaded, {sum(map(len, second.values()))} arrays the same")
        compare(dict(np.load(folder / f"{backbone}-ours.npz")), model.detect([picture])[0])


def compare(mine, other):
    """Hold two results of `detect` against each other: 97 of 100 found in both, their masks alike."""
    near = np.abs(mine["rois"][:, None] - other["rois"][None]).max(axis=2) <= 1
    near &= mine["class_ids"][:, None] == other["class_ids"][None]
    near &= np.abs(mine["scores"][:, None] - other["scores"][None]) < 1e-3
    overlaps = []
    for i in np.flatnonzero(near.any(axis=1)):
        a, b = mine["masks"][..., i], other["masks"][..., near[i].argmax()]
        overlaps.append((a & b).sum() / max(1, (a | b).sum()))
    told = {
        "objects": [len(mine["scores"]), len(other["scores"])],
        "in both": round(float(near.any(axis=1).mean()), 4),
        "mask IoU": round(float(np.mean(overlaps)), 4),
    }
    print("  " + json.dumps(told))
    assert near.any(axis=1).mean() >= 0.97
    assert np.mean(overlaps) >= 0.99


if __name__ == "__main__":
    step, place = sys.argv[1], Path(sys.argv[2])
    if step == "theirs":
        theirs(place, sys.argv[3])
    else:
        {"ours": ours, "back": back}[step](place)
