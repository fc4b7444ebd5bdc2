// The viewer: UnishViewer.mount(element, options).load(source). Loads a scene file, draws it with Plotly, plays it in
// the browser. Text that comes with a scene (names, notes) is only ever set as textContent.
const UnishViewer = (() => {
  const PLOTLY_WAIT_MS = 20000;
  const CAMERA_COLOR = '#8a97ab', FRUSTUM_COLOR = '#f5b301', GRID_COLOR = '#8894a6';
  const FRUSTUM_PATH = [0, 1, 2, 3, 4, 1, 0, 2, 0, 3, 0, 4];   // centre and four corners, every edge, one line
  const all = window.unishViewers = window.unishViewers || [];
  const nextPaint = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  // Light or dark: as the host page says (Gradio marks its body), else as the system asks.
  function followTheme(element) {
    const system = window.matchMedia('(prefers-color-scheme: dark)'), {body} = document;
    const apply = () => {
      const dark = document.querySelector('.gradio-container') ? body.classList.contains('dark') : system.matches;
      element.dataset.theme = dark ? 'dark' : 'light';
    };
    system.addEventListener('change', apply);
    new MutationObserver(apply).observe(body, {attributeFilter: ['class']});
    apply();
  }

  async function plotlyReady() {
    const until = performance.now() + PLOTLY_WAIT_MS;
    while (!window.Plotly) {
      if (performance.now() > until) throw new Error('plotly.js did not load');
      await new Promise(done => setTimeout(done, 50));
    }
  }

  async function readSource({url, base64, buffer}) {
    if (buffer) return buffer;
    if (base64) return bytesFromBase64(base64);
    const answer = await fetch(url).catch(() => { throw new Error('the server cannot be reached'); });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.arrayBuffer();
  }

  // The wheel and two fingers call zoom(factor), which says whether it did: Plotly alone follows one finger and the
  // wheel only. Below 1 is closer.
  function zoomWith(stage, zoom) {
    let apart = 0;
    const distance = ({touches: [a, b]}) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    const take = (event, factor) => {
      if (!zoom(factor)) return;
      event.preventDefault();
      event.stopPropagation();
    };
    const listen = (name, handle) => stage.addEventListener(name, handle, {capture: true, passive: false});
    listen('wheel', event => {
      const lines = event.deltaY * (event.deltaMode ? 30 : 1);
      take(event, Math.exp(clamp(lines, -200, 200) * 0.0015));
    });
    listen('touchstart', event => { if (event.touches.length === 2) { apart = distance(event); take(event, 1); } });
    listen('touchmove', event => {
      if (event.touches.length !== 2) return;
      const now = distance(event);
      take(event, apart / now);
      apart = now;
    });
  }

  class Viewer {
    constructor(element, {fallback = false, keys = element} = {}) {
      this.element = element;
      this.forceFallback = fallback || element.dataset.fallback === '1';
      this.find = selector => element.querySelector(selector);
      this.plot = this.find('.uv-plot');
      this.frame = 0;
      this.playing = false;
      this.layers = null;         // DirectLayers or PublicLayers, while a scene is shown
      this.shown = {};            // layer name → on or off; person index → on or off in shownPeople
      this.shownPeople = [];
      this.loads = 0;
      this.bindControls(keys);
      followTheme(element);
      zoomWith(this.find('.uv-stage'), factor => this.zoom(factor));
      new ResizeObserver(() => this.resize()).observe(this.find('.uv-stage'));
      this.setEnabled(false);
      all.push(this);
    }

    // What a test or another script may read.
    get state() {
      const camera = this.layers && this.plot._fullLayout.scene._scene.getCamera();
      return {
        ready: this.element.dataset.ready === 'true', path: this.layers ? this.layers.constructor.kind : null,
        frame: this.frame, frames: this.scene ? this.scene.meta.frames : 0, playing: this.playing,
        drawnPoints: this.drawnPoints, layers: {...this.shown}, people: [...this.shownPeople],
        bodies: this.scene ? this.scene.meta.people.map((_, i) => this.bodyVisible(i)) : [],
        camera, milliseconds: {...this.milliseconds},
      };
    }

    // ---- loading -------------------------------------------------------------------------------------------------

    async load(source) {
      const load = ++this.loads;
      this.pause();
      this.setEnabled(false);
      delete this.element.dataset.ready;
      this.say('Loading the scene…');
      const started = performance.now();
      try {
        const [buffer] = await Promise.all([readSource(source), plotlyReady()]);
        if (load !== this.loads) return;
        this.buffer = buffer;
        this.milliseconds = {fetched: performance.now() - started};
        await this.show(parseScene(buffer));
      } catch (error) {
        if (load !== this.loads) return;
        console.error(error);
        this.say(`The scene could not be shown: ${error.message}.`, 'Try again', () => this.load(source));
        return;
      }
      this.milliseconds.ready = performance.now() - started;
      this.element.dataset.ready = 'true';
    }

    async show(scene) {
      if (!document.createElement('canvas').getContext('webgl')) throw new Error('this browser has WebGL switched off');
      Plotly.purge(this.plot);
      this.layers = null;
      this.scene = scene;
      this.bodies = scene.meta.people.map(() => []);
      this.clouds = {
        still: {xyz: scene.arrays.still_xyz, color: scene.arrays.still_color, place: scene.meta.still},
        moving: {xyz: scene.arrays.moving_xyz, color: scene.arrays.moving_color, place: scene.meta.moving},
      };
      this.frame = 0;
      this.layers = await this.draw();
      this.element.dataset.path = this.layers.constructor.kind;
      this.plot.on('plotly_webglcontextlost', () => this.lost());
      this.describe();
      for (const button of this.find('.uv-layers').children) this.shown[button.dataset.layer] = button.ariaPressed === 'true';
      this.shownPeople = scene.meta.people.map(() => true);
      this.say('');
      this.setEnabled(true);
      this.refresh();
      this.layers.redraw();
      await nextPaint();
    }

    async draw() {
      if (!this.forceFallback) {
        await Plotly.newPlot(this.plot, this.traces(false), this.layout(), this.config());
        try {
          return new DirectLayers(this.plot, this.clouds);
        } catch (error) {
          console.warn(`unish viewer: ${error.message}; drawing with Plotly's public functions, with fewer points`);
          Plotly.purge(this.plot);
        }
      }
      const traces = this.traces(true);
      await Plotly.newPlot(this.plot, traces, this.layout(), this.config());
      return new PublicLayers(this.plot, this.clouds, {still: traces.length - 2, moving: traces.length - 1});
    }

    lost() {
      this.pause();
      delete this.element.dataset.ready;
      this.say('The graphics card took its memory back.', 'Show again', () => this.load({buffer: this.buffer}));
    }

    // ---- what Plotly is given ------------------------------------------------------------------------------------

    traces(withClouds) {
      const {meta, arrays} = this.scene, count = arrays.faces.length / 3;
      const [i, j, k] = [0, 1, 2].map(corner => Uint32Array.from({length: count}, (_, f) => arrays.faces[3 * f + corner]));
      const bodies = meta.people.map((person, index) => {
        const [x, y, z] = this.body(index, 0);
        return {
          type: 'mesh3d', x, y, z, i, j, k, color: person.color, hoverinfo: 'skip', flatshading: false,
          lighting: {ambient: 0.68, diffuse: 0.52, specular: 0.1, roughness: 0.6, fresnel: 0.1},
          lightposition: {x: 4000, y: -20000, z: 12000},
        };
      });
      const line = ([x, y, z], color, width) => ({
        type: 'scatter3d', mode: 'lines', x, y, z, line: {color, width}, hoverinfo: 'skip', connectgaps: false,
      });
      this.pathTrace = bodies.length;
      this.frustumTrace = bodies.length + 1;
      this.gridTrace = bodies.length + 2;
      const lines = [line(this.cameraPath(), CAMERA_COLOR, 4), line(this.frustum(0), FRUSTUM_COLOR, 4), line(this.grid(), GRID_COLOR, 1)];
      const cloud = {type: 'scatter3d', mode: 'markers', x: [null], y: [null], z: [null], hoverinfo: 'skip', marker: {symbol: 'square', size: 2, line: {width: 0}}};
      return [...bodies, ...lines, ...(withClouds ? [cloud, {...cloud, marker: {...cloud.marker}}] : [])];
    }

    // Plot units a metre: with fixed ranges and a manual aspect ratio the scene keeps its shape whatever is shown.
    get unit() {
      const {low, high} = this.scene.meta;
      return 1 / Math.cbrt(low.reduce((volume, value, axis) => volume * (high[axis] - value), 1));
    }

    layout() {
      const {low, high} = this.scene.meta, unit = this.unit;
      const axis = index => ({range: [low[index], high[index]], autorange: false, visible: false, showspikes: false});
      const size = index => unit * (high[index] - low[index]);
      return {
        margin: {l: 0, r: 0, t: 0, b: 0}, autosize: true, uirevision: 'keep', hovermode: false, showlegend: false,
        paper_bgcolor: 'rgba(0,0,0,0)',
        scene: {
          xaxis: axis(0), yaxis: axis(1), zaxis: axis(2), bgcolor: 'rgba(0,0,0,0)', dragmode: 'turntable',
          aspectmode: 'manual', aspectratio: {x: size(0), y: size(1), z: size(2)}, camera: this.firstView(),
        },
      };
    }

    config() {
      const sharpness = clamp(window.devicePixelRatio || 1, 1.5, 2);
      return {displayModeBar: false, showSendToCloud: false, displaylogo: false, responsive: false, plotGlPixelRatio: sharpness};
    }

    firstView() {
      const {low, high, view} = this.scene.meta, unit = this.unit;
      const place = point => {
        const [x, y, z] = point.map((value, axis) => unit * (value - 0.5 * (low[axis] + high[axis])));
        return {x, y, z};
      };
      return {up: {x: 0, y: 0, z: 1}, center: place(view.target), eye: place(view.eye)};
    }

    body(person, frame) {
      const steps = this.scene.arrays[`body_${person}`], vertices = steps.shape[1];
      const kept = this.bodies[person];
      return kept[frame] = kept[frame] || dequantise(steps, this.scene.meta.bodies, frame * vertices, vertices);
    }

    cameraPath() {
      const corners = this.scene.arrays.camera_corners;
      return [0, 1, 2].map(axis => Array.from({length: this.scene.meta.frames}, (_, f) => corners[15 * f + axis]));
    }

    frustum(frame) {
      const corners = this.scene.arrays.camera_corners;
      return [0, 1, 2].map(axis => FRUSTUM_PATH.map(corner => corners[15 * frame + 3 * corner + axis]));
    }

    // Lines a metre apart (or more, at most 40 a side) on the ground.
    grid() {
      const {low, high, ground_z} = this.scene.meta, lines = [[], [], []];
      const step = Math.max(1, Math.ceil(Math.max(high[0] - low[0], high[1] - low[1]) / 40));
      for (const [along, across] of [[0, 1], [1, 0]]) {
        for (let at = Math.ceil(low[along] / step) * step; at <= high[along]; at += step) {
          lines[along].push(at, at, null);
          lines[across].push(low[across], high[across], null);
          lines[2].push(ground_z, ground_z, null);
        }
      }
      return lines;
    }

    // ---- what is shown -------------------------------------------------------------------------------------------

    bodyVisible(person) {
      const {arrays, meta} = this.scene;
      return Boolean(this.shown.people && this.shownPeople[person] && arrays.present[person * meta.frames + this.frame]);
    }

    setFrame(frame) {
      this.frame = clamp(Math.round(frame), 0, this.scene.meta.frames - 1);
      const started = performance.now();
      this.drawFrame();
      this.milliseconds.frame = performance.now() - started;
    }

    drawFrame() {
      const {meta, arrays} = this.scene, start = arrays.moving_start;
      meta.people.forEach((_, person) => {
        const visible = this.bodyVisible(person);
        if (visible) this.layers.moveTrace(person, this.body(person, this.frame));
        this.layers.showTrace(person, visible);
      });
      if (this.shown.camera) this.layers.moveTrace(this.frustumTrace, this.frustum(this.frame));
      const first = start[this.frame];
      const count = countConfident(arrays.moving_color, first, start[this.frame + 1], this.threshold);
      this.layers.setCloud('moving', {first, count, visible: this.shown.points});
      this.drawnPoints = this.layers.drawn('still') + this.layers.drawn('moving');
      this.layers.flush();
      this.find('.uv-frame').value = this.frame;
      const seconds = meta.times_s[this.frame].toFixed(2);
      this.find('.uv-frame').setAttribute('aria-valuetext', `${seconds} seconds, frame ${this.frame + 1} of ${meta.frames}`);
      this.find('.uv-clock').textContent = `${seconds} s · ${this.frame + 1}/${meta.frames}`;
      const reduced = this.layers.constructor.kind === 'public' ? ' (reduced)' : '';
      this.find('.uv-count').textContent = `${this.drawnPoints.toLocaleString('en')} points${reduced}`;
    }

    // Everything but the frame: layers, point size, threshold.
    refresh() {
      const {meta, arrays} = this.scene;
      this.threshold = Number(this.find('.uv-confidence').value);
      this.find('.uv-least').textContent = `${Math.round(100 * this.threshold)} %`;
      const size = Number(this.find('.uv-size').value);
      const count = countConfident(arrays.still_color, 0, arrays.still_color.length / 4, this.threshold);
      this.layers.setCloud('still', {count, visible: this.shown.scene, size});
      this.layers.setCloud('moving', {size});
      this.layers.showTrace(this.pathTrace, this.shown.camera && meta.frames > 1);
      this.layers.showTrace(this.frustumTrace, this.shown.camera);
      this.layers.showTrace(this.gridTrace, this.shown.grid);
      this.setFrame(this.frame);
    }

    // ---- time ----------------------------------------------------------------------------------------------------

    play() {
      if (this.playing || !this.scene || this.scene.meta.frames < 2) return;
      this.playing = true;
      this.time = this.scene.meta.times_s[this.frame];
      let last = performance.now();
      const tick = now => {
        if (!this.playing) return;
        if (!this.element.isConnected) { this.pause(); return; }
        this.advance(clamp((now - last) / 1000, 0, 1));
        last = now;
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
      this.showPlaying();
    }

    pause() {
      this.playing = false;
      this.showPlaying();
    }

    toggle() { if (this.playing) this.pause(); else this.play(); }

    // Real time: frames are skipped when the machine is slow, and the clip starts again at its end.
    advance(seconds) {
      const {times_s, fps, frames} = this.scene.meta;
      this.time = (this.time + seconds * Number(this.find('.uv-speed').value)) % (times_s[frames - 1] + 1 / fps);
      let frame = this.time < times_s[this.frame] ? 0 : this.frame;
      while (frame + 1 < frames && times_s[frame + 1] <= this.time) frame++;
      if (frame !== this.frame) this.setFrame(frame);
    }

    step(by) {
      this.pause();
      this.setFrame((this.frame + by + this.scene.meta.frames) % this.scene.meta.frames);
    }

    showPlaying() {
      const button = this.find('.uv-play');
      button.classList.toggle('uv-playing', this.playing);
      button.setAttribute('aria-label', this.playing ? 'Pause' : 'Play');
    }

    // ---- controls ------------------------------------------------------------------------------------------------

    bindControls(keys) {
      const on = (selector, event, handle) => this.find(selector).addEventListener(event, handle);
      on('.uv-play', 'click', () => this.toggle());
      on('.uv-frame', 'input', event => { this.pause(); this.setFrame(Number(event.target.value)); });
      on('.uv-size', 'input', () => this.refresh());
      on('.uv-confidence', 'input', () => this.refresh());
      on('.uv-home', 'click', () => this.resetView());
      for (const button of this.find('.uv-layers').children) {
        button.addEventListener('click', () => {
          const shown = this.shown[button.dataset.layer] = !this.shown[button.dataset.layer];
          button.setAttribute('aria-pressed', String(shown));
          this.refresh();
        });
      }
      on('.uv-stage', 'pointerdown', () => {
        this.find('.uv-hint').classList.add('uv-read');
        this.element.focus({preventScroll: true});
      });
      keys.addEventListener('keydown', event => this.key(event));
    }

    key(event) {
      if (!this.scene || event.ctrlKey || event.metaKey || event.altKey) return;
      const control = event.target.closest ? event.target.closest('button, input, select, textarea') : null;
      const onTime = control === this.find('.uv-frame');
      const actions = {
        ' ': () => (!control || onTime) && this.toggle(),
        ArrowRight: () => !control && this.step(1),
        ArrowLeft: () => !control && this.step(-1),
        Home: () => !control && this.resetView(),
      };
      const action = actions[event.key];
      if (action && action() !== false && (!control || (onTime && event.key === ' '))) event.preventDefault();
    }

    resetView() { return Plotly.relayout(this.plot, {'scene.camera': this.firstView()}); }

    zoom(factor) {
      if (!this.layers || !this.layers.zoom) return false;
      this.layers.zoom(factor);
      return true;
    }

    resize() {
      if (!this.layers || !this.plot.offsetWidth) return;
      this.layers.keepCamera();
      Plotly.Plots.resize(this.plot);
    }

    setEnabled(enabled) {
      for (const control of this.find('.uv-controls').querySelectorAll('button, input, select')) control.disabled = !enabled;
      const still = this.scene && this.scene.meta.frames < 2;
      if (still) for (const name of ['.uv-play', '.uv-frame', '.uv-speed']) this.find(name).disabled = true;
      this.find('.uv-controls').classList.toggle('uv-still', Boolean(still));
    }

    // The controls that depend on the scene: time range, starting threshold, one button for each person, notes.
    describe() {
      const {meta} = this.scene;
      this.find('.uv-frame').max = meta.frames - 1;
      this.find('.uv-confidence').value = meta.default_confidence;
      this.find('.uv-people').replaceChildren(...meta.people.map((person, index) => {
        const button = document.createElement('button'), dot = document.createElement('span'), name = document.createElement('span');
        button.type = 'button';
        button.setAttribute('aria-pressed', 'true');
        dot.className = 'uv-dot';
        dot.style.background = person.color;
        name.textContent = person.name;
        button.append(dot, name);
        button.addEventListener('click', () => {
          this.shownPeople[index] = !this.shownPeople[index];
          button.setAttribute('aria-pressed', String(this.shownPeople[index]));
          this.refresh();
        });
        return button;
      }));
      this.find('.uv-notes').hidden = meta.notes.length === 0;
      this.find('.uv-notes ul').replaceChildren(...meta.notes.map(note => {
        const item = document.createElement('li');
        item.textContent = note;
        return item;
      }));
      for (const name of ['people', 'points']) this.find(`[data-layer=${name}]`).hidden = meta.people.length === 0;
    }

    say(text, action, handle) {
      const message = this.find('.uv-message');
      message.textContent = text;
      message.hidden = !text;
      if (!action) return;
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = action;
      button.addEventListener('click', handle);
      message.append(button);
    }
  }

  return {mount: (element, options) => new Viewer(element, options)};
})();
