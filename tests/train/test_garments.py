"""Garments on the open body, with a base mesh and a jacket made up from the body itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from train.synthetic.assets import Assets, load_assets
from train.synthetic.clips import generate_clip
from train.synthetic.fabrics import KINDS, hair_fabric, random_fabric
from train.synthetic.garment_files import hang, read_fitting, read_obj
from train.synthetic.garments import GarmentLibrary, dress
from train.synthetic.painting import FabricTable, paint_fabrics
from train.synthetic.raster import vertex_normals
from unish.body import open_body
from unish.errors import InputError

BODY = open_body()
TEMPLATE = BODY.template.numpy().astype(np.float64)
FACES = BODY.faces.numpy().astype(np.int32)
OWNER = BODY.weights.argmax(1).numpy()
OFF_M = 0.012


def lowered_arms() -> np.ndarray:
    """Rotations (24,3,3) of a pose like MakeHuman's: arms 50 degrees down."""
    rotations = np.tile(np.eye(3), (24, 1, 1))
    for joint, sign in ((16, -1), (17, 1)):
        c, s = np.cos(np.radians(50)), sign * np.sin(np.radians(50))
        rotations[joint] = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
    return rotations


def posed(rotations: np.ndarray, betas: np.ndarray | None = None) -> np.ndarray:
    shape = torch.zeros(10) if betas is None else torch.from_numpy(betas).float()
    return BODY(shape, torch.from_numpy(rotations).float(), torch.zeros(3)).vertices.numpy().astype(np.float64)


