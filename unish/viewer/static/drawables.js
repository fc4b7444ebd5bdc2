// Objects of our own in the WebGL scene that Plotly draws (gl-plot3d drawables).
function glProgram(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  const at = {};
  for (let i = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) - 1; i >= 0; i--) {
    const {name} = gl.getActiveUniform(program, i);
    at[name] = gl.getUniformLocation(program, name);
  }
  return {program, at};
}

function glBuffer(gl, data) {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  return buffer;
}

function fillTexture(gl, texture, filter, upload) {
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  upload();
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, filter);
}

// What every drawable does before it draws. The others leave their attribute arrays switched on.
function glStart(scene, {program, at}, {model, view, projection}) {
  const {gl} = scene.glplot;
  gl.useProgram(program);
  gl.disable(gl.BLEND);
  gl.enable(gl.DEPTH_TEST);
  gl.depthMask(true);
  for (let i = gl.getParameter(gl.MAX_VERTEX_ATTRIBS) - 1; i >= 0; i--) gl.disableVertexAttribArray(i);
  gl.uniformMatrix4fv(at.model, false, model);
  gl.uniformMatrix4fv(at.view, false, view);
  gl.uniformMatrix4fv(at.projection, false, projection);
  gl.uniform3fv(at.scale, scene.dataScale);
}

// What gl-plot3d and Plotly expect of every drawable. Nothing of ours is in the pick buffer, yet gl-plot3d asks every
// object whether it was picked once the buffer holds anything.
const drawable = own => ({
  visible: true, pick: () => null, bounds: null, pickSlots: 0, dirty: false, _trace: {data: {index: -1}}, isTransparent: () => false, ...own,
});

// uint16 positions and rgb bytes, drawn as round points with a size in metres (bounded in pixels); `spans`, where there
// are some, say how far apart the points lie around each: 64 is `spacing_m`.
function pointCloud(scene, xyz, color, place, spans = null) {
  const {gl} = scene.glplot;
  const compiled = glProgram(gl, `
    attribute vec3 position; attribute vec4 color; attribute float span;
    uniform mat4 model, view, projection; uniform vec3 low, extent, scale, cropLow, cropHigh; uniform float size, smallest;
    varying vec3 rgb;
    void main() {
      vec3 metres = low + position * extent;
      bool cut = any(lessThan(metres, cropLow)) || any(greaterThan(metres, cropHigh));
      gl_Position = cut ? vec4(2.0, 2.0, 2.0, 1.0) : projection * (view * (model * vec4(metres * scale, 1.0)));
      gl_PointSize = clamp(4.0 * span * size / gl_Position.w, smallest, 48.0);
      rgb = color.rgb;
    }`, `
    precision mediump float; varying vec3 rgb;
    void main() {
      vec2 p = 2.0 * gl_PointCoord - 1.0;
      if (dot(p, p) > 1.2) discard;
      gl_FragColor = vec4(rgb, 1.0);
    }`);
  const {program, at} = compiled, buffers = [glBuffer(gl, xyz), glBuffer(gl, color), glBuffer(gl, spans || new Uint8Array(xyz.length / 3).fill(64))];
  const position = gl.getAttribLocation(program, 'position'), rgb = gl.getAttribLocation(program, 'color'), span = gl.getAttribLocation(program, 'span');
  return drawable({
    first: 0, count: 0, size: 1, crop: null,
    isOpaque() { return this.visible && this.count > 0; },
    dispose() { buffers.forEach(buffer => gl.deleteBuffer(buffer)); gl.deleteProgram(program); },
    move(places) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
      gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
      this.dirty = true;
    },
    recolor(bytes) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[1]);
      gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.STATIC_DRAW);
      this.dirty = true;
    },
    draw(cameraParameters) {
      const {low, high, spacing_m} = place;
      glStart(scene, compiled, cameraParameters);
      gl.uniform3fv(at.low, low);
      gl.uniform3fv(at.extent, high.map((value, axis) => (value > low[axis] ? value - low[axis] : 1)));
      gl.uniform3fv(at.cropLow, this.crop ? this.crop.low : [-1e9, -1e9, -1e9]);
      gl.uniform3fv(at.cropHigh, this.crop ? this.crop.high : [1e9, 1e9, 1e9]);
      // model[0] * dataScale is plot units a metre; half the canvas height times the focal entry is pixels a unit.
      const {projection, model} = cameraParameters;
      const pixels = 0.5 * gl.drawingBufferHeight * projection[5] * model[0] * scene.dataScale[0];
      gl.uniform1f(at.size, 1.3 * this.size * spacing_m * pixels);
      gl.uniform1f(at.smallest, Math.min(1.5, this.size) * scene.glplot.pixelRatio);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
      gl.enableVertexAttribArray(position);
      gl.vertexAttribPointer(position, 3, gl.UNSIGNED_SHORT, true, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[1]);
      gl.enableVertexAttribArray(rgb);
      gl.vertexAttribPointer(rgb, 4, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[2]);
      gl.enableVertexAttribArray(span);
      gl.vertexAttribPointer(span, 1, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.drawArrays(gl.POINTS, this.first, this.count);
      for (const attribute of [position, rgb, span]) gl.disableVertexAttribArray(attribute);
    },
  });
}

// A picture between four corners (clockwise from top left, metres), seen from both sides; `behind` everything else
// whatever its distance, or among it.
function pictureQuad(scene, behind = false) {
  const {gl} = scene.glplot;
  const compiled = glProgram(gl, `
    attribute vec3 position; attribute vec2 corner;
    uniform mat4 model, view, projection; uniform vec3 scale;
    varying vec2 at;
    void main() {
      gl_Position = projection * (view * (model * vec4(position * scale, 1.0)));
      at = corner;
    }`, `
    precision mediump float; varying vec2 at; uniform sampler2D picture; uniform float opacity;
    void main() { gl_FragColor = vec4(texture2D(picture, at).rgb * opacity, opacity); }`);
  const {program, at} = compiled, texture = gl.createTexture();
  const buffers = [glBuffer(gl, new Float32Array(12)), glBuffer(gl, new Float32Array([0, 0, 1, 0, 1, 1, 0, 1]))];
  const attributes = ['position', 'corner'].map(name => gl.getAttribLocation(program, name));
  return drawable({
    filled: false, opacity: 1,
    isOpaque() { return this.visible && this.filled; },
    dispose() { buffers.forEach(buffer => gl.deleteBuffer(buffer)); gl.deleteTexture(texture); gl.deleteProgram(program); },
    fill(corners, bitmap) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(corners.flat()), gl.DYNAMIC_DRAW);
      fillTexture(gl, texture, gl.LINEAR, () => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap));
      Object.assign(this, {filled: true, dirty: true});
    },
    draw(cameraParameters) {
      glStart(scene, compiled, cameraParameters);
      if (behind) { gl.disable(gl.DEPTH_TEST); gl.depthMask(false); }
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(at.picture, 0);
      gl.uniform1f(at.opacity, this.opacity);
      attributes.forEach((attribute, index) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[index]);
        gl.enableVertexAttribArray(attribute);
        gl.vertexAttribPointer(attribute, 3 - index, gl.FLOAT, false, 0, 0);
      });
      gl.drawArrays(gl.TRIANGLE_FAN, 0, 4);
      attributes.forEach(attribute => gl.disableVertexAttribArray(attribute));
    },
  });
}
