// Two ways of moving what Plotly draws. DirectLayers goes through the objects behind Plotly's 3D scene: a point cloud
// of its own (4 ms where scatter3d takes seconds) and trace.update(), which leaves the camera free while playing.
// PublicLayers does the same with Plotly.redraw alone and fewer points, for a plotly.js without those objects.
const FALLBACK_POINTS = 50000;

function directScene(gd) {
  const scene = gd._fullLayout && gd._fullLayout.scene && gd._fullLayout.scene._scene;
  const usable = scene && scene.glplot && scene.glplot.add && scene.glplot.gl && scene.glplot.objects && scene.dataScale
    && gd._fullData.every(trace => scene.traces[trace.uid] && scene.traces[trace.uid].update);
  return usable ? scene : null;
}

// Plotly stores the camera when a drag ends; the view glides on a little, and a new layout would jump back.
function keepCamera(gd) {
  const scene = gd._fullLayout.scene._scene;
  if (scene && scene.getCamera) gd.layout.scene.camera = gd._fullLayout.scene.camera = scene.getCamera();
}

// A gl-plot3d drawable: uint16 positions and rgb bytes, drawn as round points with a size in metres (bounded in pixels).
function pointCloud(scene, xyz, color, {low, high, spacing_m}) {
  const {gl} = scene.glplot;
  const compile = (type, source) => {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    return shader;
  };
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl.VERTEX_SHADER, `
    attribute vec3 position; attribute vec4 color;
    uniform mat4 model, view, projection; uniform vec3 low, extent, scale; uniform float size, smallest;
    varying vec3 rgb;
    void main() {
      gl_Position = projection * (view * (model * vec4((low + position * extent) * scale, 1.0)));
      gl_PointSize = clamp(size / gl_Position.w, smallest, 48.0);
      rgb = color.rgb;
    }`));
  gl.attachShader(program, compile(gl.FRAGMENT_SHADER, `
    precision mediump float; varying vec3 rgb;
    void main() {
      vec2 p = 2.0 * gl_PointCoord - 1.0;
      if (dot(p, p) > 1.2) discard;
      gl_FragColor = vec4(rgb, 1.0);
    }`));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  const upload = data => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    return buffer;
  };
  const buffers = [upload(xyz), upload(color)];
  const position = gl.getAttribLocation(program, 'position'), rgb = gl.getAttribLocation(program, 'color');
  const at = {};
  for (const name of ['model', 'view', 'projection', 'low', 'extent', 'scale', 'size', 'smallest']) {
    at[name] = gl.getUniformLocation(program, name);
  }
  const extent = high.map((value, axis) => (value > low[axis] ? value - low[axis] : 1));
  const attributes = gl.getParameter(gl.MAX_VERTEX_ATTRIBS);
  return {
    first: 0, count: 0, visible: true, size: 1,
    // What gl-plot3d and Plotly expect of every drawable.
    bounds: null, pickSlots: 0, dirty: false, _trace: {data: {index: -1}},
    isOpaque() { return this.visible && this.count > 0; },
    isTransparent: () => false,
    dispose() { buffers.forEach(buffer => gl.deleteBuffer(buffer)); gl.deleteProgram(program); },
    draw({model, view, projection}) {
      gl.useProgram(program);
      gl.disable(gl.BLEND);
      gl.enable(gl.DEPTH_TEST);
      gl.depthMask(true);
      for (let i = 0; i < attributes; i++) gl.disableVertexAttribArray(i);
      gl.uniformMatrix4fv(at.model, false, model);
      gl.uniformMatrix4fv(at.view, false, view);
      gl.uniformMatrix4fv(at.projection, false, projection);
      gl.uniform3fv(at.low, low);
      gl.uniform3fv(at.extent, extent);
      gl.uniform3fv(at.scale, scene.dataScale);
      // model[0] * dataScale is plot units a metre; half the canvas height times the focal entry is pixels a unit.
      const pixels = 0.5 * gl.drawingBufferHeight * projection[5] * model[0] * scene.dataScale[0];
      gl.uniform1f(at.size, 1.3 * this.size * spacing_m * pixels);
      gl.uniform1f(at.smallest, Math.min(1.5, this.size) * scene.glplot.pixelRatio);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
      gl.enableVertexAttribArray(position);
      gl.vertexAttribPointer(position, 3, gl.UNSIGNED_SHORT, true, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[1]);
      gl.enableVertexAttribArray(rgb);
      gl.vertexAttribPointer(rgb, 4, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.drawArrays(gl.POINTS, this.first, this.count);
      gl.disableVertexAttribArray(position);
      gl.disableVertexAttribArray(rgb);
    },
  };
}

