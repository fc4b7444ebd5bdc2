"""Bonn, TUM and Sintel as they are after unpacking."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.helpers.benchmarks import scene

UNITS_PER_M = 5000


def depth_png(depth_m: np.ndarray) -> bytes:
    return scene.encoded((depth_m * UNITS_PER_M).round().astype(np.uint16), "PNG")


def write_bonn(root: Path, names: tuple[str, ...]) -> None:
    """142 pictures a sequence; those that are not scored are black and have no depth."""
    dull = scene.encoded(np.zeros_like(scene.rgb(0)), "PNG"), depth_png(np.zeros((scene.HEIGHT, scene.WIDTH)))
    views = scene.cameras(10)
    lively = [(scene.encoded(scene.rgb(f), "PNG"), depth_png(scene.wall_depth_m(views[f]))) for f in range(10)]
    for name in names:
        for number in range(142):
            picture, depth = lively[number % 10] if 30 <= number < 140 else dull
            stamp = 1548266500 + number / 30
            scene.write(root / f"rgbd_bonn_{name}" / "rgb" / f"{stamp:.5f}.png", picture)
            scene.write(root / f"rgbd_bonn_{name}" / "depth" / f"{stamp + 0.01:.5f}.png", depth)


def write_tum(root: Path, names: tuple[str, ...], frames: int = 12) -> None:
    """Poses at 100 Hz, pictures at 30 Hz; picture 3 has no depth map near it, picture 6 no pose."""
    start = 1341846313.0
    times = start + 0.005 + np.arange(frames) / 30
    views = scene.cameras(frames)
    for name in names:
        folder = root / name
        rgb, depth = (["# a comment", "# timestamp filename"] for _ in range(2))
        for frame, time in enumerate(times):
            scene.write(folder / "rgb" / f"{time:.6f}.png", scene.encoded(scene.rgb(frame), "PNG"))
            rgb.append(f"{time:.6f} rgb/{time:.6f}.png")
            late = time + (0.025 if frame == 3 else 0.004)
            scene.write(folder / "depth" / f"{late:.6f}.png", depth_png(scene.wall_depth_m(views[frame])))
            depth.append(f"{late:.6f} depth/{late:.6f}.png")
        poses = ["# ground truth trajectory", "# timestamp tx ty tz qx qy qz qw"]
        for number in range(frames * 4):
            time = start + number / 100
            nearest = int(np.abs(times - time).argmin())
            if abs(time - times[6]) < 0.03:
                continue
            numbers = [*views[nearest, :3, 3], *Rotation.from_matrix(views[nearest, :3, :3]).as_quat()]
            poses.append(f"{time:.4f} " + " ".join(f"{number:.9f}" for number in numbers))
        for what, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", poses)):
            scene.write(folder / f"{what}.txt", ("\n".join(lines) + "\n").encode())


def write_sintel(root: Path, names: tuple[str, ...], frames: int = 3) -> None:
    """The clean pictures are brighter by 3 in blue; the sky of each depth map, its first row, is far away."""
    tag = np.float32(202021.25).tobytes()
    views = scene.cameras(frames)
    for name in names:
        for frame in range(frames):
            stem = f"{name}/frame_{frame + 1:04d}"
            picture = scene.rgb(frame)
            scene.write(root / "training" / "final" / f"{stem}.png", scene.encoded(picture, "PNG"))
            brighter = picture + np.uint8([0, 0, 3])
            scene.write(root / "training" / "clean" / f"{stem}.png", scene.encoded(brighter, "PNG"))
            depth = scene.wall_depth_m(views[frame]).astype("<f4")
            depth[0] = 1e5
            size = np.array([scene.WIDTH, scene.HEIGHT], "<i4").tobytes()
            scene.write(root / "training" / "depth" / f"{stem}.dpt", tag + size + depth.tobytes())
            camera_from_world = np.linalg.inv(views[frame])[:3]
            numbers = np.concatenate([scene.intrinsics(corner=0).ravel(), camera_from_world.ravel()]).astype("<f8")
            scene.write(root / "training" / "camdata_left" / f"{stem}.cam", tag + numbers.tobytes())
