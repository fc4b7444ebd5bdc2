// Turning and moving the view without a mouse. Cameras and their points are Plotly's: {x, y, z} in plot units.
const TURN_STEP_RAD = Math.PI / 24, PAN_STEP = 0.06, ZOOM_STEP = 1.15, STEEPEST_RAD = 1.5;

const between = (a, b, share) => ({x: a.x + share * (b.x - a.x), y: a.y + share * (b.y - a.y), z: a.z + share * (b.z - a.z)});

// A point turned about the vertical line through another.
function around(point, center, angle) {
  const [x, y, cos, sin] = [point.x - center.x, point.y - center.y, Math.cos(angle), Math.sin(angle)];
  return {x: center.x + cos * x - sin * y, y: center.y + sin * x + cos * y, z: point.z};
}

// The view turned about what it looks at: to the side, and up or down, never over the top.
function turned({eye, center}, aside, upward) {
  const {x, y, z} = around(eye, center, aside), [dx, dy, dz] = [x - center.x, y - center.y, z - center.z];
  const level = Math.hypot(dx, dy) || 1e-6, distance = Math.hypot(level, dz);
  const tilt = Math.min(STEEPEST_RAD, Math.max(-STEEPEST_RAD, Math.atan2(dz, level) + upward));
  const away = distance * Math.cos(tilt) / level;
  return {eye: {x: center.x + away * dx, y: center.y + away * dy, z: center.z + distance * Math.sin(tilt)}, center};
}

// The view moved across what it shows, by shares of the stage's height.
function panned({eye, center}, right, up, fov) {
  const list = ({x, y, z}) => [x, y, z], point = ([x, y, z]) => ({x, y, z});
  const ahead = add(list(center), list(eye), -1), height = 2 * norm(ahead) * Math.tan(0.5 * fov);
  const aside = unitVector(cross(ahead, [0, 0, 1])), above = unitVector(cross(aside, ahead));
  const moved = place => point(add(add(list(place), aside, right * height), above, up * height));
  return {eye: moved(eye), center: moved(center)};
}

// What I, J, K, L and + − do, with Shift for moving; null for any other key.
function navigationKey(name, shift) {
  if (name === '+' || name === '=') return viewer => viewer.zoom(1 / ZOOM_STEP);
  if (name === '-' || name === '_') return viewer => viewer.zoom(ZOOM_STEP);
  const by = {i: [0, 1], k: [0, -1], j: [-1, 0], l: [1, 0]}[name];
  if (!by) return null;
  return viewer => (shift ? viewer.pan(PAN_STEP * by[0], PAN_STEP * by[1]) : viewer.turn(TURN_STEP_RAD * by[0], TURN_STEP_RAD * by[1]));
}
