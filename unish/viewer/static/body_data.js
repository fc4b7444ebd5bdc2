// Bodies that move: linear blend skinning of a shaped body by 24 rotations (unish/body/lbs.py), between frames too.
// Vectors and rotations are in the display frame, metres.

const CLOSE_TURN = 0.9995;   // of two quaternions' product: so close that a straight line is a turn
const FOLLOW_SMOOTHING_S = 0.35;

// Quaternion x, y, z, w of `from`, at a share of the way to `to`, into `out`; each read at its own place.
function slerp(out, place, from, a, to, b, share) {
  let cosine = 0;
  for (let k = 0; k < 4; k++) cosine += from[a + k] * to[b + k];
  const sign = cosine < 0 ? -1 : 1, near = Math.min(1, Math.abs(cosine)), angle = Math.acos(near), sine = Math.sin(angle);
  const [p, q] = near > CLOSE_TURN ? [1 - share, share] : [Math.sin((1 - share) * angle) / sine, Math.sin(share * angle) / sine];
  let length = 0;
  for (let k = 0; k < 4; k++) {
    out[place + k] = p * from[a + k] + sign * q * to[b + k];
    length += out[place + k] ** 2;
  }
  length = Math.sqrt(length);
  for (let k = 0; k < 4; k++) out[place + k] /= length;
}

// From b to c along a smooth curve through a, b, c and d: no jerk where the next share begins (Catmull and Rom 1974).
const curve = (a, b, c, d, share) => b + 0.5 * share * (c - a + share * (2 * a - 5 * b + 4 * c - d + share * (3 * (b - c) + d - a)));

class BodyData {
  constructor({meta, arrays}) {
    Object.assign(this, {meta, arrays, place: meta.bodies, motion: ''});
    this.joints = meta.bodies.parents.length;
    this.choose('');
  }

  // Which motion of those in the file: 'network', or '' for the result's own.
  choose(motion) {
    Object.assign(this, {motion, rests: [], paths: [], chosen: {}});   // `chosen` is another object after every choice
    this.turns = this.meta.people.map((_, person) => {
      const steps = this.of('rotations', person);
      return steps && Float32Array.from(steps, step => step / 32767);
    });
  }

  of(name, person) { return (this.motion && this.arrays[`${name}_${person}_${this.motion}`]) || this.arrays[`${name}_${person}`]; }

  get skinned() { return this.place.skinned; }
  get vertices() { return this.skinned ? this.arrays.skin_joints.shape[0] : this.arrays.body_0.shape[1]; }
  present(person, frame) { return Boolean(this.arrays.present[person * this.meta.frames + frame]); }

  // x, y, z of joint 0 … 23 between a frame and the next; and where they are at the frame where the next is not seen.
  between(person, frame, share) {
    const moves = share > 0 && frame + 1 < this.meta.frames && this.present(person, frame) && this.present(person, frame + 1);
    return moves ? share : 0;
  }

