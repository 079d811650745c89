"""Changes of a training picture that keep its masks right."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mrcnn.data import Example


def reframe(example: Example, size: tuple[int, int], rng: np.random.Generator) -> Example:
    """Mirror, enlarge or shrink, and shift a picture into a network input of `size` (height, width).

    One affine map for picture (bilinear) and masks (nearest): both move alike. Outside is black;
    an object that leaves the frame is left out.
    """
    height, width = example.image.shape[:2]
    fit = min(size[0] / height, size[1] / width)
    scale = fit * math.exp(rng.uniform(math.log(0.75), math.log(1.5)))
    # A share of the pictures fills the frame as it does when detecting.
    if rng.random() < 0.4:
        scale = fit
    slack = size[1] - width * scale, size[0] - height * scale
    # Centred when it fits, anywhere when it does not.
    x0 = slack[0] / 2 if scale == fit else slack[0] * rng.random()
    y0 = slack[1] / 2 if scale == fit else slack[1] * rng.random()
    step, x_start, y_start = 1 / scale, -x0 / scale, -y0 / scale
    if rng.random() < 0.5:
        affine = (-step, 0.0, width - x_start, 0.0, step, y_start)
    else:
        affine = (step, 0.0, x_start, 0.0, step, y_start)

    def move(array: NDArray[np.uint8], resample: Image.Resampling) -> NDArray[np.uint8]:
        moved = Image.fromarray(array).transform((size[1], size[0]), Image.Transform.AFFINE, affine, resample)
        return np.asarray(moved)

    image = move(example.image, Image.Resampling.BILINEAR)
    masks = [move(m.astype(np.uint8), Image.Resampling.NEAREST) > 0 for m in example.masks]
    stack = np.array(masks, bool).reshape(-1, *size)
    seen = stack.any(axis=(1, 2))
    return Example(image, stack[seen], example.class_ids[seen])


def recolour(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary brightness, contrast, saturation and the balance of the three colours."""
    x = image.astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.6, 1.3))
    gain = (rng.uniform(0.8, 1.2) * rng.uniform(0.92, 1.08, 3)).astype(np.float32)
    x = (x - 128) * gain + np.float32(128 + rng.uniform(-25, 25))
    return np.clip(x, 0, 255).astype(np.uint8)


def soften(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give a picture the faults of a small painter's: blurred, coarse, noisy, compressed."""
    picture = Image.fromarray(image)
    if rng.random() < 0.5:
        smaller = rng.uniform(0.35, 0.9)
        shape = (max(8, round(picture.width * smaller)), max(8, round(picture.height * smaller)))
        picture = picture.resize(shape, Image.Resampling.BILINEAR).resize(
            picture.size, Image.Resampling.BICUBIC
        )
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))
    if rng.random() < 0.5:
        coarse = rng.normal(0, 1, (image.shape[0] // 4 + 1, image.shape[1] // 4 + 1, 3))
        coarse = np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)[: image.shape[0], : image.shape[1]]
        fine = rng.normal(0, 1, image.shape)
        noise = rng.uniform(0, 8) * coarse + rng.uniform(0, 8) * fine
        picture = Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        picture = Image.open(buffer)
    return np.asarray(picture)


def augment(example: Example, size: tuple[int, int], rng: np.random.Generator) -> Example:
    """Return a changed copy of `example` as a network input of `size` (height, width)."""
    # The frame travels along as one more mask: what lies outside stays black, as when detecting.
    frame = np.ones((1, *example.image.shape[:2]), bool)
    ids = np.append(example.class_ids, 0).astype(np.int32)
    moved = reframe(Example(example.image, np.concatenate([example.masks, frame]), ids), size, rng)
    image = recolour(moved.image, rng) if rng.random() < 0.7 else moved.image
    image = soften(image, rng) if rng.random() < 0.6 else image
    return Example(image * moved.masks[-1][..., None], moved.masks[:-1], moved.class_ids[:-1])
