"""Scores of depth, cameras and bodies, by the protocols of the papers."""

from unish.evaluation.metrics import (
    WorldMotion,
    abs_rel,
    accel,
    align_scale,
    camera_ate,
    delta_125,
    foot_sliding,
    jitter,
    mpjpe,
    pa_mpjpe,
    pelvis,
    pve,
    root_translation_error,
    w_mpjpe,
    wa_mpjpe,
    world_motion,
)

__all__ = [
    "WorldMotion",
    "abs_rel",
    "accel",
    "align_scale",
    "camera_ate",
    "delta_125",
    "foot_sliding",
    "jitter",
    "mpjpe",
    "pa_mpjpe",
    "pelvis",
    "pve",
    "root_translation_error",
    "w_mpjpe",
    "wa_mpjpe",
    "world_motion",
]
