"""`python colmap_worker.py FOLDER`: structure from motion of the images in a folder, by COLMAP.

Runs in a process of its own, as COLMAP aborts the process in which something goes wrong, takes over its signals, and
cannot be stopped otherwise. It knows pycolmap, NumPy and the folder, nothing of unish. `job.json` says how many images
there are, their size, where the search for the focal length begins (one attempt for each, in pixels), whether it ends
there too, how many features an image may have and how faint they may be, the seed, and the number of threads. It
leaves `matches.npz`, then `attempt_K.npz` of every attempt that finds cameras, and says so.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # modules beside this one must not hide others of the same name

import numpy as np

SHARE, FOUND = "unish share done: ", "unish found: "
"""Begin the lines of the output that tell the share done, and a file that was written."""
MATCHES = "matches"
"""Name of an array: the places of two images, and x and y in each, of what both show."""
BATCH_FRAMES, BATCH_PAIRS = 8, 60
"""Between two reports of progress."""
LEAST_MATCHES, MOST_MATCHES = 15, 40
"""Of a pair of images: with less they may share nothing; of more, some are kept."""
FOCAL_RATIOS = 0.3, 4.0
"""Of the longer side: from a fisheye to a long telephoto lens."""


def image_name(place: int) -> str:
    return f"{place:05d}.png"


def main(folder: Path) -> None:
    import pycolmap

    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    job = json.loads((folder / "job.json").read_text())
    database, images = folder / "database.db", folder / "images"
    _find_features(pycolmap, database, images, folder / "masks", job)
    _match(pycolmap, database, folder / "pairs.txt", job)
    _save(folder / "matches.npz", {MATCHES: _matches(pycolmap, database, job["count"])})
    for attempt, focal_px in enumerate(job["focals_px"]):
        print(f"{SHARE}{0.75 + 0.08 * attempt}", flush=True)
        with pycolmap.Database.open(database) as opened:
            (camera,) = opened.read_all_cameras()
            camera.params, camera.has_prior_focal_length = [focal_px, *camera.params[1:]], True
            opened.update_camera(camera)
        found = pycolmap.incremental_mapping(database, images, folder, options=_mapping(pycolmap, job))
        if found:
            largest = max(found.values(), key=lambda part: part.num_reg_images())
            arrays = _arrays(pycolmap, largest, job["focal_is_exact"])
            _save(folder / f"attempt_{attempt}.npz", arrays)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=False, **arrays)
    print(f"{FOUND}{path.name}", flush=True)


def _find_features(pycolmap: Any, database: Path, images: Path, masks: Path, job: dict[str, Any]) -> None:
    reader, extraction = pycolmap.ImageReaderOptions(), pycolmap.FeatureExtractionOptions()
    reader.camera_model, reader.mask_path = "SIMPLE_PINHOLE", str(masks)
    extraction.num_threads, extraction.use_gpu = 1, False  # several threads would number the images by chance
    extraction.sift.first_octave, extraction.sift.peak_threshold = 0, job["least_contrast"]
    extraction.sift.max_num_features = job["most_features"]
    names = [image_name(place) for place in range(job["count"])]
    for start in range(0, len(names), BATCH_FRAMES):
        print(f"{SHARE}{0.5 * start / len(names)}", flush=True)
        pycolmap.extract_features(
            database,
            images,
            image_names=names[start : start + BATCH_FRAMES],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
            device=pycolmap.Device.cpu,
        )
        if start == 0:  # all images have one camera, also those of later batches
            with pycolmap.Database.open(database) as opened:
                (camera,) = opened.read_all_cameras()
            reader.existing_camera_id = camera.camera_id


def _match(pycolmap: Any, database: Path, list_path: Path, job: dict[str, Any]) -> None:
    matching, verification = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.num_threads, matching.use_gpu = job["threads"], False
    verification.ransac.random_seed = job["seed"]
    pairs = list(_pairs(job["count"]))
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = list_path
    for start in range(0, len(pairs), BATCH_PAIRS):
        print(f"{SHARE}{0.5 + 0.25 * start / len(pairs)}", flush=True)
        lines = (f"{image_name(a)} {image_name(b)}" for a, b in pairs[start : start + BATCH_PAIRS])
        list_path.write_text("\n".join(lines))
        pycolmap.match_image_pairs(
            database,
            matching_options=matching,
            pairing_options=pairing,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )


def _matches(pycolmap: Any, database: Path, count: int) -> np.ndarray:
    """What pairs of images share once COLMAP has sorted out what cannot be."""
    found = [np.zeros((0, 6))]
    with pycolmap.Database.open(database) as opened:
        numbers = {image.name: image.image_id for image in opened.read_all_images()}
        ids = [numbers[image_name(place)] for place in range(count)]
        pixels = [opened.read_keypoints(number)[:, :2] for number in ids]
        for first, second in _pairs(count):
            if not opened.exists_two_view_geometry(ids[first], ids[second]):
                continue
            matches = opened.read_two_view_geometry(ids[first], ids[second]).inlier_matches
            if len(matches) < LEAST_MATCHES:
                continue
            some = matches[np.linspace(0, len(matches) - 1, min(len(matches), MOST_MATCHES)).round().astype(int)]
            places = np.tile([first, second], (len(some), 1))
            found.append(np.hstack([places, pixels[first][some[:, 0]], pixels[second][some[:, 1]]]))
    return np.concatenate(found)


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    """Images that are matched: those near each other, and some farther apart."""
    steps = 1, 2, 3, 4, 5, 6, 7, 8, 12, 16
    return ((first, first + step) for step in steps for first in range(count - step))


def _mapping(pycolmap: Any, job: dict[str, Any]) -> Any:
    """Options for clips: small baselines, few points, one lens."""
    options, seed = pycolmap.IncrementalPipelineOptions(), job["seed"]
    options.num_threads, options.random_seed = 1, seed
    options.mapper.random_seed, options.triangulation.random_seed = seed, seed
    options.multiple_models, options.min_model_size, options.extract_colors = False, 3, False
    options.init_num_trials = 30
    options.ba_refine_extra_params = False
    options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = not job["focal_is_exact"]
    options.min_focal_length_ratio, options.max_focal_length_ratio = FOCAL_RATIOS
    options.mapper.init_min_tri_angle, options.mapper.init_min_num_inliers = 4.0, 30
    options.mapper.abs_pose_min_num_inliers = 15
    return options


def _arrays(pycolmap: Any, found: Any, focal_is_exact: bool) -> dict[str, np.ndarray]:
    """What was found: poses by the images' places, and for every view of a point its image, pixel, depth and angle."""
    (camera,) = found.cameras.values()
    angles = _widest_angles(found)
    places, poses, views = [], [], []
    for image in found.images.values():
        if not image.has_pose:
            continue
        pose = image.cam_from_world().matrix()
        places.append(int(Path(image.name).stem))
        poses.append(np.vstack([pose, [0, 0, 0, 1]]))
        for point in image.points2D:
            if point.has_point3D():
                depth = pose[2, :3] @ found.points3D[point.point3D_id].xyz + pose[2, 3]
                views.append((places[-1], *point.xy, depth, angles[point.point3D_id]))
    return {
        "focal_px": np.array(camera.params[0]),
        "focal_error": np.array(0.0 if focal_is_exact else _focal_error(pycolmap, found, camera)),
        "places": np.array(places, int),
        "camera_from_world": np.array(poses),
        "views": np.array(views, float).reshape(-1, 5),
    }


def _widest_angles(found: Any) -> dict[int, float]:
    """Of every point, the largest angle, in radians, between rays from the cameras that see it."""
    centres = {number: image.projection_center() for number, image in found.images.items() if image.has_pose}
    widest = {}
    for number, point in found.points3D.items():
        rays = point.xyz - np.array([centres[element.image_id] for element in point.track.elements])
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        widest[number] = float(np.arccos(np.clip((rays @ rays.T).min(), -1, 1)))
    return widest


def _focal_error(pycolmap: Any, found: Any, camera: Any) -> float:
    """Standard deviation of the focal length over itself, from the curvature of the bundle adjustment."""
    config = pycolmap.BundleAdjustmentConfig()
    for number in found.reg_image_ids():
        config.add_image(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_extra_params = False
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, found)
    covariance = pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), found, adjuster)
    of_focal = None if covariance is None else covariance.get_other_params_cov(camera.params)
    return np.inf if of_focal is None else float(np.sqrt(of_focal[0, 0]) / camera.params[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
