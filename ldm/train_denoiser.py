"""Train the denoiser on cached latents."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .autoencoder import build_encoder, to_signed
from .config import FACTOR, AutoencoderConfig, DenoiserConfig
from .data import HELD_OUT, KINDS, Kind, Shard, draw_inpaint, shards
from .denoiser import build_denoiser
from .files import assign, gather, read_arrays
from .model import LatentDiffusion
from .running import Log, Schedule, Stopper, Trainer
from .sampler import cell_mask, hide
from .sheets import write_sheet
from .text import Vocabulary

# Share of batches that repaint. Whole scenes are the harder lesson: repainting finds its colours early,
# but its patterns late.
INPAINTING = 0.31
WIDE_SHARE = {False: 0.1, True: 0.16}  # of whole scenes, and of repainted ones, the share of wide pictures
SHORTENED = 0.4  # share of whole scenes whose text names only some of what is there
SILENT = 0.1  # share of examples that are shown without their text, for guidance

PROMPTS: tuple[str, ...] = (
    "1girl, full body, city background, walking, red jacket, night sky",
    "1girl, full body, blue dress, yellow hat, day cloudy sky",
    "1boy, standing, green striped shirt, brown trousers, sunset sky, red car",
    "1girl, pink dotted skirt, white shirt, purple bag, morning sky, blue water",
    "2girls, full body, yellow dress, black jacket, night starry sky",
    "no people, red building, yellow house, teal car, pink sky",
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What the denoiser sees in one step; arrays are float32 but for the tokens."""

    clean: NDArray[np.float32]  # [B, h, w, C] normalised latents
    mask: NDArray[np.float32]  # [B, h, w, (any, share)]
    known: NDArray[np.float32]  # [B, h, w, C]
    tokens: NDArray[np.int32]  # [B, T, W]


@dataclass(frozen=True, slots=True)
class LatentShard:
    """A shard's latents in memory, float16."""

    clean: NDArray[np.float16]  # [N, h, w, C]
    known: NDArray[np.float16] | None  # [N, h, w, C]; None for whole scenes
    mask: NDArray[np.float16] | None  # [N, h, w, 2]
    tags: list[tuple[str, ...]]


def train_denoiser(
    cache: Path,
    run: Path,
    *,
    start: Path,
    config: DenoiserConfig,
    schedule: Schedule,
    snapshot: Path,
    batch: int = 32,
    dtype: str = "mixed_bfloat16",
    every: int = 1000,
    samples: bool = True,
    inpainting: float = INPAINTING,
) -> LatentDiffusion:
    """Train until the schedule's end or a signal; resumes the run folder. Gives the averaged model.

    `start` is a trained autoencoder, or a whole model whose denoiser is then trained on. With `samples`,
    every snapshot comes with a sheet of pictures in the run folder. `inpainting` is the share of batches
    that repaint one thing.
    """
    keras.utils.set_random_seed(7)  # the first weights are drawn from Keras' global state
    log = Log(run, every=50)
    model = first_model(start, config)
    found = load_latents(cache, model, log)
    network = build_denoiser(
        model.denoiser_config, model.autoencoder_config.latent_channels, len(model.vocabulary), dtype=dtype
    )
    assign([network], gather([model.denoiser], np.float32))
    trainer = Trainer([network], weight_decay=0.01, average=0.999)
    if trainer.resume(run):
        log.say(f"resumed at step {trainer.step}")
    step_function = _step_function(trainer)
    if trainer.step >= schedule.steps:  # nothing to train: another decoder, perhaps, is to be packed with it
        publish(trainer, model, snapshot)
    with Stopper() as stopper:
        while trainer.step < schedule.steps and not stopper.asked:
            rng = np.random.Generator(np.random.PCG64([trainer.step, 6]))
            drawn = draw_batch(found, rng, batch, model.vocabulary, model.denoiser_config, inpainting)
            trainer.rate(schedule.at(trainer.step))
            inputs = (drawn.clean, drawn.mask, drawn.known, drawn.tokens)
            loss = step_function(
                *(tf.constant(value) for value in inputs), tf.constant(trainer.step, tf.int64)
            )
            trainer.step += 1
            log.note(trainer.step, {"loss": float(loss)})
            if trainer.step % every == 0 or trainer.step >= schedule.steps or stopper.asked:
                trainer.save(run)
                publish(trainer, model, snapshot)
                log.say(f"snapshot at step {trainer.step}")
                if samples and not stopper.asked:
                    write_samples(model, run / f"sheet-{trainer.step:06d}.png")
    return model


