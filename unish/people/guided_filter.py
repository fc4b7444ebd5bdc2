"""The guided filter: a map takes on the edges of an image (He et al., "Guided Image Filtering", PAMI 2013)."""

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

_LEAST_CONTRAST = 1e-4
"""Variance of colour, in 0..1, of which there is a little everywhere: noise is no edge."""
_CHANNEL_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def guided_filter(
    values: Float[np.ndarray, "height width"], image: UInt8[np.ndarray, "height width 3"], radius_px: int
) -> Float32[np.ndarray, "height width"]:
    """In every window, values become the linear function of colour that is nearest to them; the mean over all windows
    of 2 radius_px + 1 pixels that hold a pixel is its value."""
    colour, values = image.astype(np.float32) / 255, values.astype(np.float32)
    colour_mean, values_mean = _window_mean(colour, radius_px), _window_mean(values, radius_px)
    together = _window_mean(colour * values[..., None], radius_px) - colour_mean * values_mean[..., None]
    products = _window_mean(np.stack([colour[..., a] * colour[..., b] for a, b in _CHANNEL_PAIRS], axis=-1), radius_px)
    covariance = np.empty((*values.shape, 3, 3), np.float32)
    for pair, (a, b) in enumerate(_CHANNEL_PAIRS):
        covariance[..., a, b] = products[..., pair] - colour_mean[..., a] * colour_mean[..., b]
        covariance[..., b, a] = covariance[..., a, b]
    covariance += _LEAST_CONTRAST * np.eye(3, dtype=np.float32)
    slopes = np.linalg.solve(covariance, together[..., None])[..., 0]
    offset = values_mean - (slopes * colour_mean).sum(-1)
    return (_window_mean(slopes, radius_px) * colour).sum(-1) + _window_mean(offset, radius_px)


def _window_mean(
    maps: Float32[np.ndarray, "height width *channels"], radius_px: int
) -> Float32[np.ndarray, "height width *channels"]:
    """Of all channels at once: OpenCV filters at most four in one call."""
    size, deep = (2 * radius_px + 1,) * 2, maps.reshape(*maps.shape[:2], -1)
    parts = [
        cv2.boxFilter(deep[..., a : a + 3], -1, size, borderType=cv2.BORDER_REFLECT) for a in range(0, deep.shape[2], 3)
    ]
    return np.concatenate([part.reshape(*maps.shape[:2], -1) for part in parts], axis=-1).reshape(maps.shape)
