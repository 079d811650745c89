"""The denoiser: a small U-Net over latents that reads tags, a mask and what is known around it."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from .config import DenoiserConfig

SINES = 32  # frequencies of the time features


def build_denoiser(
    config: DenoiserConfig, latent_channels: int, words: int, *, dtype: str = "float32"
) -> keras.Model:
    """Build the velocity model of a rectified flow, from noise at time 1 to a picture at time 0.

    Inputs: latents [B, h, w, C], mask [B, h, w, (any, share)] of the pixels to repaint in each cell,
    known [B, h, w, C] latents of the picture with grey in the mask, time [B], tokens int32 [B, T, W] word
    numbers, 0 for none. Output: velocity float32 [B, h, w, C]. Any height and width of at least 4 cells.
    """
    latents: Any = keras.Input((None, None, latent_channels), name="latents")
    mask: Any = keras.Input((None, None, 2), name="mask")
    known: Any = keras.Input((None, None, latent_channels), name="known")
    time: Any = keras.Input((), name="time")
    tokens: Any = keras.Input((config.tokens, config.words), dtype="int32", name="tokens")

    net = _Net(config, dtype)
    text, present, pooled = net.text(tokens, words)
    condition = net.time(time, pooled)
    fine, middle, coarse = config.channels
    x: Any = Places(dtype="float32", name="places")(ops.concatenate([latents, mask, known], -1))
    x = net.conv(x, fine, "stem")
    skips: list[Any] = []
    for index in range(config.blocks[0]):
        x = net.residual(x, condition, fine, f"down0_{index}")
        if index:
            x = net.attend(x, text, present, fine, f"down0_{index}_read", heads=config.heads)
        skips.append(x)
    x = net.conv(x, middle, "down1_shrink", strides=2)
    for index in range(config.blocks[1]):
        x = net.residual(x, condition, middle, f"down1_{index}")
        x = net.look(x, text, present, middle, f"down1_{index}", itself=index > 0)
        skips.append(x)
    x = net.conv(x, coarse, "down2_shrink", strides=2)
    for index in range(config.blocks[2]):
        x = net.residual(x, condition, coarse, f"middle_{index}")
        x = net.look(x, text, present, coarse, f"middle_{index}", itself=True)
    x = net.grow(x, skips[-1], middle, "up1_grow")
    for index in range(config.blocks[1]):
        x = net.join(x, skips.pop(), middle, f"up1_{index}_join")
        x = net.residual(x, condition, middle, f"up1_{index}")
        x = net.look(x, text, present, middle, f"up1_{index}", itself=index == 0)
    x = net.grow(x, skips[-1], fine, "up0_grow")
    for index in range(config.blocks[0]):
        x = net.join(x, skips.pop(), fine, f"up0_{index}_join")
        x = net.residual(x, condition, fine, f"up0_{index}")
        if index == 0:
            x = net.attend(x, text, present, fine, f"up0_{index}_read", heads=config.heads)
    x = net.residual(x, condition, fine, "last")
    x = net.norm(x, "out_norm")
    x = layers.LeakyReLU(0.1, dtype=dtype, name="out_leaky")(x)
    velocity = layers.Conv2D(
        latent_channels, 3, padding="same", kernel_initializer="zeros", dtype="float32", name="out_conv"
    )(x)
    return keras.Model([latents, mask, known, time, tokens], velocity, name="denoiser")


@keras.saving.register_keras_serializable(package="ldm")
class Places(layers.Layer):
    """Append each cell's place, -1 to 1 from top to bottom and from left to right, as two channels."""

    def call(self, x: Any) -> Any:
        shape: Any = ops.shape(x)
        rows: Any = ops.linspace(-1.0, 1.0, shape[1])
        columns: Any = ops.linspace(-1.0, 1.0, shape[2])
        down = ops.broadcast_to(rows[None, :, None, None], (shape[0], shape[1], shape[2], 1))
        across = ops.broadcast_to(columns[None, None, :, None], (shape[0], shape[1], shape[2], 1))
        return ops.concatenate([x, ops.cast(down, x.dtype), ops.cast(across, x.dtype)], -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], input_shape[-1] + 2)