def first_model(start: Path, config: DenoiserConfig) -> LatentDiffusion:
    """Load a whole model, or make one of a trained autoencoder and an untrained denoiser."""
    arrays, header = read_arrays(start)
    if header.get("kind") != "autoencoder":
        return LatentDiffusion.load(start)
    values = header["config"]
    model = LatentDiffusion(
        autoencoder=AutoencoderConfig(
            values["latent_channels"], tuple(values["channels"]), tuple(values["blocks"])
        ),
        denoiser=config,
        vocabulary=Vocabulary(),
        mean=np.asarray(header["mean"], np.float32),
        std=np.asarray(header["std"], np.float32),
    )
    assign([model.encoder, model.decoder], arrays)
    return model


def publish(trainer: Trainer, model: LatentDiffusion, snapshot: Path) -> None:
    """Put the averaged weights into the model and write it to the snapshot file."""
    trainer.swap()
    assign([model.denoiser], gather(trainer.models, np.float32))
    trainer.swap()
    model.save(snapshot, steps=trainer.step)


def load_latents(cache: Path, model: LatentDiffusion, log: Log) -> dict[str, list[LatentShard]]:
    """Read every shard's latents, encoding those that this autoencoder has not seen yet."""
    encoder = build_encoder(model.autoencoder_config, dtype="mixed_bfloat16")
    weights = gather([model.encoder], np.float32)
    assign([encoder], weights)
    digest = hashlib.sha256(b"".join(value.tobytes() for value in (*weights.values(), model.mean, model.std)))
    name = f"latents-{digest.hexdigest()[:12]}.npz"
    encode = tf.function(lambda x: encoder(x, training=False), jit_compile=False)
    found: dict[str, list[LatentShard]] = {}
    for kind in KINDS:
        for shard in shards(cache, kind):
            path = shard.folder / name
            if not path.exists():
                _encode_shard(shard, kind, path, encode, model)
            with np.load(path) as file:
                known, mask = (file["known"], file["mask"]) if kind.inpaint else (None, None)
                found.setdefault(kind.name, []).append(LatentShard(file["clean"], known, mask, shard.tags()))
    counts = {name: sum(len(s.clean) for s in parts) for name, parts in found.items()}
    log.say(f"latents: {counts}")
    if not found:
        raise FileNotFoundError(f"no drawn shards in {cache}: run the draw command first")
    return found


def draw_batch(
    found: dict[str, list[LatentShard]],
    rng: np.random.Generator,
    batch: int,
    vocabulary: Vocabulary,
    config: DenoiserConfig,
    inpainting: float = INPAINTING,
) -> Batch:
    """Pick a batch of one kind from a few shards."""
    kinds = [kind for kind in KINDS if kind.name in found]
    shares = np.array([_share(kind, inpainting) for kind in kinds])
    parts = found[kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))].name]
    clean, known, mask, tokens = [], [], [], []
    for choice in rng.integers(len(parts), size=batch):
        part = parts[int(choice)]
        index = int(rng.integers(len(part.clean)))
        latents = part.clean[index].astype(np.float32)
        clean.append(latents)
        if part.known is None or part.mask is None:
            known.append(np.zeros_like(latents))
            mask.append(np.ones((*latents.shape[:2], 2), np.float32))
            said = shorten(part.tags[index], rng)
        else:
            cells = part.mask[index].astype(np.float32)
            known.append(hide(part.known[index].astype(np.float32), cells))
            mask.append(cells)
            said = word(part.tags[index], rng)
        text = "" if rng.random() < SILENT else ", ".join(said)
        tokens.append(vocabulary.tokens(vocabulary.parse(text).tags, config))
    return Batch(np.stack(clean), np.stack(mask), np.stack(known), np.stack(tokens))


