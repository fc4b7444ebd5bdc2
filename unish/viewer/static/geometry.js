// What a scene file says, as coordinates: metres in the display frame (z up), three arrays as Plotly takes them, with
// null where a line breaks.
const FRUSTUM_PATH = [0, 1, 2, 3, 4, 1, 0, 2, 0, 3, 0, 4];   // centre and four corners, every edge, one line

class Scene {
  constructor({meta, arrays}) {
    Object.assign(this, {meta, arrays});
    this.bodies = new BodyData(this);
  }

  // A later state of it: other bodies, cameras and sizes. Whoever holds a part of this scene has the later one then.
  become(meta, arrays) {
    for (const [name, value] of Object.entries(meta)) {
      const nested = value && typeof value === 'object' && !Array.isArray(value) && this.meta[name];
      if (nested) Object.assign(nested, value); else this.meta[name] = value;
    }
    Object.assign(this.arrays, arrays);
    this.bodies.choose(this.bodies.motion);
  }

  // Plot units a metre: with fixed ranges and a manual aspect ratio the scene keeps its shape whatever is shown.
  get unit() {
    const {low, high} = this.meta;
    return 1 / Math.cbrt(low.reduce((volume, value, axis) => volume * (high[axis] - value), 1));
  }

  get middle() { return this.meta.low.map((value, axis) => 0.5 * (value + this.meta.high[axis])); }

  // A point in metres as Plotly's cameras count: from the middle of the axes, in plot units; and back.
  place(point) {
    const [x, y, z] = point.map((value, axis) => this.unit * (value - this.middle[axis]));
    return {x, y, z};
  }

  unplace({x, y, z}) { return [x, y, z].map((value, axis) => value / this.unit + this.middle[axis]); }

  present(person, frame) { return Boolean(this.arrays.present[person * this.meta.frames + frame]); }

  // Where there is somebody to look at: the first frame with a person in it.
  get firstFrame() {
    const {frames, people} = this.meta;
    for (let frame = 0; frame < frames; frame++) if (people.some((_, person) => this.present(person, frame))) return frame;
    return 0;
  }

  body(person, frame) { return this.bodies.body(person, frame); }

  joints(person, frame) {
    const joints = this.bodies.of('joints', person), count = joints.shape[1];
    return [0, 1, 2].map(axis => Float32Array.from({length: count}, (_, joint) => joints[3 * (count * frame + joint) + axis]));
  }

  pelvis(person, frame) { return this.joints(person, frame).map(axis => axis[0]); }
  lowest(person, frame) { return Math.min(...this.joints(person, frame)[2]); }

  skeleton(person, frame) {
    return this.joints(person, frame).map(axis => this.meta.bones.flatMap(([from, to]) => [axis[from], axis[to], null]));
  }

  // Where a person walked, on the floor, up to a frame.
  walked(person, last) {
    const line = [[], [], []];
    for (let frame = 0; frame <= last; frame++) {
      const seen = this.present(person, frame), point = seen ? this.pelvis(person, frame) : [null, null, null];
      if (seen) point[2] = this.meta.ground_z + 0.01;
      point.forEach((value, axis) => line[axis].push(value));
    }
    return line.map(axis => (axis.length > 1 ? axis : [axis[0], axis[0]]));
  }

  // Centre of the clip's camera and its picture's corners, clockwise from top left; so many times as far ahead.
  corners(frame, times = 1) {
    const {camera_corners} = this.arrays;
    const corners = [0, 1, 2, 3, 4].map(corner => Array.from(camera_corners.subarray(15 * frame + 3 * corner, 15 * frame + 3 * corner + 3)));
    return corners.map(corner => add(corners[0], add(corner, corners[0], -1), times));
  }

  cameraPath() {
    const {camera_corners} = this.arrays;
    return [0, 1, 2].map(axis => Array.from({length: this.meta.frames}, (_, frame) => camera_corners[15 * frame + axis]));
  }

  frustum(frame) {
    const corners = this.corners(frame);
    return [0, 1, 2].map(axis => FRUSTUM_PATH.map(corner => corners[corner][axis]));
  }

  // Lines a metre apart (or more, at most 40 a side) on the ground.
  grid() {
    const {low, high, ground_z} = this.meta, lines = [[], [], []];
    const step = Math.max(1, Math.ceil(Math.max(high[0] - low[0], high[1] - low[1]) / 40));
    for (const [along, across] of [[0, 1], [1, 0]]) {
      for (let at = Math.ceil(low[along] / step) * step; at <= high[along]; at += step) {
        lines[along].push(at, at, null);
        lines[across].push(low[across], high[across], null);
        lines[2].push(ground_z, ground_z, null);
      }
    }
    return lines;
  }
}
