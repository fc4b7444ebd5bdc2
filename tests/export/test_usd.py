"""USD read back by OpenUSD itself: its skinning, its camera and its validators."""

import dataclasses
import sys

import numpy as np
import pytest

from tests.helpers.posed import make_posed
from unish.cli import main
from unish.errors import InputError, MissingDependencyError
from unish.export import export, installed_formats
from unish.export.scene_points import scene_points
from unish.export.usd import write_usd
from unish.structures import Clip


@pytest.fixture(scope="module")
def posed():
    """The lens zooms and is off the centre, its pixels are not square."""
    result = make_posed()
    intrinsics = result.cameras.intrinsics.copy()
    intrinsics[:, 0, 0] *= np.linspace(1, 1.5, len(result), dtype=np.float32)
    intrinsics[:, 1, 1] *= np.linspace(1.1, 1.5, len(result), dtype=np.float32)
    intrinsics[:, :2, 2] += np.float32([1.5, -2.5])
    return dataclasses.replace(result, cameras=dataclasses.replace(result.cameras, intrinsics=intrinsics))


@pytest.fixture(scope="module")
def pxr():
    return pytest.importorskip("pxr", reason="usd-core is not installed")


@pytest.fixture(scope="module", params=[".usda", ".usdz"])
def stage(request, posed, pxr, tmp_path_factory):
    from pxr import Usd

    path = write_usd(posed, tmp_path_factory.mktemp("usd") / f"scene{request.param}", max_points=500)
    return Usd.Stage.Open(str(path))


def skinned(stage, person: int, frame: float) -> np.ndarray:
    """World points of a person by UsdSkel's own skinning."""
    from pxr import Usd, UsdGeom, UsdSkel

    root = UsdSkel.Root(stage.GetPrimAtPath(f"/World/person_{person}"))
    cache = UsdSkel.Cache()
    assert cache.Populate(root, Usd.PrimDefaultPredicate)
    (binding,) = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
    (query,) = binding.GetSkinningTargets()
    transforms = cache.GetSkelQuery(binding.GetSkeleton()).ComputeSkinningTransforms(frame)
    points = UsdGeom.Mesh(query.GetPrim()).GetPointsAttr().Get()
    assert query.ComputeSkinnedPoints(transforms, points, frame)
    to_world = UsdGeom.Xformable(binding.GetSkeleton()).ComputeLocalToWorldTransform(frame)
    return np.array([to_world.Transform(point) for point in points])


def test_the_stage_has_the_worlds_axes_unit_and_clock(stage, posed):
    from pxr import UsdGeom

    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == posed.fps and stage.GetDefaultPrim().GetName() == "World"
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, len(posed) - 1)


def test_skinned_points_are_our_vertices_in_every_frame(stage, posed):
    for person in posed.people:
        for frame in range(len(posed)):
            assert np.abs(skinned(stage, person.id, frame) - person.vertices_world[frame]).max() < 1e-3


def test_the_t_pose_stands_on_the_floor(stage, posed):
    from pxr import UsdGeom, UsdSkel

    for person in posed.people:
        path = f"/World/person_{person.id}"
        points = np.array(UsdGeom.Mesh(stage.GetPrimAtPath(f"{path}/body")).GetPointsAttr().Get())
        assert abs(points[:, 2].min()) < 1e-6 and 1.4 < points[:, 2].max() < 2.2
        skeleton = UsdSkel.Skeleton(stage.GetPrimAtPath(f"{path}/skeleton"))
        for places in (skeleton.GetBindTransformsAttr().Get(), skeleton.GetRestTransformsAttr().Get()):
            x, y, height = places[0].ExtractTranslation()
            assert (x, y) == (0, 0) and 0.7 < height < 1.2


def test_joints_are_smpls_and_people_are_visible_when_seen(stage, posed):
    from pxr import UsdGeom, UsdSkel

    from unish.body.data import JOINT_NAMES, PARENTS

    for person in posed.people:
        skeleton = UsdSkel.Skeleton(stage.GetPrimAtPath(f"/World/person_{person.id}/skeleton"))
        paths = list(skeleton.GetJointsAttr().Get())
        assert [path.split("/")[-1] for path in paths] == list(JOINT_NAMES)
        assert list(UsdSkel.Topology(paths).GetParentIndices())[1:] == list(PARENTS[1:])
        root = UsdGeom.Imageable(stage.GetPrimAtPath(f"/World/person_{person.id}"))
        seen = [root.ComputeVisibility(frame) == "inherited" for frame in range(len(posed))]
        assert seen == person.present.tolist()


