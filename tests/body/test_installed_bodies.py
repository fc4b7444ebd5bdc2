"""Choosing a body, and installing a licensed one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.body.bodies import made_up_arrays, random_pose, write_official_pickle
from unish.body import BodyModel, install, load_body
from unish.body.smplx_body import SmplxBody
from unish.errors import InputError, MissingAssetError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNISH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_open_body_is_used_until_one_is_installed(tmp_path: Path, home: Path) -> None:
    assert load_body().name == "open"
    write_official_pickle(tmp_path / "SMPL_NEUTRAL.pkl", made_up_arrays())
    kept = install(tmp_path / "SMPL_NEUTRAL.pkl")
    assert kept == home / "bodies" / "smpl_neutral.npz"
    assert load_body().name == load_body("smpl_neutral").name == "smpl_neutral"
    assert load_body("open").name == "open"


def test_installed_body_poses_as_its_file_does(tmp_path: Path) -> None:
    path = tmp_path / "SMPL_MALE.npz"
    np.savez(path, **made_up_arrays())
    install(path)
    direct, installed = load_body(path), load_body("smpl_male")
    assert isinstance(direct, SmplxBody) and isinstance(installed, BodyModel)
    pose = random_pose(2)
    torch.testing.assert_close(direct.double()(*pose).vertices, installed.double()(*pose).vertices)
    assert installed.pose_directions is not None and installed.regions is None


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        ("basicmodel_m_lbs_10_207_0_v1.1.0.npz", "smpl_male"),
        ("basicModel_f_lbs_10_207_0_v1.0.0.npz", "smpl_female"),
        ("SMPL_FEMALE.npz", "smpl_female"),
        ("basicModel_neutral_lbs_10_207_0_v1.0.0.npz", "smpl_neutral"),
        ("body.npz", "smpl_neutral"),
        ("female/model.npz", "smpl_female"),
        ("smpl_male/model.npz", "smpl_male"),
        ("male/SMPL_FEMALE.npz", "smpl_female"),
        ("f/model.npz", "smpl_neutral"),
    ],
)
def test_gender_is_told_by_the_file_name(tmp_path: Path, file: str, kept: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    np.savez(tmp_path / file, **made_up_arrays())
    assert install(tmp_path / file).stem == kept


def test_bad_file_installs_nothing(tmp_path: Path, home: Path) -> None:
    (tmp_path / "smpl.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"os\.system"):
        install(tmp_path / "smpl.pkl")
    assert not home.exists()


@pytest.mark.parametrize("home", ["body.npz/home", "x" * 300, "/proc/nobody/home"])
def test_a_home_that_cannot_be_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    np.savez(tmp_path / "body.npz", **made_up_arrays())
    monkeypatch.setenv("UNISH_HOME", str(tmp_path / home))
    assert load_body().name == "open"
    with pytest.raises(MissingAssetError, match="not installed"):
        load_body("smpl_male")
    with pytest.raises(InputError, match="UNISH_HOME"):
        install(tmp_path / "body.npz")


def test_body_that_is_not_installed_says_how_to(home: Path) -> None:
    with pytest.raises(MissingAssetError, match="unish body install"):
        load_body("smpl_female")
    with pytest.raises(MissingAssetError, match="nowhere"):
        load_body("nowhere.pkl")
