// What of the surfaces is shown at a moment: which frame, with which image, of which colours and confidence.
const KEPT_SURFACES = 48;

class SurfaceView {
  constructor(viewer, layers, data) {
    Object.assign(this, {viewer, layers, data, waiting: 0, current: null, kept: new Map(), background: [], choice: ''});
    this.frames = Array.from(data.arrays.background_frames);
  }

  get possible() { return this.layers.constructor.kind === 'direct' && this.data.any; }
  get points() { return this.viewer.style === 'points'; }
  get showsCurrent() { return this.viewer.shown.scene && this.viewer.sceneMode !== 'whole'; }
  get showsLayers() { return this.viewer.shown.scene && this.viewer.sceneMode !== 'frame'; }
  get showsPeople() { return this.viewer.shown.points; }
  get settled() { return this.waiting === 0; }

  // Confidence and colours: everything is built again where they changed.
  refresh() {
    if (!this.possible) return;
    const {viewer} = this, choice = `${viewer.threshold} ${viewer.colorBy}`;
    if (choice === this.choice) { this.look(); return; }
    this.choice = choice;
    this.current = null;
    this.kept.clear();
    this.colorOf = surfaceColors(viewer.scene, viewer.colorBy);
    this.look();
    this.background = this.frames.map((frame, layer) => this.build(frame, layer));
    this.background.forEach((built, layer) => this.fillBackground(built, layer));
  }

  // The same surfaces in other places; or, with `anew`, surfaces of another shape.
  moved(anew = false) {
    if (anew) this.choice = '';
    for (const built of [...this.kept.values(), ...this.background]) built.positions = null;
    this.current = null;
  }

  build(frame, layer = null) {
    return this.data.build(frame, {layer, threshold: this.viewer.threshold, colorOf: this.colorOf});
  }

  // A clip that plays comes round to the same frames.
  built(frame) {
    if (!this.kept.has(frame)) this.kept.set(frame, this.build(frame));
    if (this.kept.size > KEPT_SURFACES) this.kept.delete(this.kept.keys().next().value);
    return this.kept.get(frame);
  }

  async fillBackground(built, layer) {
    const {layers, viewer} = this;
    this.waiting++;
    const bitmap = await viewer.pictures.get(built.frame);
    this.waiting--;
    if (viewer.layers === layers && this.background[layer] === built) layers.fillBackground(layer, built, bitmap);
  }

  look() {
    const {viewer, layers} = this;
    layers.setSurface({
      showCurrent: this.showsCurrent, showLayers: this.showsLayers, showPeople: this.showsPeople, points: this.points,
      crop: viewer.crop, size: Number(viewer.find('.uv-size').value), colored: Boolean(this.colorOf), paled: viewer.colorBy === 'person' ? PALED : 0,
    });
  }

  // The frame's depth and image together, once it is decoded; by then another frame may be wanted.
  async show(frame) {
    if (!this.possible) return;
    const {viewer, layers} = this, bodies = viewer.scene.meta.people.map((_, person) => person).filter(person => viewer.bodyVisible(person));
    layers.setSurface({
      bodies: bodies.length > 0,
      focus: bodies.map(person => viewer.scene.pelvis(person, frame)), soles: bodies.map(person => viewer.scene.lowest(person, frame)),
    });
    if (this.current && this.current.frame === frame) return;
    const built = this.current = this.built(frame);
    this.waiting++;
    const bitmap = await viewer.pictures.get(frame);
    this.waiting--;
    if (viewer.layers !== layers || this.current !== built) return;
    layers.fillSurface(built, bitmap, viewer.scene.corners(frame, 3).slice(1));
  }

  // What is drawn now, as the viewer counts and picks it.
  shown() {
    if (!this.possible) return [];
    const now = this.current && (this.showsCurrent || this.showsPeople) ? [this.current] : [];
    return [...now, ...(this.showsLayers ? this.background : [])];
  }

  count() {
    const {crop} = this.viewer;
    return this.shown().reduce((sum, built) => sum + (crop ? insideCount(this.data.positions(built), crop) : built.drawn), 0);
  }

  sets() {
    const {crop} = this.viewer;
    return this.shown().map(built => {
      const axes = this.data.positions(built);
      const inside = i => !crop || axes.every((axis, k) => axis[i] >= crop.low[k] && axis[i] <= crop.high[k]);
      return {length: built.drawn, coordinate: (i, axis) => (inside(i) ? axes[axis][i] : NaN)};
    });
  }
}

function insideCount(axes, {low, high}) {
  let inside = 0;
  for (let i = 0; i < axes[0].length; i++) {
    if (axes.every((axis, k) => axis[i] >= low[k] && axis[i] <= high[k])) inside++;
  }
  return inside;
}