@keras.saving.register_keras_serializable(package="ldm")
class GrowTo(layers.Layer):
    """Double a feature map, cut to the size of a second one: odd sizes lose the last row or column."""

    def call(self, x: Any, like: Any) -> Any:
        size: Any = ops.shape(like)
        x = ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)
        return x[:, : size[1], : size[2]]

    def compute_output_shape(self, x_shape: Any, like_shape: Any) -> Any:
        return (x_shape[0], like_shape[1], like_shape[2], x_shape[3])


@keras.saving.register_keras_serializable(package="ldm")
class Attention(layers.Layer):
    """Let queries [B, ..., C] read keys and values [B, T, C] with several heads; no weights of its own."""

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, query: Any, key: Any, value: Any, bias: Any = None) -> Any:
        shape: Any = ops.shape(query)
        channels = query.shape[-1]
        size = channels // self.heads

        def split(x: Any) -> Any:
            return ops.transpose(ops.reshape(x, (shape[0], -1, self.heads, size)), (0, 2, 1, 3))

        scores: Any = ops.matmul(split(query), ops.transpose(split(key), (0, 1, 3, 2)))  # [B, heads, Q, T]
        scores = ops.multiply(ops.cast(scores, "float32"), 1.0 / float(np.sqrt(size)))
        if bias is not None:
            scores = scores + ops.expand_dims(ops.cast(bias, "float32"), (1, 2))
        shares = ops.cast(ops.softmax(scores), value.dtype)
        read = ops.transpose(ops.matmul(shares, split(value)), (0, 2, 1, 3))
        return ops.reshape(read, shape)

    def compute_output_shape(
        self, query_shape: Any, key_shape: Any = None, value_shape: Any = None, bias_shape: Any = None
    ) -> Any:
        return query_shape

    def get_config(self) -> Any:
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable(package="ldm")
class ChannelNorm(layers.Layer):
    """Divide each cell's features by their root mean square; no weights, as what follows can scale.

    The sum of squares is a matrix product: on CPUs that is several times faster than a reduction in bfloat16.
    """

    def call(self, x: Any) -> Any:
        channels = x.shape[-1]
        ones = ops.full((channels, 1), 1.0 / channels, dtype=x.dtype)
        mean: Any = ops.cast(ops.matmul(x * x, ones), "float32")
        return x * ops.cast(ops.rsqrt(mean + 1e-6), x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="ldm")
class TimeFeatures(layers.Layer):
    """Turn times [B] into sines and cosines [B, 2 * SINES]."""

    def call(self, time: Any) -> Any:
        rates: Any = ops.exp(ops.linspace(0.0, float(np.log(1000.0)), SINES))
        angles: Any = ops.expand_dims(ops.cast(time, "float32"), 1) * rates[None]
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], 2 * SINES)


