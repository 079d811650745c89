"""Train on drawn shapes beside what Matterport's code did on TensorFlow 1 from the same weights.

    python -m benchmarks.training               (160 steps at 128 pixels: some minutes)
    python -m benchmarks.training --steps 40

ResNet-50, 4 classes, all layers, stochastic gradient descent at 0.002, two pictures a step. The other side's
figures are recorded in tests/data/mrcnn/shapes-tf1.json: TensorFlow 1.13.2 and Keras 2.0.8 on `shapes:0-319`
in their order. Both sides draw their anchors and regions by lot, so single steps differ: rows are means over
20 steps. Seconds are of processor time, whatever else the machine does; theirs and ours are of one machine.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

from mrcnn import Config, shapes, weights
from mrcnn.anchors import pixel_anchors
from mrcnn.batches import Batch, prepare
from mrcnn.report import LOSSES
from mrcnn.schedule import Schedule
from mrcnn.train import Trainer
from tests.mrcnn import oracle

RECORDED = Path(__file__).parents[1] / "tests" / "data" / "mrcnn" / "shapes-tf1.json"
ROW = 20


def batch_of(step: int, config: Config, anchors: NDArray[np.float64]) -> Batch:
    """Return the two pictures of a step."""
    rng = np.random.default_rng([0, step])
    pair = [prepare(shapes.draw(2 * step + i), config, anchors, rng) for i in range(2)]
    return Batch(*(np.stack(part) for part in zip(*pair, strict=True)))


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--save", type=Path, help="weights file to write at the end")
    args = parser.parse_args()
    theirs = json.loads(RECORDED.read_text())
    config = Config(
        backbone="resnet50",
        num_classes=4,
        image_min_dim=128,
        image_max_dim=128,
        rpn_anchor_scales=(8, 16, 32, 64, 128),
        train_rois_per_image=32,
        learning_rate=0.002,
    )
    schedule = Schedule(steps=args.steps, learning_rate=0.002, augment=False)
    trainer = Trainer(config, schedule, shapes.CLASSES)
    oracle.fill(trainer.network, 0)
    print(f"{'':<11}{'loss':>15}" + "".join(f"{name:>15}" for name in LOSSES))
    print(f"{'steps':<11}" + f"{'TF1    ours':>15}" * 6)
    history, used, clock = [], [], []
    rows: list[tuple[float, float]] = []
    anchors = pixel_anchors(config, 128, 128)
    for step in range(args.steps):
        batch = batch_of(step, config, anchors)
        began, spent = time.perf_counter(), time.process_time()
        history.append(trainer.train_step(batch))
        clock.append(time.perf_counter() - began)
        used.append(time.process_time() - spent)
        if len(history) % ROW == 0 or len(history) == args.steps:
            first = (len(history) - 1) // ROW * ROW
            ours = np.mean(history[first:], axis=0)
            want = np.mean([step[1:] for step in theirs["history"][first : len(history)]], axis=0)
            pairs = [(want.sum(), ours.sum()), *zip(want, ours, strict=True)]
            rows.append((float(want.sum()), float(ours.sum())))
            cells = "".join(f"{w:>8.3f}{o:>7.3f}" for w, o in pairs)
            print(f"{first + 1:>3}-{len(history):<7}{cells}", flush=True)
    want, ours = np.array(rows).T
    ratios = ", ".join(f"{ratio:.2f}" for ratio in ours / want)
    print(f"\nloss, ours over TF1: {ratios}; over all {ours.mean() / want.mean():.3f}")
    # The first step builds the graph, the second tunes the memory.
    middle, recorded = float(np.median(used[2:])), float(np.median(theirs["cpu"][2:]))
    print(
        f"CPU-seconds a step: TF1 {recorded:.2f}, ours {middle:.2f}, {middle / recorded:.2f} times; "
        f"on the clock {np.median(clock[2:]):.2f}; first step {clock[0]:.1f}"
    )
    if args.save:
        weights.save(args.save, trainer.network, config, shapes.CLASSES)


if __name__ == "__main__":
    main()
