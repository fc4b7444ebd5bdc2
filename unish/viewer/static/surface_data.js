// The frames' surfaces (unish/viewer/surfaces.py) as what GL draws: a grid of vertices with codes of depth, and
// triangles over the cells that lie on a surface.
const OVERLAP = 10;   // cells by which the background reaches under the current frame's surface

class SurfaceData {
  constructor(scene) {
    const {meta, arrays} = scene;
    Object.assign(this, {scene, meta, arrays, place: meta.surface});
    const [, rows, columns] = arrays.surface_people.shape;
    Object.assign(this, {rows, columns, count: rows * columns});
  }

  get any() { return this.rows > 1 && this.columns > 1; }

  // Codes of depth: 0 unknown, else 1 + log(depth / near) / step.
  codes(frame, depth = this.arrays.surface_depth) {
    const {rows, columns, count} = this, codes = new Uint16Array(count);
    const planes = depth.subarray(2 * count * frame, 2 * count * (frame + 1));
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0, code = 0; column < columns; column++, at++) {
        const folded = planes[at] | planes[count + at] << 8;
        code += folded & 1 ? -((folded + 1) >> 1) : folded >> 1;
        codes[at] = code;
      }
    }
    return codes;
  }

  // Directions of the camera's rays in shares of the depth, a column and a row at a time.
  rays(frame) {
    const {meta: {size_px}, place: {first_px, stride_px}, arrays: {camera_lens}} = this, [fx, fy, cx, cy] = camera_lens.subarray(4 * frame, 4 * frame + 4);
    const ray = (count, first, size, focal, center) => Float32Array.from(
      {length: count}, (_, i) => ((first + stride_px * i + 0.5) / size - center) / focal,
    );
    return [ray(this.columns, first_px[1], size_px[0], fx, cx), ray(this.rows, first_px[0], size_px[1], fy, cy)];
  }

  pose(frame) { return this.arrays.camera_pose.subarray(12 * frame, 12 * frame + 12); }

  personAt(frame, vertex) { return this.arrays.surface_people[frame * this.count + vertex]; }
  levelAt(frame, vertex) { return this.arrays.surface_confidence[frame * this.count + vertex]; }

  // What is drawn of a frame: triangles of the scene, then those of people. `layer` is one of the background's, whose
  // cells are chosen; `threshold` is the least confidence, `colorOf(frame, vertex)` [r, g, b], for the image's own null.
  build(frame, {layer = null, threshold = 0, colorOf = null} = {}) {
    const {surface_cells, background_cells} = this.arrays, cells = layer === null ? [surface_cells, frame] : [background_cells, layer];
    return this.triangulate(frame, this.codes(frame), ...cells, {layer, threshold, colorOf});
  }

  // What nobody saw behind people (unish/viewer/filling.py), in the frame of the background's first layer; or null.
  buildFilling() {
    const {filling_depth, filling_cells, filling_colors} = this.arrays;
    if (!filling_depth) return null;
    const colorOf = (_, vertex) => filling_colors.subarray(3 * vertex, 3 * vertex + 3);
    return this.triangulate(this.arrays.background_frames[0], this.codes(0, filling_depth), filling_cells, 0, {layer: 0, threshold: 0, colorOf});
  }

  triangulate(frame, codes, packed, packedIndex, {layer, threshold, colorOf}) {
    const {rows, columns, count} = this, bytes = packed.shape[1], from = bytes * packedIndex;
    const people = this.arrays.surface_people.subarray(frame * count, (frame + 1) * count);
    const levels = this.arrays.surface_confidence.subarray(frame * count, (frame + 1) * count);
    const least = threshold * this.place.confidence_levels, cells = (rows - 1) * (columns - 1);
    const Index = count > 65536 ? Uint32Array : Uint16Array;
    const triangles = new Index(6 * cells), persons = new Index(6 * cells), missing = new Uint8Array(count);
    const used = new Uint8Array(count);   // 1 of the scene, 2 of a person
    let sceneCount = 0, personCount = 0;
    for (let row = 0, cell = 0, a = 0; row < rows - 1; row++, a++) {
      for (let column = 0; column < columns - 1; column++, cell++, a++) {
        const b = a + 1, c = a + columns, d = c + 1;
        const kept = packed[from + (cell >> 3)] >> (cell & 7) & 1 && levels[a] >= least && levels[b] >= least && levels[c] >= least && levels[d] >= least;
        if (!kept) { missing[a]++; missing[b]++; missing[c]++; missing[d]++; continue; }
        const person = layer === null && (people[a] || people[b] || people[c] || people[d]), into = person ? persons : triangles, mark = person ? 2 : 1;
        let at = person ? personCount : sceneCount;
        // Along the diagonal that depth changes less across.
        const other = Math.abs(codes[a] - codes[d]) < Math.abs(codes[b] - codes[c]);
        into[at++] = a; into[at++] = c; into[at++] = other ? d : b;
        into[at++] = other ? a : b; into[at++] = other ? d : c; into[at++] = other ? b : d;
        if (person) personCount = at; else sceneCount = at;
        used[a] |= mark; used[b] |= mark; used[c] |= mark; used[d] |= mark;
      }
    }
    triangles.set(persons.subarray(0, personCount), sceneCount);
    const tint = new Uint8Array(4 * count).fill(255);
    let drawn = 0;
    for (let vertex = 0, at = 0; vertex < count; vertex++, at += 4) {
      tint[at + 3] = used[vertex] ? 255 - 63 * missing[vertex] : 0;
      if (!used[vertex]) continue;
      drawn++;
      if (colorOf) [tint[at], tint[at + 1], tint[at + 2]] = colorOf(frame, vertex);
    }
    return {
      frame, codes, triangles: triangles.subarray(0, sceneCount + personCount), sceneCount, tint, used, drawn,
      normals: this.normals(frame, codes, used), covers: layer === null ? this.covers(codes, used, missing) : null,
    };
  }

  // Where a frame hides what other frames saw at the same depth: two bytes of the code, 0 where it does not. Not near
  // its edges, so that no seam opens where two depth maps disagree.
  covers(codes, used, missing) {
    const {rows, columns, count} = this, bytes = new Uint8Array(2 * count), distance = new Uint8Array(count);
    const border = (row, column) => row === 0 || column === 0 || row === rows - 1 || column === columns - 1;
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at++) {
        if (used[at] !== 1 || missing[at] || border(row, column)) continue;
        distance[at] = Math.min(OVERLAP, distance[at - 1] + 1, distance[at - columns] + 1);
      }
    }
    for (let at = count - 1; at >= 0; at--) {
      if (!distance[at]) continue;
      distance[at] = Math.min(distance[at], distance[at + 1] + 1, distance[at + columns] + 1);
      if (distance[at] < OVERLAP) continue;
      bytes[2 * at] = codes[at] & 255;
      bytes[2 * at + 1] = codes[at] >> 8;
    }
    return bytes;
  }

  depths(codes) {
    const {near_m, step} = this.place;
    return Float32Array.from(codes, code => (code ? near_m * Math.exp((code - 1) * step) : 0));
  }

  // Unit normals towards the camera, in its frame, as bytes; the fourth says which vertices are a person's.
  normals(frame, codes, used) {
    const {rows, columns} = this, [x, y] = this.rays(frame), z = this.depths(codes), normals = new Int8Array(4 * this.count);
    const reach = 2;
    for (let row = 0, at = 0; row < rows; row++) {
      const up = Math.max(0, row - reach), down = Math.min(rows - 1, row + reach);
      for (let column = 0; column < columns; column++, at++) {
        if (!used[at]) continue;
        const left = Math.max(0, column - reach), right = Math.min(columns - 1, column + reach);
        // The side of an edge that the vertex lies on.
        const here = z[at], most = 0.1 * here, same = other => Math.abs(z[other] - here) < most;
        const j0 = same(row * columns + left) ? left : column, j1 = same(row * columns + right) ? right : column;
        const i0 = same(up * columns + column) ? up : row, i1 = same(down * columns + column) ? down : row;
        const l = z[row * columns + j0], r = z[row * columns + j1], u = z[i0 * columns + column], d = z[i1 * columns + column];
        const ax = x[j1] * r - x[j0] * l, ay = y[row] * (r - l), az = r - l;
        const bx = x[column] * (d - u), by = y[i1] * d - y[i0] * u, bz = d - u;
        const nx = ay * bz - az * by, ny = az * bx - ax * bz, nz = ax * by - ay * bx, length = Math.hypot(nx, ny, nz) || 1;
        const sign = nz > 0 ? -127 / length : 127 / length;
        normals[4 * at] = sign * nx; normals[4 * at + 1] = sign * ny; normals[4 * at + 2] = sign * nz;
        normals[4 * at + 3] = used[at] & 2 ? 127 : 0;
      }
    }
    return normals;
  }

  // The drawn vertices in metres, x, y, z each; kept with what was built.
  positions(built) {
    if (built.positions) return built.positions;
    const {rows, columns} = this, [x, y] = this.rays(built.frame), z = this.depths(built.codes), pose = this.pose(built.frame);
    const axes = [0, 1, 2].map(() => new Float32Array(built.drawn));
    let kept = 0;
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at++) {
        if (!built.used[at]) continue;
        for (let axis = 0; axis < 3; axis++) {
          axes[axis][kept] = z[at] * (pose[4 * axis] * x[column] + pose[4 * axis + 1] * y[row] + pose[4 * axis + 2]) + pose[4 * axis + 3];
        }
        kept++;
      }
    }
    return (built.positions = axes);
  }
}
