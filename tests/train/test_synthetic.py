"""The synthetic world: what is rendered is where the labels say it is."""

import numpy as np
import pytest
import torch

from train.data.schema import ClipSample
from train.synthetic import cameras, shapes
from train.synthetic.clips import generate_clip
from train.synthetic.raster import rasterise
from train.synthetic.renderer import Light, Renderer, Tone
from train.synthetic.shading import MATERIAL_COLUMNS, OUTFIT_COLUMNS
from unish.body import open_body

SEEDS = (3, 11, 14)


@pytest.fixture(scope="module")
def clips() -> list[ClipSample]:
    return [generate_clip(seed, frames=3, long_side_px=252) for seed in SEEDS]


@pytest.fixture(scope="module")
def walker() -> ClipSample:
    return generate_clip(5, frames=4, long_side_px=252, people_count=1, script=("walk",), domain="indoor")


def posed(clip: ClipSample, person: int):
    """Vertices and joints of a person in each frame's camera."""
    betas = torch.from_numpy(clip.betas[person]).expand(clip.frames, 10)
    with torch.no_grad():
        output = open_body()(
            betas,
            torch.from_numpy(clip.body_rotations[person]),
            torch.from_numpy(clip.translation_camera[person]),
        )
    return output.vertices.numpy().astype(np.float64), output.joints.numpy().astype(np.float64)


def project(points, intrinsics):
    return points[..., :2] / points[..., 2:] * intrinsics[0, 0] + intrinsics[:2, 2]


def to_world(points, pose):
    return points @ pose[:3, :3].T + pose[:3, 3]


def unproject(clip: ClipSample, frame: int):
    height, width = clip.depth_m.shape[1:]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    k = clip.intrinsics[frame].astype(np.float64)
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1)
    return rays * clip.depth_m[frame][..., None]


def renderer(mesh) -> Renderer:
    down = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1.0])
    gray = np.full(3, 0.5)
    light = Light(down, gray, down, gray * 0, gray, np.zeros(4), np.tile(gray, (3, 1)))
    materials = np.full((1, MATERIAL_COLUMNS), 0.5)
    materials[0, 0] = 0
    outfits, rng = np.zeros((0, OUTFIT_COLUMNS)), np.random.default_rng(0)
    return Renderer(mesh, materials, outfits, light, Tone(), np.zeros(3), rng)


