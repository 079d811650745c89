"""Train the autoencoder on crops of drawn pictures."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .autoencoder import build_decoder, build_encoder, reconstruct, to_signed
from .config import AutoencoderConfig
from .data import HELD_OUT, KINDS, draw_inpaint, draw_scene, shards
from .files import assign, gather, read_arrays, write_arrays
from .running import Log, Schedule, Stopper, Trainer
from .sheets import write_sheet


def train_autoencoder(
    cache: Path,
    run: Path,
    *,
    config: AutoencoderConfig,
    schedule: Schedule,
    snapshot: Path,
    batch: int = 16,
    crop: int = 128,
    dtype: str = "mixed_bfloat16",
    every: int = 500,
    keep_encoder: Path | None = None,
) -> float:
    """Train until the schedule's end or a signal; give the held-out PSNR in dB. Resumes the run folder.

    With `keep_encoder`, an autoencoder's or a whole model's file, only the decoder is trained on from there:
    latents and all that was made of them stay valid.
    """
    keras.utils.set_random_seed(7)  # the first weights are drawn from Keras' global state
    encoder, decoder = build_encoder(config, dtype=dtype), build_decoder(config, dtype=dtype)
    scale = None
    if keep_encoder is not None:
        arrays, scale = read_arrays(keep_encoder)
        kept = {name: value for name, value in arrays.items() if not name.startswith("denoiser/")}
        assign([encoder, decoder], kept)
        encoder.trainable = False
    trainer = Trainer([encoder, decoder], weight_decay=1e-4, average=0.998)
    log = Log(run, every=50)
    if trainer.resume(run):
        log.say(f"resumed at step {trainer.step}")
    # The encoder has learned by now to keep neighbours together: what is left to gain is exactness.
    noise, square = (0.12, 1.0) if keep_encoder is None else (0.04, 20.0)
    step_function = _step_function(trainer, noise=noise, square=square)
    held_out = held_out_pictures(24)
    quality = 0.0
    with Stopper() as stopper:
        while trainer.step < schedule.steps and not stopper.asked:
            rng = np.random.Generator(np.random.PCG64([trainer.step, 5]))
            pictures = to_signed(_crops(cache, rng, batch, crop))
            trainer.rate(schedule.at(trainer.step))
            losses = step_function(tf.constant(pictures), tf.constant(trainer.step, tf.int64))
            trainer.step += 1
            log.note(trainer.step, {name: float(value) for name, value in losses.items()})
            if trainer.step % every == 0 or trainer.step == schedule.steps or stopper.asked:
                trainer.save(run)
                trainer.swap()
                back = reconstruct(encoder, decoder, held_out)
                quality = psnr(held_out, back)
                log.say(f"held-out PSNR {quality:.2f} dB")
                write_sheet(
                    run / f"sheet-{trainer.step:06d}.png",
                    [held_out[:8], back[:8], held_out[12:20], back[12:20]],
                )
                save_autoencoder(snapshot, encoder, decoder, config, held_out, quality, trainer.step, scale)
                trainer.swap()
    return quality


def save_autoencoder(
    path: Path,
    encoder: Any,
    decoder: Any,
    config: AutoencoderConfig,
    pictures: NDArray[np.uint8],
    quality: float,
    step: int,
    scale: Mapping[str, Any] | None,
) -> None:
    """Write encoder and decoder with the latents' mean and spread per channel: `scale`'s, if given."""
    if scale is None:
        latents = np.concatenate(
            [encoder(to_signed(pictures[i : i + 4])).numpy() for i in range(0, len(pictures), 4)]
        )
        axes = (0, 1, 2)
        scale = {"mean": latents.mean(axes).tolist(), "std": latents.std(axes).tolist()}
    header = {
        "kind": "autoencoder",
        "config": asdict(config),
        "mean": scale["mean"],
        "std": scale["std"],
        "psnr": quality,
        "steps": step,
    }
    write_arrays(path, gather([encoder, decoder]), header)


def held_out_pictures(count: int) -> NDArray[np.uint8]:
    """Draw pictures never trained on, uint8 [N, 192, 192, 3]: half whole scenes, half windows."""
    half = count // 2
    whole = [draw_scene(HELD_OUT + i, 192, 192).image for i in range(half)]
    return np.stack(
        whole + [draw_inpaint(HELD_OUT + 10_000 + i, 192, 192).image for i in range(count - half)]
    )


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Give the mean over pictures of the peak signal-to-noise ratio, in dB."""
    error = ((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean((1, 2, 3))
    return float(np.mean(10 * np.log10(255.0**2 / np.maximum(error, 1e-6))))


def _crops(cache: Path, rng: np.random.Generator, batch: int, crop: int) -> NDArray[np.uint8]:
    """Cut a batch of crops [B, crop, crop, 3] from a few random shards; half of them are mirrored."""
    names = [kind for kind in KINDS if shards(cache, kind)]
    pieces: list[NDArray[np.uint8]] = []
    for _ in range(batch // 4):
        kind = names[int(rng.integers(len(names)))]
        found = shards(cache, kind)
        images = found[int(rng.integers(len(found)))].images()
        for index in np.sort(rng.integers(len(images), size=4)):
            y = int(rng.integers(images.shape[1] - crop + 1))
            x = int(rng.integers(images.shape[2] - crop + 1))
            piece = images[index, y : y + crop, x : x + crop]
            pieces.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return np.stack(pieces)


def _step_function(trainer: Trainer, *, noise: float, square: float) -> Any:
    """Make the function of one step; `noise` in latents' units, `square` the weight of the squared error."""
    encoder, decoder = trainer.models

    @tf.function(jit_compile=False)
    def step(pictures: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            latents = encoder(pictures, training=True)
            # Noise makes neighbouring codes mean neighbouring pictures: the denoiser is never exact.
            random = tf.random.stateless_normal(tf.shape(latents), tf.stack([seed, tf.constant(1, tf.int64)]))
            output = decoder(latents + noise * random, training=True)
            error = output - pictures
            plain = tf.reduce_mean(tf.abs(error))
            squared = tf.reduce_mean(tf.square(error))
            edges = tf.reduce_mean(tf.abs(error[:, 1:] - error[:, :-1]))
            edges += tf.reduce_mean(tf.abs(error[:, :, 1:] - error[:, :, :-1]))
            size = tf.reduce_mean(tf.square(latents))
            loss = plain + 0.6 * edges + square * squared + 2e-3 * size
        trainer.apply(tape.gradient(loss, trainer.variables))
        return {"l1": plain, "mse": squared, "edges": edges, "size": size}

    return step
