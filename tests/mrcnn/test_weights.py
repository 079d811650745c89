"""Weights files: Keras 2.0.8's layout, read strictly."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import oracle
import pytest

from mrcnn import Config, MaskRCNN
from mrcnn.layers import Maker
from mrcnn.network import build
from mrcnn.train import load_by_class
from mrcnn.weights import HEADS, WeightsError, load_backbone, read_description


def values(model: MaskRCNN) -> list[np.ndarray]:
    return [v.numpy() for _, leaves in model.network.named_layers() for leaf in leaves for v in leaf.weights]


@pytest.fixture
def saved(tiny: Config, tmp_path: Path) -> tuple[MaskRCNN, Path]:
    model = MaskRCNN(tiny, ("cat", "dog"))
    oracle.fill(model.network, 1)
    path = tmp_path / "weights.h5"
    model.save_weights(path)
    return model, path


def test_importing_the_package_leaves_tensorflow_alone() -> None:
    code = "import sys, mrcnn; mrcnn.Config(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_groups_and_arrays_are_matterports_in_the_same_order() -> None:
    layout = json.loads((oracle.DATA / "layout-resnet50-17c.json").read_text())
    network = build(Config(backbone="resnet50", num_classes=17), Maker())
    mine = [
        [name, [[f"{leaf.name}/{v.name}:0", list(v.shape)] for leaf in leaves for v in leaf.weights]]
        for name, leaves in network.named_layers()
    ]
    assert mine == layout


def test_resnet101_of_81_classes_has_matterports_number_of_parameters() -> None:
    network = build(Config(backbone="resnet101", num_classes=81), Maker())
    count = sum(
        int(np.prod(v.shape)) for _, ls in network.named_layers() for leaf in ls for v in leaf.weights
    )
    assert count == 64_158_584


def test_a_file_comes_back_with_settings_and_classes(saved: tuple[MaskRCNN, Path]) -> None:
    model, path = saved
    again = MaskRCNN.from_file(path)
    assert again.config == model.config
    assert again.classes == ("cat", "dog")
    assert all(np.array_equal(a, b) for a, b in zip(values(model), values(again), strict=True))


def test_a_half_precision_file_is_half_as_large(saved: tuple[MaskRCNN, Path], tmp_path: Path) -> None:
    model, path = saved
    half = tmp_path / "half.h5"
    model.save_weights(half, "float16")
    assert half.stat().st_size < 0.8 * path.stat().st_size
    for a, b in zip(values(model), values(MaskRCNN.from_file(half)), strict=True):
        assert np.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_order_in_a_group_counts_not_the_names(saved: tuple[MaskRCNN, Path], tmp_path: Path) -> None:
    """The second model of one session has suffixed names, and `model.save()` puts all under model_weights."""
    model, path = saved
    other = tmp_path / "second.h5"
    source: Any
    with h5py.File(path) as source, h5py.File(other, "w") as target:
        root = target.create_group("model_weights")
        root.attrs["layer_names"] = np.array([*source.attrs["layer_names"], b"activation_74"])
        root.create_group("activation_74").attrs["weight_names"] = np.array([])
        for name in source:
            group, old = root.create_group(name), source[name]
            renamed = [n.decode().replace("/", "_1/", 1) for n in old.attrs["weight_names"]]
            group.attrs["weight_names"] = np.array([n.encode() for n in renamed])
            for new, n in zip(renamed, old.attrs["weight_names"], strict=True):
                group.create_dataset(new, data=old[n.decode()][()])
    again = MaskRCNN(model.config)
    again.load_weights(other)
    assert all(np.array_equal(a, b) for a, b in zip(values(model), values(again), strict=True))


def test_what_does_not_fit_is_listed_and_nothing_is_loaded(
    saved: tuple[MaskRCNN, Path], tiny: Config
) -> None:
    _, path = saved
    file: Any
    with h5py.File(path, "a") as file:
        del file["fpn_p2"]
        names = [n for n in file.attrs["layer_names"] if n != b"fpn_p2"]
        file.attrs["layer_names"] = np.array([*names, b"odd"])
        odd = file.create_group("odd")
        odd.attrs["weight_names"] = np.array([b"odd/kernel:0"])
        odd.create_dataset("odd/kernel:0", data=np.zeros(3))
        del file["mrcnn_mask/mrcnn_mask/bias:0"]
        file["mrcnn_mask"].create_dataset("mrcnn_mask/bias:0", data=np.zeros(7))
    model = MaskRCNN(tiny)
    with pytest.raises(WeightsError) as caught:
        model.load_weights(path)
    message = str(caught.value)
    assert "missing: fpn_p2" in message
    assert "left over: odd" in message
    assert "mrcnn_mask: has" in message
    assert "(7,)" in message
    assert not any(v.any() for v in values(model) if v.ndim == 4)


def test_heads_can_stay_out_for_other_classes(saved: tuple[MaskRCNN, Path], tiny: Config) -> None:
    model, path = saved
    other = MaskRCNN(dataclasses.replace(tiny, num_classes=6))
    with pytest.raises(WeightsError):
        other.load_weights(path)
    other.load_weights(path, exclude=HEADS)
    kernels = {leaf.name: leaf.weights[0].numpy() for _, ls in other.network.named_layers() for leaf in ls}
    assert not kernels["mrcnn_mask"].any()
    assert np.array_equal(kernels["conv1"], model.network.trunk.get_layer("conv1").weights[0].numpy())


def test_heads_keep_the_classes_that_both_know(saved: tuple[MaskRCNN, Path], tiny: Config) -> None:
    model, path = saved
    config = dataclasses.replace(tiny, num_classes=4)
    network = build(config, Maker())
    assert load_by_class(path, network, config, ("bird", "dog", "fish")) == ["bird", "fish"]
    old, new = (n.classifier.get_layer("mrcnn_bbox_fc").weights[0].numpy() for n in (model.network, network))
    assert np.array_equal(new[:, 8:12], old[:, 8:12])  # dog is class 2 in both, after background and one more
    assert not new[:, 4:8].any()
    old, new = (n.mask_head.get_layer("mrcnn_mask").weights[0].numpy() for n in (model.network, network))
    assert np.array_equal(new[..., 2], old[..., 2])
    assert np.array_equal(new[..., 0], old[..., 0])
    wider = dataclasses.replace(tiny, top_down_pyramid_size=32)
    with pytest.raises(WeightsError, match="another network"):
        load_by_class(path, build(wider, Maker()), wider, ("cat", "dog"))


def test_a_foreign_file_is_refused_in_words(tmp_path: Path, saved: tuple[MaskRCNN, Path]) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_description(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(WeightsError, match="not an HDF5 file"):
        read_description(tmp_path / "text.h5")
    with h5py.File(saved[1], "a") as file:
        del file["fpn_p2/fpn_p2/bias:0"]
    with pytest.raises(WeightsError, match="damaged"):
        MaskRCNN.from_file(saved[1])
    with h5py.File(saved[1], "a") as file:
        del file.attrs["mrcnn_config"]
    with pytest.raises(WeightsError, match="holds no settings"):
        MaskRCNN.from_file(saved[1])


def test_a_classifiers_backbone_is_loaded_strictly(tmp_path: Path) -> None:
    config = Config(backbone="resnet50", num_classes=3, image_min_dim=64, image_max_dim=64)
    source, network = build(config, Maker()), build(config, Maker())
    oracle.fill(source, 1)
    before = {n: [v.numpy() for leaf in leaves for v in leaf.weights] for n, leaves in network.named_layers()}
    trunk = [(n, leaves) for n, leaves in source.named_layers() if n.startswith(("conv1", "bn", "res"))]
    path = tmp_path / "classifier.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"input_1", *(n.encode() for n, _ in trunk)])
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, leaves in trunk:
            group, arrays = file.create_group(name), [v.numpy() for leaf in leaves for v in leaf.weights]
            group.attrs["weight_names"] = np.array([f"{name}_{i}".encode() for i in range(len(arrays))])
            for i, array in enumerate(arrays):
                group[f"{name}_{i}"] = array
    load_backbone(path, network)
    there, wanted = dict(network.named_layers()), {n for n, _ in trunk}
    for name, leaves in source.named_layers():
        arrays = [v.numpy() for leaf in there[name] for v in leaf.weights]
        expected = [v.numpy() for leaf in leaves for v in leaf.weights] if name in wanted else before[name]
        assert all(np.array_equal(a, b) for a, b in zip(arrays, expected, strict=True)), name
    with h5py.File(path, "r+") as file:
        del file["res5c_branch2c"]
        names = np.asarray(file.attrs["layer_names"])
        file.attrs["layer_names"] = names[names != b"res5c_branch2c"]
    with pytest.raises(WeightsError, match="missing: res5c_branch2c"):
        load_backbone(path, network)
