"""Training: examples become batches, batches become steps, steps become weights."""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import boxes, images, losses, weights
from mrcnn.anchors import normalized_anchors, pixel_anchors
from mrcnn.augment import augment
from mrcnn.config import Config
from mrcnn.data import Dataset, DatasetError, Example
from mrcnn.draw import curves
from mrcnn.formats import open_dataset
from mrcnn.layers import Maker
from mrcnn.network import Network, build
from mrcnn.proposals import propose
from mrcnn.roi_align import roi_align
from mrcnn.targets import head_targets, rpn_targets
from mrcnn.tensors import Tensor

LOSSES = ("rpn_class", "rpn_bbox", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask")
_HEADS = r"mrcnn_.*|rpn_.*|fpn_.*"
STAGES = {
    "heads": _HEADS,
    "3+": rf"(res|bn)[345].*|{_HEADS}",
    "4+": rf"(res|bn)[45].*|{_HEADS}",
    "5+": rf"(res|bn)5.*|{_HEADS}",
    "all": r".*",
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Say how to train: which layers, how many steps, how fast.

    `optimizer` is sgd (Matterport's) or adam; `decay` lets the learning rate fall to 0 along a cosine.
    `own_objects` puts the true boxes among the regions: the heads learn before the proposals are good.
    """

    steps: int
    layers: str = "all"
    learning_rate: float = 0.001
    optimizer: str = "sgd"
    warmup: int = 0
    decay: bool = False
    own_objects: bool = False
    augment: bool = True
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.layers not in STAGES:
            raise ValueError(f"layers {self.layers!r}: one of {', '.join(STAGES)}")
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer {self.optimizer!r}: sgd or adam")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay:
            rate *= 0.5 * (1 + np.cos(np.pi * min(1.0, step / self.steps)))
        return float(rate)


class Batch(NamedTuple):
    """B examples, ready for the network; G is max_gt_instances, padded with class 0.

    `image` uint8 [B, H, W, 3]; `match` int32 [B, A]; `deltas` float32 [B, T, 4]; `class_ids` int32 [B, G];
    `truth` float32 [B, G, 4] normalised; `masks` bool [B, G, h, w].
    """

    image: NDArray
    match: NDArray
    deltas: NDArray
    class_ids: NDArray
    truth: NDArray
    masks: NDArray


def side(config: Config) -> int:
    """Return the side of the square that pictures of one batch share; ValueError if they share none."""
    if config.image_resize_mode == "square":
        return config.image_max_dim
    if config.image_resize_mode == "crop":
        return config.image_min_dim
    raise ValueError(
        f"image_resize_mode {config.image_resize_mode!r} is for detection; train with 'square' or 'crop'"
    )


def prepare(example: Example, config: Config, anchors: NDArray, rng: np.random.Generator) -> Batch:
    """Turn an example at the network's size into targets, without the leading B."""
    rois = boxes.around_masks(example.masks.transpose(1, 2, 0))
    # A mask of one row or column of pixels has no box to learn.
    keep = np.flatnonzero(((rois[:, 2] - rois[:, 0]) > 1) & ((rois[:, 3] - rois[:, 1]) > 1))
    if len(keep) > config.max_gt_instances:
        keep = np.sort(rng.choice(keep, config.max_gt_instances, replace=False))
    rois, ids, masks = rois[keep], example.class_ids[keep], example.masks[keep]
    match, deltas = rpn_targets(anchors, rois[ids > 0], rois[ids < 0], config, rng)
    shape = example.image.shape[:2]
    if config.use_mini_mask:
        small = images.shrink_masks(masks.transpose(1, 2, 0), rois, config.mini_mask_shape).transpose(2, 0, 1)
    else:
        small = masks
    limit = config.max_gt_instances
    class_ids, truth = np.zeros(limit, np.int32), np.zeros((limit, 4), np.float32)
    padded = np.zeros((limit, *small.shape[1:]), bool)
    class_ids[: len(ids)], truth[: len(ids)], padded[: len(ids)] = ids, boxes.normalize(rois, shape), small
    return Batch(example.image, match, deltas, class_ids, truth, padded)


def batches(dataset: Dataset, config: Config, schedule: Schedule, start: int) -> Iterator[Batch]:
    """Yield the batches from step `start` on; each is a function of the seed and its step alone.

    Two threads work ahead of the network.
    """
    size = (side(config), side(config))
    anchors = pixel_anchors(config, *size)

    def example(index: int) -> Batch:
        rng = np.random.default_rng([schedule.seed, index])
        turn, place = divmod(index, dataset.size)
        # Every turn goes through the data in an order of its own.
        loaded = dataset.load(_shuffled(place, dataset.size, schedule.seed + turn))
        if schedule.augment:
            loaded = augment(loaded, size, rng)
        else:
            resized = images.resize_image(loaded.image, config, rng)
            masks = images.resize_masks(loaded.masks.transpose(1, 2, 0), resized).transpose(2, 0, 1)
            loaded = Example(resized.image, masks, loaded.class_ids)
        return prepare(loaded, config, anchors, rng)

    count = config.images_per_gpu
    with ThreadPoolExecutor(2) as threads:
        ahead = [threads.submit(example, i) for i in range(start * count, (start + 3) * count)]
        for step in range(start, schedule.steps):
            ready = [ahead.pop(0).result() for _ in range(count)]
            ahead += [threads.submit(example, i) for i in range((step + 3) * count, (step + 4) * count)]
            yield Batch(*(np.stack(part) for part in zip(*ready, strict=True)))
        for future in ahead:
            future.cancel()


def _shuffled(place: int, size: int, seed: int) -> int:
    """Return where `place` of 0..size-1 stands in a shuffled order, without writing the order down."""
    step = 0x9E3779B1 + 2 * seed
    while np.gcd(step, size) != 1:
        step += 1
    return (place * step + seed) % size


class Trainer:
    """Hold a network in training: its variables, its optimizer and the compiled step."""

    def __init__(self, config: Config, schedule: Schedule, classes: tuple[str, ...]) -> None:
        self.config, self.schedule, self.classes = config, schedule, classes
        policy = "mixed_bfloat16" if schedule.mixed_precision else "float32"
        keras.utils.set_random_seed(schedule.seed)
        momentum = 0.97 if config.train_bn else 0.99
        self.network = build(config, Maker(policy, "he_normal", momentum))
        chosen = re.compile(STAGES[schedule.layers])
        groups = self.network.named_layers()
        self.variables = [
            v
            for _, leaves in groups
            for leaf in leaves
            if chosen.fullmatch(leaf.name)
            for v in leaf.trainable_weights
        ]
        clip_norm = config.gradient_clip_norm
        if schedule.optimizer == "sgd":
            self.optimizer = keras.optimizers.SGD(
                0.0, momentum=config.learning_momentum, global_clipnorm=clip_norm
            )
        else:
            self.optimizer = keras.optimizers.Adam(0.0, global_clipnorm=clip_norm)
        self.optimizer.build(self.variables)
        self.step = 0
        self._anchors = tf.constant(normalized_anchors(config, side(config), side(config)))
        self._graph = tf.function(self._update, autograph=False)

    def train_step(self, batch: Batch, rois: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Take one step; return the five losses in the order of `LOSSES`.

        `rois` [B, R, 4] normalised take the place of the network's own proposals.
        """
        self.optimizer.learning_rate = self.schedule.rate(self.step)
        parts = [tf.constant(part) for part in batch]
        given = None if rois is None else tf.constant(rois)
        values = self._graph(*parts, tf.constant(self.step, tf.int32), given)
        self.step += 1
        return values.numpy()

    def _update(self, *args: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            values = self.losses(*args)
            total = tf.reduce_sum(values * tf.constant(self.config.loss_weights)) + self.weight_penalty()
        gradients = tape.gradient(total, self.variables)
        self.optimizer.apply(gradients, self.variables)
        return values

    def weight_penalty(self) -> Tensor:
        """Return the sum over kernels and biases of weight_decay * mean square; gamma and beta are free."""
        plain = [v for v in self.variables if v.name in ("kernel", "bias")]
        return tf.add_n([self.config.weight_decay * tf.reduce_mean(tf.square(v.value)) for v in plain])

    def losses(
        self,
        image: Tensor,
        match: Tensor,
        deltas: Tensor,
        class_ids: Tensor,
        truth: Tensor,
        masks: Tensor,
        step: Tensor,
        rois: Tensor | None = None,
    ) -> Tensor:
        """Return the five losses [5] of a batch (see `Batch` and `train_step`)."""
        config, count = self.config, image.shape[0]
        shape = (image.shape[1], image.shape[2])
        molded = tf.cast(image, tf.float32) - tf.constant(config.mean_pixel)
        *features, logits, answers = self.network.trunk(molded, training=config.train_bn)
        scores, moves = tf.stop_gradient(tf.nn.softmax(logits)[:, :, 1]), tf.stop_gradient(answers)
        found = []
        for i in range(count):
            if rois is None:
                limit = config.post_nms_rois_training
                proposals = propose(scores[i], moves[i], self._anchors, config, limit)
            else:
                proposals = rois[i]
            if self.schedule.own_objects:
                proposals = tf.concat([tf.boolean_mask(truth[i], class_ids[i] > 0), proposals], axis=0)
            found.append(
                head_targets(proposals, class_ids[i], truth[i], masks[i], config, tf.stack([step, i]))
            )
        head = self._head_losses(features[:4], found, shape)
        return tf.stack([losses.rpn_class(match, logits), losses.rpn_bbox(match, deltas, answers), *head])

    def _head_losses(
        self, features: Sequence[Tensor], found: Sequence, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return class, box and mask loss over all images' regions."""
        config = self.config
        which = tf.concat([tf.fill(tf.shape(f.class_ids), i) for i, f in enumerate(found)], axis=0)
        weight = tf.concat([f.weight for f in found], axis=0)
        rois = tf.concat([f.rois for f in found], axis=0)
        class_ids = tf.concat([f.class_ids for f in found], axis=0)
        pooled = roi_align(features, rois, which, config.pool_size, shape)
        logits, _, answers = self.network.classifier(pooled, training=config.train_bn)
        # Only objects have a box and a mask to learn: the mask head need not see the background.
        positive = tf.where(class_ids > 0)[:, 0]
        ids = tf.gather(class_ids, positive)
        pooled = roi_align(
            features, tf.gather(rois, positive), tf.gather(which, positive), config.mask_pool_size, shape
        )
        mask_logits = self.network.mask_head(pooled, training=config.train_bn)
        return (
            losses.head_class(class_ids, logits, tf.ones(config.num_classes), weight),
            losses.head_bbox(tf.concat([f.deltas for f in found], 0), ids, tf.gather(answers, positive)),
            losses.head_mask(tf.concat([f.masks for f in found], 0), ids, mask_logits),
        )

    def save(self, path: Path) -> None:
        """Write everything that goes on from here after a kill: variables, optimizer, step."""
        arrays: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(self._everything())}
        temporary = path.with_suffix(".part.npz")
        about: dict[str, Any] = {"step": self.step, "config": self.config.to_json()}
        np.savez(temporary, **about, **arrays)
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a file of `save`; raises ValueError if it is of other settings."""
        with np.load(path) as file:
            if Config.from_json(str(file["config"])) != self.config:
                raise ValueError(f"{path}: of a run with other settings; start in another folder")
            variables = self._everything()
            arrays = [file[f"v{i}"] for i in range(len(variables))]
            if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
                raise ValueError(f"{path}: of a run with other layers; start in another folder")
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
            self.step = int(file["step"])

    def _everything(self) -> list[keras.Variable]:
        return [v for _, v in _named(self.network)] + self.optimizer.variables


def _named(network: Network) -> list[tuple[str, keras.Variable]]:
    """Return each variable with its group's name, in the files' order."""
    return [(name, v) for name, leaves in network.named_layers() for leaf in leaves for v in leaf.weights]


def load_by_class(path: str | Path, network: Network, config: Config, classes: tuple[str, ...]) -> list[str]:
    """Load a file of ours into a network of other classes: heads keep the classes that both know.

    Returns the names of the classes that start anew. Raises WeightsError if the networks differ elsewhere.
    """
    old_config, old_classes = weights.read_description(path)
    source = build(old_config, Maker())
    weights.load(path, source)
    rows = [(0, 0)] + [
        (i, old_classes.index(name) + 1) for i, name in enumerate(classes, start=1) if name in old_classes
    ]
    new, old = (np.array(r) for r in zip(*rows, strict=True))
    ours, theirs = _named(network), _named(source)
    alike = len(ours) == len(theirs) and all(
        a == b and (va.shape == vb.shape or a in weights.HEADS)
        for (a, va), (b, vb) in zip(ours, theirs, strict=True)
    )
    if not alike:
        raise weights.WeightsError(f"{path} is of another network")
    for (name, variable), (_, old_variable) in zip(ours, theirs, strict=True):
        value = old_variable.numpy()
        if name in weights.HEADS:  # the last axis is classes, or classes * 4
            per = 4 if name == "mrcnn_bbox_fc" else 1
            merged = variable.numpy().reshape(*value.shape[:-1], config.num_classes, per)
            merged[..., new, :] = value.reshape(*value.shape[:-1], old_config.num_classes, per)[..., old, :]
            value = merged.reshape(variable.shape)
        variable.assign(value)
    return [name for name in classes if name not in old_classes]


def train(
    dataset: Dataset,
    config: Config,
    schedule: Schedule,
    out: Path,
    initial: str | Path | None = None,
    save_seconds: float = 120,
) -> Path:
    """Train on `dataset` in the folder `out`, going on from its checkpoint if there is one.

    `initial` is a weights file to start from. Returns the path of the weights, `out/weights.h5`; the losses
    lie beside it, as log.jsonl and curves.png.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, schedule, dataset.classes)
    checkpoint, result = out / "checkpoint.npz", out / "weights.h5"
    if checkpoint.exists():
        trainer.restore(checkpoint)
        print(f"going on from step {trainer.step}")
    elif initial:
        try:
            new = load_by_class(initial, trainer.network, config, dataset.classes)
        except weights.WeightsError:
            weights.load(initial, trainer.network, exclude=weights.HEADS)
            new = list(dataset.classes)
        print(f"from {initial}; new classes: {', '.join(new) or 'none'}")
    began = saved = time.monotonic()
    first = trainer.step
    smooth = np.zeros(len(LOSSES))

    def keep() -> None:
        trainer.save(checkpoint)
        weights.save(result, trainer.network, config, dataset.classes)

    with (out / "log.jsonl").open("a") as log:
        for batch in batches(dataset, config, schedule, trainer.step):
            values = trainer.train_step(batch)
            if not np.isfinite(values).all():
                raise FloatingPointError(
                    f"step {trainer.step}: a loss is {values.tolist()}; a lower --lr may help"
                )
            share = max(0.02, 1 / (trainer.step - first))
            smooth += share * (values - smooth)
            log.write(
                json.dumps({"step": trainer.step, **dict(zip(LOSSES, values.tolist(), strict=True))}) + "\n"
            )
            now = time.monotonic()
            _report(trainer.step, schedule, smooth, (now - began) / (trainer.step - first))
            if now - saved > save_seconds:
                log.flush()
                keep()
                saved = time.monotonic()
    keep()
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    if entries:
        by_loss = {name: [entry[name] for entry in entries] for name in LOSSES}
        curves([entry["step"] for entry in entries], by_loss).save(out / "curves.png")
    return result


def _report(step: int, schedule: Schedule, smooth: NDArray[np.float64], seconds: float) -> None:
    """Keep one line of a terminal up to date; where there is none, write every 20th step."""
    live = sys.stdout.isatty()
    if not live and step % 20 and step != schedule.steps:
        return
    parts = "  ".join(f"{name} {value:.3f}" for name, value in zip(LOSSES, smooth, strict=True))
    left = (schedule.steps - step) * seconds / 60
    line = f"step {step}/{schedule.steps}  loss {smooth.sum():.3f}  {parts}  {seconds:.2f} s  {left:.0f} min"
    print(f"\r{line}" if live else line, end="" if live and step != schedule.steps else "\n", flush=True)


def open_any(name: str) -> Dataset:
    """Open a data set by its path, or `scenes:FIRST-LAST`: scenes drawn from these seeds."""
    if not name.startswith("scenes:"):
        return open_dataset(name)
    match = re.fullmatch(r"scenes:(\d+)-(\d+)", name)
    if not match or int(match[2]) < int(match[1]):
        raise DatasetError(f"{name}: write scenes:FIRST-LAST, such as scenes:1000-2999")
    return _scenes(name, int(match[1]), int(match[2]))


def _scenes(name: str, first: int, last: int) -> Dataset:
    """Draw scenes of several sizes: squares, wide ones and tall ones."""
    import scenes

    number = {label: i for i, label in enumerate(scenes.CLASSES, start=1)}

    def load(index: int) -> Example:
        seed = first + index
        rng = np.random.default_rng([seed, 77])
        height, width = ((192, 192), (256, 256), (320, 320), (180, 320), (256, 144))[rng.integers(5)]
        scene = scenes.draw(seed, height=height, width=width)
        ids = np.array([number[label] for label in scene.labels], np.int32)
        return Example(scene.image, scene.masks, ids)

    return Dataset(name, tuple(scenes.CLASSES), last - first + 1, load)
