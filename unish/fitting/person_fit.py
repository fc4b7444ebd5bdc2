"""One person of a result: read as a course in the camera, fitted chunk by chunk, and posed again."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from unish.analysis.floor_map import FloorMap
from unish.body import BodyModel
from unish.fitting.contacts import feet_of, find_contacts
from unish.fitting.evidence import Evidence
from unish.fitting.floor import floor_under
from unish.fitting.motion_filter import MAX_NOISE_M, MAX_NOISE_RAD, smoothed
from unish.fitting.problem import Contacts, Course, Problem, View, place_offsets, posed
from unish.fitting.settings import FitSettings
from unish.fitting.sparse_body import SparseBody
from unish.fusion.motion import BodyMotion, interpolated_absences, posed_vertices, transformed_motion
from unish.geometry.rotations import nearest_rotation, slerp
from unish.geometry.transforms import invert_rigid
from unish.structures import Person, Reconstruction

PELVIS_M_S2, TURN_RAD_S2 = 4.0, 40.0
"""Accelerations of a body's pelvis and of its joints' rotation matrices that are ordinary."""
FEET_MAY_COST = 1.25
"""By how much the agreement with the images may suffer where feet are held."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A person of a scene with the body reduced to what the fit needs."""

    scene: Reconstruction
    index: int
    body: SparseBody
    settings: FitSettings
    device: str
    points_gain: float = 1.0
    """What the depth of the person's points is multiplied by before the body is compared with it."""

    @property
    def person(self) -> Person:
        return self.scene.people[self.index]

    def course(self, frames: Int[np.ndarray, "frames"]) -> Course:
        """The motion of the result at these frames."""
        person, rest = self.person, self.body.rest_joints[0].cpu()
        pelvis = torch.from_numpy(np.asarray(person.translation_camera[frames], np.float32)) + rest
        rotations = torch.from_numpy(np.array(person.body_rotations[frames], np.float32))
        return Course(rotations.to(self.device), pelvis.to(self.device))

    def view(self, frames: Int[np.ndarray, "frames"]) -> View:
        """Cameras and times of these frames."""
        cameras = self.scene.cameras
        arrays = (cameras.world_from_camera[frames], cameras.intrinsics[frames])
        pose, intrinsics = (torch.from_numpy(np.asarray(array, np.float32)).to(self.device) for array in arrays)
        times = np.asarray(self.scene.times_s, np.float64)[frames]
        return View(pose, intrinsics, torch.from_numpy(times - times[0]).float().to(self.device))

    def problem(self, frames: Int[np.ndarray, "frames"], surface_sigma: float, is_sequence: bool = True) -> Problem:
        """The fit of these frames, from the network's motion without its jitter."""
        course, view = self.course(frames), self.view(frames)
        if is_sequence:
            course = steady(course, view)
        evidence = Evidence.read(self.scene, self.index, frames, self.device)
        evidence = dataclasses.replace(evidence, depth_m=self.points_gain * evidence.depth_m)
        return Problem(self.body, course, view, evidence, self.settings, surface_sigma, is_sequence=is_sequence)


def steady(course: Course, view: View) -> Course:
    """A course without jitter in the world."""
    turn, shift = view.world_from_camera[:, :3, :3], view.world_from_camera[:, :3, 3]
    pelvis_world = (turn @ course.pelvis[..., None])[..., 0] + shift
    world = course.rotations.clone()
    world[:, 0] = turn @ world[:, 0]
    pelvis_world = smoothed(pelvis_world, view.times_s, PELVIS_M_S2, MAX_NOISE_M)
    world = nearest_rotation(smoothed(world, view.times_s, TURN_RAD_S2, MAX_NOISE_RAD))
    world[:, 0] = turn.mT @ world[:, 0]
    return Course(world, (turn.mT @ (pelvis_world - shift)[..., None])[..., 0])


