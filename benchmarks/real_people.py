"""How well the people of real footage are found and told apart: found, missed, false, and ids per person.

    python benchmarks/real_people.py --clips DIR --teachers transformers
    python benchmarks/real_people.py --clips DIR --teachers movenet=movenet-multipose.json nanodet=nanodet.json
    python benchmarks/real_people.py --clips DIR --truth boxes.json

Truth is what all teachers agree on, or boxes drawn by hand: `{"clip.mp4": {"12": [[x0, y0, x1, y1], …]}}` in pixels
of the frames (frame numbers from 0; a frame that is not listed is not judged). People lower than 14 % of the frame
and those whom only one teacher sees are neither asked for nor counted as false. Teachers' answers are kept in
--cache, so that detectors can be compared without asking again.
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.real_clips import LEAST_HEIGHT, clips_of, score_command
from train.data.prepare.teachers import Consensus, TeacherPeople, consensus, open_teacher
from train.person_detector.detector_scores import match_boxes
from unish.errors import InputError
from unish.people.detection import mini_detector
from unish.people.mini_detector import load_mini_detector
from unish.structures import PersonTrack
from unish.utils.assets import MINI_DETECTOR
from unish.utils.atomic_write import atomic_path
from unish.video.source import open_source


@dataclass(frozen=True)
class BenchmarkConfig:
    """Score the bundled detector and the tracker on a folder of clips."""

    clips: Path
    """Folder of videos, or one video."""
    teachers: tuple[str, ...] = ()
    """Whose agreement is the truth; see train.data.prepare.teachers.open_teacher."""
    truth: Path | None = None
    """Or a JSON file of boxes drawn by hand."""
    weights: Path = MINI_DETECTOR
    judged_fps: float = 2.0
    """Frames a second that are judged; detection and tracking see them all."""
    only: tuple[str, ...] = ()
    """Names of the clips (without ending) to score; all of the folder otherwise."""
    max_frames: int = 300
    """Of each clip, its first frames."""
    cache: Path | None = None
    """Folder for the teachers' answers."""
    images: Path | None = None
    """Folder for judged frames with boxes drawn: truth green, uncertain grey, people found in a colour for each id."""
    out: Path | None = None
    """JSON file for the numbers."""


@dataclass(frozen=True)
class Score:
    """Counts over the judged frames."""

    frames: int = 0
    people: int = 0
    found: int = 0
    missed: int = 0
    false: int = 0
    persons: int = 0
    """Different people, as far as the truth can be followed."""
    ids: int = 0
    """Track ids that these were given; one for each is the aim."""
    shared: int = 0
    """How often an id was given to one more person: a jump."""

    def __add__(self, other: "Score") -> "Score":
        return Score(**{key: value + getattr(other, key) for key, value in asdict(self).items()})


def read_frames(path: Path, most: int) -> tuple[np.ndarray, float]:
    """The first frames of a video (frames, height, width, 3), and their number a second."""
    source = open_source(path)
    numbers = range(min(most, len(source.times_s)))
    return np.stack([frame.rgb for frame in source.frames(numbers, 720, [])]), 1 / source.step_s


def score_clip(
    truths: dict[int, Consensus], tracks: tuple[PersonTrack, ...], height: int
) -> tuple[Score, dict[int, list[str]]]:
    """The score of a clip's tracks, and for each judged frame what each present track is: found, false or uncertain."""
    total, verdicts, identity = Score(), {}, _Identities()
    for frame, truth in truths.items():
        present = [track for track in tracks if track.present[frame]]
        boxes = np.array([track.boxes_px[frame] for track in present]).reshape(-1, 4)
        asked = truth.agreed & (truth.boxes_px[:, 3] - truth.boxes_px[:, 1] >= LEAST_HEIGHT * height)
        wanted, others = truth.boxes_px[asked], truth.boxes_px[~asked]
        pairs, left = match_boxes(boxes, wanted)
        uncertain = {left[k] for k, _ in match_boxes(boxes[left], others, min_iou=0.3)[0]}
        everybody, _ = match_boxes(boxes, truth.boxes_px)
        identity.see(truth.boxes_px, {column: present[row].id for row, column in everybody})
        verdicts[frame] = [
            "uncertain" if k in uncertain else "false" if k in left else "found" for k in range(len(present))
        ]
        total += Score(
            frames=1,
            people=len(wanted),
            found=len(pairs),
            missed=len(wanted) - len(pairs),
            false=len(left) - len(uncertain),
        )
    return total + identity.score(), verdicts


class _Identities:
    """Who of the truth is who over the judged frames, and the track ids that each was given."""

    def __init__(self) -> None:
        self.boxes: list[np.ndarray] = []
        """Where each person was last."""
        self.ids: list[set[int]] = []

    def see(self, boxes: np.ndarray, track_ids: dict[int, int]) -> None:
        """Boxes of the next judged frame, and the track id of those that were found.

        A person is whoever stood nearest, at most a body height away and of about the same size.
        """
        heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1)
        last = np.array(self.boxes).reshape(-1, 4)
        ratio = heights[:, None] / np.maximum(last[:, 3] - last[:, 1], 1)
        centers = [(values[:, :2] + values[:, 2:]) / 2 for values in (boxes, last)]
        distance = np.linalg.norm(centers[0][:, None] - centers[1][None], axis=2) / heights[:, None]
        distance = np.where((distance < 1) & (np.abs(np.log(ratio)) < 0.7), distance, 1e3)
        rows, columns = linear_sum_assignment(distance)
        person_of = {int(r): int(c) for r, c in zip(rows, columns, strict=True) if distance[r, c] < 1}
        for row, box in enumerate(boxes):
            person = person_of.get(row, len(self.ids))
            if person == len(self.ids):
                self.boxes.append(box)
                self.ids.append(set())
            self.boxes[person] = box
            if row in track_ids:
                self.ids[person].add(track_ids[row])

    def score(self) -> Score:
        """Of the people who were found at all."""
        given = [number for ids in self.ids for number in ids]
        return Score(persons=sum(bool(ids) for ids in self.ids), ids=len(given), shared=len(given) - len(set(given)))


