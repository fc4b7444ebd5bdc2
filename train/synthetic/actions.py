"""Procedural actions: standing, walking, turning, waving, raising arms, reaching, squatting, dancing, sitting.

An action is a set of named angle curves (radians; `load` is the share of the weight a leg may bear, 0..1) on a dense
timeline; actions blend smoothly from one to the next. Nothing is captured from anyone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_TRUNK_CURVES = ("yaw_rate", "pitch", "lean", "side", "twist", "head_yaw", "head_pitch", "head_roll")
_LIMB_CURVES = ("hip", "out", "turn", "knee", "ankle", "load", "down", "swing", "roll", "elbow", "wrist")
CURVES = [*_TRUNK_CURVES, *(f"{side}_{name}" for side in "lr" for name in _LIMB_CURVES)]
STEP_S = 1 / 60
Curves = dict[str, np.ndarray]
Action = Callable[[np.random.Generator, np.ndarray], Curves]


def _wander(rng: np.random.Generator, t: np.ndarray, amount: float, rate: float = 0.25) -> np.ndarray:
    """A smooth random curve: three slow sines."""
    total = np.zeros_like(t)
    for k in range(3):
        total += np.sin(2 * np.pi * rate * (k + 1) * rng.uniform(0.6, 1.4) * t + rng.uniform(0, 2 * np.pi)) / (k + 1)
    return amount * total


def _rise(t: np.ndarray, start: float, length: float) -> np.ndarray:
    """0 before `start`, 1 after `start + length`, smooth between."""
    x = np.clip((t - start) / max(length, 1e-6), 0, 1)
    return x * x * (3 - 2 * x)


def _bump(phase: np.ndarray, at: float, width: float) -> np.ndarray:
    """A periodic bell at `at` (radians)."""
    return np.exp((np.cos(phase - at) - 1) / width**2)


def _stride(phase: np.ndarray) -> np.ndarray:
    """A leg's swing over a gait cycle, 1 at heel strike: back at an even rate for 60 % (stance), then forward.

    The even rate makes both feet of the double support agree on the speed of the body.
    """
    u = (phase / (2 * np.pi)) % 1.0
    forward = np.clip((u - 0.6) / 0.4, 0, 1)
    raw = np.where(u < 0.6, 1 - 2 * u / 0.6, -np.cos(np.pi * forward))
    window = np.hanning(9)[1:-1]
    return np.convolve(np.pad(raw, 3, "edge"), window / window.sum(), "valid")


def stand(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Idle: arms at rest, weight shifting, looking around."""
    curves = {name: np.zeros_like(t) for name in CURVES}
    arms = np.clip(rng.normal(1.27, 0.07), 1.1, 1.38)
    spread, bend = abs(rng.normal(0.0, 0.06)), abs(rng.normal(0.25, 0.15))
    for side in "lr":
        curves[f"{side}_down"] = arms + rng.normal(0, 0.03) + _wander(rng, t, 0.02)
        curves[f"{side}_swing"] = rng.normal(0.03, 0.08) + _wander(rng, t, 0.03)
        curves[f"{side}_elbow"] = bend * rng.uniform(0.7, 1.3) + np.abs(_wander(rng, t, 0.04))
        curves[f"{side}_roll"] = rng.normal(-0.1, 0.2) + _wander(rng, t, 0.03)
        curves[f"{side}_out"] = spread + 0.03 + _wander(rng, t, 0.004)
        curves[f"{side}_turn"] = np.full_like(t, abs(rng.normal(0.1, 0.08)))
        curves[f"{side}_knee"] = np.full_like(t, abs(rng.normal(0.04, 0.06)))
        curves[f"{side}_hip"] = 0.5 * curves[f"{side}_knee"]
        curves[f"{side}_load"] = np.ones_like(t)
    curves["lean"] = rng.normal(0.04, 0.05) + _wander(rng, t, 0.015)
    curves["side"] = _wander(rng, t, 0.025)
    curves["twist"] = rng.normal(0, 0.06) + _wander(rng, t, 0.05)
    curves["head_yaw"] = rng.normal(0, 0.25) + _wander(rng, t, 0.25)
    curves["head_pitch"] = rng.normal(0.08, 0.12) + _wander(rng, t, 0.06)
    curves["head_roll"] = _wander(rng, t, 0.03)
    if rng.random() < 0.25:  # hands on the hips, arms crossed low, or one hand up at the face
        pose = rng.integers(0, 3)
        if pose == 0:
            for side in "lr":
                curves[f"{side}_down"] -= 0.35
                curves[f"{side}_elbow"] += 1.15
                curves[f"{side}_roll"] -= 1.0
        elif pose == 1:
            for side in "lr":
                curves[f"{side}_swing"] += 0.4
                curves[f"{side}_elbow"] += 1.35
                curves[f"{side}_roll"] -= 0.8
        else:
            side = "lr"[rng.integers(0, 2)]
            curves[f"{side}_swing"] += 0.7
            curves[f"{side}_elbow"] += 2.0
            curves[f"{side}_roll"] -= 0.3
    return _plant(curves)


