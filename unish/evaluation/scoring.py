"""The metrics of the benchmarks' tables, and a result scored against the ground truth of a sequence."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unish.analysis.fit_report import fit_report
from unish.body import BodyModel
from unish.errors import InputError
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.metric_values import MetricValues
from unish.evaluation.people_scores import camera_frame_metrics, contact_metrics, world_metrics
from unish.evaluation.predictions import SequencePrediction, prediction_of
from unish.evaluation.scene_scores import DEPTH_ALIGNMENTS, camera_metrics, depth_metrics
from unish.structures import Reconstruction


@dataclass(frozen=True)
class Metric:
    """A line of a table."""

    heading: str
    """With the unit in which it is printed."""
    digits: int
    factor: float | int = 1
    """From the unit of the numbers to the printed one."""
    better: str = "lower"
    """"lower", "higher", "zero" for what may have either sign, "one" for ratios."""
    needs: str = "true bodies"
    """What it takes in the sequence and in the result."""

    def text(self, value: float | None) -> str:
        """As a table prints it; a dash where there is no value."""
        return "–" if value is None or not np.isfinite(value) else f"{self.factor * value:.{self.digits}f}"


_DEPTH, _CAMERAS, _MASKS = "true depth", "true cameras", "true depth and person masks"
_IN_CAMERA, _CONTACT = "true bodies and true cameras", "person masks, and bodies with a surface"
_PVE, _FEET = f"{_IN_CAMERA}, with the same vertices as the result's", "SMPL's vertices, in the truth and in the result"
_FLOOR = "true bodies, and bodies with a surface in an upright world"
_FIT, _MARKED = "people in the result", "person masks in the result, which true boxes alone do not give"

METRICS = {
    "abs_rel": Metric("Abs Rel", 3, needs=_DEPTH),
    "delta_125": Metric("δ<1.25", 3, better="higher", needs=_DEPTH),
    "body_abs_rel": Metric("Abs Rel on bodies", 3, needs=_MASKS),
    "body_delta_125": Metric("δ<1.25 on bodies", 3, better="higher", needs=_MASKS),
    "surface_abs_rel": Metric("surface of bodies %", 2, 100, needs=_MASKS),
    "scale_error": Metric("metric scale error %", 1, 100, needs=_DEPTH),
    "ate_m": Metric("ATE m", 3, needs=_CAMERAS),
    "rpe_trans_m": Metric("RPE trans m", 3, needs=_CAMERAS),
    "rpe_rot_deg": Metric("RPE rot °", 3, needs=_CAMERAS),
    "camera_ate_cm": Metric("camera ATE cm", 1, needs=_CAMERAS),
    "rigid_ate_m": Metric("camera ATE m, no scale", 2, needs=_CAMERAS),
    "pa_mpjpe_mm": Metric("PA-MPJPE mm", 1),
    "mpjpe_mm": Metric("MPJPE mm", 1, needs=_IN_CAMERA),
    "pve_mm": Metric("PVE mm", 1, needs=_PVE),
    "accel": Metric("Accel m/s²", 1, needs=_IN_CAMERA),
    "wa_mpjpe_mm": Metric("WA-MPJPE mm", 1),
    "w_mpjpe_mm": Metric("W-MPJPE mm", 1),
    "rte_percent": Metric("RTE %", 1, needs="true bodies that move"),
    "jitter": Metric("Jitter 10 m/s³", 1),
    "foot_sliding_mm": Metric("foot sliding mm", 1, needs=_FEET),
    "world_size": Metric("world size ×", 2, better="one", needs="true bodies that move"),
    "foot_floor_gap_cm": Metric("foot–floor gap cm", 1, needs=_FLOOR),
    "foot_sliding_cm_s": Metric("foot sliding cm/s", 1),
    "root_error_mm": Metric("root in camera mm", 1, needs=_IN_CAMERA),
    "body_off_points_cm": Metric("body off its points cm", 1, needs=_CONTACT),
    "points_behind_cm": Metric("points behind body cm", 1, better="zero", needs=_CONTACT),
    "fit_body_to_points_cm": Metric("fit: body to points cm", 1, needs=_MARKED),
    "fit_in_front_percent": Metric("fit: body in front %", 1, needs=_MARKED),
    "fit_behind_percent": Metric("fit: body behind %", 1, needs=_MARKED),
    "fit_feet_gap_cm": Metric("fit: feet above floor cm", 1, needs=_FIT),
    "fit_feet_penetration_cm": Metric("fit: feet below floor cm", 1, needs=_FIT),
    "fit_foot_sliding_cm_s": Metric("fit: foot sliding cm/s", 1, needs=_FIT),
    "seconds_per_frame": Metric("s per frame", 3, needs="a method that runs here"),
}
"""Every metric by its name, which ends with the unit of its values; without one they are shares of 1, or in m/s²
(accel) and 10 m/s³ (jitter). Seconds per frame are measured by the runner, the others by `score`."""

WORLD_METRICS = (
    "wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "jitter", "foot_sliding_mm", "accel", "world_size", "foot_floor_gap_cm",
    "foot_sliding_cm_s", "rigid_ate_m",
)  # fmt: skip
"""Of benchmarks of motion in the world."""

FIT = {
    "fit_body_to_points_cm": "body_to_points_median",
    "fit_in_front_percent": "in_front",
    "fit_behind_percent": "behind",
    "fit_feet_gap_cm": "feet_gap",
    "fit_feet_penetration_cm": "feet_penetration",
    "fit_foot_sliding_cm_s": "foot_sliding",
}
"""How a result fits itself, without ground truth, by the names of `unish.analysis.fit_report`: one value per person."""


def score(
    result: Reconstruction | SequencePrediction,
    sequence: BenchmarkSequence,
    metrics: Iterable[str],
    depth_alignment: str = "scale",
    body: BodyModel | None = None,
) -> dict[str, MetricValues]:
    """Values of the metrics, as far as the result and the ground truth have what they need.

    The fit metrics (`FIT`) take a whole result; the others any method's `SequencePrediction`. `body` poses the people
    between the frames that the method saw (see `prediction_of`). Raises InputError where result and sequence do not
    match, or for an unknown metric or alignment; MissingAssetError without the body.
    """
    metrics = tuple(metrics)
    require_known(metrics, depth_alignment)
    if isinstance(result, SequencePrediction):
        return _scores(result, sequence, set(metrics), depth_alignment)
    values = _scores(prediction_of(result, sequence, body), sequence, set(metrics), depth_alignment)
    return values | _fit_metrics(result, metrics)


def _scores(
    prediction: SequencePrediction, sequence: BenchmarkSequence, wanted: set[str], depth_alignment: str
) -> dict[str, MetricValues]:
    values: dict[str, MetricValues] = {}
    if wanted & {"abs_rel", "delta_125", "body_abs_rel", "body_delta_125", "surface_abs_rel", "scale_error"}:
        values |= depth_metrics(prediction, sequence, depth_alignment)
    if wanted & {"ate_m", "rpe_trans_m", "rpe_rot_deg", "camera_ate_cm", "rigid_ate_m"}:
        values |= camera_metrics(prediction, sequence)
    if wanted & {"pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "accel", "root_error_mm"}:
        values |= camera_frame_metrics(prediction, sequence, with_surfaces="pve_mm" in wanted)
    surfaces = {"foot_sliding_mm", "foot_floor_gap_cm"}
    if wanted & surfaces | wanted & {
        "wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "jitter", "world_size", "foot_sliding_cm_s"
    }:  # fmt: skip
        values |= world_metrics(prediction, sequence, with_surfaces=bool(surfaces & wanted))
    if wanted & {"body_off_points_cm", "points_behind_cm"}:
        values |= contact_metrics(prediction, sequence)
    return {name: of_metric for name, of_metric in values.items() if name in wanted}


def require_known(metrics: Iterable[str], depth_alignment: str) -> None:
    """Raises InputError for an unknown metric or depth alignment."""
    for name in metrics:
        if name not in METRICS:
            raise InputError(f"Expected a metric out of {', '.join(METRICS)}, got {name!r}; choose one of those.")
    if depth_alignment not in DEPTH_ALIGNMENTS:
        raise InputError(
            f"Expected a depth alignment out of {', '.join(DEPTH_ALIGNMENTS)}, got {depth_alignment!r}; choose one "
            "of those."
        )


def _fit_metrics(reconstruction: Reconstruction, metrics: tuple[str, ...]) -> dict[str, MetricValues]:
    wanted = {name: key for name, key in FIT.items() if name in metrics}
    if not wanted:
        return {}
    people = [{m.name: m.value for m in person.measures} for person in fit_report(reconstruction).people]
    known = {name: [p[key] for p in people if p[key] is not None] for name, key in wanted.items()}
    return {name: MetricValues(np.array(values, np.float64)) for name, values in known.items() if values}
