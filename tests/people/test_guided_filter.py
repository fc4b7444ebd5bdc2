import numpy as np
import pytest

from unish.people.guided_filter import guided_filter


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def test_what_is_even_stays(image):
    assert guided_filter(np.full((40, 50), 0.3), image, 4) == pytest.approx(0.3, abs=1e-5)


def test_what_is_linear_in_colour_stays(image):
    values = image @ np.array([0.5, -0.2, 0.3]) / 255 + 0.1
    assert np.abs(guided_filter(values, image, 4) - values).max() < 5e-3


def test_a_blurred_edge_becomes_that_of_the_image():
    image = np.zeros((40, 50, 3), np.uint8)
    image[:, 25:] = 200, 120, 40
    blurred = np.broadcast_to(np.clip((np.arange(50) - 15) / 20, 0, 1), (40, 50))
    sharp = guided_filter(blurred, image, 5)
    steps = np.diff(sharp[20])
    assert steps.argmax() == 24 and steps[24] > 5 * np.diff(blurred[20])[24]
    assert np.abs(np.delete(steps, 24)).max() < 0.06


def test_where_the_image_is_even_values_are_smoothed():
    values = np.random.default_rng(1).random((40, 50))
    smooth = guided_filter(values, np.full((40, 50, 3), 90, np.uint8), 5)
    assert smooth.std() < 0.1 * values.std() and smooth.mean() == pytest.approx(values.mean(), abs=0.02)
