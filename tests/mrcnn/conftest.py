"""A network small enough to build and train within a test."""

import pytest

from mrcnn import Config


@pytest.fixture
def tiny() -> Config:
    """Two classes and 128 pixels on the small backbone."""
    return Config(
        backbone="small",
        num_classes=3,
        fpn_classif_fc_layers_size=32,
        top_down_pyramid_size=16,
        rpn_conv_size=16,
        mask_conv_size=16,
        rpn_anchor_scales=(8, 16, 32, 64, 128),
        image_min_dim=0,
        image_max_dim=128,
        images_per_gpu=2,
        train_bn=True,
        pre_nms_limit=500,
        post_nms_rois_training=100,
        post_nms_rois_inference=50,
        train_rois_per_image=32,
        rpn_train_anchors_per_image=64,
        max_gt_instances=10,
        detection_min_confidence=0.3,
    )
