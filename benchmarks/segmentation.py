"""Measure segmentation as a pool worker runs it: start, seconds a picture, pictures a second, memory.

    python -m benchmarks.segmentation                          (ours, ResNet-50 and -101 at 1024, all engines)
    python -m benchmarks.segmentation --only resnet101 --engines onnx graph --objects 100

Every row is a process of its own, then two at a time. "start" counts from before the process is started to
its first result, "CPU s" is what a picture costs in processor time whatever else the machine does, "peak" is
the most memory that it ever held. Engines: `onnx` is what the bot uses; `openvino` computes the trunk in
bfloat16 (it needs the extra of that name, and a processor that multiplies bfloat16); `graph` is the frozen
graph in a tf.compat.v1.Session; `tensorflow` is MaskRCNN.detect, a tf.function; `keras` is
keras.Model.predict of the trunk (backbone, pyramid, proposals' network) alone: no regions, heads or masks.

`ours` are the weights that the bot ships. The ResNets' are random, from a seed. Trained ones cost the same
but for the masks, one for each object found: `--objects` says how many.
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

HEIGHT, WIDTH = 720, 1280
BACKBONES = ("ours", "resnet50", "resnet101")
ENGINES = ("onnx", "openvino", "graph", "tensorflow", "keras")


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does: open `file` with `engine`, answer once, then measure `rounds` pictures."""

    engine: str
    file: str
    rounds: int
    threads: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a worker found.

    Seconds of each picture, on the clock and of processor time; memory in GB; objects in the last picture.
    """

    seconds: list[float]
    processor: list[float]
    resident: float
    peak: float
    objects: int


def picture(seed: int) -> NDArray[np.uint8]:
    """Return uint8 [720, 1280, 3]: coarse coloured noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
    return np.kron(coarse, np.ones((40, 40, 1), np.uint8))


def open_engine(engine: str, file: str) -> Callable[[int], int]:
    """Return a function that segments the picture of a seed and counts the objects."""
    model: Any
    if engine in ("onnx", "openvino", "graph"):
        from mrcnn.serving import Detector

        model = Detector.from_file(file, engine="openvino" if engine == "openvino" else "onnx")
    else:
        from mrcnn import MaskRCNN

        model = MaskRCNN.from_file(file)
    if engine == "keras":
        side = model.config.image_max_dim
        molded = np.zeros((1, side, side, 3), np.float32)
        return lambda seed: len(model.network.trunk.predict(molded + seed, verbose="0")) * 0
    return lambda seed: len(model.detect([picture(seed)])[0]["scores"])


def work(pipe: Connection, job: Job) -> None:
    """Run one worker; send "ready" after the first result, and then Figures."""
    # As the pool's workers set them.
    os.environ.update(
        OMP_NUM_THREADS=str(job.threads),
        TF_NUM_INTRAOP_THREADS=str(job.threads),
        TF_NUM_INTEROP_THREADS="1",
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    run = open_engine(job.engine, job.file)
    objects = run(0)
    pipe.send("ready")
    seconds, processor = [], []
    for i in range(job.rounds):
        began, used = time.perf_counter(), time.process_time()
        objects = run(i + 1)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    pipe.send(Figures(seconds, processor, psutil.Process().memory_info().rss / 1e9, peak / 1e9, objects))


def start(job: Job) -> tuple[BaseProcess, Connection]:
    """Start a worker."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, job))
    process.start()
    theirs.close()
    return process, ours


def measure(engine: str, file: str, rounds: int, cores: int) -> str:
    """Measure one worker on all cores, then two that share them; return a row of the table."""
    began = time.perf_counter()
    process, pipe = start(Job(engine, file, rounds, cores))
    pipe.recv()
    cold = time.perf_counter() - began
    alone: Figures = pipe.recv()
    process.join()
    both = [start(Job(engine, file, rounds, max(1, cores // 2))) for _ in range(2)]
    for _, p in both:
        p.recv()
    rate = 0.0
    for process, p in both:
        figures: Figures = p.recv()
        rate += len(figures.seconds) / sum(figures.seconds)
        process.join()
    middle = statistics.median(alone.seconds)
    used = statistics.median(alone.processor)
    memory = f"{alone.resident:>9.2f} {alone.peak:>9.2f}"
    return f"{cold:>8.1f} {middle:>9.2f} {used:>9.2f} {rate:>9.2f} {memory} {alone.objects:>8}"


def write_weights(backbone: str, size: int, objects: int, path: str) -> None:
    """Write random weights of a ResNet whose detections fill the limit of `objects`; runs on Keras."""
    import keras

    from mrcnn import Config
    from mrcnn.layers import Maker
    from mrcnn.network import build
    from mrcnn.weights import save

    keras.utils.set_random_seed(0)
    config = Config(
        backbone=backbone,
        num_classes=81,
        image_max_dim=size,
        detection_min_confidence=0,
        detection_max_instances=objects,
    )
    network = build(config, Maker(initializer="he_normal"))
    for layer in network.trunk.layers:
        # Random residual branches of full strength would blow the numbers up over a hundred layers.
        if layer.name.startswith("bn") and layer.name.endswith("branch2c"):
            layer.gamma.assign(layer.gamma * 0.2)
    network.trunk.get_layer("bn_conv1").moving_variance.assign([8000.0] * 64)
    save(path, network, config, tuple(f"class {i}" for i in range(1, 81)))


def apart(function: Callable[..., object], *args: object) -> None:
    """Call in a process of its own: TensorFlow would stay in ours, and the workers' figures start from it."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} failed")


def export(weights: str, out: str) -> None:
    """Write a frozen graph."""
    from mrcnn.export import export as write

    write(weights, out)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=BACKBONES)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--size", type=int, default=1024, help="input side of the ResNets")
    parser.add_argument("--objects", type=int, default=10, help="objects that the ResNets find")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}, ResNets at {args.size} pixels")
    print(
        f"{'':<22} {'start, s':>8} {'s a pict.':>9} {'CPU s':>9} {'2 w., /s':>9} {'GB':>9} {'peak, GB':>9} "
        f"{'objects':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for backbone in BACKBONES:
            if args.only not in (None, backbone):
                continue
            if backbone == "ours":
                weights = str(Path(__file__).parents[1] / "weights" / "surface.h5")
            else:
                weights = str(Path(folder) / f"{backbone}.h5")
                apart(write_weights, backbone, args.size, args.objects, weights)
            for engine in args.engines:
                if engine == "openvino" and importlib.util.find_spec("openvino") is None:
                    print(f"{backbone:<11}{engine:<11} not installed (--extra openvino)", flush=True)
                    continue
                file = weights
                if engine == "graph":
                    file = str(Path(folder) / f"{backbone}.pb")
                    apart(export, weights, file)
                print(f"{backbone:<11}{engine:<11} {measure(engine, file, args.rounds, cores)}", flush=True)


if __name__ == "__main__":
    main()
