"""Labelled pastel street scenes, drawn from a seed."""

from .canvas import Window
from .palette import CLASSES, COLOURS, PATTERNS, looks
from .scene import Scene, draw
from .spec import Look, SceneSpec

__all__ = ["CLASSES", "COLOURS", "PATTERNS", "Look", "Scene", "SceneSpec", "Window", "draw", "looks"]