def test_depth_of_a_floor_and_a_box_is_exact():
    floor = shapes.quad([[-50, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]], 0)
    cube = shapes.box((0.0, 3.0, 0.0), (1.0, 1.0, 1.0), 0.0, 0)
    pinhole = cameras.centred_pinhole(56, 42, 50.0)
    eye, target = np.array([[0.0, 0.0, 1.5]]), np.array([[0.0, 3.0, 0.6]])
    pose = cameras.look_at(eye, target, np.zeros(1))[0]
    frame = renderer(shapes.Mesh.join([floor, cube])).render([], [], pinhole.intrinsics, pose, 56, 42)
    u, v = np.meshgrid(np.arange(56) + 0.5, np.arange(42) + 0.5)
    rays = np.stack([(u - 28) / 50, (v - 21) / 50, np.ones_like(u)], -1) @ pose[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(rays[..., 2] < 0, -1.5 / rays[..., 2], 0)  # the floor
        near, far = (np.array([-0.5, 2.5, 0.0]) - eye[0]) / rays, (np.array([0.5, 3.5, 1.0]) - eye[0]) / rays
    enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
    hit = (enter < leave) & (enter > 0)
    expected = np.where(hit, enter, expected)
    assert hit.sum() > 50
    near_enough = expected < 40  # the floor ends at 50 m
    wrong = (np.abs(frame.depth_m - expected) > 1e-3)[near_enough]
    assert wrong.mean() < 0.002  # a few samples lie exactly on an edge


def test_a_triangle_covers_the_pixel_centres_inside_it():
    points = np.array([[-1.0, -1.0, 2.0], [1.3, -0.8, 2.0], [0.1, 1.4, 2.0]])
    depth, ids = np.full((40, 40), 1e9, np.float32), np.full((40, 40), -1, np.int32)
    rasterise(points, np.array([[0, 1, 2]], np.int32), 20.0, 20.0, 19.5, 19.5, 0, depth, ids)
    screen = points[:, :2] / 2 * 20 + 19.5
    x, y = np.meshgrid(np.arange(40), np.arange(40))
    sides = []
    for a, b in ((0, 1), (1, 2), (2, 0)):
        (ax, ay), (bx, by) = screen[a], screen[b]
        sides.append((bx - ax) * (y - ay) - (by - ay) * (x - ax))
    inside = (np.stack(sides) > 1e-6).all(0)
    assert inside.sum() > 100
    np.testing.assert_array_equal(ids >= 0, inside)
    np.testing.assert_allclose(depth[inside], 2.0, atol=1e-6)


def test_a_body_lies_where_its_mask_and_depth_are(clips):
    checked = 0
    for clip in clips:
        for frame in (0, 2):
            points = unproject(clip, frame)
            for person in range(clip.people):
                mask = clip.person_mask[frame] == person + 1
                if mask.sum() < 300:
                    continue
                checked += 1
                vertices, _ = posed(clip, person)
                surface = torch.from_numpy(points[mask][:: max(1, mask.sum() // 60)])
                mesh = torch.from_numpy(vertices[frame])[open_body().faces.long()]
                # Sample the mesh densely (corners, edge middles, centroids): triangles are about 2 cm wide.
                corners = torch.cat([mesh.reshape(-1, 3), mesh.mean(1), (mesh + mesh.roll(1, 1)).reshape(-1, 3) / 2])
                distance = torch.cdist(surface, corners.double()).amin(1)
                assert distance.quantile(0.9) < 0.01 and distance.max() < 0.03
                pixels = project(vertices[frame], clip.intrinsics[frame])
                column, row = np.floor(pixels).astype(int).T
                inside = (column >= 0) & (row >= 0) & (column < mask.shape[1]) & (row < mask.shape[0])
                if clip.visibility[person, frame] > 0.97:
                    grown = torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None].float(), 3, 1, 1)[0] > 0
                    assert grown.numpy()[row[inside], column[inside]].mean() > 0.98
    assert checked >= 4


def test_static_points_stay_where_they_are_in_the_world(walker):
    first = unproject(walker, 0)
    pose, other = walker.world_from_camera[0].astype(np.float64), walker.world_from_camera[2].astype(np.float64)
    static = (walker.person_mask[0] == 0) & (walker.depth_m[0] > 0)
    world = to_world(first[static][::17], pose)
    seen = (world - other[:3, 3]) @ other[:3, :3]
    seen = seen[seen[:, 2] > 0.3]
    pixels = project(seen, walker.intrinsics[2])
    height, width = walker.depth_m.shape[1:]
    column, row = np.floor(pixels).astype(int).T
    keep = (column >= 1) & (row >= 1) & (column < width - 1) & (row < height - 1)
    column, row, seen = column[keep], row[keep], seen[keep]
    depth = walker.depth_m[2]
    # Compare on flat, unoccluded surroundings: inverse depth is linear on a plane, so interpolate it there.
    patch = np.stack([depth[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    flat = (patch.min(0) > 0) & (np.ptp(1 / np.maximum(patch, 1e-3), axis=0) < 0.01)
    flat &= np.abs(depth[row, column] - seen[:, 2]) < 0.15
    du, dv = pixels[keep][:, 0] - (column + 0.5), pixels[keep][:, 1] - (row + 0.5)
    inverse = 1 / np.maximum(depth, 1e-3)
    slope_u = (inverse[row, column + 1] - inverse[row, column - 1]) / 2
    slope_v = (inverse[row + 1, column] - inverse[row - 1, column]) / 2
    predicted = 1 / (inverse[row, column] + slope_u * du + slope_v * dv)
    error = np.abs(predicted - seen[:, 2])[flat]
    assert len(error) > 200
    assert np.quantile(error, 0.95) < 0.01


def test_feet_stand_on_the_floor_and_bear_the_weight_without_sliding(clips, walker):
    for clip in [*clips, walker]:
        for person in range(clip.people):
            vertices, _ = posed(clip, person)
            lowest = [to_world(vertices[k], clip.world_from_camera[k])[:, 2].min() for k in range(clip.frames)]
            np.testing.assert_allclose(lowest, 0.0, atol=0.02)


def test_walking_moves_the_body_but_not_the_standing_foot():
    clip = generate_clip(5, frames=24, fps=30, long_side_px=56, people_count=1, script=("walk",), domain="indoor")
    _, joints = posed(clip, 0)
    world = np.stack([to_world(joints[k], clip.world_from_camera[k]) for k in range(clip.frames)])
    pelvis_speed = np.linalg.norm(np.diff(world[:, 0, :2], axis=0), axis=1) * 30
    feet_speed = np.linalg.norm(np.diff(world[:, [7, 8, 10, 11], :2], axis=0), axis=2).min(1) * 30
    assert pelvis_speed.mean() > 0.3
    assert np.median(feet_speed) < 0.15


def test_boxes_hold_the_joints_and_visibility_is_a_share(clips):
    for clip in clips:
        height, width = clip.depth_m.shape[1:]
        assert ((clip.visibility >= 0) & (clip.visibility <= 1)).all()
        for person in range(clip.people):
            _, joints = posed(clip, person)
            for frame in range(clip.frames):
                x0, y0, x1, y1 = clip.boxes_px[person, frame]
                assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height
                pixels = project(joints[frame], clip.intrinsics[frame])
                shown = (pixels >= 0).all(1) & (pixels <= [width, height]).all(1) & (joints[frame][:, 2] > 0.2)
                inside = (pixels >= [x0 - 1, y0 - 1]).all(1) & (pixels <= [x1 + 1, y1 + 1]).all(1)
                assert inside[shown].all()
                rows, columns = np.nonzero(clip.person_mask[frame] == person + 1)
                if len(rows):
                    assert columns.min() >= x0 - 1 and columns.max() <= x1 and rows.min() >= y0 - 1 and rows.max() <= y1


def test_the_same_seed_gives_the_same_clip_and_another_does_not(clips):
    again = generate_clip(SEEDS[0], frames=3, long_side_px=252)
    for name in ("images", "depth_m", "person_mask", "world_from_camera", "body_rotations", "betas"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clips[0], name))
    assert not np.allclose(clips[0].betas[0], clips[1].betas[0])


@pytest.mark.parametrize(("aspect", "size"), [("9:16", (112, 56)), ("16:9", (56, 112)), ("1:1", (112, 112))])
def test_images_have_the_asked_aspect_in_multiples_of_fourteen(aspect, size):
    clip = generate_clip(1, frames=1, long_side_px=112, aspect=aspect, people_count=1)
    assert clip.images.shape[1:3] == size
    assert clip.images.std() > 5
