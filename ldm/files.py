"""The weights file: named float16 arrays and a JSON header in one `.npz`, read strictly."""

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

HEADER = "header.json"


class WeightsError(ValueError):
    """A weights file that does not fit the model."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
    """Write arrays and header as one file, put in place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            text = np.frombuffer(json.dumps(header, ensure_ascii=False).encode(), np.uint8)
            np.savez(file, **{HEADER: text, **arrays})
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write_arrays` wrote; WeightsError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(HEADER).tobytes())
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise WeightsError(f"{path} is no weights file of this model: {error}") from error
    return arrays, header


def gather(models: Sequence[keras.Model], dtype: type = np.float16) -> dict[str, NDArray[Any]]:
    """Collect the models' weights under "model/layer/weight"."""
    found: dict[str, NDArray[Any]] = {}
    for model in models:
        for name, variable in _named(model):
            found[name] = np.asarray(variable.numpy(), np.float32).astype(dtype)
    return found


def assign(models: Sequence[keras.Model], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put arrays into the models; WeightsError lists every missing, odd or misshapen name."""
    wanted = {name: variable for model in models for name, variable in _named(model)}
    wrong = [f"missing: {name}" for name in wanted if name not in arrays]
    wrong += [f"unknown: {name}" for name in arrays if name not in wanted]
    wrong += [
        f"shape: {name} is {arrays[name].shape}, the model has {tuple(variable.shape)}"
        for name, variable in wanted.items()
        if name in arrays and arrays[name].shape != tuple(variable.shape)
    ]
    if wrong:
        raise WeightsError(f"{len(wrong)} weights do not fit the model\n  " + "\n  ".join(wrong))
    for name, variable in wanted.items():
        variable.assign(arrays[name].astype(np.float32))


def _named(model: keras.Model) -> list[tuple[str, Any]]:
    return [
        (f"{model.name}/{layer.name}/{weight.path.split('/')[-1]}", weight)
        for layer in model.layers
        for weight in layer.weights
    ]
