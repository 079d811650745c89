"""Mask R-CNN in Keras 3 on TensorFlow, at home with Matterport's weights."""

from typing import TYPE_CHECKING

from mrcnn.config import Config

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

__all__ = ["Config", "MaskRCNN"]


def __getattr__(name: str) -> object:
    """Import the model, and with it TensorFlow, only when it is asked for."""
    if name == "MaskRCNN":
        from mrcnn.model import MaskRCNN

        return MaskRCNN
    raise AttributeError(f"module 'mrcnn' has no attribute {name!r}")
