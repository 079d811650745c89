"""Sampling a rectified flow in steps that can be paused: the state is a plain value."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# (latents [h, w, C], mask [h, w, 2], known [h, w, C], time, tokens [2, T, W]) -> velocities [2, h, w, C]
Velocity = Callable[[Floats, Floats, Floats, float, NDArray[np.int32]], Floats]


@dataclass(frozen=True, slots=True)
class SamplerState:
    """A picture on its way from noise; small, numpy only, safe to pickle. Latents are normalised."""

    latents: Floats  # [h, w, C] at time `times[step]`
    clean: Floats  # [h, w, C] the finished picture as predicted by now: what a preview shows
    noise: Floats  # [h, w, C] where the flow started
    original: Floats  # [h, w, C] latents of the picture given; zeros without one
    known: Floats  # [h, w, C] latents of the picture with grey in the mask
    mask: Floats  # [h, w, (any, share)] of the pixels to repaint
    tokens: NDArray[np.int32]  # [(wanted, unwanted), T, W]
    times: Floats  # [steps + 1] falling to 0
    guidance: float
    step: int = 0

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    @property
    def done(self) -> bool:
        return self.step >= self.steps


def time_steps(steps: int, strength: float, shift: float = 1.0) -> Floats:
    """Give steps + 1 times from `strength` to 0; `shift` above 1 spends more steps near the noise."""
    even = np.linspace(strength, 0.0, steps + 1, dtype=np.float64)
    return (shift * even / (1.0 + (shift - 1.0) * even)).astype(np.float32)


def noised(clean: Floats, noise: Floats, time: float) -> Floats:
    """Give the flow's point at a time between a picture's latents (0) and noise (1)."""
    share = np.float32(time)
    return ((np.float32(1) - share) * clean + share * noise).astype(np.float32, copy=False)


def advance(state: SamplerState, velocity: Velocity, steps: int) -> SamplerState:
    """Take up to `steps` Euler steps; in which portions the steps are taken changes no bit of the result."""
    latents, clean = state.latents, state.clean
    keep = state.mask[..., :1] == 0  # cells without a pixel to repaint
    last = min(state.steps, state.step + max(0, steps))
    for step in range(state.step, last):
        now, then = float(state.times[step]), float(state.times[step + 1])
        both = velocity(latents, state.mask, state.known, now, state.tokens)
        speed = both[1] + np.float32(state.guidance) * (both[0] - both[1])
        clean = np.where(keep, state.original, latents - np.float32(now) * speed)
        latents = latents + np.float32(then - now) * speed
        latents = np.where(keep, noised(state.original, state.noise, then), latents)
    return replace(state, latents=latents, clean=clean, step=last)


def cell_mask(mask: NDArray[np.bool_], factor: int) -> Floats:
    """Reduce a pixel mask [H, W] to cells: float32 [H / factor, W / factor, (any, share)]."""
    height, width = mask.shape
    cells = mask.reshape(height // factor, factor, width // factor, factor)
    share = cells.mean((1, 3), dtype=np.float32)
    return np.stack([(share > 0).astype(np.float32), share], -1)


def hide(known: Floats, mask: Floats) -> Floats:
    """Silence the known latents [..., C] of cells that are repainted wholly, by their mask [..., 2]."""
    return np.where(mask[..., 1:] >= 1, np.float32(0), known)
