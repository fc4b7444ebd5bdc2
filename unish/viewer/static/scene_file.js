// Reading the scene file (layout: unish/viewer/scene_file.py). Arrays are views into the buffer, nothing is copied.
// `unpackBytes` is also what the offline page reads its own parts with.
async function unpackBytes(buffer) {
  const [a, b] = new Uint8Array(buffer, 0, Math.min(2, buffer.byteLength));
  if (a !== 0x1f || b !== 0x8b) return buffer;
  if (!window.DecompressionStream) throw new Error('this browser is too old to unpack it');
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();
}

const SCENE_TYPES = {
  float32: Float32Array, int16: Int16Array, uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array,
};

function parseScene(buffer) {
  const head = new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength));
  if (String.fromCharCode(...head) !== 'USCN') throw new Error('this is not a unish scene file');
  const length = new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  if (header.version !== 3) throw new Error(`scene file version ${header.version} is not this page's`);
  const arrays = {};
  for (const [name, {dtype, shape, offset}] of Object.entries(header.arrays)) {
    const size = shape.reduce((product, n) => product * n, 1);
    arrays[name] = new SCENE_TYPES[dtype](buffer, 8 + length + offset, size);
    arrays[name].shape = shape;
  }
  return {meta: header.meta, arrays};
}

// Metres of quantised coordinates first..first+count, as three Float32Arrays, which is what Plotly takes.
function dequantise(steps, {low, high}, first, count) {
  return [0, 1, 2].map(axis => {
    const scale = (high[axis] > low[axis] ? high[axis] - low[axis] : 1) / 65535;
    const metres = new Float32Array(count);
    for (let i = 0, at = 3 * first + axis; i < count; i++, at += 3) metres[i] = low[axis] + scale * steps[at];
    return metres;
  });
}

// How many of color[first..end], ordered by falling confidence, reach a threshold in 0..1.
function countConfident(color, first, end, threshold) {
  const least = threshold * 255;
  let low = first, high = end;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (color[4 * middle + 3] >= least) low = middle + 1; else high = middle;
  }
  return low - first;
}

function bytesFromBase64(text) {
  const raw = atob(text.trim()), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes.buffer;
}
