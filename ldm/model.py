"""The whole model: text to image, inpainting and image to image, from one weights file."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .autoencoder import build_decoder, build_encoder, check_size, to_pixels, to_signed
from .config import FACTOR, NATIVE, AutoencoderConfig, DenoiserConfig
from .denoiser import build_denoiser
from .files import WeightsError, assign, gather, read_arrays, write_arrays
from .sampler import Floats, SamplerState, advance, cell_mask, hide, noised, time_steps
from .text import Vocabulary

MAX_STEPS = 200
MAX_SIDE = 512  # pixels: far beyond what the model was trained on, but bounded
_GREY = 128


class LatentDiffusion:
    """A loaded model. Equal inputs give equal bytes on one machine with one thread count."""

    def __init__(
        self,
        *,
        autoencoder: AutoencoderConfig,
        denoiser: DenoiserConfig,
        vocabulary: Vocabulary,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
    ) -> None:
        self.vocabulary = vocabulary
        self.autoencoder_config = autoencoder
        self.denoiser_config = denoiser
        self.mean = np.asarray(mean, np.float32)  # [C] of the latents before they are normalised
        self.std = np.asarray(std, np.float32)  # [C]
        self.encoder = build_encoder(autoencoder)
        self.decoder = build_decoder(autoencoder)
        self.denoiser = build_denoiser(denoiser, autoencoder.latent_channels, len(vocabulary))
        # The models do not train here; a traced function a shape is several times faster than calling them.
        self._encode = tf.function(lambda x: self.encoder(x, training=False), jit_compile=False)
        self._decode = tf.function(lambda z: self.decoder(z, training=False), jit_compile=False)
        self._denoise = tf.function(
            lambda *inputs: self.denoiser(list(inputs), training=False), jit_compile=False
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Load a weights file; WeightsError lists all that is missing, odd or of another shape."""
        arrays, header = read_arrays(Path(path))
        if header.get("kind") != "latent diffusion":
            raise WeightsError(
                f"{path} holds {header.get('kind', 'something else')!r}, not a latent diffusion model"
            )
        model = cls(
            autoencoder=_autoencoder_config(header["autoencoder"]),
            denoiser=_denoiser_config(header["denoiser"]),
            vocabulary=Vocabulary(header["words"], header["aliases"]),
            mean=np.asarray(header["mean"], np.float32),
            std=np.asarray(header["std"], np.float32),
        )
        assign([model.encoder, model.decoder, model.denoiser], arrays)
        return model

    def save(self, path: Path | str, **notes: Any) -> None:
        """Write weights as float16 with configuration and vocabulary; `notes` go into the header."""
        header = {
            "kind": "latent diffusion",
            "autoencoder": asdict(self.autoencoder_config),
            "denoiser": asdict(self.denoiser_config),
            "words": list(self.vocabulary.words),
            "aliases": {name: list(meant) for name, meant in self.vocabulary.aliases.items()},
            "mean": [float(v) for v in self.mean],
            "std": [float(v) for v in self.std],
            **notes,
        }
        write_arrays(Path(path), gather([self.encoder, self.decoder, self.denoiser]), header)

    def start(
        self,
        prompt: str,
        *,
        negative: str = "",
        seed: int,
        steps: int = 20,
        guidance: float = 3.0,
        height: int = NATIVE,
        width: int = NATIVE,
    ) -> SamplerState:
        """Begin a picture from a prompt. ValueError for sizes and step counts that cannot be."""
        _check(height, width, steps, 1.0)
        shape = (height // FACTOR, width // FACTOR, self.autoencoder_config.latent_channels)
        zeros, noise = np.zeros(shape, np.float32), _noise(seed, shape)
        return SamplerState(
            latents=noise,
            clean=zeros,
            noise=noise,
            original=zeros,
            known=zeros,
            mask=np.ones((*shape[:2], 2), np.float32),
            tokens=self._tokens(prompt, negative),
            times=time_steps(steps, 1.0),
            guidance=float(guidance),
        )

    def start_inpaint(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        prompt: str,
        *,
        negative: str = "",
        seed: int,
        steps: int = 20,
        guidance: float = 3.0,
        strength: float = 1.0,
    ) -> SamplerState:
        """Begin to repaint image [H, W, 3] where mask [H, W] is True; `strength` below 1 keeps some of it."""
        height, width = mask.shape
        if image.shape != (height, width, 3):
            raise ValueError(f"picture {image.shape} and mask {mask.shape} do not belong together")
        _check(height, width, steps, strength)
        cells = cell_mask(mask, FACTOR)
        grey = np.where(mask[..., None], np.uint8(_GREY), image)
        original = self.encode(image)
        noise = _noise(seed, original.shape)
        return SamplerState(
            latents=noised(original, noise, strength),
            clean=original,
            noise=noise,
            original=original,
            known=hide(self.encode(grey), cells),
            mask=cells,
            tokens=self._tokens(prompt, negative),
            times=time_steps(steps, strength),
            guidance=float(guidance),
        )

    def start_image(
        self,
        image: NDArray[np.uint8],
        prompt: str,
        *,
        negative: str = "",
        seed: int,
        steps: int = 20,
        guidance: float = 3.0,
        strength: float = 0.6,
    ) -> SamplerState:
        """Begin to change a whole image [H, W, 3] towards a prompt."""
        mask = np.ones(image.shape[:2], np.bool_)
        return self.start_inpaint(
            image,
            mask,
            prompt,
            negative=negative,
            seed=seed,
            steps=steps,
            guidance=guidance,
            strength=strength,
        )

    def advance(self, state: SamplerState, steps: int) -> SamplerState:
        """Take up to `steps` more steps."""
        return advance(state, self._velocity, steps)

    def decode(self, state: SamplerState) -> NDArray[np.uint8]:
        """Give the picture uint8 [H, W, 3]; before the end, what it is expected to become."""
        return self.decode_latents(state.clean)

    def decode_latents(self, latents: Floats) -> NDArray[np.uint8]:
        """Give the picture uint8 [H, W, 3] of normalised latents [h, w, C]."""
        raw = latents * self.std + self.mean
        return to_pixels(self._decode(tf.constant(raw[None]))[0].numpy())

    def encode(self, image: NDArray[np.uint8]) -> Floats:
        """Give the normalised latents [h, w, C] of a picture [H, W, 3]."""
        latents = self._encode(tf.constant(to_signed(image)[None]))[0].numpy()
        return (latents - self.mean) / self.std

    def _velocity(
        self, latents: Floats, mask: Floats, known: Floats, time: float, tokens: NDArray[np.int32]
    ) -> Floats:
        inputs = [np.stack([value, value]) for value in (latents, mask, known)]
        times = np.full(2, time, np.float32)
        return self._denoise(*(tf.constant(value) for value in (*inputs, times, tokens))).numpy()

    def _tokens(self, prompt: str, negative: str) -> NDArray[np.int32]:
        said = [self.vocabulary.parse(text).tags for text in (prompt, negative)]
        return np.stack([self.vocabulary.tokens(tags, self.denoiser_config) for tags in said])


def _check(height: int, width: int, steps: int, strength: float) -> None:
    check_size(height, width)
    if max(height, width) > MAX_SIDE or min(height, width) < 4 * FACTOR:
        raise ValueError(f"a picture of {height}x{width} pixels: sides must be {4 * FACTOR} to {MAX_SIDE}")
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"{steps} steps: must be 1 to {MAX_STEPS}")
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength {strength}: must be above 0 and at most 1")


def _noise(seed: int, shape: tuple[int, ...]) -> Floats:
    """Draw the noise; every integer is a seed, and Philox is the same on every machine."""
    generator = np.random.Generator(np.random.Philox(seed % (1 << 128)))
    return generator.standard_normal(shape, dtype=np.float32)


def _autoencoder_config(values: dict[str, Any]) -> AutoencoderConfig:
    return AutoencoderConfig(values["latent_channels"], tuple(values["channels"]), tuple(values["blocks"]))


def _denoiser_config(values: dict[str, Any]) -> DenoiserConfig:
    return DenoiserConfig(
        **{**values, "channels": tuple(values["channels"]), "blocks": tuple(values["blocks"])}
    )
