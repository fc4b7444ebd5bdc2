// How a scene introduces itself: the clip plays from its own camera, the view eases out into a slow orbit, and the first
// touch ends it. Nothing of this for visitors who asked for less motion, and little where every frame holds up the page.
const OPENING_HOLD_S = 1.6, OPENING_EASE_S = 3.4, ORBIT_PERIOD_S = 26, ORBIT_RAD = 0.55;
const LONGEST_STEP_S = 0.1;   // a slow machine sees every part of it
const BLOCKING_STEP_MS = 250, BLOCKING_STEPS = 5;   // a machine without a graphics card, on which a click would take seconds

const easeInOut = share => share * share * share * (share * (6 * share - 15) + 10);

class Opening {
  constructor(viewer) {
    this.viewer = viewer;
    this.running = false;
    this.longest_ms = BLOCKING_STEP_MS;
    for (const touch of ['pointerdown', 'wheel', 'keydown', 'input']) {
      viewer.element.addEventListener(touch, () => this.stop(), {capture: true, passive: true});
    }
  }

  // While the view stands (almost) where the clip's camera is: that camera is not drawn.
  get atCamera() { return this.running && this.share < 0.5; }
  get share() { return easeInOut(Math.min(1, Math.max(0, (this.elapsed_s - OPENING_HOLD_S) / OPENING_EASE_S))); }

  start() {
    const {viewer} = this;
    if (viewer.layers.constructor.kind !== 'direct' || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    Object.assign(this, {running: true, elapsed_s: 0});
    viewer.refresh();
    viewer.play();
    let last = performance.now(), atCamera = true, blocking = 0;
    const tick = now => {
      if (!this.running) return;
      if (!viewer.element.isConnected) { this.running = false; return; }
      if (now - last > this.longest_ms && ++blocking === BLOCKING_STEPS) { this.skip(); return; }
      this.elapsed_s += Math.min(LONGEST_STEP_S, (now - last) / 1000);
      last = now;
      if (atCamera !== this.atCamera) viewer.refresh();
      atCamera = this.atCamera;
      const {camera, fov, tilted} = this.view();
      viewer.layers.look(camera, fov, tilted);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  // From here on the view is the visitor's: what stood in the middle keeps its size.
  stop() {
    if (!this.running) return;
    const {viewer} = this, {camera: {eye, center}, fov} = this.view();
    const zoom = Math.tan(0.5 * fov) / Math.tan(0.5 * PLOTLY_FOV);
    this.running = false;
    viewer.layers.look({eye: between(center, eye, zoom), center, up: {x: 0, y: 0, z: 1}}, PLOTLY_FOV, false);
    viewer.refresh();
  }

  // The scene stands still, seen as it would be in the end.
  skip() {
    this.running = false;
    this.viewer.pause();
    this.viewer.resetView();
    this.viewer.refresh();
  }

  view() {
    const {viewer, share} = this, to = this.orbit();
    if (share === 1) return {camera: to, fov: PLOTLY_FOV, tilted: false};
    const {camera: from, fov} = viewer.follow.clip();
    const camera = Object.fromEntries(['eye', 'center', 'up'].map(name => [name, between(from[name], to[name], share)]));
    return {camera, fov: fov + share * (PLOTLY_FOV - fov), tilted: true};
  }

  // To and fro before the scene, which has no back: nobody has seen it.
  orbit() {
    const {eye, center, up} = this.viewer.firstView(), since_s = Math.max(0, this.elapsed_s - OPENING_HOLD_S);
    return {eye: around(eye, center, ORBIT_RAD * Math.sin(2 * Math.PI * since_s / ORBIT_PERIOD_S)), center, up};
  }
}
