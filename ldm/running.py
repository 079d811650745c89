"""What both trainings share: a run folder with checkpoints, a log line, and a clean stop."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .files import read_arrays, write_arrays

CHECKPOINT = "checkpoint.npz"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning rate that warms up, holds, and falls to nothing over the last share of the steps."""

    steps: int
    rate: float
    warmup: int = 200
    decay: float = 0.3

    def at(self, step: int) -> float:
        """Give the rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup)
        fall = min(1.0, max(0.0, (self.steps - step) / max(1.0, self.decay * self.steps)))
        return self.rate * min(rise, fall)


class Trainer:
    """Weights with their optimizer, running average and step: one thing to save and to take up again."""

    def __init__(self, models: Sequence[keras.Model], *, weight_decay: float, average: float) -> None:
        self.models = tuple(models)
        self.variables = [v for model in models for v in model.trainable_variables]
        self.optimizer = keras.optimizers.AdamW(1e-3, weight_decay=weight_decay, beta_2=0.99)
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.optimizer.build(self.variables)
        self._average = average
        self.averages = [tf.Variable(v.value, trainable=False) for v in self.variables]
        self.step = 0

    def apply(self, gradients: Sequence[Any]) -> None:
        """Take one optimizer step and move the running average; callable inside tf.function."""
        clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
        self.optimizer.apply(clipped, self.variables)
        # Early on the average follows faster, else it would remember the initial noise.
        done = tf.cast(self.optimizer.iterations, tf.float32)
        keep = tf.minimum(self._average, (1.0 + done) / (10.0 + done))
        for mean, variable in zip(self.averages, self.variables, strict=True):
            mean.assign(keep * mean + (1.0 - keep) * tf.cast(variable.value, tf.float32))

    def rate(self, rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        variable: Any = self.optimizer.learning_rate
        variable.assign(rate)

    def swap(self) -> None:
        """Exchange the weights and their running average; calling it twice changes nothing."""
        for mean, variable in zip(self.averages, self.variables, strict=True):
            now = np.array(variable.numpy())
            variable.assign(mean.numpy())
            mean.assign(now)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, put in place whole."""
        arrays: dict[str, Any] = {}
        for group, values in self._groups().items():
            arrays |= {f"{group}/{index:04d}": np.asarray(v.numpy()) for index, v in enumerate(values)}
        write_arrays(folder / CHECKPOINT, arrays, {"step": self.step})

    def resume(self, folder: Path) -> bool:
        """Take up the folder's checkpoint, if it has one."""
        path = folder / CHECKPOINT
        if not path.exists():
            return False
        arrays, header = read_arrays(path)
        groups = self._groups()
        shapes = {
            f"{group}/{i:04d}": tuple(v.shape)
            for group, values in groups.items()
            for i, v in enumerate(values)
        }
        if shapes != {name: value.shape for name, value in arrays.items()}:
            raise ValueError(f"{path} is of another model: {len(arrays)} arrays, {len(shapes)} wanted")
        for group, values in groups.items():
            for index, variable in enumerate(values):
                variable.assign(arrays[f"{group}/{index:04d}"])
        self.step = int(header["step"])
        return True

    def _groups(self) -> Mapping[str, Sequence[Any]]:
        return {"weights": self.variables, "average": self.averages, "optimizer": self.optimizer.variables}


@dataclass(slots=True)
class Stopper:
    """Notes SIGTERM and SIGINT, so that a run ends at a step's end with a checkpoint."""

    asked: bool = False
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> "Stopper":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class Log:
    """One live line with smoothed losses, kept in the run folder's log too."""

    def __init__(self, folder: Path, every: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.txt"
        self._every = every
        self._sums: dict[str, list[float]] = {}
        self._since = time.monotonic()

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step's figures; write their means when it is time."""
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)
        if step % self._every:
            return
        pace = (time.monotonic() - self._since) / self._every
        means = "  ".join(f"{name} {np.mean(found):.4f}" for name, found in self._sums.items())
        self.say(f"step {step:6d}  {means}  {pace:.3f} s/step")
        self._sums.clear()
        self._since = time.monotonic()

    def say(self, text: str) -> None:
        """Write a line, to the terminal and to the log."""
        line = f"{time.strftime('%H:%M:%S')}  {text}"
        print(line, flush=True)  # the training's face is its terminal
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + os.linesep)
