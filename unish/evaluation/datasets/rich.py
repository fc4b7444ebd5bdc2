"""World motion on the test split of RICH (Huang et al. 2022): one person among static, calibrated cameras.

Each camera of the split's list is a sequence of its own. The labels are SMPL-X fits in the world of the first camera,
the calibration is camera-from-world and intrinsics; bodies become SMPL's by the sparse vertex map of the SMPL-X site
and joints by the neutral SMPL body's regressor (WHAM, GVHMR). Sequences of two people are left out, as they do.
Images must have their full size, which the calibration is for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from unish.body.files import read_body_file
from unish.body.installed_bodies import INSTALLED, bodies_folder
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence, TruePerson
from unish.evaluation.datasets import published
from unish.evaluation.datasets.download import Download
from unish.evaluation.datasets.frame_files import image_size_px, rgb_images
from unish.evaluation.datasets.labels import LabelFile, inverted, read_labels
from unish.evaluation.datasets.smpl_ground_truth import boxes_px, missing_body, project_px
from unish.evaluation.datasets.smplx_fits import FIT_SIZES, SmplxModel, read_smpl_from_smplx, read_smplx
from unish.evaluation.scoring import WORLD_METRICS

FPS = 30.0
MALE_SUBJECTS = ("011",)
"""Of the test split; the others are female."""
FRAME_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp")
_CHUNK_FRAMES = 32
_TEST_SPLIT = """
ParkingLot2_017_burpeejump2 023  ParkingLot2_017_burpeejump1 015  ParkingLot2_017_overfence1 034
ParkingLot2_017_overfence2 014  ParkingLot2_017_eating1 024  ParkingLot2_017_pushup1 0145
ParkingLot2_017_pushup2 045  ParkingLot2_009_burpeejump1 0123  ParkingLot2_009_burpeejump2 0234
ParkingLot2_009_overfence1 0345  ParkingLot2_009_overfence2 0145  LectureHall_009_sidebalancerun1 0145
LectureHall_010_plankjack1 0246  LectureHall_010_sidebalancerun1 0124  LectureHall_021_plankjack1 0356
LectureHall_021_sidebalancerun1 0456  LectureHall_019_wipingchairs1 0123  ParkingLot2_009_spray1 0123
ParkingLot2_009_impro1 0234  ParkingLot2_009_impro2 0345  ParkingLot2_009_impro5 0245
Gym_010_pushup1 3456  Gym_010_pushup2 2345  Gym_011_pushup1 2345  Gym_011_pushup2 2345  Gym_011_burpee2 2345
Gym_012_pushup2 3456  Gym_010_mountainclimber1 3456  Gym_010_mountainclimber2 3456  Gym_013_dips1 0345
Gym_013_dips2 1245  Gym_013_dips3 1245  Gym_013_lunge1 1456  Gym_013_lunge2 0456  Gym_013_pushup1 0345
Gym_013_pushup2 1245  Gym_013_burpee4 0456  Gym_010_lunge1 1456  Gym_010_lunge2 0245  Gym_010_dips1 0456
Gym_010_dips2 1245  Gym_010_cooking1 1345  Gym_011_cooking1 456  Gym_011_cooking2 245  Gym_011_dips1 1345
Gym_011_dips4 0245  Gym_011_dips3 0345  Gym_011_dips2 1345  Gym_012_lunge1 0345  Gym_012_lunge2 0456
Gym_012_cooking2 345
"""
_WORDS = _TEST_SPLIT.split()
CAMERAS_OF = {name: tuple(map(int, cameras)) for name, cameras in zip(_WORDS[::2], _WORDS[1::2], strict=True)}
"""The views of the official test split, of each sequence of one person; a name is scene, subject and action."""
DOWNLOAD = Download(
    title="RICH (test images, test bodies, scan_calibration)",
    page="https://rich.is.tue.mpg.de",
    layout="ROOT/images/test/Gym_010_dips1/cam_00/00010_00.jpeg, ROOT/bodies/test/Gym_010_dips1/00010/010.pkl and "
    "ROOT/scan_calibration/Gym/calibration/000.xml, and so on",
)
SMPLX_DOWNLOAD = Download(
    title="the SMPL-X body (.npz) and its model correspondences",
    page="https://smpl-x.is.tue.mpg.de",
    layout="ROOT/body_models/smplx/SMPLX_FEMALE.npz, …/SMPLX_MALE.npz and "
    "ROOT/body_models/transfer_data/smplx2smpl_deftrafo_setup.pkl",
)


@dataclass(frozen=True)
class _Bodies:
    """What maps a fit to SMPL's vertices and joints."""

    by_gender: dict[str, SmplxModel]
    smpl_from_smplx: csr_array
    joint_regressor: Float[np.ndarray, "24 vertices"]

    def smpl_vertices(self, gender: str, fit: dict[str, np.ndarray]) -> Float[np.ndarray, "frames vertices 3"]:
        smplx = self.by_gender[gender].vertices(fit)
        return np.stack([self.smpl_from_smplx @ frame for frame in smplx])