# ---------------------------------------------------------------- truth


def teachers_truth(path: Path, frames: dict[int, np.ndarray], config: BenchmarkConfig) -> dict[int, Consensus]:
    """What the teachers agree on in these frames; answers are kept in the cache."""
    seen: dict[int, list[TeacherPeople]] = {frame: [] for frame in frames}
    sure_scores = []
    for text in config.teachers:
        key = hashlib.sha256(f"{text} {path.stat().st_size}".encode()).hexdigest()[:12]
        file = None if config.cache is None else config.cache / f"{path.stem}.{key}.json"
        known = json.loads(file.read_text()) if file is not None and file.is_file() else {"frames": {}}
        if not all(str(frame) in known["frames"] for frame in frames):
            teacher = open_teacher(text)
            known["sure_score"] = teacher.sure_score
            for frame, rgb in frames.items():
                people = teacher.look(rgb)
                known["frames"][str(frame)] = [people.boxes_px.tolist(), people.scores.tolist()]
            if file is not None:
                with atomic_path(file) as temporary:
                    temporary.write_text(json.dumps(known))
        sure_scores.append(known["sure_score"])
        for frame in frames:
            boxes, scores = known["frames"][str(frame)]
            seen[frame].append(TeacherPeople(np.array(boxes).reshape(-1, 4), np.array(scores)))
    return {frame: consensus(people, sure_scores) for frame, people in seen.items()}


def drawn_truth(path: Path, config: BenchmarkConfig) -> dict[int, Consensus]:
    """The boxes of a JSON file; every one is a person."""
    assert config.truth is not None
    try:
        clips = json.loads(config.truth.read_text())
        frames = {int(frame): np.array(boxes, float).reshape(-1, 4) for frame, boxes in clips[path.name].items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f'Expected {{"{path.name}": {{"0": [[x0, y0, x1, y1], …]}}}} in {config.truth}, received something else '
            f"({error!r})."
        ) from error
    return {
        frame: Consensus(boxes, np.ones(len(boxes)), np.ones(len(boxes), bool), np.zeros((len(boxes), 17, 3)))
        for frame, boxes in frames.items()
    }


# ---------------------------------------------------------------- the benchmark


def run(config: BenchmarkConfig) -> dict[str, Score]:
    """The score of each clip and, under "total", of all."""
    if bool(config.teachers) == (config.truth is not None):
        raise InputError("Expected the truth from either --teachers or --truth, received both or neither.")
    paths = clips_of(config.clips, config.only)
    detector = load_mini_detector(config.weights)
    scores: dict[str, Score] = {}
    for path in paths:
        frames, fps = read_frames(path, config.max_frames)
        if config.truth is None:
            judged = range(0, len(frames), max(1, round(fps / config.judged_fps)))
            truths = teachers_truth(path, {k: frames[k] for k in judged}, config)
        else:
            truths = {frame: truth for frame, truth in drawn_truth(path, config).items() if frame < len(frames)}
        tracks = mini_detector(detector, 1 / fps).track(frames)
        scores[path.stem], verdicts = score_clip(truths, tracks, frames.shape[1])
        if config.images is not None:
            for frame, verdict in verdicts.items():
                image = drawn(frames[frame], frame, truths[frame], tracks, verdict)
                file = config.images / f"{path.stem}_{frame:05d}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), image[..., ::-1])
    scores["total"] = sum(scores.values(), Score())
    return scores


def drawn(
    rgb: np.ndarray, frame: int, truth: Consensus, tracks: tuple[PersonTrack, ...], verdict: list[str]
) -> np.ndarray:
    """The frame with everybody's box."""
    image = rgb.copy()
    for box, agreed in zip(truth.boxes_px.round().astype(int).tolist(), truth.agreed, strict=True):
        cv2.rectangle(image, box[:2], box[2:], (0, 220, 0) if agreed else (150, 150, 150), 1)
    present = [track for track in tracks if track.present[frame]]
    for track, word in zip(present, verdict, strict=True):
        box = track.boxes_px[frame].round().astype(int).tolist()
        color = {"found": (80, 160, 255), "false": (255, 40, 40), "uncertain": (255, 200, 60)}[word]
        cv2.rectangle(image, box[:2], box[2:], color, 2)
        text = f"{track.id} {word} {track.confidence[frame]:.2f}"
        cv2.putText(image, text, (box[0] + 3, box[1] + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
    return image


def table(scores: dict[str, Score]) -> str:
    """The scores as a Markdown table."""
    lines = ["| clip | frames | people | found | missed | false | persons | ids | shared |", "|---" * 9 + "|"]
    for name, score in scores.items():
        values = (score.frames, score.people, score.found, score.missed, score.false, score.persons, score.ids)
        values += (score.shared,)
        lines.append("| " + " | ".join([name, *map(str, values)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    score_command(BenchmarkConfig, run, table)