def test_the_camera_projects_as_the_clips(stage, posed):
    """Through GfCamera's frustum, joints land where the result's camera has them."""
    from pxr import UsdGeom

    camera = UsdGeom.Camera(stage.GetPrimAtPath("/World/camera"))
    width, height = posed.cameras.width_px, posed.cameras.height_px
    for frame in range(len(posed)):
        joints = posed.people[0].joints_world[frame].astype(np.float64)
        frustum = camera.GetCamera(frame).frustum
        to_image = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
        inside = np.array([to_image.Transform(tuple(map(float, joint))) for joint in joints])
        pixels = np.stack([(inside[:, 0] + 1) / 2 * width, (1 - inside[:, 1]) / 2 * height], axis=-1)
        camera_from_world = np.linalg.inv(posed.cameras.world_from_camera[frame].astype(np.float64))
        points = joints @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        expected = points @ posed.cameras.intrinsics[frame].T.astype(np.float64)
        assert np.abs(pixels - expected[:, :2] / expected[:, 2:]).max() < 0.1


def test_the_scene_is_our_points_with_their_colours(stage, posed):
    from pxr import UsdGeom

    points = UsdGeom.Points(stage.GetPrimAtPath("/World/scene"))
    expected = scene_points(posed, 500)
    assert np.abs(np.array(points.GetPointsAttr().Get()) - expected.points_world).max() < 1e-5
    light = np.array(points.GetDisplayColorPrimvar().Get())
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    assert np.abs(255 * srgb - expected.colors).max() < 0.5
    assert points.GetDisplayColorPrimvar().GetInterpolation() == "vertex"


def test_openusds_validators_find_nothing(stage):
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators")
    validators = validation.ValidationRegistry().GetOrLoadAllValidators()
    issues = validation.ValidationContext(validators).Validate(stage)
    assert len(validators) > 10 and [issue.GetErrorAsString() for issue in issues] == []


def test_uneven_frames_are_resampled_and_a_still_camera_has_no_samples(pxr, posed, tmp_path):
    from pxr import Usd, UsdGeom

    times_s = posed.times_s.copy()
    times_s[2] += 0.5 / posed.fps
    poses = np.repeat(posed.cameras.world_from_camera[:1], len(posed), axis=0)
    cameras = dataclasses.replace(posed.cameras, world_from_camera=poses)
    uneven = dataclasses.replace(posed, times_s=times_s, cameras=cameras, people=posed.people[:1])
    clip = Clip(np.zeros((6, 240, 320, 3), np.uint8), times_s, posed.fps, "walk.mp4", (320, 240))
    stage = Usd.Stage.Open(str(write_usd(uneven, tmp_path / "a.usda", clip, 0, fps=2 * posed.fps)))
    assert stage.GetTimeCodesPerSecond() == 12 and stage.GetEndTimeCode() == 10
    assert np.abs(skinned(stage, 1, 5) - uneven.people[0].vertices_world[2]).max() < 1e-3  # shown at 2.5 of 6 a second
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/World/camera"))
    assert not camera.TransformMightBeTimeVarying() and camera.GetFocalLengthAttr().GetNumTimeSamples() == 11
    assert not stage.GetPrimAtPath("/World/scene")


def test_what_cannot_be_written(posed, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match=r"ends in .usda or .usdz, got a.fbx"):
        write_usd(posed, tmp_path / "a.fbx")
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(MissingDependencyError, match="pip install usd-core"):
        write_usd(posed, tmp_path / "a.usda")
    with pytest.raises(MissingDependencyError, match="pip install usd-core"):
        export(posed, tmp_path, ["ply", "usd"])
    assert main(["export", str(tmp_path / "result"), "--to", "usd"]) == 2
    assert "pip install usd-core" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_formats_without_their_package_are_not_offered(monkeypatch):
    assert "usd" in installed_formats()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "usd" not in installed_formats() and "glb" in installed_formats()
