"""The settings of a model: Matterport's names in lower case, with Matterport's defaults."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

BACKBONES = ("resnet50", "resnet101", "small")
RESIZE_MODES = ("none", "square", "pad64", "crop")


@dataclass(frozen=True, slots=True)
class Config:
    """Describe one model: its network, its input pipeline and how it is trained.

    `num_classes` counts the background. Lengths are pixels of the network's input. The two widths that
    Matterport had written into the code, `rpn_conv_size` and `mask_conv_size`, are settings here.
    """

    backbone: str = "resnet101"
    num_classes: int = 81
    # Network
    backbone_strides: tuple[int, ...] = (4, 8, 16, 32, 64)
    fpn_classif_fc_layers_size: int = 1024
    top_down_pyramid_size: int = 256
    rpn_conv_size: int = 512
    mask_conv_size: int = 256
    pool_size: int = 7
    mask_pool_size: int = 14
    mask_shape: tuple[int, int] = (28, 28)
    # Anchors and proposals
    rpn_anchor_scales: tuple[int, ...] = (32, 64, 128, 256, 512)
    rpn_anchor_ratios: tuple[float, ...] = (0.5, 1, 2)
    rpn_anchor_stride: int = 1
    rpn_nms_threshold: float = 0.7
    pre_nms_limit: int = 6000
    post_nms_rois_training: int = 2000
    post_nms_rois_inference: int = 1000
    rpn_bbox_std_dev: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    bbox_std_dev: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    # Input pictures
    image_resize_mode: str = "square"
    image_min_dim: int = 800
    image_max_dim: int = 1024
    image_min_scale: float = 0
    mean_pixel: tuple[float, float, float] = (123.7, 116.8, 103.9)
    # Detection
    detection_max_instances: int = 100
    detection_min_confidence: float = 0.7
    detection_nms_threshold: float = 0.3
    # Training
    images_per_gpu: int = 2
    rpn_train_anchors_per_image: int = 256
    train_rois_per_image: int = 200
    roi_positive_ratio: float = 0.33
    max_gt_instances: int = 100
    use_mini_mask: bool = True
    mini_mask_shape: tuple[int, int] = (56, 56)
    learning_rate: float = 0.001
    learning_momentum: float = 0.9
    weight_decay: float = 0.0001
    gradient_clip_norm: float = 5.0
    train_bn: bool = False
    # Weights of the five losses: rpn_class, rpn_bbox, mrcnn_class, mrcnn_bbox, mrcnn_mask.
    loss_weights: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone {self.backbone!r}: one of {', '.join(BACKBONES)}")
        if self.image_resize_mode not in RESIZE_MODES:
            raise ValueError(
                f"image_resize_mode {self.image_resize_mode!r}: one of {', '.join(RESIZE_MODES)}"
            )
        if self.num_classes < 2:
            raise ValueError("num_classes counts the background too: at least 2")
        if self.image_resize_mode == "square" and self.image_max_dim % 64:
            raise ValueError(
                f"image_max_dim {self.image_max_dim}: a multiple of 64 (the pyramid halves six times)"
            )
        if self.image_resize_mode in ("pad64", "crop") and self.image_min_dim % 64:
            raise ValueError(
                f"image_min_dim {self.image_min_dim}: a multiple of 64 (the pyramid halves six times)"
            )

    def feature_shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return (rows, columns) of each pyramid level for an input of `height` x `width` pixels."""
        return [(math.ceil(height / s), math.ceil(width / s)) for s in self.backbone_strides]

    def to_json(self) -> str:
        """Return the settings as JSON, as they are kept in a weights file."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Config":
        """Rebuild the settings from `to_json`; unknown names raise ValueError."""
        raw: dict[str, Any] = json.loads(text)
        unknown = sorted(set(raw) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"settings this version does not know: {', '.join(unknown)}")
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**settings)
