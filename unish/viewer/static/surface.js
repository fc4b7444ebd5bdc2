// Surfaces in the GL layer: the current frame, and the background that other frames make, where the current one does
// not show it. From the clip's own camera this is the video.
const VEIL_REACH = 2.4;   // of a person's reach, and somewhat more than the shader fades
const TURNED_FROM = 0.03, TURNED_TO = 0.2;   // of the distance to the middle: how far the eye is from the clip's camera

const smoothstep = (low, high, value) => {
  const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
  return share * share * (3 - 2 * share);
};

// Where the eye of gl-plot3d's matrices is, in metres.
function eyeOf({view, model}, dataScale) {
  return [0, 1, 2].map(axis => {
    const plot = -(view[4 * axis] * view[12] + view[4 * axis + 1] * view[13] + view[4 * axis + 2] * view[14]);
    return (plot - model[12 + axis]) / (model[5 * axis] * dataScale[axis]);
  });
}

// One frame's buffers and texture. Indices are 16 bits where they fit, which every GL draws.
function surfaceBuffers(gl, data) {
  const wide = data.count > 65536, grid = new Uint16Array(2 * data.count);
  if (wide && !gl.getExtension('OES_element_index_uint')) throw new Error('this GL draws no more than 65536 vertices');
  for (let vertex = 0; vertex < data.count; vertex++) grid.set([vertex % data.columns, Math.floor(vertex / data.columns)], 2 * vertex);
  const names = ['grid', 'code', 'tint', 'normal'], buffers = {grid: glBuffer(gl, grid), triangles: gl.createBuffer(), texture: gl.createTexture()};
  for (const name of names.slice(1)) buffers[name] = gl.createBuffer();
  return {
    ...buffers, wide, built: null, filled: false,
    dispose() {
      for (const name of [...names, 'triangles']) gl.deleteBuffer(buffers[name]);
      gl.deleteTexture(buffers.texture);
    },
    fill(built) {
      this.built = built;
      for (const [name, values] of [['code', built.codes], ['tint', built.tint], ['normal', built.normals]]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
        gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
      }
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.triangles);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, built.triangles, gl.DYNAMIC_DRAW);
    },
    paint(bitmap) {
      fillTexture(gl, buffers.texture, gl.LINEAR, () => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap));
      this.filled = true;
    },
  };
}

