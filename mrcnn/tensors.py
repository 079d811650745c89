"""The type of a TensorFlow tensor."""

from typing import Any, TypeAlias

# TensorFlow's stubs know neither `x[..., 0]` nor that a NumPy array will do wherever a tensor will.
Tensor: TypeAlias = Any