def read(root: Path) -> tuple[BenchmarkSequence, ...]:
    """The sequences of the test split below `root`, one per camera. All fits are posed once, which takes minutes."""
    DOWNLOAD.root(root)
    folders = {name: root / "bodies" / "test" / name for name in CAMERAS_OF}
    DOWNLOAD.sequences(root / "bodies" / "test", folders)
    DOWNLOAD.sequences(root / "images" / "test", {name: root / "images" / "test" / name for name in CAMERAS_OF})
    bodies = _read_bodies(root / "body_models")
    return tuple(sequence for name in CAMERAS_OF for sequence in _sequences(name, root, bodies))


def _read_bodies(folder: Path) -> _Bodies:
    neutral = bodies_folder() / f"{INSTALLED[0]}.npz"
    if not neutral.is_file():
        raise missing_body("RICH", "neutral")
    by_gender = {
        gender: read_smplx(folder / "smplx" / f"SMPLX_{gender.upper()}.npz", SMPLX_DOWNLOAD)
        for gender in ("female", "male")
    }
    path = folder / "transfer_data" / "smplx2smpl_deftrafo_setup.pkl"
    regressor = read_body_file(neutral).joint_regressor
    matrix = read_smpl_from_smplx(path, SMPLX_DOWNLOAD, len(by_gender["female"].template), regressor.shape[1])
    return _Bodies(by_gender, matrix, regressor.astype(np.float64))


def _sequences(name: str, root: Path, bodies: _Bodies) -> list[BenchmarkSequence]:
    """One sequence per camera, of the same body."""
    scene, subject, _ = name.split("_")
    numbers, fit = _read_fits(root / "bodies" / "test" / name, subject)
    surfaces = _surfaces(bodies, "male" if subject in MALE_SUBJECTS else "female", fit)
    calibrations = [
        _read_calibration(root / "scan_calibration" / scene / "calibration" / f"{camera:03d}.xml", len(numbers))
        for camera in CAMERAS_OF[name]
    ]
    joints, boxes = [], [[] for _ in calibrations]
    for start in range(0, len(numbers), _CHUNK_FRAMES):
        chunk = surfaces(start)
        joints.append(bodies.joint_regressor @ chunk)
        for of_camera, (world_from_camera, intrinsics) in zip(boxes, calibrations, strict=True):
            frames = slice(start, start + len(chunk))
            of_camera.append(boxes_px(project_px(chunk, world_from_camera[frames], intrinsics[frames])))

    def vertices_world(frame: int) -> Float[np.ndarray, "vertices 3"]:
        place = frame % _CHUNK_FRAMES
        return surfaces(frame - place)[place]

    people = [
        TruePerson(1, np.concatenate(of_camera), np.ones(len(numbers), bool), np.concatenate(joints), vertices_world)
        for of_camera in boxes
    ]
    seen = zip(CAMERAS_OF[name], calibrations, people, strict=True)
    return [_sequence(name, camera, numbers, root, calibration, person) for camera, calibration, person in seen]