function surfaceLayer(scene, data) {
  const {gl} = scene.glplot, compiled = glProgram(gl, SURFACE_VERTEX, SURFACE_FRAGMENT), {program, at} = compiled;
  const attributes = Object.fromEntries(['grid', 'code', 'tint', 'normal'].map(name => [name, gl.getAttribLocation(program, name)]));
  const current = surfaceBuffers(gl, data), codes = gl.createTexture(), {place, meta: {size_px, view}} = data;
  const layers = Array.from(data.arrays.background_frames, () => surfaceBuffers(gl, data));
  const backdrop = pictureQuad(scene, true), guessed = data.buildFilling(), fillings = guessed ? [surfaceBuffers(gl, data)] : [];
  fillings.forEach(filling => filling.fill(guessed));
  const identity = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  const poseMatrix = frame => {
    const pose = data.pose(frame), matrix = Float32Array.from(identity);
    for (let row = 0; row < 3; row++) for (let column = 0; column < 4; column++) matrix[4 * column + row] = pose[4 * row + column];
    return matrix;
  };
  const inverse = pose => {   // of a rigid motion
    const matrix = Float32Array.from(identity);
    for (let row = 0; row < 3; row++) for (let column = 0; column < 3; column++) matrix[4 * column + row] = pose[4 * row + column];
    for (let row = 0; row < 3; row++) matrix[12 + row] = -(matrix[row] * pose[12] + matrix[4 + row] * pose[13] + matrix[8 + row] * pose[14]);
    return matrix;
  };
  const lensOf = frame => data.arrays.camera_lens.subarray(4 * frame, 4 * frame + 4);
  // How far the eye has left the current frame's camera, in shares of the distance to what it looks at.
  const leaving = (camera, frame) => {
    const pose = data.pose(frame), center = [pose[3], pose[7], pose[11]], eye = eyeOf(camera, scene.dataScale);
    return norm(add(eye, center, -1)) / Math.max(0.5, norm(add(view.target, center, -1)));
  };

  function drawPart(buffers, frame, {from = 0, count, points = 0, texture = buffers.texture}) {
    gl.uniformMatrix4fv(at.pose, false, poseMatrix(frame));
    gl.uniform4fv(at.lens, lensOf(frame));
    gl.uniform1f(at.part, points);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    const bind = (name, size, type, normalized) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
      gl.enableVertexAttribArray(attributes[name]);
      gl.vertexAttribPointer(attributes[name], size, type, normalized, 0, 0);
    };
    bind('grid', 2, gl.UNSIGNED_SHORT, false);
    bind('code', 1, gl.UNSIGNED_SHORT, false);
    bind('tint', 4, gl.UNSIGNED_BYTE, true);
    bind('normal', 4, gl.BYTE, true);
    if (points) { gl.drawArrays(gl.POINTS, 0, data.count); return; }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.triangles);
    const [type, bytes] = buffers.wide ? [gl.UNSIGNED_INT, 4] : [gl.UNSIGNED_SHORT, 2];
    gl.drawElements(gl.TRIANGLES, count, type, bytes * from);
  }

  return drawable({
    current, layers, showCurrent: false, showLayers: false, showPeople: false, bodies: false, points: false, crop: null, size: 1,
    colored: false, paled: 0, focus: [], soles: [], visible: true,
    isOpaque() { return this.visible && (this.showCurrent || this.showLayers || this.showPeople); },
    dispose() {
      [current, ...fillings, ...layers].forEach(buffers => buffers.dispose());
      backdrop.dispose();
      gl.deleteTexture(codes);
      gl.deleteProgram(program);
    },
    // The current frame: what is drawn of it, its image (or null: the one before stays) and its camera's corners.
    fill(built, bitmap, corners) {
      current.fill(built);
      if (bitmap) {
        current.paint(bitmap);
        backdrop.fill(corners, bitmap);
      }
      fillTexture(gl, codes, gl.NEAREST, () => gl.texImage2D(
        gl.TEXTURE_2D, 0, gl.LUMINANCE_ALPHA, data.columns, data.rows, 0, gl.LUMINANCE_ALPHA, gl.UNSIGNED_BYTE, built.covers,
      ));
      this.dirty = true;
    },
    ready: () => Boolean(current.built && current.filled),

    // 0 where the eye is the clip's own camera, 1 once it has left it.
    turned: camera => smoothstep(TURNED_FROM, TURNED_TO, leaving(camera, current.built ? current.built.frame : 0)),
    draw(camera) {
      const {frame, away, turned, now} = this.seen(camera);
      if (now && this.showPeople && !this.points && !this.colored && !this.crop && turned < 1) {
        backdrop.opacity = 1 - smoothstep(0.5 * TURNED_FROM, 0.6 * TURNED_TO, away);
        backdrop.draw(camera);
      }
      this.begin(camera);
      this.drawScene(camera, false);
      // People do not hide what is drawn later: their bodies. Seen from the side, where they are thin, they give way.
      if (this.ready() && this.showPeople) {
        gl.uniform1f(at.turned, 0);
        gl.uniform1f(at.paled, 0);
        gl.uniform1f(at.dyed, this.paled ? 1 : 0);
        gl.uniform1f(at.opacity, this.bodies && !this.points ? 1 - turned : 1);
        gl.depthMask(!this.bodies || this.points);
        drawPart(current, frame, {from: current.built.sceneCount, count: current.built.triangles.length - current.built.sceneCount, points: this.points ? 2 : 0});
      }
      this.end();
    },

    // What fades before people, to be drawn after their bodies: they are seen through it.
    drawVeil(camera) {
      if (!this.focus.length || this.seen(camera).turned < 0.01) return;
      this.begin(camera);
      gl.depthMask(false);
      gl.enable(gl.SCISSOR_TEST);
      gl.scissor(...this.veilBox(camera));
      this.drawScene(camera, true);
      gl.disable(gl.SCISSOR_TEST);
      this.end();
    },

    // Left, bottom, width and height in pixels of where anything can fade: around the people.
    veilBox(camera) {
      const {drawingBufferWidth: width, drawingBufferHeight: height} = gl, {projection} = camera, values = this.focusInView(camera);
      let [left, bottom, right, top] = [width, height, 0, 0];
      for (let at = 0; at < 4 * Math.min(4, this.focus.length); at += 4) {
        const [x, y, z, reach] = values.subarray(at, at + 4), most = VEIL_REACH * reach / -z;
        if (z > -reach) return [0, 0, width, height];   // beside the eye or behind it
        const across = 0.5 * width * projection[0], up = 0.5 * height * projection[5];
        left = Math.min(left, 0.5 * width + across * (x / -z - most)); right = Math.max(right, 0.5 * width + across * (x / -z + most));
        bottom = Math.min(bottom, 0.5 * height + up * (y / -z - most)); top = Math.max(top, 0.5 * height + up * (y / -z + most));
      }
      const [x0, y0] = [clamp(Math.floor(left), 0, width), clamp(Math.floor(bottom), 0, height)];
      return [x0, y0, clamp(Math.ceil(right), x0, width) - x0, clamp(Math.ceil(top), y0, height) - y0];
    },

    // The frame, whether its surface is drawn, and how far the eye has turned from its camera.
    seen(camera) {
      const frame = current.built ? current.built.frame : 0, away = leaving(camera, frame);
      return {frame, away, turned: smoothstep(TURNED_FROM, TURNED_TO, away), now: this.ready() && this.showCurrent};
    },

    begin(camera) {
      const {frame, turned} = this.seen(camera);
      glStart(scene, compiled, camera);
      gl.enable(gl.BLEND);
      gl.blendFuncSeparate(gl.ONE, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.activeTexture(gl.TEXTURE1);
      gl.bindTexture(gl.TEXTURE_2D, codes);
      gl.uniform1i(at.picture, 0);
      gl.uniform1i(at.codes, 1);
      gl.uniform2f(at.size, ...size_px);
      gl.uniform2f(at.first, place.first_px[1], place.first_px[0]);
      gl.uniform2f(at.cells, data.columns, data.rows);
      gl.uniform1f(at.stride, place.stride_px);
      gl.uniform1f(at.near, place.near_m);
      gl.uniform1f(at.step, place.step);
      gl.uniform3fv(at.cropLow, this.crop ? this.crop.low : [-1e9, -1e9, -1e9]);
      gl.uniform3fv(at.cropHigh, this.crop ? this.crop.high : [1e9, 1e9, 1e9]);
      gl.uniform1f(at.pixels, 0.65 * this.size * gl.drawingBufferHeight * camera.projection[5] * data.scene.unit);
      gl.uniform1f(at.photo, this.byNumber ? 0 : 1);
      gl.uniform1f(at.paled, this.paled);
      gl.uniform1f(at.dyed, 0);
      gl.uniform1f(at.shading, this.byNumber ? 0.6 : 0.55 * turned);
      gl.uniform1f(at.turned, turned);
      gl.uniform1f(at.opacity, 1);
      gl.uniform4fv(at['focus[0]'], this.focusInView(camera));
      gl.uniform1fv(at['soles[0]'], [0, 1, 2, 3].map(person => this.soles[person] || 0));   // heights of people's feet
      gl.uniform3fv(at.upward, unitVector(Array.from(camera.view).slice(8, 11)));
      gl.uniformMatrix4fv(at.nowFromDisplay, false, inverse(poseMatrix(frame)));
      gl.uniform4fv(at.nowLens, lensOf(frame));
    },

    end() {
      Object.values(attributes).forEach(attribute => gl.disableVertexAttribArray(attribute));
      gl.depthMask(true);
      gl.disable(gl.BLEND);
      gl.activeTexture(gl.TEXTURE0);
    },

    get byNumber() { return this.colored && !this.paled; },   // colours stand for numbers, and no image is seen

    // Background and current frame: either what fades before people (`veiled`) or all the rest.
    drawScene(camera, veiled) {
      const {frame, turned, now} = this.seen(camera), points = this.points ? 1 : 0;
      gl.uniform1f(at.veiled, veiled ? 1 : 0);
      if (this.showLayers) {
        gl.uniform1f(at.behind, now ? 1 : 0);
        gl.uniform1f(at.presence, now && !this.colored && !this.points ? smoothstep(0, 1, 2 * turned) : 1);   // through the clip's camera, the video alone
        fillings.filter(() => layers[0].filled && !this.byNumber && !this.points).forEach(filling => {   // whatever else there is lies over it
          gl.depthMask(false);
          gl.uniform1f(at.photo, 0);
          drawPart(filling, guessed.frame, {count: guessed.triangles.length, texture: layers[0].texture});
          gl.uniform1f(at.photo, this.byNumber ? 0 : 1);
          gl.depthMask(!veiled);
        });
        for (const buffers of layers.filter(({built, filled}) => built && filled)) {
          drawPart(buffers, buffers.built.frame, {count: buffers.built.triangles.length, points});
        }
      }
      gl.uniform1f(at.behind, 0);
      gl.uniform1f(at.presence, 1);
      if (now) drawPart(current, frame, {count: current.built.sceneCount, points});
      gl.uniform1f(at.veiled, 0);
    },

    // Up to four people, in the view's frame, with a radius.
    focusInView({view: v, model}) {
      const values = new Float32Array(16);
      this.focus.slice(0, 4).forEach((point, index) => {
        const plot = point.map((value, axis) => value * scene.dataScale[axis] * model[5 * axis] + model[12 + axis]);
        for (let row = 0; row < 3; row++) values[4 * index + row] = v[row] * plot[0] + v[4 + row] * plot[1] + v[8 + row] * plot[2] + v[12 + row];
        values[4 * index + 3] = 0.9 * data.scene.unit;
      });
      return values;
    },
  });
}