def write_obj(path: Path, vertices: np.ndarray, uv: np.ndarray, faces: np.ndarray) -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices] + [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    lines += ["g body"] + ["f " + " ".join(f"{k + 1}/{k + 1}" for k in face) for face in faces]
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """MakeHuman's files in small: the base mesh is the body in decimetres with its arms down, the jacket its trunk and
    upper arms a centimetre further out."""
    root = tmp_path_factory.mktemp("wardrobe")
    base = posed(lowered_arms()) * 10 + [0.0, 3.0, 1.0]
    write_obj(root / "base.obj", base, BODY.uv.numpy(), FACES)
    worn = np.isin(OWNER, (0, 3, 6, 9, 13, 14, 16, 17)) & (TEMPLATE[:, 1] < 0.25)
    faces = FACES[worn[FACES].all(1)]
    used, kept = np.unique(faces, return_inverse=True)
    normals = vertex_normals(base, FACES).astype(np.float64)
    uv = TEMPLATE[used][:, :2]
    write_obj(root / "jacket.obj", (base + OFF_M * 10 * normals)[used], uv, kept.reshape(-1, 3))
    rows = []
    for vertex in used:
        face = next(iter(FACES[(vertex == FACES).any(1)]))
        others = [int(k) for k in face if k != vertex]
        offset = OFF_M * 10 * normals[vertex]
        rows.append(f"{vertex} {others[0]} {others[1]} 1 0 0 " + " ".join(f"{n:.5f}" for n in offset))
    head = ["# made up", "name jacket", "obj_file jacket.obj", "z_depth 50", "verts 0", "material none", *rows]
    hidden = np.flatnonzero(np.isin(OWNER, (3, 6)) & worn)
    (root / "jacket.mhclo").write_text("\n".join([*head, "delete_verts", " ".join(str(k) for k in hidden)]))
    return root


@pytest.fixture(scope="module")
def library(folder) -> GarmentLibrary:
    return GarmentLibrary.of(folder, BODY)


def test_a_garment_lies_on_the_tpose_where_it_lay_on_the_base_mesh(library):
    jacket = library.garments[0]
    assert jacket.kind == "clothes"
    nearest = cKDTree(TEMPLATE).query(jacket.template)[1]
    height = ((jacket.template - TEMPLATE[nearest]) * vertex_normals(TEMPLATE, FACES)[nearest]).sum(1)
    assert np.median(height) == pytest.approx(OFF_M, abs=0.002) and height.min() > 0.004 and height.max() < 0.03
    normals = vertex_normals(jacket.template, jacket.faces.astype(np.int32))
    assert ((normals * vertex_normals(TEMPLATE, FACES)[nearest]).sum(1) > 0).mean() > 0.95
    np.testing.assert_allclose(jacket.weights.sum(1), 1.0, atol=1e-6)
    assert (jacket.weights >= 0).all()


def test_a_garment_follows_shape_and_pose_of_the_body(library):
    jacket = library.garments[0]
    attire = dress([jacket], BODY, np.random.default_rng(0), np.full(3, 0.2))
    bend = lowered_arms()
    c, s = np.cos(0.6), np.sin(0.6)
    bend[3] = [[1, 0, 0], [0, c, -s], [0, s, c]]
    for betas in (np.zeros(10), np.array([1.5, -2.0, 1.0, 0, 0, 0, 0, 0, 0, 0])):
        worn = attire.pose(BODY, betas, bend[None])[0]
        body = posed(bend, betas)
        distance, nearest = cKDTree(body).query(worn)
        height = ((worn - body[nearest]) * vertex_normals(body, FACES)[nearest]).sum(1)
        assert np.quantile(height, 0.01) > -0.004 and np.quantile(distance, 0.99) < 0.05
        assert np.median(height) == pytest.approx(OFF_M, abs=0.004)


def test_skin_under_a_garment_is_not_drawn(library):
    jacket = library.garments[0]
    attire = dress([jacket], BODY, np.random.default_rng(0), np.full(3, 0.2))
    shown = np.unique(attire.body_faces)
    belly = np.flatnonzero(np.isin(OWNER, (3, 6)) & (np.abs(TEMPLATE[:, 0]) < 0.05))
    assert len(belly) > 20 and np.isin(belly, shown).mean() < 0.1
    head_and_legs = np.isin(OWNER, (15, 4, 5, 20, 21))
    assert np.isin(np.flatnonzero(head_and_legs), shown).all()
    assert not attire.covered[head_and_legs].any()


def test_dressed_people_have_the_same_bodies_larger_masks_and_exact_labels(library):
    for seed in range(20):
        bare = generate_clip(seed, frames=1, long_side_px=112, people_count=1)
        dressed = generate_clip(seed, frames=1, long_side_px=112, people_count=1, assets=Assets(garments=library))
        np.testing.assert_array_equal(bare.betas, dressed.betas)
        if (dressed.person_mask > 0).sum() > (bare.person_mask > 0).sum() + 10:
            break
    else:
        raise AssertionError("no clip in which the jacket shows")
    x0, y0, x1, y1 = dressed.boxes_px[0, 0]
    rows, columns = np.nonzero(dressed.person_mask[0])
    assert columns.min() >= x0 - 1 and columns.max() <= x1 and rows.min() >= y0 - 1 and rows.max() <= y1
    again = generate_clip(seed, frames=1, long_side_px=112, people_count=1, assets=Assets(garments=library))
    np.testing.assert_array_equal(again.images, dressed.images)


def test_a_wardrobe_changes_the_looks_of_a_clip_and_nothing_else(library):
    """Scene, camera, motion and everybody's shape are those of the same seed without garments."""
    bare = generate_clip(3, frames=2, long_side_px=112, people_count=2)
    dressed = generate_clip(3, frames=2, long_side_px=112, people_count=2, assets=Assets(garments=library))
    for name in ("world_from_camera", "intrinsics", "betas", "body_rotations"):
        np.testing.assert_array_equal(getattr(bare, name), getattr(dressed, name))
    nobody = (bare.person_mask == 0) & (dressed.person_mask == 0)
    np.testing.assert_array_equal(bare.depth_m[nobody], dressed.depth_m[nobody])
    assert (bare.images != dressed.images).any()


@pytest.mark.parametrize("kind", [*KINDS, "hair"])
def test_fabrics_are_colours_that_repeat(kind):
    rng = np.random.default_rng(3)
    fabric = hair_fabric(rng, np.full(3, 0.2)) if kind == "hair" else random_fabric(rng, kind)
    assert fabric.tile.shape == (64, 64, 3) and fabric.tile.min() > 0 and fabric.tile.max() <= 0.95
    assert 0.01 < fabric.period_m < 0.6
    if kind in ("stripes", "checks", "dots", "print", "blotches"):
        assert fabric.tile.std((0, 1)).max() > 0.1 * fabric.tile.mean()


def test_a_fabric_is_seen_in_its_size():
    """A wall of cloth two metres away, focal length 100: 100 pixels are two metres."""
    tile = np.full((64, 64, 3), 0.2, np.float32)
    tile[:, 32:] = 0.8
    fabric = replace(random_fabric(np.random.default_rng(0)), tile=tile, period_m=0.4)
    table = FabricTable.of([fabric], 0)
    points = np.array([[-4.0, -4, 2], [4, -4, 2], [4, 4, 2], [-4, 4, 2]])
    texture = np.pad(points[:, :2], ((0, 0), (0, 1))).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    depth, out = np.full((4, 80), 2.0, np.float32), np.ones((4, 80, 3), np.float32)
    ids, skip = np.zeros((4, 80), np.int32), np.zeros((4, 80), bool)
    skip[3] = True
    paint_fabrics(
        depth, ids, points, texture, faces, np.zeros(2, np.int32), table.rows, table.levels, table.periods_m,
        100.0, 100.0, -0.5, -0.5, skip, out,
    )  # fmt: skip
    light = out[0, :, 0] > 0.5
    np.testing.assert_array_equal(light, (np.arange(80) + 0.5) % 20 >= 10)
    assert (out[3] == 1).all()


def test_a_folder_without_garments_and_damaged_ones_are_input_errors(folder, tmp_path):
    with pytest.raises(InputError, match=r"base\.obj"):
        GarmentLibrary.of(tmp_path, BODY)
    with pytest.raises(InputError, match="--wardrobe"):
        load_assets(None, tmp_path / "none", None, BODY)
    (tmp_path / "a.mhclo").write_text("name a\nverts 0\n")
    with pytest.raises(InputError, match=r"a\.mhclo"):
        read_fitting(tmp_path / "a.mhclo")
    (tmp_path / "a.obj").write_text("v 0 0 0\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"a\.obj"):
        read_obj(tmp_path / "a.obj")
    fitting = read_fitting(folder / "jacket.mhclo")
    with pytest.raises(InputError, match="another mesh"):
        hang(fitting, np.zeros((5, 3)))