class DirectLayers {
  static kind = 'direct';

  constructor(gd, clouds) {
    this.gd = gd;
    this.scene = directScene(gd);
    if (!this.scene) throw new Error('this plotly.js hides its 3D scene');
    this.clouds = {};
    for (const [name, {xyz, color, place}] of Object.entries(clouds)) {
      this.clouds[name] = pointCloud(this.scene, xyz, color, place);
      this.scene.glplot.add(this.clouds[name]);
    }
  }

  setCloud(name, change) { Object.assign(this.clouds[name], change, {dirty: true}); }
  drawn(name) { return this.clouds[name].visible ? this.clouds[name].count : 0; }

  moveTrace(index, [x, y, z]) {
    const trace = this.scene.traces[this.gd._fullData[index].uid];
    Object.assign(this.gd.data[index], {x, y, z});
    trace.update(Object.assign(trace.data, {x, y, z}));
    this.tame(trace);
  }

  showTrace(index, visible) {
    const trace = this.scene.traces[this.gd._fullData[index].uid];
    trace.shown = visible;
    this.tame(trace);
  }

  // Objects behind a trace: hidden without a restyle, and left out of the pick buffer, which costs a second drawing.
  tame(trace) {
    for (const object of [trace.mesh, trace.linePlot]) {
      if (!object) continue;
      if (!object.whenShown) {
        const {isOpaque, isTransparent} = object;
        object.whenShown = {isOpaque, isTransparent};
        object.isOpaque = () => trace.shown !== false && isOpaque.call(object);
        object.isTransparent = () => trace.shown !== false && isTransparent.call(object);
        object.drawPick = null;
      }
      object.dirty = true;
    }
  }

  // Plotly's own wheel zoom grows with the time since the last frame, and jumps on a slow machine.
  zoom(factor) { this.scene.glplot.camera.distance *= factor; }
  keepCamera() { keepCamera(this.gd); }
  flush() {}
  redraw() { this.scene.glplot.redraw(); }
}

class PublicLayers {
  static kind = 'public';

  // Expects the traces 'still' and 'moving' (scatter3d) at the indices in `cloudTraces`.
  constructor(gd, clouds, cloudTraces) {
    Object.assign(this, {gd, clouds, cloudTraces, stale: false, drawing: null, state: {}});
    for (const name of Object.keys(clouds)) this.state[name] = {first: 0, count: 0, stride: 1, visible: true, size: 1};
  }

  setCloud(name, change) {
    const state = this.state[name], before = {...state};
    Object.assign(state, change);
    const index = this.cloudTraces[name], {xyz, color, place} = this.clouds[name];
    const marker = {...this.gd.data[index].marker, size: 3 * state.size};
    if (state.first !== before.first || state.count !== before.count) {
      const stride = state.stride = Math.max(1, Math.ceil(state.count / FALLBACK_POINTS));
      const [x, y, z] = dequantise(xyz, place, state.first, state.count).map(axis => axis.filter((_, i) => i % stride === 0));
      marker.color = Array.from(x, (_, i) => {
        const at = 4 * (state.first + i * stride);
        return `rgb(${color[at]},${color[at + 1]},${color[at + 2]})`;
      });
      this.change(index, {x, y, z, marker});
    }
    this.change(index, {visible: state.visible, marker});
  }

  drawn(name) { return this.state[name].visible ? Math.ceil(this.state[name].count / this.state[name].stride) : 0; }
  moveTrace(index, [x, y, z]) { this.change(index, {x, y, z}); }
  showTrace(index, visible) { this.change(index, {visible}); }

  change(index, values) {
    Object.assign(this.gd.data[index], values);
    this.stale = true;
  }

  // One drawing at a time, of everything that changed: a slow machine skips frames and does not queue them.
  flush() {
    this.drawing = this.drawing || this.draw().finally(() => { this.drawing = null; });
    return this.drawing;
  }

  keepCamera() { keepCamera(this.gd); }

  async draw() {
    while (this.stale) {
      this.stale = false;
      this.keepCamera();
      await Plotly.redraw(this.gd);
    }
  }

  redraw() { return this.flush(); }
}
