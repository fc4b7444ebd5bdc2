"""The worlds: the default one stays what it was, the others differ where they should, and labels are exact in all."""

import numpy as np
import pytest
import torch

from train.data.schema import ClipSample
from train.synthetic.camera_effects import CameraEffects, centre_motion_px, compress
from train.synthetic.clips import generate_clip
from train.synthetic.worlds import DEFAULT, STUDIO, WILD, World
from unish.body import open_body
from unish.errors import InputError

SEEDS = range(6)
GOLDEN = {
    3: (126.736500, 2.565899, -0.550212, -2.361556, 3.760353, 2222),
    11: (110.938510, 5.449095, 12.535317, 0.601798, 8.132921, 407),
}


@pytest.fixture(scope="module")
def studio() -> list[ClipSample]:
    return [generate_clip(seed, frames=4, long_side_px=168, world="studio") for seed in SEEDS]


@pytest.fixture(scope="module")
def wild() -> list[ClipSample]:
    return [generate_clip(seed, frames=4, long_side_px=168, world="wild") for seed in SEEDS]


def unproject(clip: ClipSample, frame: int) -> np.ndarray:
    height, width = clip.depth_m.shape[1:]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    k = clip.intrinsics[frame].astype(np.float64)
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1)
    return rays * clip.depth_m[frame][..., None]


def test_the_default_world_is_what_it_was():
    for seed, golden in GOLDEN.items():
        clip = generate_clip(seed, frames=2, long_side_px=112)
        arrays = (clip.images.mean(), clip.depth_m.mean(), clip.world_from_camera.sum(), clip.betas.sum())
        sums = (*arrays, clip.translation_camera.sum(), clip.person_mask.sum())
        np.testing.assert_allclose(sums, golden, rtol=1e-3, atol=1e-3)
        assert clip.clip_id == f"synthetic-{seed:08d}"


