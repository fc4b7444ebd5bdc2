"""Evaluation of depth, cameras and bodies by the protocols of the papers: metrics, benchmarks, and their tables."""

from unish.analysis.fit_report import fit_report
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence, MethodRow, TruePerson
from unish.evaluation.metric_values import MetricValues, WeightedMean, means_of, pooled
from unish.evaluation.metrics import (
    WorldMotion,
    abs_rel,
    accel,
    align_scale,
    align_scale_shift,
    camera_ate,
    camera_rpe,
    delta_125,
    foot_sliding,
    foot_sliding_speed,
    in_contact,
    jitter,
    mpjpe,
    pa_mpjpe,
    pelvis,
    pve,
    root_translation_error,
    w_mpjpe,
    wa_mpjpe,
    world_motion,
    world_size,
)
from unish.evaluation.predictions import PersonPrediction, SequencePrediction
from unish.evaluation.runner import Predictor, run
from unish.evaluation.scoring import METRICS, score
from unish.evaluation.table import Table, make_table

__all__ = [
    "METRICS",
    "Benchmark",
    "BenchmarkSequence",
    "MethodRow",
    "MetricValues",
    "PersonPrediction",
    "Predictor",
    "SequencePrediction",
    "Table",
    "TruePerson",
    "WeightedMean",
    "WorldMotion",
    "abs_rel",
    "accel",
    "align_scale",
    "align_scale_shift",
    "camera_ate",
    "camera_rpe",
    "delta_125",
    "fit_report",
    "foot_sliding",
    "foot_sliding_speed",
    "in_contact",
    "jitter",
    "make_table",
    "means_of",
    "mpjpe",
    "pa_mpjpe",
    "pelvis",
    "pooled",
    "pve",
    "root_translation_error",
    "run",
    "score",
    "w_mpjpe",
    "wa_mpjpe",
    "world_motion",
    "world_size",
]
