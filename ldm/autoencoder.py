"""The autoencoder: pictures to latents an eighth their size, and back. Plain functions build Keras models."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from .config import FACTOR, AutoencoderConfig
from .files import WeightsError, assign, read_arrays


def build_encoder(config: AutoencoderConfig, *, dtype: str = "float32") -> keras.Model:
    """Build the encoder: float [B, H, W, 3] in -1..1 to latents float32 [B, H/8, W/8, C]."""
    eighth, quarter, half = config.channels
    image: Any = keras.Input((None, None, 3), name="image")
    x: Any = layers.Conv2D(half, 4, 2, "same", dtype=dtype, name="enc_stem")(image)
    for index in range(config.blocks[2]):
        x = _residual(x, half, f"enc_half_{index}", dtype)
    x = layers.Conv2D(quarter, 4, 2, "same", dtype=dtype, name="enc_down_quarter")(x)
    for index in range(config.blocks[1]):
        x = _residual(x, quarter, f"enc_quarter_{index}", dtype)
    x = layers.Conv2D(eighth, 4, 2, "same", dtype=dtype, name="enc_down_eighth")(x)
    for index in range(config.blocks[0] - 1):
        x = _residual(x, eighth, f"enc_eighth_{index}", dtype)
    x = layers.ReLU(dtype=dtype, name="enc_relu")(x)
    latents = layers.Conv2D(config.latent_channels, 3, padding="same", dtype="float32", name="enc_latents")(x)
    return keras.Model(image, latents, name="encoder")


def build_decoder(config: AutoencoderConfig, *, dtype: str = "float32") -> keras.Model:
    """Build the decoder: latents float [B, H/8, W/8, C] to float32 [B, H, W, 3], about -1..1."""
    eighth, quarter, half = config.channels
    latents: Any = keras.Input((None, None, config.latent_channels), name="latents")
    x: Any = layers.Conv2D(eighth, 3, padding="same", dtype=dtype, name="dec_stem")(latents)
    for index in range(config.blocks[0]):
        x = _residual(x, eighth, f"dec_eighth_{index}", dtype)
    x = _up(x, quarter, "dec_up_quarter", dtype)
    for index in range(config.blocks[1]):
        x = _residual(x, quarter, f"dec_quarter_{index}", dtype)
    x = _up(x, half, "dec_up_half", dtype)
    for index in range(config.blocks[2] + 1):
        x = _residual(x, half, f"dec_half_{index}", dtype)
    x = layers.ReLU(dtype=dtype, name="dec_relu")(x)
    x = layers.Conv2D(3 * 4, 3, padding="same", dtype="float32", name="dec_pixels")(x)
    image = DepthToSpace(dtype="float32", name="dec_shuffle")(x)
    return keras.Model(latents, image, name="decoder")


@keras.saving.register_keras_serializable(package="ldm")
class DepthToSpace(layers.Layer):
    """Spread groups of four channels over 2 x 2 pixels."""

    def call(self, x: Any) -> Any:
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, height, width, channels = input_shape
        return (batch, height and height * 2, width and width * 2, channels // 4)


def to_signed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale uint8 pixels to -1..1, any shape."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale -1..1 to uint8 pixels, any shape; out-of-range values are clipped."""
    return np.clip(np.rint((images + np.float32(1)) * np.float32(127.5)), 0, 255).astype(np.uint8)


def load_autoencoder(path: Path) -> tuple[keras.Model, keras.Model]:
    """Load encoder and decoder from an autoencoder's file or a whole model's; WeightsError for misfits."""
    arrays, header = read_arrays(path)
    values = header.get("config") or header.get("autoencoder")
    if values is None:
        raise WeightsError(f"{path} holds no autoencoder")
    config = AutoencoderConfig(values["latent_channels"], tuple(values["channels"]), tuple(values["blocks"]))
    models = build_encoder(config), build_decoder(config)
    assign(models, {name: value for name, value in arrays.items() if not name.startswith("denoiser/")})
    return models


def reconstruct(encoder: keras.Model, decoder: keras.Model, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode and decode pictures uint8 [N, H, W, 3], four at a time: what the model at best can paint."""
    encode = tf.function(lambda x: encoder(x, training=False), jit_compile=False)
    decode = tf.function(lambda z: decoder(z, training=False), jit_compile=False)
    signed = (to_signed(pictures[start : start + 4]) for start in range(0, len(pictures), 4))
    return to_pixels(np.concatenate([decode(encode(tf.constant(part))).numpy() for part in signed]))


def check_size(height: int, width: int) -> None:
    """Raise ValueError for a picture that does not divide into latent cells."""
    if height % FACTOR or width % FACTOR or height <= 0 or width <= 0:
        raise ValueError(f"a picture of {height}x{width} pixels: both sides must be multiples of {FACTOR}")


def _residual(x: Any, channels: int, name: str, dtype: str) -> Any:
    y = layers.ReLU(dtype=dtype, name=f"{name}_relu1")(x)
    y = layers.Conv2D(channels, 3, padding="same", dtype=dtype, name=f"{name}_conv1")(y)
    y = layers.ReLU(dtype=dtype, name=f"{name}_relu2")(y)
    y = layers.Conv2D(
        channels, 3, padding="same", kernel_initializer="zeros", dtype=dtype, name=f"{name}_conv2"
    )(y)
    return layers.Add(dtype=dtype, name=f"{name}_add")([x, y])


def _up(x: Any, channels: int, name: str, dtype: str) -> Any:
    x = layers.Conv2D(channels * 4, 1, dtype=dtype, name=f"{name}_conv")(x)
    return DepthToSpace(dtype=dtype, name=f"{name}_shuffle")(x)
