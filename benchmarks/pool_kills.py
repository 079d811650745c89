"""Kill segmentation workers at random while they work: is every picture done or cleanly refused?

    python -m benchmarks.pool_kills                      (60 kills among 2 workers: some minutes)
    python -m benchmarks.pool_kills --kills 10 --seed 3

The workers find objects with the shipped weights, by turns of both files, and are killed with SIGKILL at
moments from a seed: at their start, while they load weights, compute or answer; on average as often as one
worker takes to start and answer. Ends with 1 if a call
neither ended nor was refused, a result differs from the undisturbed one, or a process is left behind.
"""

import argparse
import contextlib
import hashlib
import io
import os
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import Future, wait
from pathlib import Path

import psutil
from PIL import Image

import scenes
from pipeline.errors import WorkerError
from pipeline.executors import ProcessExecutor
from pipeline.segmentation import PackedDetections, SegmentParams, segment_png

WEIGHTS = Path(__file__).parents[1] / "weights"
FILES = [str(WEIGHTS / name) for name in ("surface.h5", "detail.h5")]


def picture(seed: int) -> bytes:
    """Return a scene as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(scenes.draw(seed, height=360, width=640).image).save(buffer, "PNG")
    return buffer.getvalue()


def workers() -> list[psutil.Process]:
    """Return our worker processes; multiprocessing's own resource tracker is none."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def digest(found: PackedDetections) -> str:
    """Return what a result is known by; scores may differ in their last bits."""
    return hashlib.sha256(repr(found.labels).encode() + found.bits).hexdigest()


def main() -> int:
    """Kill, count, print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    pictures = [picture(seed) for seed in range(4)]
    work = [(png, file) for png in pictures for file in FILES]
    params = SegmentParams(min_score=0.5)
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    with ProcessExecutor(1, timeout=120, threads=1) as executor:
        began = time.monotonic()
        executor.submit(segment_png, *work[0], params).result()
        pace = time.monotonic() - began  # a worker's start and first result: kills come as often
        wanted = [digest(executor.submit(segment_png, *job, params).result()) for job in work]

    began = time.monotonic()
    executor = ProcessExecutor(args.workers, timeout=120, threads=1, retries=3)
    calls: list[tuple[int, Future[PackedDetections]]] = []
    when: Counter[str] = Counter()
    while sum(when.values()) < args.kills:
        while sum(not future.done() for _, future in calls) < 2 * args.workers:  # always under load
            number = len(calls) % len(work)
            calls.append((number, executor.submit(segment_png, *work[number], params)))
        time.sleep(chance.expovariate(1 / pace))
        if victims := workers():
            victim = chance.choice(sorted(victims, key=lambda process: process.pid))
            with contextlib.suppress(psutil.Error, ProcessLookupError):  # replaced just now
                age = time.time() - victim.create_time()
                os.kill(victim.pid, signal.SIGKILL)
                when["younger than 2 s" if age < 2 else "older"] += 1
    _, late = wait([future for _, future in calls], timeout=600)
    executor.shutdown(wait=not late, cancel_futures=True)
    seconds = time.monotonic() - began

    ends: Counter[str] = Counter()
    for number, future in calls:
        if not future.done():
            ends["hanging"] += 1
        elif (error := future.exception()) is None:
            ends["done" if digest(future.result()) == wanted[number] else "wrong"] += 1
        else:
            ends["refused" if isinstance(error, WorkerError) and error.retryable else "failed"] += 1
    left = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.pid not in before and child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ]
    left = [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]
    ages = ", ".join(f"{n} {what}" for what, n in when.items())
    print(f"{sum(when.values())} kills ({ages}) in {seconds:.0f} s, one every {pace:.1f} s")
    print(f"{len(calls)} pictures: {', '.join(f'{n} {what}' for what, n in ends.items())}")
    print(f"processes left behind: {len(left)}")
    return 1 if left or set(ends) - {"done", "refused"} else 0


if __name__ == "__main__":
    sys.exit(main())
