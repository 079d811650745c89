"""Shapes of the model; kept in the weights file beside the weights."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """Channels of the latents, and of the features at an eighth, a quarter and half the picture's size."""

    latent_channels: int = 8
    channels: tuple[int, int, int] = (160, 96, 48)
    blocks: tuple[int, int, int] = (3, 2, 1)


@dataclass(frozen=True, slots=True)
class DenoiserConfig:
    """Channels and residual blocks at the latents' size, its half and its quarter."""

    channels: tuple[int, int, int] = (128, 160, 192)
    blocks: tuple[int, int, int] = (2, 2, 2)
    heads: int = 4
    embedding: int = 256
    tokens: int = 24  # tags in a prompt; more are cut off
    words: int = 6  # words in a tag


FACTOR = 8  # pixels a latent cell, on each side
NATIVE = 192  # pixels a side of a square picture