def test_a_seed_gives_the_same_clip_again_but_another_one_in_another_world(wild, studio):
    again = generate_clip(SEEDS[0], frames=4, long_side_px=168, world=WILD)
    for name in ("images", "depth_m", "world_from_camera", "betas"):
        np.testing.assert_array_equal(getattr(again, name), getattr(wild[0], name))
    default = generate_clip(SEEDS[0], frames=1, long_side_px=56)
    firsts = [clip.betas[0] for clip in (wild[0], studio[0], default)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not np.allclose(firsts[a], firsts[b])


@pytest.mark.parametrize("name", ["studio", "wild"])
def test_bodies_lie_where_masks_depth_and_joints_say(name, request):
    checked = 0
    for clip in request.getfixturevalue(name):
        points = unproject(clip, 1)
        for person in range(clip.people):
            mask = clip.person_mask[1] == person + 1
            if mask.sum() < 150 or clip.visibility[person, 1] < 0.9:
                continue
            checked += 1
            shape = torch.from_numpy(clip.betas[person])[None]
            with torch.no_grad():
                body = open_body()(
                    shape,
                    torch.from_numpy(clip.body_rotations[person, 1:2]),
                    torch.from_numpy(clip.translation_camera[person, 1:2]),
                )
            mesh = body.vertices[0][open_body().faces.long()]
            corners = torch.cat([mesh.reshape(-1, 3), mesh.mean(1), (mesh + mesh.roll(1, 1)).reshape(-1, 3) / 2])
            surface = torch.from_numpy(points[mask][:: max(1, mask.sum() // 60)]).float()
            assert torch.cdist(surface, corners).amin(1).quantile(0.9) < 0.012
            joints = body.joints[0].numpy()
            pixels = joints[:, :2] / joints[:, 2:] * clip.intrinsics[1, 0, 0] + clip.intrinsics[1, :2, 2]
            np.testing.assert_allclose(pixels, clip.joints_px[person, 1], atol=0.1)
            grown = torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None].float(), 5, 1, 2)[0].numpy() > 0
            column, row = np.floor(pixels).astype(int).T
            inside = (column >= 0) & (row >= 0) & (column < mask.shape[1]) & (row < mask.shape[0])
            assert grown[row[inside], column[inside]].mean() > 0.8
    assert checked >= 4


@pytest.mark.parametrize("name", ["studio", "wild"])
def test_what_does_not_move_has_one_depth_in_all_frames(name, request):
    errors = []
    for clip in request.getfixturevalue(name):
        poses = clip.world_from_camera.astype(np.float64)
        static = (clip.person_mask[0] == 0) & (clip.depth_m[0] > 0)
        world = unproject(clip, 0)[static][::7] @ poses[0, :3, :3].T + poses[0, :3, 3]
        seen = (world - poses[1, :3, 3]) @ poses[1, :3, :3]
        seen = seen[seen[:, 2] > 0.3]
        pixels = seen[:, :2] / seen[:, 2:] * clip.intrinsics[1, 0, 0] + clip.intrinsics[1, :2, 2]
        column, row = np.floor(pixels).astype(int).T
        height, width = clip.depth_m.shape[1:]
        keep = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        depth = clip.depth_m[1][row[keep], column[keep]]
        errors.append(np.abs(depth / seen[keep, 2] - 1)[depth > 0])
    # Half a pixel beside, slanted surfaces are a little nearer or farther.
    assert np.median(np.concatenate(errors)) < 0.01


def high_frequency(clip: ClipSample) -> float:
    grey = clip.images.mean(-1)
    return float(np.median(np.abs(np.diff(grey, 2, axis=2))))


def turn_deg_s(clip: ClipSample) -> float:
    turns = clip.world_from_camera[:-1, :3, :3].swapaxes(1, 2) @ clip.world_from_camera[1:, :3, :3]
    cosine = (np.trace(turns, axis1=1, axis2=2) - 1) / 2
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean() * clip.fps)


def pose_speed(clip: ClipSample) -> float:
    return float(np.linalg.norm(np.diff(clip.body_rotations[:, :, 1:], axis=1), axis=(-2, -1)).mean() * clip.fps)


def field_deg(clip: ClipSample) -> float:
    return float(2 * np.degrees(np.arctan(max(clip.images.shape[1:3]) / 2 / clip.intrinsics[0, 0, 0])))


def colourfulness(clip: ClipSample) -> float:
    return float(np.ptp(clip.images.astype(float), axis=-1).mean())


@pytest.mark.parametrize(
    ("measure", "ratio"),
    [(high_frequency, 2.0), (turn_deg_s, 2.0), (pose_speed, 1.5), (field_deg, 1.4), (colourfulness, 1.4)],
)
def test_wild_has_more_of_it_than_studio(measure, ratio, wild, studio):
    assert np.mean([measure(clip) for clip in wild]) > ratio * np.mean([measure(clip) for clip in studio])


def test_wild_clips_show_one_whole_person(wild):
    assert all(clip.people == 1 for clip in wild)
    assert np.mean([clip.visibility.min() for clip in wild]) > 0.9


def test_film_keeps_pixels_where_they_are():
    rng = np.random.default_rng(0)
    ramp = np.clip(40 + 60 * np.hypot(*np.meshgrid(np.linspace(-2, 2, 112), np.linspace(-2, 2, 84))), 0, 255)
    images = np.tile(ramp[None, ..., None], (3, 1, 1, 3)).astype(np.uint8)
    clean = CameraEffects(drift=0, contrast=(0, 0), noise=(0, 0), sharpen=(0, 0), crf=(12, 12))
    filmed = clean.apply(rng, images, np.full((3, 2), 4.0), fps=24)
    assert np.abs(filmed.astype(int) - images).mean() < 4
    errors = [np.abs(compress(images, 6, crf).astype(int) - images).mean() for crf in (10, 45)]
    assert errors[0] < errors[1]


def test_compression_gives_the_same_bits_every_time():
    images = np.random.default_rng(0).integers(60, 120, (4, 168, 98, 3), dtype=np.uint8)
    first = compress(images, 6, 30)
    for _ in range(20):
        np.testing.assert_array_equal(compress(images, 6, 30), first)


def test_a_turning_camera_moves_the_middle_of_its_image():
    turned = np.tile(np.eye(4), (3, 1, 1))
    angle = np.radians([0.0, 1.0, 2.0])
    turned[:, 0, 0] = turned[:, 2, 2] = np.cos(angle)
    turned[:, 0, 2], turned[:, 2, 0] = np.sin(angle), -np.sin(angle)
    np.testing.assert_allclose(centre_motion_px(turned, 200.0), [[200 * np.tan(np.radians(1)), 0]] * 3, atol=1e-9)


def test_an_unknown_world_is_an_input_error():
    with pytest.raises(InputError, match="mars"):
        generate_clip(0, world="mars")


def test_chances_of_worlds_sum_to_one():
    for world in (DEFAULT, STUDIO, WILD):
        assert isinstance(world, World)
        tables = [world.people, tuple(world.actions.values()) or (1.0,)]
        tables += [tuple(world.rig.aspects.values())] if world.rig else []
        for table in tables:
            assert sum(table) == pytest.approx(1.0)
