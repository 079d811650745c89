"""Weights files in the layout of Keras 2.0.8, as Matterport's code writes and reads them.

A file of ours holds two more attributes: the settings and the class list; its numbers may be float16.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mrcnn.config import Config

if TYPE_CHECKING:  # Keras comes with it, and whoever only reads a file does not need that
    from mrcnn.network import Network

# A file's arrays by group, in the group's own order.
Groups = dict[str, list[NDArray[np.float32]]]
# The layers whose shape depends on the number of classes.
HEADS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
_BACKBONE = re.compile(r"conv1$|bn_conv1$|res\d|bn\d")


class WeightsError(ValueError):
    """A weights file does not fit the network; the message lists what is missing, left over or misshapen."""


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _open(path: str | Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except OSError as err:
        raise WeightsError(f"{path}: not an HDF5 file ({err})") from err


def read_description(path: str | Path) -> tuple[Config, tuple[str, ...]]:
    """Read settings and class list (without the background) from a file that `save` wrote.

    Raises WeightsError for a file without them, such as Matterport's own.
    """
    with _open(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
    if "mrcnn_config" not in attributes or "mrcnn_classes" not in attributes:
        raise WeightsError(f"{path}: holds no settings; give them: MaskRCNN(Config(...)).load_weights(path)")
    try:
        config = Config.from_json(_text(attributes["mrcnn_config"]))
    except (TypeError, ValueError) as err:
        raise WeightsError(f"{path}: settings not understood: {err}") from err
    return config, tuple(json.loads(_text(attributes["mrcnn_classes"])))


def _groups(root: Any) -> dict[str, list[Any]]:
    """Return each group's arrays in the order of its `weight_names`; groups without any are left out.

    The order is what counts: in a file of the second model of one session the names have a suffix.
    """
    names = [_text(n) for n in root.attrs["layer_names"]] if "layer_names" in root.attrs else list(root)
    found = {}
    for name in names:
        group = root[name]
        arrays = [group[_text(n)] for n in group.attrs.get("weight_names", ())]
        if arrays:
            found[name] = arrays
    return found


@contextmanager
def _open_groups(path: str | Path) -> Iterator[dict[str, list[Any]]]:
    """Give each group's arrays as they lie in the file, which is open meanwhile."""
    with _open(path) as file:
        root: Any = file
        with suppress(KeyError):  # a file of `model.save()`
            root = file["model_weights"]
        try:
            found = _groups(root)
        except KeyError as err:
            raise WeightsError(
                f"{path}: damaged, a layer or array that it lists is not there: {err}"
            ) from err
        yield found


def read_groups(path: str | Path) -> Groups:
    """Return each group's arrays in the order of its `weight_names`; raises WeightsError."""
    with _open_groups(path) as found:
        return {name: [np.asarray(array, np.float32) for array in arrays] for name, arrays in found.items()}


def load(path: str | Path, network: Network, exclude: Collection[str] = ()) -> None:
    """Load a file into `network`, all of it or, with WeightsError, nothing.

    `exclude` names groups that keep their values, such as `HEADS` for another number of classes.
    """
    problems, assignments = [], []
    with _open_groups(path) as found:
        for name, leaves in network.named_layers():
            arrays = found.pop(name, None)
            if name in exclude:
                continue
            variables = [v for leaf in leaves for v in leaf.weights]
            if arrays is None:
                problems.append(f"missing: {name}")
                continue
            have, want = [a.shape for a in arrays], [tuple(v.shape) for v in variables]
            if have != want:
                problems.append(f"{name}: has {have}, the network needs {want}")
                continue
            assignments += zip(variables, arrays, strict=True)
        problems += [f"left over: {name}" for name in found if name not in exclude]
        if problems:
            raise WeightsError(f"{path} does not fit this network:\n  " + "\n  ".join(problems))
        # One array after the other: the file is not in memory beside the network.
        for variable, array in assignments:
            variable.assign(np.asarray(array, np.float32))


def load_backbone(path: str | Path, network: Network) -> None:
    """Load only the ResNet from a classifier's file, strictly; all else keeps its values."""
    others = [name for name, _ in network.named_layers() if not _BACKBONE.match(name)]
    load(path, network, exclude=others)


def save(
    path: str | Path, network: Network, config: Config, classes: tuple[str, ...], dtype: str = "float32"
) -> None:
    """Write a file that `load`, and Matterport's code (float32), read. `classes` leave the background out."""
    if len(classes) != config.num_classes - 1:
        raise ValueError(
            f"{len(classes)} classes for num_classes {config.num_classes}, which counts the background"
        )
    groups = network.named_layers()
    temporary = Path(f"{path}.part")
    with h5py.File(temporary, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name, _ in groups])
        file.attrs["backend"] = np.bytes_(b"tensorflow")
        file.attrs["keras_version"] = np.bytes_(b"2.0.8")
        file.attrs["mrcnn_config"] = np.bytes_(config.to_json().encode())
        file.attrs["mrcnn_classes"] = np.bytes_(json.dumps(classes).encode())
        for name, leaves in groups:
            group = file.create_group(name)
            named = [(f"{leaf.name}/{v.name}:0", v) for leaf in leaves for v in leaf.weights]
            group.attrs["weight_names"] = np.array([n.encode() for n, _ in named])
            for n, variable in named:
                group.create_dataset(n, data=np.asarray(variable).astype(dtype))
    temporary.replace(path)
