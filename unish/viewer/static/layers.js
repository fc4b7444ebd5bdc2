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

// How many of a cloud's points first..first+count lie inside a crop box (metres), or all of them without one.
function countInside({xyz, place}, first, count, crop) {
  if (!crop) return count;
  const bounds = cropSteps(place, crop);
  let inside = 0;
  for (let i = first; i < first + count; i++) if (insideSteps(xyz, 3 * i, bounds)) inside++;
  return inside;
}

// A crop box in the steps of a quantised cloud, so that points need no conversion: [least, most] an axis.
function cropSteps({low, high}, crop) {
  return [0, 1, 2].map(axis => [crop.low, crop.high].map(end => (end[axis] - low[axis]) / ((high[axis] - low[axis]) || 1) * 65535));
}

function insideSteps(xyz, at, bounds) {
  for (let axis = 0; axis < 3; axis++) {
    if (xyz[at + axis] < bounds[axis][0] || xyz[at + axis] > bounds[axis][1]) return false;
  }
  return true;
}

class DirectLayers {
  static kind = 'direct';

  constructor(gd, clouds, {surfaces, bodies}) {
    this.gd = gd;
    this.scene = directScene(gd);
    if (!this.scene) throw new Error('this plotly.js hides its 3D scene');
    this.source = clouds;
    this.clouds = {};
    for (const [name, {xyz, color, place, spans}] of Object.entries(clouds)) {
      this.clouds[name] = pointCloud(this.scene, xyz, color, place, spans);
      this.scene.glplot.add(this.clouds[name]);
    }
    this.quad = pictureQuad(this.scene);
    this.scene.glplot.add(this.quad);
    // First of all, so that what comes after is drawn over the people's own pixels: surfaces, then bodies, then
    // what of the surfaces fades before them.
    this.surface = surfaceLayer(this.scene, surfaces);
    this.people = peopleLayer(this.scene, bodies, this.surface);
    this.veil = drawable({isOpaque: () => this.surface.isOpaque(), dispose() {}, draw: camera => this.surface.drawVeil(camera)});
    for (const object of [this.veil, this.people, this.surface]) {
      this.scene.glplot.add(object);
      this.scene.glplot.objects.unshift(this.scene.glplot.objects.pop());
    }
    // Images come one by one: until all are there nothing is drawn, which is slow without a graphics card.
    this.held = true;
    for (const object of [...Object.values(this.clouds), this.quad, this.surface, this.people]) {
      const {isOpaque} = object;
      object.isOpaque = () => !this.held && isOpaque.call(object);
    }
  }

  release() {
    this.held = false;
    this.surface.dirty = true;
  }

  setPeople(shown) { Object.assign(this.people, {shown: shown.filter(({body, skeleton}) => body || skeleton), dirty: true}); }

  setSurface(change) { Object.assign(this.surface, change, {dirty: true}); }
  fillSurface(built, bitmap, corners) { this.surface.fill(built, bitmap, corners); }
  fillBackground(index, built, bitmap) {
    this.surface.layers[index].fill(built);
    if (bitmap) this.surface.layers[index].paint(bitmap);
    this.surface.dirty = true;
  }

  setCloud(name, change) { Object.assign(this.clouds[name], change, {dirty: true}); }
  recolor(name, color) { this.clouds[name].recolor(color); }
  moveCloud(name, xyz) {
    this.source[name].xyz = xyz;
    this.clouds[name].move(xyz);
  }

  // What is drawn of a cloud: points first..first+count, inside the crop box.
  extent(name) {
    const {first, count, visible, crop} = this.clouds[name];
    return {first, count: visible ? count : 0, crop};
  }

  drawn(name) {
    const {first, count, crop} = this.extent(name);
    return countInside(this.source[name], first, count, crop);
  }

  showPicture(visible) { Object.assign(this.quad, {visible, dirty: true}); }
  setPicture(corners, bitmap) { this.quad.fill(corners, bitmap); }

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

  // Lines of this trace show through what stands before them (bones in a body, paths under a rough floor): drawn last,
  // whatever the depth.
  showThrough(index) {
    const {gl, objects} = this.scene.glplot, {linePlot} = this.scene.traces[this.gd._fullData[index].uid];
    if (!linePlot) return;
    const {draw} = linePlot;
    objects.push(...objects.splice(objects.indexOf(linePlot), 1));
    linePlot.draw = parameters => {
      gl.depthFunc(gl.ALWAYS);
      draw.call(linePlot, parameters);
      gl.depthFunc(gl.LEQUAL);
    };
  }

