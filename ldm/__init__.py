"""A small latent diffusion model in Keras 3: text to image, inpainting, image to image.

`LatentDiffusion` is the way in. Importing this package loads no TensorFlow: the names arrive when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import WeightsError
    from .model import LatentDiffusion
    from .sampler import SamplerState
    from .text import Vocabulary

__all__ = ["LatentDiffusion", "SamplerState", "Vocabulary", "WeightsError"]

_HOMES = {
    "LatentDiffusion": "model",
    "SamplerState": "sampler",
    "Vocabulary": "text",
    "WeightsError": "files",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
