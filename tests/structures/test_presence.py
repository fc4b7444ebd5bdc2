"""People who are not detected for a moment are there all the same."""

import dataclasses

import numpy as np

from tests.helpers.reconstructions import make_reconstruction
from unish.analysis.floor_map import FloorMap
from unish.export.scene_points import person_pixels
from unish.fusion.still_scene import still_mask
from unish.structures import Clip, PersonTrack
from unish.structures.presence import MISSED_S, is_missed


def test_only_short_gaps_between_sightings_are_missed():
    scene = make_reconstruction(8)
    scene = dataclasses.replace(scene, times_s=np.array([0, 1, 2, 3, 4, 5, 7, 9]) * MISSED_S / 4)
    present = np.array([0, 1, 0, 0, 1, 1, 0, 1], bool)
    person = dataclasses.replace(scene.people[0], present=present)
    assert [is_missed(person, scene.times_s, frame) for frame in range(8)] == [0, 0, 1, 1, 0, 0, 0, 0]
    nowhere = dataclasses.replace(person, boxes_px=np.full_like(person.boxes_px, np.nan))
    assert not any(is_missed(nowhere, scene.times_s, frame) for frame in range(8))


def test_their_boxes_are_neither_scene_nor_floor():
    scene = make_reconstruction(3)
    height, width = scene.depth_m.shape[1:]
    boxes = np.tile(np.float32([0.25 * width, 0, 0.75 * width, 0.5 * height]), (3, 1))
    person = dataclasses.replace(scene.people[0], present=np.array([True, False, True]), boxes_px=boxes)
    scene = dataclasses.replace(scene, people=(person,), person_mask=np.zeros_like(scene.person_mask))
    pixels = person_pixels(scene, 1)
    assert pixels[: height // 2, width // 4 : 3 * width // 4].all() and not pixels[-1].any()
    away = dataclasses.replace(person, present=np.array([True, False, False]))
    left = dataclasses.replace(scene, people=(away,))
    assert not person_pixels(left, 1).any()
    assert len(FloorMap.of(left).points_world) - len(FloorMap.of(scene).points_world) > 0.2 * height * width


def test_no_features_are_followed_where_they_are():
    frames, sight = np.zeros((3, 60, 80, 3), np.uint8), np.array([True, False, True])
    clip = Clip(frames, np.arange(3) / 6, 6.0, "a clip", (80, 60))
    track = PersonTrack(1, np.tile([20.0, 10, 40, 50], (3, 1)), sight, sight.astype(float))
    assert not still_mask(clip, [track], 1, (80, 60))[10:50, 20:40].any()
    gone = dataclasses.replace(track, present=np.array([True, False, False]))
    assert still_mask(clip, [gone], 1, (80, 60)).all()
