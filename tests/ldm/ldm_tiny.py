"""A model small enough for tests."""

import numpy as np

from ldm.config import AutoencoderConfig, DenoiserConfig
from ldm.model import LatentDiffusion
from ldm.text import Vocabulary

AUTOENCODER = AutoencoderConfig(latent_channels=2, channels=(16, 16, 8), blocks=(2, 1, 1))
DENOISER = DenoiserConfig(channels=(16, 16, 16), blocks=(2, 2, 1), heads=2, embedding=16, tokens=8, words=4)


def tiny_model(seed: int = 0) -> LatentDiffusion:
    """Make a small model whose every weight counts: zeros would hide what does not work."""
    model = LatentDiffusion(
        autoencoder=AUTOENCODER,
        denoiser=DENOISER,
        vocabulary=Vocabulary(),
        mean=np.array([0.1, -0.2], np.float32),
        std=np.array([0.9, 1.2], np.float32),
    )
    rng = np.random.default_rng(seed)
    for part in (model.encoder, model.decoder, model.denoiser):
        for variable in part.trainable_variables:
            values = rng.normal(0, 0.15, tuple(variable.shape)).astype(np.float16)  # as the file stores them
            variable.assign(values.astype(np.float32))
    return model
