// Where the view is taken from. Cameras are Plotly's ({eye, center, up}, in plot units); points are in metres.
const PLOTLY_FOV = Math.PI / 4;   // from top to bottom; what Plotly draws with

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const add = (a, b, times = 1) => a.map((value, axis) => value + times * b[axis]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const norm = a => Math.sqrt(dot(a, a));
const unitVector = a => a.map(value => value / (norm(a) || 1));

// Metres to pixels of a width × height picture: screen(point) is [right, down, distance along the view's axis].
// `rows` give the same as three affine functions, for loops over many points.
function viewOf(scene, {eye, center, up}, fov, width, height) {
  const from = scene.unplace(eye), forward = unitVector(add(scene.unplace(center), from, -1));
  const right = unitVector(cross(forward, [up.x, up.y, up.z])), down = cross(forward, right);
  const focal = 0.5 * height / Math.tan(0.5 * fov);
  const rows = [right, down, forward].map(row => ({row, offset: -dot(row, from)}));
  const screen = point => {
    const [x, y, depth] = rows.map(({row, offset}) => dot(row, point) + offset);
    return [0.5 * width + focal * x / depth, 0.5 * height + focal * y / depth, depth];
  };
  return {rows, focal, width, height, screen};
}

// Free, as the clip's own camera, or behind a person; taken up again in every frame until the visitor turns the view.
class Follow {
  constructor(viewer) {
    this.viewer = viewer;
    this.mode = 'free';   // or 'clip', or 'person 0', 'person 1', …
  }

  get modes() { return ['free', 'clip', ...this.viewer.scene.meta.people.map((_, index) => `person ${index}`)]; }
  get fov() { return this.mode === 'clip' ? this.clip().fov : PLOTLY_FOV; }

  set(mode) {
    if (mode === 'free') { this.release(); return; }
    this.mode = mode;
    this.viewer.refresh();
    this.viewer.followed();
  }

  next() { this.set(this.modes[(this.modes.indexOf(this.mode) + 1) % this.modes.length]); }

  apply() {
    if (this.mode === 'free') return;
    const {camera, fov, tilted} = this.mode === 'clip' ? this.clip() : this.behind(Number(this.mode.split(' ')[1]));
    this.viewer.layers.look(camera, fov, tilted);
  }

  // To a free view from about here: what stood in the middle keeps its size.
  release() {
    if (this.mode === 'free') return;
    const {camera, upright} = this.mode === 'clip' ? this.clip() : this.behind(Number(this.mode.split(' ')[1]));
    this.mode = 'free';
    this.viewer.layers.look(upright || camera, PLOTLY_FOV, false);
    this.viewer.refresh();
    this.viewer.followed();
  }

  // Exactly the clip's camera, its whole picture in view.
  clip() {
    const {scene, plot, frame} = this.viewer, [center, ...corners] = scene.corners(frame);
    const middle = corners.reduce((sum, corner) => add(sum, corner, 0.25), [0, 0, 0]);
    const ahead = add(middle, center, -1), depth = norm(ahead), forward = unitVector(ahead);
    const up = unitVector(add(corners[0], corners[3], -1));
    const half = (a, b) => 0.5 * norm(add(corners[a], corners[b], -1)) / depth;
    const tangent = Math.max(half(0, 3), half(0, 1) * plot.offsetHeight / Math.max(1, plot.offsetWidth));
    const distance = Math.max(0.5, dot(forward, add(scene.meta.view.target, center, -1)));
    const target = add(center, forward, distance), zoomed = distance * tangent / Math.tan(0.5 * PLOTLY_FOV);
    return {
      camera: {eye: scene.place(center), center: scene.place(target), up: {x: up[0], y: up[1], z: up[2]}},
      upright: {eye: scene.place(add(target, forward, -zoomed)), center: scene.place(target), up: {x: 0, y: 0, z: 1}},
      fov: 2 * Math.atan(tangent), tilted: true,
    };
  }

  behind(person) {
    const {scene, frame, share} = this.viewer, pelvis = scene.bodies.steadyPelvis(person, frame, share), heading = scene.arrays[`heading_${person}`];
    const turn = step => {
      const apart = heading[clamp(frame + step, 0, heading.length - 1)] - heading[frame];
      return Math.atan2(Math.sin(apart), Math.cos(apart));
    };
    const angle = heading[frame] + curve(turn(-1), 0, turn(1), turn(2), share), ahead = [Math.cos(angle), Math.sin(angle), 0];
    const eye = add(add(pelvis, ahead, -3.2), [0, 0, 1]), target = add(pelvis, ahead, 0.4);
    return {camera: {eye: scene.place(eye), center: scene.place(target), up: {x: 0, y: 0, z: 1}}, fov: PLOTLY_FOV, tilted: false};
  }
}