class _Net:
    """The U-Net's parts, all of one arithmetic; every method adds named layers to the graph."""

    def __init__(self, config: DenoiserConfig, dtype: str) -> None:
        self._config = config
        self._dtype = dtype

    def text(self, tokens: Any, words: int) -> Any:
        """Read tokens [B, T, W]: features [B, T + 1, E], attention bias [B, T + 1], pooled [B, E]."""
        size = self._config.embedding
        named: Any = ops.cast(ops.not_equal(tokens, 0), "float32")  # [B, T, W]
        table: Any = layers.Embedding(words + 1, size, dtype="float32", name="text_words")(tokens)
        # A tag is the sum of its words, so that "red" stays with "jacket" whatever else the prompt holds.
        total: Any = ops.sum(table * named[..., None], 2)  # [B, T, E]
        there: Any = ops.max(named, -1)  # [B, T]
        x: Any = layers.Dense(size, "silu", dtype="float32", name="text_hidden")(total)
        x = layers.Dense(size, dtype="float32", name="text_out")(x) + total
        first: Any = tokens[:, :1, 0]
        nothing = layers.Embedding(1, size, dtype="float32", name="text_nothing")(ops.zeros_like(first))
        # The extra token gives attention a place to rest when a prompt is empty.
        features: Any = ops.concatenate([nothing, x], 1)
        present: Any = ops.concatenate([ops.ones_like(there[:, :1]), there], 1)
        count: Any = ops.sum(there, 1, keepdims=True)
        pooled = ops.divide(ops.sum(x * there[..., None], 1), ops.sqrt(ops.add(1.0, count)))
        return features, (present - 1.0) * 1e4, pooled

    def time(self, time: Any, pooled: Any) -> Any:
        """Join time and pooled text into the vector that steers every block."""
        size = self._config.embedding
        features = TimeFeatures(dtype="float32", name="time_features")(time)
        x: Any = layers.Dense(size, "silu", dtype="float32", name="time_hidden")(features)
        x = layers.Dense(size, dtype="float32", name="time_out")(x)
        x = x + layers.Dense(size, dtype="float32", name="time_text")(pooled)
        return layers.Activation("silu", dtype="float32", name="time_silu")(x)

    def conv(self, x: Any, channels: int, name: str, strides: int = 1) -> Any:
        return layers.Conv2D(channels, 3, strides, "same", dtype=self._dtype, name=name)(x)

    def norm(self, x: Any, name: str) -> Any:
        return ChannelNorm(dtype=self._dtype, name=name)(x)

    def residual(self, x: Any, condition: Any, channels: int, name: str) -> Any:
        y = self.norm(x, f"{name}_norm")
        y = layers.LeakyReLU(0.1, dtype=self._dtype, name=f"{name}_leaky1")(y)
        y = self.conv(y, channels, f"{name}_conv1")
        steer: Any = layers.Dense(channels * 2, dtype=self._dtype, name=f"{name}_steer")(condition)[
            :, None, None
        ]
        y = y * (1.0 + steer[..., :channels]) + steer[..., channels:]
        y = layers.LeakyReLU(0.1, dtype=self._dtype, name=f"{name}_leaky2")(y)
        y = layers.Conv2D(
            channels, 3, padding="same", kernel_initializer="zeros", dtype=self._dtype, name=f"{name}_conv2"
        )(y)
        return x + y

    def attend(self, x: Any, source: Any, bias: Any, channels: int, name: str, heads: int) -> Any:
        """Let the cells read a source: the text, or themselves when it is None."""
        y = self.norm(x, f"{name}_norm")
        seen = y if source is None else source
        query = layers.Dense(channels, use_bias=False, dtype=self._dtype, name=f"{name}_query")(y)
        key = layers.Dense(channels, use_bias=False, dtype=self._dtype, name=f"{name}_key")(seen)
        value = layers.Dense(channels, use_bias=False, dtype=self._dtype, name=f"{name}_value")(seen)
        read = Attention(heads, dtype=self._dtype, name=f"{name}_attention")(query, key, value, bias=bias)
        return x + layers.Dense(
            channels, kernel_initializer="zeros", dtype=self._dtype, name=f"{name}_write"
        )(read)

    def look(self, x: Any, text: Any, bias: Any, channels: int, name: str, *, itself: bool) -> Any:
        if itself:
            x = self.attend(x, None, None, channels, f"{name}_self", self._config.heads)
        return self.attend(x, text, bias, channels, f"{name}_read", self._config.heads)

    def grow(self, x: Any, like: Any, channels: int, name: str) -> Any:
        x = layers.Conv2D(channels, 1, dtype=self._dtype, name=f"{name}_conv")(x)
        return GrowTo(dtype=self._dtype, name=name)(x, like)

    def join(self, x: Any, skip: Any, channels: int, name: str) -> Any:
        return x + layers.Conv2D(channels, 1, dtype=self._dtype, name=name)(skip)
