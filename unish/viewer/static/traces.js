// What Plotly is given: lines and, `whole`, everything else too, for a plotly.js that takes no drawables of ours. `at`
// says which trace is which.
const CLOUDS = ['still', 'moving'];
const BONE_SHADE = 0.45, PATH_TINT = 0.45;   // of a person's colour, towards black and towards white
const CAMERA_COLOR = '#8a97ab', FRUSTUM_COLOR = '#f5b301', GRID_COLOR = '#8894a6';

function plotlyTraces(scene, whole) {
  const {meta, arrays} = scene, count = arrays.faces.length / 3, traces = [];
  const add = trace => traces.push({hoverinfo: 'skip', ...trace}) - 1;
  const [i, j, k] = [0, 1, 2].map(corner => Uint32Array.from({length: count}, (_, f) => arrays.faces[3 * f + corner]));
  const body = (person, index) => {
    const [x, y, z] = scene.body(index, 0);
    return add({
      type: 'mesh3d', x, y, z, i, j, k, color: person.color, flatshading: false,
      lighting: {ambient: 0.68, diffuse: 0.52, specular: 0.1, roughness: 0.6, fresnel: 0.1},
      lightposition: {x: 4000, y: -20000, z: 12000},
    });
  };
  const line = ([x, y, z], color, width) => add({
    type: 'scatter3d', mode: 'lines', x, y, z, line: {color, width}, connectgaps: false,
  });
  const each = draw => meta.people.map(draw);
  const cloud = () => add({
    type: 'scatter3d', mode: 'markers', x: [null], y: [null], z: [null], marker: {symbol: 'square', size: 2, line: {width: 0}},
  });
  const at = {
    bodies: whole ? each(body) : [],
    paths: each((person, index) => line(scene.walked(index, meta.frames - 1), mixed(person.color, 255, PATH_TINT), 3)),
    walked: each((person, index) => line(scene.walked(index, 0), person.color, 9)),
    cameraPath: line(scene.cameraPath(), CAMERA_COLOR, 4),
    frustum: line(scene.frustum(0), FRUSTUM_COLOR, 4),
    grid: line(scene.grid(), GRID_COLOR, 1),
    skeletons: !whole ? [] : each((person, index) => line(scene.skeleton(index, 0), mixed(person.color, 0, BONE_SHADE), 8)),
    clouds: Object.fromEntries((whole ? CLOUDS : []).map(name => [name, cloud()])),
  };
  return {traces, at};
}

function mixed(hex, target, share) {
  return `rgb(${rgbOf(hex).map(value => Math.round(value + share * (target - value))).join(',')})`;
}

function plotlyLayout(scene, camera) {
  const {low, high} = scene.meta, {unit} = scene;
  const axis = index => ({range: [low[index], high[index]], autorange: false, visible: false, showspikes: false});
  const size = index => unit * (high[index] - low[index]);
  return {
    margin: {l: 0, r: 0, t: 0, b: 0}, autosize: true, uirevision: 'keep', hovermode: false, showlegend: false,
    paper_bgcolor: 'rgba(0,0,0,0)',
    scene: {
      xaxis: axis(0), yaxis: axis(1), zaxis: axis(2), bgcolor: 'rgba(0,0,0,0)', dragmode: 'turntable',
      aspectmode: 'manual', aspectratio: {x: size(0), y: size(1), z: size(2)}, camera,
    },
  };
}

function plotlyConfig() {
  const plotGlPixelRatio = Math.min(2, Math.max(1.5, window.devicePixelRatio || 1));
  return {displayModeBar: false, showSendToCloud: false, displaylogo: false, responsive: false, plotGlPixelRatio};
}
