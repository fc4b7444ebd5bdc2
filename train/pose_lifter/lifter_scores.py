"""How near lifted poses are to the true ones, beside those of the human branch, on people that nobody trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.pose_lifter.rendered_people import RenderedPerson, rendered_people
from unish.body import open_body
from unish.body.data import PARENTS
from unish.body.lbs import joint_transforms
from unish.errors import InputError
from unish.evaluation.metrics import mpjpe, pa_mpjpe
from unish.fitting.pose_lifter import PoseLifter, lift, load_pose_lifter
from unish.utils.assets import MINI_LIFTER


@dataclass(frozen=True)
class EvaluateConfig:
    """Score poses on the validation split."""

    rendered: Path
    """Folder with validation/*.parquet of synthetic clips (python -m train.synthetic)."""
    weights: Path = MINI_LIFTER


def lifter_scores(network: PoseLifter, people: Sequence[RenderedPerson]) -> dict[str, float]:
    """PA-MPJPE and MPJPE (mm) before and after, over all frames."""
    was_training = network.training
    network.eval()
    poses = {
        "true": [person.rotations for person in people],
        "human branch": [person.sighting.rotations for person in people],
        "lifted": [lift(network, person.sighting) for person in people],
    }
    network.train(was_training)
    joints = {
        name: np.concatenate(
            [
                joint_transforms(rotations, person.rest_joints, PARENTS)[1].double().numpy()
                for rotations, person in zip(some, people, strict=True)
            ]
        )
        for name, some in poses.items()
    }
    numbers: dict[str, float] = {"frames": len(joints["true"])}
    for name in ("human branch", "lifted"):
        numbers[f"{name}, PA-MPJPE mm"] = float(pa_mpjpe(joints[name], joints["true"]).mean())
        numbers[f"{name}, MPJPE mm"] = float(mpjpe(joints[name], joints["true"]).mean())
    return numbers


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """Numbers for the validation split. Raises `InputError` where nobody is in it."""
    people = rendered_people(config.rendered, "validation", open_body())
    if not people:
        raise InputError("Expected --rendered with people in split validation, found nobody in it.")
    return lifter_scores(load_pose_lifter(config.weights), people)