  // Take the view from a camera, with a field of view and, `tilted`, with an up of its own instead of the world's.
  look({eye, center, up}, fov, tilted) {
    const {camera, glplot} = this.scene;
    const mode = tilted ? 'orbit' : 'turntable';
    if (camera.mode !== mode) camera.mode = mode;   // even the same mode set again stops a drag
    camera.lookAt(...[eye, center, up].map(({x, y, z}) => [x, y, z]));
    glplot.fovy = fov;
    this.quad.dirty = true;
  }

  get fov() { return this.scene.glplot.fovy; }

  // The 3D view as something a canvas can draw, at once: its pixels are gone when the browser has shown them.
  async snapshot(draw) {
    this.redraw();
    draw(this.scene.glplot.canvas);
  }

  // Other ends of the axes, and the view from there.
  async rescale({scene: {xaxis, yaxis, zaxis, aspectratio, camera}}) {
    const ranges = {'scene.xaxis.range': xaxis.range, 'scene.yaxis.range': yaxis.range, 'scene.zaxis.range': zaxis.range};
    await Plotly.relayout(this.gd, {...ranges, 'scene.aspectratio': aspectratio, 'scene.camera': camera});
    for (const cloud of Object.values(this.clouds)) cloud.dirty = true;
  }

  // Plotly's own wheel zoom grows with the time since the last frame, and jumps on a slow machine.
  zoom(factor) { this.scene.glplot.camera.distance *= factor; }
  keepCamera() { keepCamera(this.gd); }
  flush() {}
  redraw() { this.scene.glplot.redraw(); }
}

class PublicLayers {
  static kind = 'public';
  fov = PLOTLY_FOV;   // Plotly has no say over it

  // Expects a scatter3d trace for every cloud, at the indices in `cloudTraces`.
  constructor(gd, clouds, {clouds: cloudTraces, bodies, skeletons}, scene) {
    Object.assign(this, {gd, clouds, cloudTraces, bodies, skeletons, scene, stale: false, drawing: null, next: null, state: {}});
    for (const name of Object.keys(clouds)) {
      this.state[name] = {first: 0, count: 0, visible: true, size: 1, crop: null, color: clouds[name].color, shown: 0};
    }
  }

  setCloud(name, change) {
    const state = this.state[name], before = {...state};
    Object.assign(state, change);
    const index = this.cloudTraces[name], {xyz, place} = this.clouds[name], {first, count, crop, color} = state;
    const marker = {...this.gd.data[index].marker, size: 3 * state.size};
    if (['first', 'count', 'crop', 'color'].some(key => state[key] !== before[key])) {
      let chosen = Array.from({length: count}, (_, i) => first + i);
      const bounds = crop && cropSteps(place, crop);
      if (crop) chosen = chosen.filter(point => insideSteps(xyz, 3 * point, bounds));
      const stride = Math.max(1, Math.ceil(chosen.length / FALLBACK_POINTS));
      chosen = chosen.filter((_, i) => i % stride === 0);
      const metres = dequantise(xyz, place, first, count);
      const [x, y, z] = metres.map(axis => Float32Array.from(chosen, point => axis[point - first]));
      marker.color = chosen.map(point => `rgb(${color[4 * point]},${color[4 * point + 1]},${color[4 * point + 2]})`);
      state.shown = chosen.length;
      this.change(index, {x, y, z, marker});
    }
    this.change(index, {visible: state.visible, marker});
  }

  recolor(name, color) { this.setCloud(name, {color}); }

  extent(name) {
    const {first, count, visible, crop} = this.state[name];
    return {first, count: visible ? count : 0, crop};
  }

  drawn(name) { return this.state[name].visible ? this.state[name].shown : 0; }
  setSurface() {}

  setPeople(shown) {
    for (const {person, pose: {frame}, body, skeleton} of shown) {
      if (body) this.moveTrace(this.bodies[person], this.scene.body(person, frame));
      if (skeleton) this.moveTrace(this.skeletons[person], this.scene.skeleton(person, frame));
      this.showTrace(this.bodies[person], body);
      this.showTrace(this.skeletons[person], skeleton);
    }
  }

  showPicture() {}
  showThrough() {}

  look(camera, fov, tilted) {
    this.next = {camera, dragmode: tilted ? 'orbit' : 'turntable'};
    this.stale = true;
  }

  async snapshot(draw) {
    const {offsetWidth: width, offsetHeight: height} = this.gd, image = new Image();
    await this.flush();
    image.src = await Plotly.toImage(this.gd, {format: 'png', width, height, scale: 2});
    await image.decode();
    draw(image);
  }

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
  release() { return this.redraw(); }
  redraw() { return this.flush(); }

  async draw() {
    while (this.stale) {
      this.stale = false;
      if (this.next) Object.assign(this.gd.layout.scene, this.next); else this.keepCamera();
      this.next = null;
      await Plotly.redraw(this.gd);
    }
  }

}
