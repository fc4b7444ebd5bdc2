// Two points, the line between them and its length. Points are clicked or tapped, or a crosshair is moved to them with
// the arrow keys. They are found by projecting what is drawn, since Plotly's pick buffer is off; the line lies over the
// picture, where nothing hides it.
const PICK_RADIUS_PX = 14, TAP_RADIUS_PX = 24, CROSSHAIR_STEP_PX = 24, CROSSHAIR_FINE_PX = 2, CROSSHAIR_ARM_PX = 14;
const MEASURE_HINT = {
  first: 'Click or tap two points, or move the crosshair with the arrow keys and press Enter.',
  second: 'First point set. Now the second.', missed: 'No point there – try another spot.',
};

class Measure {
  constructor(viewer) {
    Object.assign(this, {viewer, on: false, points: [], crosshair: null});   // [right, down] in shares of the stage
    this.svg = viewer.find('.uv-lines');
    this.label = viewer.find('.uv-length');
  }

  get length() { return this.points.length === 2 ? norm(add(this.points[0], this.points[1], -1)) : null; }
  get text() { return this.length === null ? '' : `${this.length.toFixed(2)} m`; }

  toggle(on = !this.on) {
    this.on = on;
    this.viewer.find('.uv-measure').setAttribute('aria-pressed', String(on));
    this.viewer.find('.uv-stage').classList.toggle('uv-measuring', on);
    this.points = on ? this.points : [];
    this.crosshair = null;
    this.say(on ? MEASURE_HINT.first : 'Measuring ended.');
    this.follow();
  }

  // To the visitor's eyes, too, while there is something to do.
  say(text) {
    this.viewer.announce(text);
    this.viewer.find('.uv-todo').textContent = text;
    this.viewer.find('.uv-todo').hidden = !this.on;
  }

  // What arrows and Enter do while measuring; null for any other key. The crosshair is there from the first of them on.
  key(name, fine) {
    const step = fine ? CROSSHAIR_FINE_PX : CROSSHAIR_STEP_PX;
    const by = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step], Enter: [0, 0]}[name];
    if (!this.on || !by) return null;
    return () => {
      const {offsetWidth: width, offsetHeight: height} = this.viewer.plot, [x, y] = this.crosshair || [0.5, 0.5];
      const inside = share => Math.min(1, Math.max(0, share)), there = Boolean(this.crosshair);
      this.crosshair = [inside(x + by[0] / width), inside(y + by[1] / height)];
      if (name === 'Enter' && there) this.set(this.crosshair[0] * width, this.crosshair[1] * height, PICK_RADIUS_PX);
    };
  }

  move(place) {
    this.points = this.points.map(place);
  }

  clear() {
    this.points = [];
    this.say('Measurement cleared.');
  }

  click(x, y, touch) {
    if (!this.on) return;
    this.crosshair = null;
    this.set(x, y, touch ? TAP_RADIUS_PX : PICK_RADIUS_PX);
  }

  set(x, y, radius) {
    const point = this.pick(x, y, radius);
    if (!point) { this.say(MEASURE_HINT.missed); return; }
    this.points = this.points.length === 1 ? [...this.points, point] : [point];
    this.say(this.length === null ? MEASURE_HINT.second : `${this.text} between the two points.`);
    this.follow();
  }

  // Redraw the line in every picture while there is one, because the view moves.
  follow() {
    if (this.frame) return;
    const draw = () => {
      this.frame = this.on && this.viewer.layers ? requestAnimationFrame(draw) : null;
      this.draw();
    };
    draw();
  }

  // [x, y] of the points in pixels of the stage, null behind the view.
  get places() {
    if (!this.viewer.layers) return [];
    const view = this.viewer.view();
    return this.points.map(point => view.screen(point)).map(([x, y, depth]) => (depth > 0 ? [x, y] : null));
  }

  draw() {
    const places = this.on ? this.places : [], known = places.filter(place => place);
    const element = (name, attributes) => {
      const made = document.createElementNS(this.svg.namespaceURI, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      return made;
    };
    const parts = known.map(([cx, cy]) => element('circle', {cx, cy, r: 5}));
    if (known.length === 2) {
      const [[x1, y1], [x2, y2]] = known;
      parts.unshift(...['uv-halo', 'uv-line'].map(name => element('line', {x1, y1, x2, y2, class: name})));
      this.label.style.transform = `translate(${0.5 * (x1 + x2)}px, ${0.5 * (y1 + y2)}px) translate(-50%, -150%)`;
    }
    if (this.on && this.crosshair) {
      const {offsetWidth: width, offsetHeight: height} = this.viewer.plot, [x, y] = [this.crosshair[0] * width, this.crosshair[1] * height];
      const arms = [[CROSSHAIR_ARM_PX, 0], [0, CROSSHAIR_ARM_PX]].map(([dx, dy]) => ({x1: x - dx, y1: y - dy, x2: x + dx, y2: y + dy}));
      parts.push(...['uv-halo', 'uv-line'].flatMap(name => arms.map(ends => element('line', {...ends, class: name}))));
    }
    this.svg.replaceChildren(...parts);
    this.label.hidden = known.length !== 2;
    if (this.label.textContent !== this.text) this.label.textContent = this.text;
  }

  // The drawn point or body vertex under the pointer, in metres: of those in reach, the nearest in the picture among
  // the ones that lie in front.
  pick(x, y, radius) {
    const view = this.viewer.view(), near = [];
    let front = Infinity;
    const consider = (right, down, depth, point) => {
      if (depth < 0.02) return;
      const apart = Math.hypot(0.5 * view.width + view.focal * right / depth - x, 0.5 * view.height + view.focal * down / depth - y);
      if (apart > radius) return;
      front = Math.min(front, depth);
      near.push({apart, depth, point});
    };
    for (const {length, coordinate} of drawnSets(this.viewer)) {
      const [[rx, ry, rz], [dx, dy, dz], [fx, fy, fz]] = view.rows.map(({row}) => row), offsets = view.rows.map(({offset}) => offset);
      for (let i = 0; i < length; i++) {
        const a = coordinate(i, 0), b = coordinate(i, 1), c = coordinate(i, 2);
        if (Number.isNaN(a)) continue;
        consider(rx * a + ry * b + rz * c + offsets[0], dx * a + dy * b + dz * c + offsets[1], fx * a + fy * b + fz * c + offsets[2], [a, b, c]);
      }
    }
    const visible = near.filter(({depth}) => depth <= 1.04 * front + 0.03);
    return visible.length ? visible.reduce((best, other) => (other.apart < best.apart ? other : best)).point : null;
  }
}

// What is drawn, for finding what was clicked: coordinate(i, axis) in metres.
function drawnSets(viewer) {
  const sets = [...viewer.surfaces.sets(), ...CLOUDS.map(name => {
    const {first, count, crop} = viewer.layers.extent(name), {xyz, place: {low, high}} = viewer.clouds[name];
    const bounds = crop && cropSteps({low, high}, crop), scale = [0, 1, 2].map(axis => ((high[axis] - low[axis]) || 1) / 65535);
    return {
      length: count,
      coordinate: (i, axis) => {
        const at = 3 * (first + i);
        return bounds && !insideSteps(xyz, at, bounds) ? NaN : low[axis] + scale[axis] * xyz[at + axis];
      },
    };
  })];
  viewer.scene.meta.people.forEach((_, person) => {
    if (!viewer.bodyVisible(person) || !viewer.shown.people) return;
    const body = viewer.scene.body(person, viewer.frame);
    sets.push({length: body[0].length, coordinate: (i, axis) => body[axis][i]});
  });
  return sets;
}
