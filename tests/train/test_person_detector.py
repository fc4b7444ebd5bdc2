import cv2
import numpy as np
import pytest

from train.person_detector.images import Picture, StoredFrame, augmented, plain


def _stored(seed: int) -> StoredFrame:
    """A frame with two upright rectangles for people."""
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 255, (90, 120, 3)).astype(np.uint8)
    people = np.zeros((90, 120), np.uint8)
    people[20:80, 10:40], people[30:70, 60:80] = 1, 2
    rgb[people > 0] = (250, 10, 10)
    boxes = np.array([[10, 20, 40, 80], [60, 30, 80, 70]], np.float32)
    encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in (rgb[..., ::-1], people)]
    return StoredFrame(encoded[0], encoded[1], boxes)


@pytest.mark.parametrize("seed", range(30))
def test_labels_follow_the_picture(seed):
    picture = augmented([_stored(1), _stored(2)], (96, 64), np.random.default_rng(seed))
    assert picture.rgb.shape == (64, 96, 3) and picture.rgb.dtype == np.uint8
    assert picture.people.shape == (64, 96) and picture.people.max() <= len(picture.boxes_px)
    for person, (x0, y0, x1, y1) in enumerate(picture.boxes_px):
        rows, columns = np.nonzero(picture.people == person + 1)
        if len(rows):
            assert columns.min() >= x0 - 1.5 and columns.max() + 1 <= x1 + 1.5
            assert rows.min() >= y0 - 1.5 and rows.max() + 1 <= y1 + 1.5


def test_the_same_seed_gives_the_same_picture():
    first, second = (augmented([_stored(1)], (96, 64), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.people, second.people)


def test_a_plain_picture_is_only_scaled():
    picture = plain(_stored(1).open(), (240, 192))
    assert isinstance(picture, Picture) and picture.people.shape == (192, 240)
    np.testing.assert_allclose(picture.boxes_px[0], [20, 40, 80, 160])
    assert (picture.people[42:158, 22:78] == 1).all() and not picture.people[180:].any()
    assert picture.rgb[100, 50, 0] > 200 and picture.rgb[185].max() == 0