def _share(kind: Kind, inpainting: float) -> float:
    wide = WIDE_SHARE[kind.inpaint]
    share = inpainting if kind.inpaint else 1.0 - inpainting
    return share * (wide if kind.width > kind.height else 1.0 - wide)


def shorten(tags: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Leave out some of a scene's tags in a part of the examples: members' prompts are often short."""
    if rng.random() > SHORTENED:
        return list(tags)
    keep = rng.uniform(0.15, 0.9)
    kept = [tag for tag in tags if rng.random() < keep]
    return kept or [tags[int(rng.integers(len(tags)))]]


def word(tags: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Word one thing's tags as they may come: joined or apart, in any order, now and then one left out."""
    *look, noun = tags
    if rng.random() < 0.6:
        look = [tag for tag in look if tag not in ("plain", "clear", "calm")]
    if len(look) > 1 and rng.random() < 0.12:
        look.pop(int(rng.integers(len(look))))
    words = [*look, noun]
    if rng.random() < 0.5:
        return [" ".join(words)]
    return [words[int(i)] for i in rng.permutation(len(words))]


def write_samples(model: LatentDiffusion, path: Path, steps: int = 20) -> None:
    """Paint fixed prompts, and repaint things of held-out scenes: known, asked, got."""
    painted = [paint(model, prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    wide = [
        paint(model, PROMPTS[0], 11, height=144, width=256),
        paint(model, PROMPTS[3], 12, height=144, width=256),
    ]
    examples = [draw_inpaint(HELD_OUT + 20_000 + index, 192, 192, recolour=1.0) for index in range(8)]
    got = []
    for index, example in enumerate(examples):
        state = model.start_inpaint(
            example.known, example.mask, " ".join(example.tags), seed=index, steps=steps
        )
        picture = model.decode(model.advance(state, steps))
        got.append(np.where(example.mask[..., None], picture, example.image))
    write_sheet(path, [painted, wide, [e.known for e in examples], [e.image for e in examples], got])


def paint(
    model: LatentDiffusion, prompt: str, seed: int, *, height: int = 192, width: int = 192, steps: int = 20
) -> NDArray[np.uint8]:
    """Paint one picture from start to end."""
    state = model.start(prompt, seed=seed, steps=steps, height=height, width=width)
    return model.decode(model.advance(state, steps))


def _encode_shard(shard: Shard, kind: Kind, path: Path, encode: Any, model: LatentDiffusion) -> None:
    def latents(pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
        parts = [encode(tf.constant(to_signed(piece))).numpy() for piece in _pieces(pictures, 20)]
        return ((np.concatenate(parts) - model.mean) / model.std).astype(np.float16)

    arrays: dict[str, Any] = {"clean": latents(shard.images())}
    if kind.inpaint:
        arrays["known"] = latents(shard.known())
        arrays["mask"] = np.stack([cell_mask(mask, FACTOR) for mask in shard.masks()]).astype(np.float16)
    part = path.with_name(f".{path.name}.{os.getpid()}.npz")
    np.savez(part, **arrays)
    part.replace(path)


def _pieces(pictures: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pictures), size):
        yield np.asarray(pictures[start : start + size])


def _step_function(trainer: Trainer) -> Any:
    (network,) = trainer.models

    @tf.function(jit_compile=False)
    def step(clean: Any, mask: Any, known: Any, tokens: Any, number: Any) -> Any:
        batch: Any = tf.shape(clean)[:1]
        seeds = tf.stack([number, tf.constant(2, tf.int64)])
        noise = tf.random.stateless_normal(tf.shape(clean), seeds)
        # Times lie densest in the middle of the flow, where the picture is decided.
        time: Any = tf.sigmoid(0.1 + 1.1 * tf.random.stateless_normal(batch, seeds + 7))
        share = time[:, None, None, None]
        mixed = (1.0 - share) * clean + share * noise
        weight = 0.1 + 0.9 * mask[..., :1]
        with tf.GradientTape() as tape:
            velocity = network([mixed, mask, known, time, tokens], training=True)
            error = tf.square(velocity - (noise - clean)) * weight
            loss = tf.reduce_sum(error) / (tf.reduce_sum(weight) * tf.cast(tf.shape(clean)[-1], tf.float32))
        trainer.apply(tape.gradient(loss, trainer.variables))
        return loss

    return step
