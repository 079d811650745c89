"""Measure segmentation as a pool worker runs it: start, seconds a picture, pictures a second, memory.

    python benchmarks/segmentation.py                (ResNet-50 and ResNet-101 at 1024, the small one at 384)
    python benchmarks/segmentation.py --only small

The ResNets have random weights: the arithmetic is that of trained ones with 100 detections a picture, the
worst case. "keras predict" is the trunk alone (backbone, pyramid, proposals' network) through
`keras.Model.predict`.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil

HEIGHT, WIDTH = 720, 1280


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does: `mode` is detect or predict; `rounds` pictures are measured after the first."""

    weights: str
    mode: str
    rounds: int


def picture(seed: int) -> np.ndarray:
    """Return uint8 [720, 1280, 3]: coarse coloured noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
    return np.kron(coarse, np.ones((40, 40, 1), np.uint8))


def work(pipe: Connection, job: Job) -> None:
    """Load the weights, answer once, then measure; send (seconds of each picture, resident bytes)."""
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from mrcnn import MaskRCNN

    model = MaskRCNN.from_file(job.weights)
    side = model.config.image_max_dim
    molded = np.zeros((1, side, side, 3), np.float32)

    def run(seed: int) -> None:
        if job.mode == "predict":
            model.network.trunk.predict(molded, verbose="0")
        else:
            model.detect([picture(seed)])

    run(0)
    pipe.send("ready")
    seconds = []
    for i in range(job.rounds):
        began = time.perf_counter()
        run(i + 1)
        seconds.append(time.perf_counter() - began)
    pipe.send((seconds, psutil.Process().memory_info().rss))


def start(job: Job) -> tuple[BaseProcess, Connection]:
    """Start a worker."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, job))
    process.start()
    return process, ours


def measure(name: str, job: Job) -> str:
    """Measure one worker alone, then two at once; return a row of the table."""
    began = time.perf_counter()
    process, pipe = start(job)
    pipe.recv()
    cold = time.perf_counter() - began
    seconds, resident = pipe.recv()
    process.join()
    both = [start(job) for _ in range(2)]
    for _, p in both:
        p.recv()
    rate = sum(len(s) / sum(s) for s, _ in (p.recv() for _, p in both))
    for p, _ in both:
        p.join()
    middle = statistics.median(seconds)
    return f"{name:<28} {cold:>10.1f} {middle:>12.2f} {rate:>14.2f} {resident / 2**30:>10.2f}"


def write_weights(backbone: str, size: int, path: Path) -> None:
    """Write random weights of a ResNet whose detections fill the limit."""
    from mrcnn import Config
    from mrcnn.layers import Maker
    from mrcnn.network import build
    from mrcnn.weights import save

    config = Config(backbone=backbone, num_classes=81, image_max_dim=size, detection_min_confidence=0)
    network = build(config, Maker(initializer="he_normal"))
    # Random residual branches of full strength would blow the numbers up over a hundred layers.
    for layer in network.trunk.layers:
        if layer.name.startswith("bn") and layer.name.endswith("branch2c"):
            layer.gamma.assign(layer.gamma * 0.2)
    network.trunk.get_layer("bn_conv1").moving_variance.assign([8000.0] * 64)
    save(path, network, config, tuple(f"class {i}" for i in range(1, 81)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("small", "resnet50", "resnet101"))
    parser.add_argument("--size", type=int, default=1024, help="input side of the ResNets")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{'':<28} {'start, s':>10} {'s a picture':>12} {'2 workers, /s':>14} {'GB each':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for backbone in ("small", "resnet50", "resnet101"):
            if args.only not in (None, backbone):
                continue
            if backbone == "small":
                path, side = Path(__file__).parents[1] / "weights" / "surface.h5", 384
            else:
                path, side = Path(folder) / f"{backbone}.h5", args.size
                # In a process of its own: TensorFlow does not live through a fork, nor does this one need it.
                writer = multiprocessing.get_context("spawn").Process(
                    target=write_weights, args=(backbone, side, path)
                )
                writer.start()
                writer.join()
            for mode in ("detect", "predict"):
                name = f"{backbone} {side} " + ("detect" if mode == "detect" else "keras predict")
                print(measure(name, Job(str(path), mode, args.rounds)), flush=True)


if __name__ == "__main__":
    main()
