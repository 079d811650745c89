"""How every convolution and batch normalisation of the network is made."""

from dataclasses import dataclass

import keras
from keras import layers


@dataclass(frozen=True, slots=True)
class Maker:
    """Make layers of one numeric policy and initialiser.

    `initializer` "zeros" builds fast where weights are loaded anyway. `momentum` is batch normalisation's.
    Every convolution has a bias, also before a normalisation: Matterport's files hold one.
    """

    dtype: str = "float32"
    initializer: str = "zeros"
    momentum: float = 0.99

    def conv(
        self, filters: int, size: int | tuple[int, int], name: str, strides: int = 1, padding: str = "same"
    ) -> layers.Conv2D:
        """Make a convolution with bias."""
        return layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding=padding,
            name=name,
            dtype=self.dtype,
            kernel_initializer=self.initializer,
        )

    def norm(self, name: str) -> layers.BatchNormalization:
        """Make a batch normalisation; it normalises by its moving statistics unless trained."""
        return layers.BatchNormalization(epsilon=1e-3, momentum=self.momentum, name=name, dtype=self.dtype)

    def relu(self, x: keras.KerasTensor, name: str | None = None) -> keras.KerasTensor:
        """Apply a rectifier."""
        return layers.Activation("relu", name=name, dtype=self.dtype)(x)

    def add(self, a: keras.KerasTensor, b: keras.KerasTensor, name: str | None = None) -> keras.KerasTensor:
        """Add two feature maps."""
        return layers.Add(name=name, dtype=self.dtype)([a, b])
