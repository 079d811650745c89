"""Training: batches become steps, steps become weights."""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import losses, shapes, weights
from mrcnn.anchors import normalized_anchors
from mrcnn.batches import Batch, batches, side
from mrcnn.config import Config
from mrcnn.data import Dataset, DatasetError, Example, with_classes
from mrcnn.evaluate import evaluate
from mrcnn.formats import open_dataset
from mrcnn.layers import Maker
from mrcnn.model import MaskRCNN
from mrcnn.network import Network, build
from mrcnn.proposals import propose
from mrcnn.report import PRECISIONS, Report
from mrcnn.roi_align import roi_align
from mrcnn.schedule import STAGES, Schedule, Validation
from mrcnn.targets import head_targets
from mrcnn.tensors import Tensor


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
        parts = [tf.convert_to_tensor(part) for part in batch]
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

    def save(self, path: Path, notes: dict[str, Any] | None = None) -> None:
        """Write everything that goes on from here after a kill: variables, optimizer, step, and `notes`."""
        arrays: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(self._everything())}
        temporary = path.with_suffix(".part.npz")
        about: dict[str, Any] = {
            "step": self.step,
            "config": self.config.to_json(),
            "classes": json.dumps(self.classes),
            "notes": json.dumps(notes or {}),
        }
        np.savez(temporary, **about, **arrays)
        temporary.replace(path)

    def restore(self, path: Path) -> dict[str, Any]:
        """Go on from a file of `save`; return its notes. Raises ValueError if it is of other settings."""
        with np.load(path) as file:
            same = Config.from_json(str(file["config"])) == self.config
            if not same or tuple(json.loads(str(file["classes"]))) != self.classes:
                raise ValueError(f"{path}: of a run with other settings; start in another folder")
            variables = self._everything()
            arrays = [file[f"v{i}"] for i in range(len(variables))]
            if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
                raise ValueError(f"{path}: of a run with other layers; start in another folder")
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
            self.step = int(file["step"])
            return json.loads(str(file["notes"]))

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


class _Judge:
    """Measure the network in training, and say whether it is the best so far and whether to go on."""

    def __init__(self, validation: Validation, trainer: Trainer, notes: dict[str, Any]) -> None:
        self._validation, self._trainer = validation, trainer
        self._model = MaskRCNN(trainer.config, trainer.classes)
        self._data = with_classes(validation.dataset, trainer.classes, absent=True)
        self.best: float = notes.get("best", -1.0)
        self.missed: int = notes.get("missed", 0)

    @property
    def notes(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best, "missed": self.missed}

    @property
    def enough(self) -> bool:
        """Tell whether patience is at its end."""
        return 0 < self._validation.patience <= self.missed

    def due(self, step: int) -> bool:
        return step % self._validation.every == 0 or step == self._trainer.schedule.steps

    def measure(self) -> tuple[dict[str, float], bool]:
        """Return the `PRECISIONS`, and whether this is the best mask AP yet."""
        for (_, ours), (_, theirs) in zip(
            _named(self._model.network), _named(self._trainer.network), strict=True
        ):
            ours.assign(theirs)
        count = min(self._validation.limit, self._data.size)
        box, mask = evaluate(self._model, self._data, range(count))
        values: dict[str, float] = dict(zip(PRECISIONS, (box.ap, box.ap50, mask.ap, mask.ap50), strict=True))
        better = not mask.ap <= self.best
        self.best, self.missed = (mask.ap, 0) if better else (self.best, self.missed + 1)
        return values, better


def train(
    dataset: Dataset,
    config: Config,
    schedule: Schedule,
    out: Path,
    initial: str | Path | None = None,
    *,
    only_backbone: bool = False,
    save_seconds: float = 120,
    validation: Validation | None = None,
) -> Path:
    """Train on `dataset` in the folder `out`, going on from its checkpoint if there is one.

    `initial` is a weights file to start from, of the backbone alone with `only_backbone`. Returns the path of
    the weights, `out/weights.h5`: the best by mask AP if there is a `validation`, else the last. What was
    learned when lies beside it (see `Report`).
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, schedule, dataset.classes)
    checkpoint, result = out / "checkpoint.npz", out / "weights.h5"
    notes: dict[str, Any] = {}
    said = ""
    if checkpoint.exists():
        notes = trainer.restore(checkpoint)
        said = f"going on from step {trainer.step}"
    elif initial and only_backbone:
        weights.load_backbone(initial, trainer.network)
        said = f"from {initial}, the backbone only; classes: {', '.join(dataset.classes)}"
    elif initial:
        try:
            new = load_by_class(initial, trainer.network, config, dataset.classes)
        except weights.WeightsError:
            weights.load(initial, trainer.network, exclude=weights.HEADS)
            new = list(dataset.classes)
        said = f"from {initial}; new classes: {', '.join(new) or 'none'}"
    judge = _Judge(validation, trainer, notes) if validation else None
    if judge and judge.enough:
        print(f"{result}: done, no better for {judge.missed} measurements")
        return result
    saved = time.monotonic()
    with Report(out, trainer.step, schedule.steps) as report:

        def keep(good: bool) -> None:
            report.flush()
            if good:
                weights.save(result, trainer.network, config, dataset.classes)
            # Last, for it says that all else is written.
            trainer.save(checkpoint, judge.notes if judge else None)

        if said:
            report.say(said)
        for batch in batches(dataset, config, schedule, trainer.step):
            rate = schedule.rate(trainer.step)
            values = trainer.train_step(batch)
            if not np.isfinite(values).all():
                raise FloatingPointError(
                    f"step {trainer.step}: a loss is {values.tolist()}; a lower --lr may help"
                )
            report.stepped(trainer.step, rate, values)
            if judge and judge.due(trainer.step):
                measured, better = judge.measure()
                report.measured(trainer.step, measured)
                keep(good=better)
                saved = time.monotonic()
                if judge.enough:
                    report.say(f"no better for {judge.missed} measurements: enough")
                    break
            elif time.monotonic() - saved > save_seconds or trainer.step == schedule.steps:
                keep(good=judge is None)
                saved = time.monotonic()
    return result


def open_any(name: str) -> Dataset:
    """Open a data set by its path, or one drawn from seeds: `scenes:FIRST-LAST`, `shapes:FIRST-LAST`."""
    kind = name.partition(":")[0]
    if kind not in ("scenes", "shapes") or ":" not in name:
        return open_dataset(name)
    match = re.fullmatch(r"\w+:(\d+)-(\d+)", name)
    if not match or int(match[2]) < int(match[1]):
        raise DatasetError(f"{name}: write {kind}:FIRST-LAST, such as {kind}:1000-2999")
    drawn = _scenes if kind == "scenes" else shapes.dataset
    return drawn(name, int(match[1]), int(match[2]))


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