def _surfaces(bodies: _Bodies, gender: str, fit: dict[str, np.ndarray]) -> Callable[[int], np.ndarray]:
    """SMPL's vertices of the frames from `start` on, a chunk at a time; the last chunk is kept."""

    @lru_cache(maxsize=1)
    def surfaces(start: int) -> np.ndarray:
        return bodies.smpl_vertices(gender, {key: value[start : start + _CHUNK_FRAMES] for key, value in fit.items()})

    return surfaces


def _sequence(
    name: str,
    camera: int,
    numbers: list[str],
    root: Path,
    calibration: tuple[np.ndarray, np.ndarray],
    person: TruePerson,
) -> BenchmarkSequence:
    folder = root / "images" / "test" / name / f"cam_{camera:02d}"
    suffix = next((suffix for suffix in FRAME_SUFFIXES if any(folder.glob(f"*{suffix}"))), FRAME_SUFFIXES[0])
    images = DOWNLOAD.files(folder, [f"{number}_{camera:02d}{suffix}" for number in numbers])
    size_px = image_size_px(images[0], DOWNLOAD)
    world_from_camera, intrinsics = calibration
    if not (np.abs(intrinsics[0, :2, 2] / size_px - 0.5) < 0.25).all():
        raise DOWNLOAD.broken(
            f"{images[0]} is {size_px[0]}×{size_px[1]} pixels where the calibration's principal point is "
            f"({intrinsics[0, 0, 2]:.0f}, {intrinsics[0, 1, 2]:.0f}): the images seem reduced"
        )
    return BenchmarkSequence(
        name=f"{name}_cam_{camera:02d}",
        frames=len(numbers),
        fps=FPS,
        size_px=size_px,
        image=rgb_images(images, size_px, DOWNLOAD),
        world_from_camera=world_from_camera,
        intrinsics=intrinsics,
        people=(person,),
    )


def _read_fits(folder: Path, subject: str) -> tuple[list[str], dict[str, Float[np.ndarray, "frames numbers"]]]:
    """Numbers of the labelled frames, which are their folders' names, and the parameters of all of them."""
    numbers = sorted(entry.name for entry in folder.iterdir() if entry.name.isdigit())
    if not numbers:
        raise DOWNLOAD.missing(f"{folder} has no frames")
    fits = [_parameters(read_labels(folder / number / f"{subject}.pkl", DOWNLOAD)) for number in numbers]
    return numbers, {key: np.concatenate([fit[key] for fit in fits]) for key in fits[0]}


def _parameters(labels: LabelFile) -> dict[str, Float[np.ndarray, "1 numbers"]]:
    return {name: labels.array(name, shape=(1, size)) for name, size in FIT_SIZES.items()}


def _read_calibration(
    path: Path, frames: int
) -> tuple[Float[np.ndarray, "frames 4 4"], Float[np.ndarray, "frames 3 3"]]:
    """World-from-camera and intrinsics of a static camera at every frame."""
    try:
        tree = ElementTree.parse(DOWNLOAD.file(path))
        matrices = [
            _matrix(tree.findtext(f"./{name}/data"), 3, n) for name, n in (("CameraMatrix", 4), ("Intrinsics", 3))
        ]
        if not all(np.isfinite(matrix).all() for matrix in matrices):
            raise ValueError("a number is not finite")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DOWNLOAD.broken(f"{path} is not a camera calibration ({error})") from error
    camera_from_world = np.vstack([matrices[0], [0.0, 0.0, 0.0, 1.0]])
    return np.tile(inverted(camera_from_world[None]), (frames, 1, 1)), np.tile(matrices[1], (frames, 1, 1))


def _matrix(text: str | None, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    return np.array([float(number) for number in (text or "").split()]).reshape(rows, columns)


RICH = Benchmark(
    name="rich",
    title="RICH test, motion in the world",
    metrics=WORLD_METRICS,
    sequences=read,
    sampled_fps=6.0,
    window=30,
    published=published.RICH,
)
