"""How near the scene's mesh is to the true surface: the table of docs/exports.md.

    python benchmarks/scene_mesh.py
    python benchmarks/scene_mesh.py --clips 2 --geometry truth

The clips are synthetic, 24 frames at 6 per second; the true surface is what their true depth maps show, people left
out. `truth` fuses these depth maps themselves. `mini` is what the bundled weights make of the clip, put at the true
first camera, in their own metres; `mini, scaled` is the same times one factor, that of the median depth. Accuracy is
the share of the mesh within a distance of the true surface, completeness the share of the true surface within that
distance of the mesh; the median is that of the mesh's distance.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy.spatial import KDTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.data.schema import ClipSample
from train.data.sequences import reconstruct_with_boxes
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.evaluation.scene_scores import on_image
from unish.export.scene_mesh import FINEST_VOXEL_M, MAX_TRIANGLES, scene_mesh, scene_pixels
from unish.models.hub import load
from unish.structures import Cameras, Provenance, Reconstruction

FIRST_SEED = 950_000_000
"""Of no split of any data set."""
LONG_SIDE_PX, FRAMES, FPS = 252, 24, 6.0
DISTANCES_M = (0.02, 0.05)
SAMPLES, NEIGHBOURS = 40_000, 12


@dataclass(frozen=True)
class SceneMeshConfig:
    """What is measured."""

    clips: int = 6
    geometry: tuple[str, ...] = ("truth", "mini")
    triangles: int = MAX_TRIANGLES


@dataclass(frozen=True)
class Discs:
    """A surface as small flat pieces: centres, unit normals, radii, metres."""

    centers: np.ndarray
    normals: np.ndarray
    radii: np.ndarray

    def distances_m(self, points: np.ndarray) -> np.ndarray:
        """Of each point to the nearest of the discs about it."""
        near = KDTree(self.centers).query(points, NEIGHBOURS)[1]
        away = points[:, None] - self.centers[near]
        above = (away * self.normals[near]).sum(-1)
        aside = np.sqrt(np.maximum((away**2).sum(-1) - above**2, 0))
        return np.hypot(above, np.maximum(aside - self.radii[near], 0)).min(1)


def truth_of(clip: ClipSample) -> Reconstruction:
    """The labels of a clip as a result."""
    return Reconstruction(
        images=clip.images,
        depth_m=clip.depth_m,
        confidence=(clip.depth_m > 0).astype(np.float32),
        person_mask=clip.person_mask,
        cameras=Cameras(clip.world_from_camera, clip.intrinsics, clip.images.shape[2], clip.images.shape[1]),
        people=(),
        faces=np.zeros((0, 3), np.int32),
        times_s=np.arange(clip.frames) / clip.fps,
        fps=clip.fps,
        world_up=np.array([0, 0, 1], np.float32),
        provenance=Provenance("truth", "truth", "truth", "open", "cpu", 0, "0", 1.0),
    )


def seen_surface(truth: Reconstruction, random: np.random.Generator) -> Discs:
    """The scene's pixels as discs as large as they are on the surface."""
    parts = []
    for frame in range(len(truth)):
        points = truth.points_world(frame).astype(np.float64)
        across, down = (np.gradient(points, axis=axis) for axis in (1, 0))
        normal = np.cross(across, down)
        length = np.linalg.norm(normal, axis=-1)
        sides = np.maximum(np.linalg.norm(across, axis=-1), np.linalg.norm(down, axis=-1))
        chosen = scene_pixels(truth, frame) & (length > 0)
        parts.append([points[chosen], (normal / np.maximum(length, 1e-12)[..., None])[chosen], sides[chosen]])
    points, normals, radii = (np.concatenate(part) for part in zip(*parts, strict=True))
    some = random.permutation(len(points))[: 20 * SAMPLES]
    return Discs(points[some], normals[some], radii[some])


def mesh_surface(vertices: np.ndarray, faces: np.ndarray, random: np.random.Generator) -> Discs:
    """Discs at random on a mesh, evenly by area, large enough to cover it."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=-1) / 2
    count = 10 * SAMPLES
    face = random.choice(len(faces), count, p=area / area.sum())
    share = random.dirichlet([1, 1, 1], count)
    points = (corners[face] * share[..., None]).sum(1)
    normals = across[face] / np.maximum(2 * area[face], 1e-12)[:, None]
    return Discs(points, normals, np.full(count, np.sqrt(area.sum() / count)))


def score(result: Reconstruction, truth: Reconstruction, triangles: int, scaled: bool) -> dict[str, float]:
    """Accuracy and completeness of one clip's mesh, in percent."""
    random = np.random.default_rng(0)
    before = time.perf_counter()
    mesh = scene_mesh(result, triangles)
    seconds = time.perf_counter() - before
    factor = _factor(result, truth) if scaled else 1.0
    first, true_first = (one.cameras.world_from_camera[0].astype(np.float64) for one in (result, truth))
    local = (mesh.vertices_world - first[:3, 3]) @ first[:3, :3] * factor
    vertices = local @ true_first[:3, :3].T + true_first[:3, 3]
    surface, made = seen_surface(truth, random), mesh_surface(vertices, mesh.faces, random)
    off = surface.distances_m(made.centers[:SAMPLES])
    missing = made.distances_m(surface.centers[random.permutation(len(surface.centers))[:SAMPLES]])
    values = {"triangles": len(mesh.faces), "seconds": seconds}
    values["median cm"] = 100 * float(np.median(off))
    for limit in DISTANCES_M:
        values[f"accuracy {100 * limit:g} cm"] = 100 * float((off < limit).mean())
        values[f"completeness {100 * limit:g} cm"] = 100 * float((missing < limit).mean())
    return values


def _factor(result: Reconstruction, truth: Reconstruction) -> float:
    """What the depth of a result has to be multiplied by."""
    size = truth.cameras.width_px, truth.cameras.height_px
    depth_m = np.stack([on_image(depth, size) for depth in result.depth_m])
    both = (truth.depth_m > 0) & (depth_m > 0)
    return float(np.median(truth.depth_m[both] / depth_m[both]))


def main(config: SceneMeshConfig) -> None:
    model, body = (load("mini"), open_body()) if "mini" in config.geometry else (None, None)
    rows: dict[str, list[dict[str, float]]] = {}
    for number in range(config.clips):
        clip = generate_clip(FIRST_SEED + number, frames=FRAMES, fps=FPS, long_side_px=LONG_SIDE_PX)
        truth = truth_of(clip)
        if "truth" in config.geometry:
            rows.setdefault("truth", []).append(score(truth, truth, config.triangles, False))
        if model is not None and body is not None:
            result = reconstruct_with_boxes(clip, model, body)
            for name in ("mini", "mini, scaled"):
                rows.setdefault(name, []).append(score(result, truth, config.triangles, name != "mini"))
        for name, values in rows.items():
            print(number, name, {key: round(value, 1) for key, value in values[-1].items()}, flush=True)
    columns = list(next(iter(rows.values()))[0])
    print(f"\nVoxels of {100 * FINEST_VOXEL_M:g} cm or more; means of {config.clips} clips\n")
    print("| depth |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for name, values in rows.items():
        means = [np.mean([one[column] for one in values]) for column in columns]
        print(f"| {name} |", " | ".join(f"{mean:.1f}" for mean in means), "|")


if __name__ == "__main__":
    main(tyro.cli(SceneMeshConfig))