def first_place(problem: Problem) -> Tensor:
    """Offsets that bring the body's extent to the person's, from those edges that count; what cannot be told stays."""
    body, boxes = problem.body, problem.evidence.edges_px
    counted = problem.evidence.edges_counted
    correctives = body.correctives(problem.start.rotations)
    course = problem.start
    with torch.no_grad():
        for _ in range(4):
            seen = posed(body, course, problem.view, correctives)
            low, high = seen.vertices_px.amin(1), seen.vertices_px.amax(1)
            both = counted[:, :2] & counted[:, 2:]
            ratio = (high - low) / (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
            growth = torch.where(both[:, 1], ratio[:, 1], 1.0).log()  # a width tells of arms rather than of distance
            off_low, off_high = boxes[:, :2] - low, boxes[:, 2:] - high
            shift = torch.where(both, (off_low + off_high) / 2, torch.where(counted[:, :2], off_low, off_high))
            shift = torch.where(counted[:, :2] | counted[:, 2:], shift, 0.0)
            depth = course.pelvis[:, 2:].clamp(min=0.2)
            focal = problem.view.intrinsics[:, [0, 1], [0, 1]]
            slopes = course.pelvis[:, :2] / depth + shift / focal
            depth = depth * growth[:, None].clamp(-0.5, 0.5).exp()
            course = Course(course.rotations, torch.cat([slopes * depth, depth], dim=-1))
    offsets = place_offsets(problem.start.pelvis, course.pelvis)
    return torch.where(offsets.isfinite(), offsets, 0.0).clamp(-1, 1)


def fit_frames(subject: Subject, frames: Int[np.ndarray, "frames"], surface_sigma: float, floor: FloorMap) -> Course:
    """The fitted course of some frames that follow one another: the place, then twice everything with the feet.

    Feet that stand still in the world take a body away from its place in the images where the cameras are wrong: then
    they are only brought to the floor, not held.
    """
    problem = subject.problem(frames, surface_sigma)
    start = course = problem.place(first_place(problem))
    for held_m, sole_m in zip(subject.settings.held_m, subject.settings.sole_m, strict=True):
        contacts = _contacts(problem, course, floor)
        contacts = dataclasses.replace(contacts, held_sigma_m=held_m, sole_sigma_m=sole_m)
        course = dataclasses.replace(problem, contacts=contacts).refine(course)
    if problem.image_cost(course) > FEET_MAY_COST * problem.image_cost(start):
        contacts = _contacts(problem, start, floor)
        contacts = dataclasses.replace(
            contacts, standing=torch.zeros_like(contacts.standing), sole_sigma_m=subject.settings.sole_m[0]
        )
        course = dataclasses.replace(problem, contacts=contacts).refine(start)
    return course


def _contacts(problem: Problem, course: Course, floor: FloorMap) -> Contacts:
    """Where the feet of a course stand."""
    with torch.no_grad():
        body = posed(problem.body, course, problem.view, problem.body.correctives(problem.start.rotations))
    soles, under = floor_under(floor, body.soles_world)
    times = problem.view.times_s.cpu().double().numpy()
    contacts = find_contacts(feet_of(body.joints_world), soles, under, times)
    names = ("standing", "averages", "grounded", "floor_m")
    return dataclasses.replace(contacts, **{name: getattr(contacts, name).to(course.pelvis.device) for name in names})


def blended(first: Course, second: Course, shared: int) -> Course:
    """Two courses one after the other; the last `shared` frames of the first are the first of the second."""
    if shared == 0:
        return Course(*(torch.cat(pair) for pair in zip(_parts(first), _parts(second), strict=True)))
    share = (torch.arange(shared, device=first.pelvis.device) + 1.0) / (shared + 1)
    rotations = slerp(first.rotations[-shared:], second.rotations[:shared], share[:, None].expand(-1, 24))
    pelvis = torch.lerp(first.pelvis[-shared:], second.pelvis[:shared], share[:, None])
    return Course(
        torch.cat([first.rotations[:-shared], rotations, second.rotations[shared:]]),
        torch.cat([first.pelvis[:-shared], pelvis, second.pelvis[shared:]]),
    )


def _parts(course: Course) -> tuple[Tensor, Tensor]:
    return course.rotations, course.pelvis


def chunks(count: int, size: int, overlap: int) -> list[range]:
    """Overlapping ranges of at most `size` that cover `count` frames."""
    if count <= size:
        return [range(count)]
    starts = range(0, count - overlap, size - overlap)
    return [range(start, min(start + size, count)) for start in starts]


def with_course(
    person: Person, course: Course, frames: Int[np.ndarray, "frames"], cameras: Tensor, body: BodyModel
) -> Person:
    """The person with another motion at the frames in which it is seen; absences are interpolated in the world."""
    betas = torch.from_numpy(np.array(person.betas))
    count = len(person.present)
    rotations, pelvis = torch.eye(3).repeat(count, 24, 1, 1), torch.zeros(count, 3)
    rotations[frames] = nearest_rotation(course.rotations.cpu())
    pelvis[frames] = course.pelvis.cpu()
    camera = BodyMotion(betas, rotations, pelvis - body.pelvis_offset(betas).cpu())
    seen = np.zeros(count, bool)
    seen[frames] = True
    return posed_again(person, transformed_motion(camera, cameras, body), seen, cameras, body)


def seen_alike(person: Person, cameras: Tensor, body: BodyModel) -> Person:
    """The person as each frame's camera saw it, where the cameras were moved: its image stays as it was."""
    rotations = torch.from_numpy(np.array(person.body_rotations))
    motion = BodyMotion(
        torch.from_numpy(np.array(person.betas)), rotations, torch.from_numpy(np.array(person.translation_camera))
    )
    every_frame = np.ones(len(person.present), bool)
    return posed_again(person, transformed_motion(motion, cameras, body), every_frame, cameras, body)


def posed_again(person: Person, motion: BodyMotion, seen: np.ndarray, cameras: Tensor, body: BodyModel) -> Person:
    """The person with this motion in the world, at the frames that count as `seen`."""
    world = interpolated_absences(motion, torch.from_numpy(seen))
    in_camera = transformed_motion(world, invert_rigid(cameras), body)
    vertices, joints = posed_vertices(world, body)
    return dataclasses.replace(
        person,
        betas=world.betas.numpy(),
        body_rotations=in_camera.rotations.float().numpy(),
        translation_camera=in_camera.translation.float().numpy(),
        root_rotation_world=world.rotations[:, 0].float().numpy().copy(),
        translation_world=world.translation.float().numpy(),
        joints_world=joints,
        vertices_world=vertices,
    )