def _plant(curves: Curves) -> Curves:
    """Ankles that keep the feet flat for the legs' angles."""
    for side in "lr":
        curves[f"{side}_ankle"] = curves[f"{side}_hip"] - curves[f"{side}_knee"] - curves["pitch"]
    return curves


def walk(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Walking, straight or along a curve, at a random pace; arms swing against the legs."""
    curves = stand(rng, t)
    pace = rng.uniform(0.55, 1.15)
    cadence = 0.55 + 0.42 * pace + rng.normal(0, 0.03)
    stride = 0.14 + 0.3 * pace
    start = rng.uniform(0, 2 * np.pi)
    curves["yaw_rate"] = rng.normal(0, 0.3) + _wander(rng, t, 0.25, 0.15)
    arm, bend = rng.uniform(0.3, 0.9) * pace, abs(rng.normal(0.35, 0.2))
    for side, shift in (("l", 0.0), ("r", np.pi)):
        phase = 2 * np.pi * cadence * t + start + shift
        knee = 0.08 + 0.06 * _bump(phase, 0.7, 0.5) + (0.5 + 0.55 * pace) * _bump(phase, 1.46 * np.pi, 0.6)
        u = (phase / (2 * np.pi) + 0.1) % 1.0
        curves[f"{side}_load"] = _rise(u, 0.08, 0.1) * (1 - _rise(u, 0.56, 0.12))
        curves[f"{side}_hip"] = 0.1 * pace + stride * _stride(phase)
        curves[f"{side}_knee"] = knee
        flat = curves[f"{side}_hip"] - knee
        stance = 1 - _bump(phase, 1.5 * np.pi, 0.7)
        curves[f"{side}_ankle"] = np.clip(flat, -0.3, 0.25) * stance + 0.35 * pace * _bump(phase, 1.16 * np.pi, 0.3)
        curves[f"{side}_out"] = 0.02 + 0 * t
        curves[f"{side}_turn"] = np.full_like(t, 0.05)
        curves[f"{side}_swing"] = -arm * np.cos(phase) * 0.8 + 0.05
        curves[f"{side}_elbow"] = bend + 0.25 * pace * (1 - np.cos(phase)) / 2
    beat = 2 * np.pi * cadence * t + start
    curves["twist"] = -0.12 * pace * np.cos(beat) + curves["twist"] * 0.3
    curves["side"] = 0.03 * np.sin(beat)
    curves["lean"] = 0.04 + 0.06 * pace + 0 * t
    return curves


def turn(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Turning on the spot with small steps."""
    curves = stand(rng, t)
    rate = rng.choice((-1, 1)) * rng.uniform(0.7, 2.2)
    curves["yaw_rate"] = rate * (0.75 + 0.25 * np.sin(2 * np.pi * 1.1 * t))
    start = rng.uniform(0, 2 * np.pi)
    for side, shift in (("l", 0.0), ("r", np.pi)):
        lift = _bump(2 * np.pi * 0.95 * t + start + shift, 0, 0.7)
        curves[f"{side}_hip"] = 0.05 + 0.45 * lift
        curves[f"{side}_knee"] = 0.08 + 0.75 * lift
    curves["head_yaw"] = curves["head_yaw"] * 0.4 + 0.25 * np.sign(rate)
    return _plant(curves)


def wave(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Waving with one hand."""
    curves = stand(rng, t)
    side = "lr"[rng.integers(0, 2)]
    beat = np.sin(2 * np.pi * rng.uniform(1.2, 2.2) * t + rng.uniform(0, 6))
    high = rng.uniform(-0.6, 0.1)
    curves[f"{side}_down"] = high + 0.1 * beat
    curves[f"{side}_roll"] = np.full_like(t, 1.45)
    curves[f"{side}_elbow"] = rng.uniform(0.9, 1.6) + 0.4 * beat
    curves[f"{side}_swing"] = rng.uniform(0.1, 0.5) + 0 * t
    return curves


def raise_arms(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Both arms, or one, up and down: to the side, to the front, overhead."""
    curves = stand(rng, t)
    period = rng.uniform(2.0, 5.0)
    lift = 0.5 - 0.5 * np.cos(2 * np.pi * t / period + rng.uniform(0, 6))
    front = rng.random() < 0.4
    top = rng.uniform(0.8, 2.5)
    for side in "lr" if rng.random() < 0.7 else "lr"[rng.integers(0, 2)]:
        if front:
            curves[f"{side}_swing"] = curves[f"{side}_swing"] + 1.1 * top * lift
        else:
            curves[f"{side}_down"] = curves[f"{side}_down"] - top * lift
        curves[f"{side}_elbow"] = curves[f"{side}_elbow"] * (1 - 0.7 * lift)
    return curves


def reach(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Reaching for something with one arm, leaning towards it."""
    curves = stand(rng, t)
    side = "lr"[rng.integers(0, 2)]
    go = 0.5 - 0.5 * np.cos(2 * np.pi * t / rng.uniform(2.5, 5) + rng.uniform(0, 6))
    curves[f"{side}_swing"] = curves[f"{side}_swing"] + rng.uniform(0.5, 2.2) * go
    curves[f"{side}_elbow"] = curves[f"{side}_elbow"] + rng.uniform(-0.1, 0.6) * go
    curves["lean"] = curves["lean"] + rng.uniform(-0.05, 0.6) * go
    curves["twist"] = curves["twist"] + rng.uniform(0, 0.5) * go * (1 if side == "r" else -1)
    curves["head_pitch"] = curves["head_pitch"] - rng.uniform(-0.3, 0.3) * go
    return curves


def squat(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Squatting down and up again."""
    curves = stand(rng, t)
    depth = rng.uniform(0.3, 1.0) * (0.5 - 0.5 * np.cos(2 * np.pi * t / rng.uniform(2, 5) + rng.uniform(0, 6)))
    curves["pitch"] = 0.5 * depth
    forward = rng.uniform(0.2, 1.3)
    for side in "lr":
        curves[f"{side}_hip"] = 1.75 * depth + 0.02
        curves[f"{side}_knee"] = 2.0 * depth + 0.04
        curves[f"{side}_out"] = 0.12 + 0.12 * depth
        curves[f"{side}_turn"] = 0.1 + 0.2 * depth
        curves[f"{side}_swing"] = curves[f"{side}_swing"] + forward * depth
    return _plant(curves)


def dance(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Bouncing to a beat: hips, knees and arms on sines of that beat."""
    curves = stand(rng, t)
    beat = 2 * np.pi * rng.uniform(0.7, 1.3) * t + rng.uniform(0, 6)
    bounce = 0.5 - 0.5 * np.cos(2 * beat)
    size = rng.uniform(0.4, 1.2)
    for side, sign in (("l", 1), ("r", -1)):
        shift = 0.0 if rng.random() < 0.5 else np.pi
        lift = size * 0.5 * np.maximum(0, sign * np.sin(beat)) ** 2 * rng.integers(0, 2)
        curves[f"{side}_hip"] = 0.15 + 0.25 * size * bounce + lift
        curves[f"{side}_knee"] = 0.25 + 0.45 * size * bounce + 1.6 * lift
        curves[f"{side}_down"] = rng.uniform(-0.6, 1.2) + 0.35 * size * np.sin(beat + shift)
        curves[f"{side}_swing"] = rng.uniform(-0.1, 0.8) + 0.5 * size * np.sin(beat + shift + rng.uniform(0, 3))
        curves[f"{side}_elbow"] = 1.0 + 0.6 * np.sin(beat * rng.integers(1, 3) + shift)
        curves[f"{side}_roll"] = rng.uniform(-0.9, 1.2) + 0.3 * np.sin(beat)
        curves[f"{side}_out"] = 0.1 + 0.03 * np.sin(beat)
    curves["side"] = 0.12 * size * np.sin(beat)
    curves["twist"] = 0.25 * size * np.sin(beat + 1.0)
    curves["head_pitch"] = 0.1 * np.cos(2 * beat)
    curves["yaw_rate"] = rng.normal(0, 0.3) * np.sin(0.5 * beat)
    return _plant(curves)


def sit(rng: np.random.Generator, t: np.ndarray) -> Curves:
    """Sitting: thighs level, shanks down, the upper body alive."""
    curves = stand(rng, t)
    curves["pitch"] = np.full_like(t, rng.normal(-0.1, 0.08))
    curves["lean"] = rng.normal(0.1, 0.12) + _wander(rng, t, 0.04)
    for side in "lr":
        curves[f"{side}_hip"] = rng.uniform(1.3, 1.5) + _wander(rng, t, 0.004)
        curves[f"{side}_knee"] = curves[f"{side}_hip"] + rng.normal(-0.05, 0.12)
        curves[f"{side}_out"] = np.full_like(t, rng.uniform(0.05, 0.25))
        curves[f"{side}_turn"] = np.full_like(t, 0.1)
        if rng.random() < 0.7:  # hands towards the knees
            curves[f"{side}_swing"] = rng.uniform(0.3, 0.65) + _wander(rng, t, 0.04)
            curves[f"{side}_elbow"] = rng.uniform(0.5, 1.0) + _wander(rng, t, 0.06)
            curves[f"{side}_roll"] = rng.uniform(-0.6, -0.2) + 0 * t
    if rng.random() < 0.3:
        arm = wave(rng, t)
        curves.update({name: arm[name] for name in arm if name[:2] == "r_" and name[2:] in ("down", "roll", "elbow")})
    return _plant(curves)


ACTIONS: dict[str, tuple[Action, float]] = {
    "walk": (walk, 0.36),
    "stand": (stand, 0.14),
    "turn": (turn, 0.11),
    "wave": (wave, 0.09),
    "raise_arms": (raise_arms, 0.09),
    "reach": (reach, 0.07),
    "squat": (squat, 0.06),
    "dance": (dance, 0.08),
}


def random_curves(rng: np.random.Generator, duration_s: float, script: tuple[str, ...] = ()) -> tuple[Curves, bool]:
    """Curves for `duration_s`: actions of two to five seconds, each blended into the next over half a second or so.

    `script` names the actions in turn, with equal shares of the time; without it they are drawn, or the person
    sits throughout.
    """
    t = np.arange(int(np.ceil(duration_s / STEP_S)) + 2) * STEP_S
    if (not script and rng.random() < 0.1) or script == ("sit",):
        return sit(rng, t), True
    names, chances = list(ACTIONS), np.array([chance for _, chance in ACTIONS.values()])
    curves: Curves = {}
    start = -rng.uniform(0.0, 2.5) if not script else 0.0
    for index in range(1000):
        name = script[index % len(script)] if script else str(rng.choice(names, p=chances / chances.sum()))
        action = ACTIONS[name][0](rng, t)
        if index == 0:
            curves = action
        else:
            weight = _rise(t, start - 0.3, rng.uniform(0.5, 0.8))
            curves = {key: (1 - weight) * curves[key] + weight * action[key] for key in CURVES}
        start += duration_s / len(script) if script else rng.uniform(2.0, 5.0)
        if start - 0.4 > t[-1]:
            break
    return curves, False
