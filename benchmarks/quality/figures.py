"""Shares and means with their 95 % intervals, from records that outlive a kill."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]
BUCKETS = ("< 32²", "< 96²", "larger")  # of mask areas, in pixels


@dataclass(frozen=True, slots=True)
class Figure:
    """A share or a mean with its 95 % interval; `target` is what issue or standard ask for, as a range."""

    name: str
    value: float
    low: float
    high: float
    count: int
    target: tuple[float, float] | None = None

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})" if self.count else "no cases"


def share(name: str, right: Sequence[bool], target: tuple[float, float] | None = None) -> Figure:
    """Give the share of what is true, with Wilson's interval."""
    count = len(right)
    if not count:
        return Figure(name, 0.0, 0.0, 1.0, 0, target)
    z = 1.96
    p, spread = sum(right) / count, z * z / count
    middle = (p + spread / 2) / (1 + spread)
    half = z * sqrt(p * (1 - p) / count + spread / (4 * count)) / (1 + spread)
    return Figure(name, p, max(0.0, middle - half), min(1.0, middle + half), count, target)


def mean(
    name: str, values: Sequence[float], target: tuple[float, float] | None = None, *, ratios: bool = False
) -> Figure:
    """Give the mean, of ratios the geometric one, with a bootstrap interval."""
    numbers = np.asarray(values, np.float64)
    if not len(numbers):
        return Figure(name, 0.0, 0.0, 0.0, 0, target)
    if ratios:
        numbers = np.log(np.maximum(numbers, 1e-6))
    chosen = np.random.default_rng(0).integers(len(numbers), size=(1000, len(numbers)))
    low, high = np.percentile(numbers[chosen].mean(1), (2.5, 97.5))
    found = (float(numbers.mean()), float(low), float(high))
    middle, low, high = (float(np.exp(v)) for v in found) if ratios else found
    return Figure(name, middle, low, high, len(numbers), target)


def bucket(area: float) -> str:
    """Name the size of a mask's area, in pixels."""
    return BUCKETS[0] if area < 32**2 else BUCKETS[1] if area < 96**2 else BUCKETS[2]


def fingerprint(files: Iterable[Path]) -> str:
    """Name the weights together: other weights, other results."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def read_records(path: Path) -> list[Record]:
    """Read what was measured; a last line cut by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def add_record(path: Path, record: Record) -> None:
    """Append one record, and first end a line that a kill cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_bytes()[-1:] if path.exists() else b""
    with path.open("a", encoding="utf-8") as file:
        if text not in (b"", b"\n"):
            _drop_last_line(path)
        file.write(json.dumps(record) + "\n")


def _drop_last_line(path: Path) -> None:
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(whole.rfind(b"\n") + 1)


def measure(
    path: Path, jobs: Sequence[str], work: Callable[[str], Record], workers: int, label: str
) -> list[Record]:
    """Do the jobs, named by their keys, that have no record yet; give the records of all."""
    records = {record["key"]: record for record in read_records(path)}
    missing = [key for key in jobs if key not in records]
    for number, record in enumerate(_results(missing, work, workers), 1):
        add_record(path, record)
        records[record["key"]] = record
        if number % 10 == 0 or number == len(missing):
            print(f"{label}: {number} of {len(missing)}", flush=True)  # the benchmark's face
    return [records[key] for key in jobs if key in records]


def _results(keys: Sequence[str], work: Callable[[str], Record], workers: int) -> Iterator[Record]:
    if workers <= 1 or len(keys) < 2:
        yield from map(work, keys)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(partial(_call, work), keys)


def _call(work: Callable[[str], Record], key: str) -> Record:
    return work(key)
