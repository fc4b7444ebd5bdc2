"""Filmed people as the bundled networks see them, and where a teacher sees their limbs: nobody knows more of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from train.data.prepare.footage import UnreadableVideoError, clips_of
from train.data.prepare.teachers import Teacher, TeacherPeople
from train.data.prepare.videos import list_videos
from train.data.real_people import MIN_KEYPOINT_SCORE
from train.pose_lifter.sightings import guessed
from unish.body import BodyModel
from unish.body.data import COCO_LIMBS
from unish.errors import InputError
from unish.fitting.pose_lifter import FRAMES, Sighting
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.people.keypoint_evidence import grown_to_keypoints
from unish.people.keypoints import with_keypoints
from unish.people.mini_keypoints import MiniKeypoints, load_mini_keypoints
from unish.people.tracking import Detections, TrackingConfig, box_iou, track_people
from unish.structures import Clip, PersonTrack

ASSUMED_FOCAL = 0.96
"""Of the image's longer side, as nobody says: 55 degrees."""
RATES_FPS = 6.0, 12.0
"""Each video is seen at."""
PIECE = 8
"""Frames through which a person is followed."""
LONG_SIDE_PX = 640
LEAST_SCORE = 0.3
"""Of a person of the teacher's."""
LEAST_OVERLAP = 0.5
"""IoU of its box and the tracked one."""
LEAST_LIMBS = 4
LEAST_LABELLED = 0.5
"""Share of the frames in which the teacher must be sure of so many limbs."""
LEAST_PX = 64
"""Longer side of a person's boxes, at the median."""


@dataclass(frozen=True)
class FilmedPerson:
    """One person through a clip; or a batch of people."""

    sighting: Sighting
    rest_joints: Float[Tensor, "*batch 24 3"]
    """Of the shape that the human branch guessed."""
    limbs_px: Float[Tensor, "*batch frames 12 2"]
    weight: Float[Tensor, "*batch frames 12"]
    """1 where the teacher is sure of a limb, else 0."""


def filmed_people(videos: str, teacher: Teacher, body: BodyModel) -> list[list[FilmedPerson]]:
    """Of each video everybody whom the teacher sees through a piece of it, whether the bundled detector would or not.

    `videos`: a folder, a file, or a Hub data set. Raises `InputError` where there is none, and for a teacher without
    keypoints.
    """
    model, keypoints, videos_people = load("mini").eval(), load_mini_keypoints(), []
    for video in tqdm(list_videos(videos), desc="Filmed people", unit="video"):
        people: list[FilmedPerson] = []
        with video.opened() as path:
            for rate in RATES_FPS:
                try:
                    for clip in clips_of(path, FRAMES, rate, LONG_SIDE_PX):
                        people += _people(clip, teacher, model, keypoints, body)
                except UnreadableVideoError as error:
                    tqdm.write(str(error))
        videos_people.append(people)
    return videos_people


def _people(
    clip: Clip, teacher: Teacher, model: UniSH, keypoints: MiniKeypoints, body: BodyModel
) -> Iterator[FilmedPerson]:
    labels = [teacher.look(frame) for frame in clip.frames]
    detections = [Detections(people.boxes_px, people.scores) for people in labels]
    tracks = track_people(detections, TrackingConfig().at_step(1 / clip.fps))
    height_px, width_px = clip.frames.shape[1:3]
    for track in with_keypoints(clip.frames, tracks, keypoints):
        limbs, weight = labelled_limbs(track, labels)
        track = grown_to_keypoints(track, width_px, height_px)
        for piece in followed(track, weight):
            focal = np.full(PIECE, ASSUMED_FOCAL * max(width_px, height_px))
            assert track.keypoints_px is not None
            seen = track.boxes_px[piece], track.keypoints_px[piece], focal, clip.times_s[piece] - clip.times_s[piece[0]]
            sighting, betas = guessed(model, clip.frames[piece], *seen)
            known = (torch.from_numpy(array[piece]).float() for array in (limbs, weight))
            yield FilmedPerson(sighting, body.rest_joints(betas).float(), *known)


def followed(track: PersonTrack, weight: Float[np.ndarray, "frames 12"]) -> Iterator[Int[np.ndarray, "piece"]]:
    """Frames of pieces that show the person all along, large enough and with labels."""
    for start in range(0, len(track.present) - PIECE + 1, PIECE):
        piece = np.arange(start, start + PIECE)
        sides = track.boxes_px[piece, 2:] - track.boxes_px[piece, :2]
        labelled = (weight[piece].sum(-1) >= LEAST_LIMBS).mean()
        if track.present[piece].all() and labelled >= LEAST_LABELLED and np.median(sides.max(-1)) >= LEAST_PX:
            yield piece


def labelled_limbs(
    track: PersonTrack, labels: Sequence[TeacherPeople]
) -> tuple[Float[np.ndarray, "frames 12 2"], Float[np.ndarray, "frames 12"]]:
    """Limbs of the labels whose boxes are the person's, and 1 where the teacher is sure of them.

    Raises `InputError` where the teacher knows no keypoints.
    """
    limbs, weight = np.zeros((len(labels), 12, 2)), np.zeros((len(labels), 12))
    for frame, people in enumerate(labels):
        if not len(people.scores):
            continue
        if people.keypoints is None:
            raise InputError("Expected a --teacher that gives keypoints, got one that gives boxes alone; try movenet.")
        overlap = box_iou(track.boxes_px[frame : frame + 1], people.boxes_px)[0]
        person = int(overlap.argmax())
        if overlap[person] >= LEAST_OVERLAP and people.scores[person] >= LEAST_SCORE:
            keypoints = people.keypoints[person][list(COCO_LIMBS)]
            limbs[frame], weight[frame] = keypoints[:, :2], keypoints[:, 2] > MIN_KEYPOINT_SCORE
    return limbs, weight
