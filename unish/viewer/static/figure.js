// A figure of clay: light that shows limbs and a head, and neither anatomy nor the steps of a mesh.
const FIGURE_RINGS = 5, TRUNK_RINGS = 2, CLOTHES_RINGS = 1;
const TRUNK_JOINTS = [0, 1, 2, 3, 6, 9, 13, 14, 16, 17];   // pelvis, hips, spine, collarbones, shoulders
const SPINE_JOINTS = [0, 3, 6, 9, 12], HIP = 1, KNEE = 4, COLLAR = 13, SHOULDER = 16;
const OVAL_M = [0.17, 0.13];   // half the width and half the depth of a trunk

// Smooth unit normals of a mesh (points x, y, z each), evened out over so many rings of neighbours.
function meshNormals(points, faces, rings = 0) {
  let normals = new Float32Array(points.length);
  for (let face = 0; face < faces.length; face += 3) {
    const a = 3 * faces[face], b = 3 * faces[face + 1], c = 3 * faces[face + 2];
    const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
    const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
    const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    normals[a] += nx; normals[a + 1] += ny; normals[a + 2] += nz;
    normals[b] += nx; normals[b + 1] += ny; normals[b + 2] += nz;
    normals[c] += nx; normals[c + 1] += ny; normals[c + 2] += nz;
  }
  unitRows(normals);
  for (let ring = 0; ring < rings; ring++) {
    const wider = Float32Array.from(normals);
    for (let corner = 0; corner < faces.length; corner++) {
      const here = 3 * faces[corner], there = 3 * faces[corner % 3 === 2 ? corner - 2 : corner + 1];
      wider[here] += normals[there]; wider[here + 1] += normals[there + 1]; wider[here + 2] += normals[there + 2];
    }
    normals = unitRows(wider);
  }
  return normals;
}

function unitRows(values) {
  for (let at = 0; at < values.length; at += 3) {
    const x = values[at], y = values[at + 1], z = values[at + 2], length = Math.sqrt(x * x + y * y + z * z) || 1;
    values[at] = x / length; values[at + 1] = y / length; values[at + 2] = z / length;
  }
  return values;
}

// The mean of a value and its neighbours' (`width` a vertex), so many rings wide.
function evened(values, width, faces, rings) {
  let now = Float32Array.from(values);
  for (let ring = 0; ring < rings; ring++) {
    const sum = Float32Array.from(now), count = new Float32Array(now.length / width).fill(1);
    for (let corner = 0; corner < faces.length; corner++) {
      const here = faces[corner], there = faces[corner % 3 === 2 ? corner - 2 : corner + 1];
      for (let k = 0; k < width; k++) sum[width * here + k] += now[width * there + k];
      count[here]++;
    }
    now = sum.map((value, at) => value / count[Math.floor(at / width)]);
  }
  return now;
}

// How much of a trunk every vertex of a shaped body (T-pose, y up, z ahead) is, 0 … 1: all of it between the middle of
// the thighs, the collarbones and the armpits.
function trunkShares({skin_joints, skin_weights}, points, restJoints, faces) {
  const count = points.length / 3, shares = new Float32Array(count), most = skin_joints.length / count;
  const height = joint => restJoints[3 * joint + 1], armpit = Math.abs(restJoints[3 * SHOULDER]);
  for (let vertex = 0; vertex < count; vertex++) {
    let weight = 0;
    for (let at = most * vertex; at < most * (vertex + 1); at++) if (TRUNK_JOINTS.includes(skin_joints[at])) weight += skin_weights[at] / 65535;
    const x = Math.abs(points[3 * vertex]), y = points[3 * vertex + 1];
    const thigh = smoothstep(height(KNEE) + 0.45 * (height(HIP) - height(KNEE)), height(HIP), y);
    const neck = 1 - smoothstep(height(COLLAR) - 0.08, height(COLLAR) + 0.04, y), arm = 1 - smoothstep(0.8 * armpit, 1.15 * armpit, x);
    shares[vertex] = smoothstep(0.3, 0.9, weight) * thigh * neck * arm;
  }
  return evened(shares, 1, faces, TRUNK_RINGS);
}

// Normals of a shaped body for its light: evened out, and on the trunk those of an upright oval around the spine.
function figureNormals(arrays, points, restJoints) {
  const {faces} = arrays, normals = meshNormals(points, faces, FIGURE_RINGS), shares = trunkShares(arrays, points, restJoints, faces);
  const spine = SPINE_JOINTS.map(joint => Array.from(restJoints.subarray(3 * joint, 3 * joint + 3)));
  for (let vertex = 0, at = 0; vertex < shares.length; vertex++, at += 3) {
    const share = shares[vertex], y = points[at + 1];
    if (!share) continue;
    const above = Math.max(1, spine.findIndex(joint => joint[1] > y)), [low, high] = [spine[above - 1], spine[above]];
    const along = Math.min(1, Math.max(0, (y - low[1]) / (high[1] - low[1])));
    const oval = unitVector([0, 2].map((axis, k) => (points[at + axis] - low[axis] - along * (high[axis] - low[axis])) / OVAL_M[k] ** 2));
    normals[at] += share * (oval[0] - normals[at]);
    normals[at + 1] *= 1 - share;
    normals[at + 2] += share * (oval[1] - normals[at + 2]);
  }
  return unitRows(normals);
}

// How much of a person's colour, and how light, every vertex is: [bare skin, shirt, trousers, shoes, hair], with soft
// edges; two bytes each.
const CLOTHES = [[0.34, 1], [0.66, 0.98], [0.66, 0.66], [0.66, 0.45], [0.66, 0.55]];

function clothesOf(regions, faces) {
  const values = evened(Array.from(regions).flatMap(region => CLOTHES[region]), 2, faces, CLOTHES_RINGS);
  return Uint8Array.from(values, value => Math.round(255 * value));
}