  // {matrices: 3 × 4 a joint, row by row, from the shaped body to the display frame; joints: x, y, z each}.
  pose(person, frame, share = 0) {
    const {joints, place: {parents}} = this, at = this.between(person, frame, share), recorded = this.of('joints', person);
    const places = new Float32Array(3 * joints), next = Math.min(frame + 1, this.meta.frames - 1);
    for (let i = 0; i < 3 * joints; i++) {
      const now = recorded[3 * joints * frame + i];
      places[i] = now + at * (recorded[3 * joints * next + i] - now);
    }
    if (!this.skinned) return {matrices: null, joints: places, frame};
    const rest = this.of('rest_joints', person), turns = this.turns[person], local = new Float32Array(4), matrices = new Float32Array(12 * joints);
    const world = new Float32Array(9 * joints);
    for (let joint = 0; joint < joints; joint++) {
      slerp(local, 0, turns, 4 * (joints * frame + joint), turns, 4 * (joints * next + joint), at);
      const [x, y, z, w] = local, parent = parents[joint], to = 9 * joint;
      const turn = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
      ];
      if (parent < 0) world.set(turn, to);
      else {
        const from = 9 * parent;
        for (let row = 0; row < 3; row++) {
          for (let column = 0; column < 3; column++) {
            world[to + 3 * row + column] = world[from + 3 * row] * turn[column] + world[from + 3 * row + 1] * turn[3 + column] + world[from + 3 * row + 2] * turn[6 + column];
          }
          // The pelvis is where it was recorded, every other joint where its parent's bone ends.
          places[3 * joint + row] = places[3 * parent + row]
            + [0, 1, 2].reduce((sum, k) => sum + world[from + 3 * row + k] * (rest[3 * joint + k] - rest[3 * parent + k]), 0);
        }
      }
      for (let row = 0; row < 3; row++) {
        let moved = places[3 * joint + row];
        for (let column = 0; column < 3; column++) {
          const entry = world[to + 3 * row + column];
          matrices[12 * joint + 4 * row + column] = entry;
          moved -= entry * rest[3 * joint + column];
        }
        matrices[12 * joint + 4 * row + 3] = moved;
      }
    }
    return {matrices, joints: places, frame};
  }

  // The shaped body in its T-pose: x, y, z each, metres.
  rest(person) {
    const steps = this.of('body', person);
    return (this.rests[person] = this.rests[person] || interleaved(dequantise(steps, this.place, 0, this.vertices)));
  }

  // Vertices at a moment, three arrays as Plotly takes them: what GL draws, computed here for picking and the fallback.
  body(person, frame, share = 0) {
    const {vertices} = this;
    if (!this.skinned) return dequantise(this.arrays[`body_${person}`], this.place, frame * vertices, vertices);
    const {matrices} = this.pose(person, frame, share), rest = this.rest(person), {skin_joints, skin_weights} = this.arrays;
    const axes = [0, 1, 2].map(() => new Float32Array(vertices)), most = skin_joints.shape[1];
    for (let vertex = 0; vertex < vertices; vertex++) {
      const x = rest[3 * vertex], y = rest[3 * vertex + 1], z = rest[3 * vertex + 2];
      for (let k = 0, at = most * vertex; k < most && skin_weights[at]; k++, at++) {
        const weight = skin_weights[at] / 65535, m = 12 * skin_joints[at];
        for (let row = 0; row < 3; row++) {
          axes[row][vertex] += weight * (matrices[m + 4 * row] * x + matrices[m + 4 * row + 1] * y + matrices[m + 4 * row + 2] * z + matrices[m + 4 * row + 3]);
        }
      }
    }
    return axes;
  }

  // Where a camera that follows a person looks: the pelvis without its bob and jitter.
  steadyPelvis(person, frame, share = 0) {
    const {frames, times_s} = this.meta, recorded = this.of('joints', person), stride = 3 * this.joints;
    const path = this.paths[person] = this.paths[person] || Array.from({length: frames}, (_, at) => {
      const sum = [0, 0, 0];
      let total = 0;
      for (let other = 0; other < frames; other++) {
        const apart = (times_s[other] - times_s[at]) / FOLLOW_SMOOTHING_S;
        if (Math.abs(apart) > 4 || !(this.present(person, other) || other === at)) continue;
        const weight = Math.exp(-0.5 * apart * apart);
        total += weight;
        for (let axis = 0; axis < 3; axis++) sum[axis] += weight * recorded[stride * other + axis];
      }
      return sum.map(value => value / total);
    });
    const [before, here, next, after] = [-1, 0, 1, 2].map(step => path[clamp(frame + step, 0, frames - 1)]);
    return here.map((value, axis) => curve(before[axis], value, next[axis], after[axis], share));
  }

  standing(person, frame) { return Array.from(this.of('contacts', person).subarray(2 * frame, 2 * frame + 2), Boolean); }
}

function interleaved([x, y, z]) {
  const points = new Float32Array(3 * x.length);
  for (let i = 0; i < x.length; i++) points.set([x[i], y[i], z[i]], 3 * i);
  return points;
}
