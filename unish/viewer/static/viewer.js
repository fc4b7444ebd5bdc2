// The viewer: UnishViewer.mount(element, options).load(source). Loads a scene file, draws it with Plotly, plays it in
// the browser. Text that comes with a scene (names, notes) is only ever set as textContent.
const UnishViewer = (() => {
  const all = window.unishViewers = window.unishViewers || [];
  const nextPaint = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));

  class Viewer extends Playback {
    constructor(element, {fallback = false, keys = element, opening = false, plotly = null} = {}) {
      super();
      this.element = element;
      this.opens = opening;
      this.plotlyReady = plotly ? runPacked(plotly) : plotlyReady();
      this.forceFallback = fallback || element.dataset.fallback === '1';
      this.find = selector => element.querySelector(selector);
      this.plot = this.find('.uv-plot');
      this.frame = 0;
      this.layers = null;         // DirectLayers or PublicLayers, while a scene is shown
      this.shown = {};            // layer name → on or off; person index → on or off in shownPeople
      this.shownPeople = [];
      this.loads = 0;
      this.follow = new Follow(this);
      this.opening = new Opening(this);
      this.link = sharedView();   // taken up by the first scene
      this.measure = new Measure(this);
      bindControls(this, keys);
      nameJoints(this);
      followTheme(element);
      useGestures(this.plot, {zoom: factor => this.zoom(factor), pan: (right, down) => this.pan(-right / this.plot.offsetHeight, down / this.plot.offsetHeight)});
      dragOrClick(this.plot, () => this.layers && this.follow.release(), (x, y, touch) => this.layers && this.measure.click(x, y, touch));
      new ResizeObserver(() => this.resize()).observe(this.find('.uv-stage'));
      setEnabled(this, false);
      all.push(this);
    }

    // What a test or another script may read.
    get state() {
      return {
        ready: this.element.dataset.ready === 'true', path: this.layers ? this.layers.constructor.kind : null,
        frame: this.frame, frames: this.scene ? this.scene.meta.frames : 0, playing: this.playing,
        drawnPoints: this.drawnPoints, layers: {...this.shown}, people: [...this.shownPeople],
        bodies: this.scene ? this.scene.meta.people.map((_, i) => this.bodyVisible(i)) : [],
        camera: this.layers && this.camera(), fov: this.layers && this.layers.fov, follow: this.follow.mode,
        style: this.style, settled: Boolean(this.surfaces && this.surfaces.settled), measured: this.measure.length,
        crop: this.crop, opening: this.opening.running, milliseconds: {...this.milliseconds},
      };
    }

    // ---- loading -------------------------------------------------------------------------------------------------

    take(value) { return takeScene(this, value); }

    settle() { settleViewer(this); }

    // What is still being done, beside the scene.
    work(text) {
      this.find('.uv-working').textContent = text;
      this.find('.uv-working').hidden = !text;
    }

    async load(source) {
      const load = ++this.loads;
      this.whole = null;
      this.opening.running = false;
      this.pause();
      setEnabled(this, false);
      delete this.element.dataset.ready;
      this.say('Loading scene…');
      const started = performance.now();
      try {
        const [buffer] = await Promise.all([readSource(source), this.plotlyReady]);
        if (load !== this.loads) return;
        this.buffer = buffer;
        this.milliseconds = {fetched: performance.now() - started};
        await this.show(new Scene(parseScene(await unpackBytes(buffer))));
      } catch (error) {
        if (load !== this.loads) return;
        console.error(error);
        this.say(`Could not show the scene: ${error.message}.`, 'Try again', () => this.load(source));
        return;
      }
      showPoster(this, null);
      this.milliseconds.ready = performance.now() - started;
      this.element.dataset.ready = 'true';
      if (this.link) showShared(this, this.link); else if (this.opens) this.opening.start();
      this.link = null;
    }

    async show(scene) {
      if (!document.createElement('canvas').getContext('webgl')) throw new Error('this browser has WebGL switched off');
      Plotly.purge(this.plot);
      this.layers = null;
      this.scene = scene;
      this.pictures = new Pictures(scene.arrays);
      this.clouds = Object.fromEntries(CLOUDS.map(name => [
        name, {xyz: scene.arrays[`${name}_xyz`], color: scene.arrays[`${name}_color`], spans: scene.arrays[`${name}_span`], place: scene.meta[name]},
      ]));
      this.frame = scene.firstFrame;
      this.follow.mode = 'free';
      this.measure.points = [];
      this.layers = await this.draw();
      this.surfaces = new SurfaceView(this, this.layers, this.data);
      this.element.dataset.path = this.layers.constructor.kind;
      this.plot.on('plotly_webglcontextlost', () => this.lost());
      describe(this);
      for (const button of this.find('.uv-layers').children) this.shown[button.dataset.layer] = button.ariaPressed === 'true';
      this.shownPeople = scene.meta.people.map(() => true);
      for (const index of [...this.at.paths, ...this.at.walked, ...this.at.skeletons]) this.layers.showThrough(index);
      this.recolor();
      await this.wholePicture();
      await this.layers.release();
      this.say('');
      setEnabled(this, true);
      await nextPaint();
    }

    // Until the frame's surface and the background have their images.
    async wholePicture() {
      while (!this.surfaces.settled) await new Promise(done => setTimeout(done, 10));
    }

    async draw() {
      this.data = new SurfaceData(this.scene);
      const plot = async whole => {
        const {traces, at} = plotlyTraces(this.scene, whole);
        await Plotly.newPlot(this.plot, traces, plotlyLayout(this.scene, this.firstView()), plotlyConfig());
        this.at = at;
      };
      if (!this.forceFallback) {
        await plot(false);
        try {
          return new DirectLayers(this.plot, this.clouds, {surfaces: this.data, bodies: this.scene.bodies});
        } catch (error) {
          console.warn(`unish viewer: ${error.message}; drawing with Plotly's public functions, with fewer points`);
          Plotly.purge(this.plot);
        }
      }
      await plot(true);
      return new PublicLayers(this.plot, this.clouds, this.at, this.scene);
    }

    lost() {
      this.pause();
      delete this.element.dataset.ready;
      this.say('The 3D view lost its graphics context.', 'Reload view', () => this.load(this.whole || {buffer: this.buffer}));
    }

    // ---- what is shown -------------------------------------------------------------------------------------------

    personVisible(person) { return this.shownPeople[person] && this.scene.present(person, this.frame); }
    bodyVisible(person) { return Boolean(this.shown.people && this.personVisible(person)); }
    get cameraVisible() { return this.shown.camera && this.follow.mode !== 'clip' && !this.opening.atCamera; }

    // Takes effect with the next refresh.
    showLayer(layer, shown) {
      this.shown[layer] = shown;
      this.find(`[data-layer=${layer}]`).setAttribute('aria-pressed', String(shown));
    }

    setFrame(frame) {
      this.frame = clamp(Math.round(frame), 0, this.scene.meta.frames - 1);
      const started = performance.now();
      this.drawFrame();
      this.milliseconds.frame = performance.now() - started;
    }

    drawFrame() {
      const {scene, layers, at, frame, shown} = this;
      const draw = (index, visible, place) => {
        if (visible) layers.moveTrace(index, place());
        layers.showTrace(index, visible);
      };
      scene.meta.people.forEach((_, person) => {
        draw(at.walked[person], Boolean(shown.paths && this.shownPeople[person] && frame), () => scene.walked(person, frame));
      });
      draw(at.frustum, this.cameraVisible, () => scene.frustum(frame));
      this.drawPeople();
      const {moving_start: start, moving_color: color} = scene.arrays, first = start[frame];
      layers.setCloud('moving', {first, count: countConfident(color, first, start[frame + 1], this.threshold)});
      this.surfaces.show(frame);
      if (this.playing) this.pictures.ahead(frame);
      this.drawPicture();
      this.follow.apply();
      layers.flush();
      this.showFrame();
    }

    drawPeople() {
      const {scene: {bodies, meta}, frame, share} = this;
      this.layers.setPeople(meta.people.map((_, person) => ({
        person, pose: bodies.pose(person, frame, share), standing: bodies.standing(person, frame),
        body: this.bodyVisible(person), skeleton: Boolean(this.shown.skeleton && this.personVisible(person)),
      })));
    }

    // The frame's own picture, once it is decoded; by then another frame may be shown.
    async drawPicture() {
      const {frame, layers} = this, visible = Boolean(this.shown.picture && this.cameraVisible && this.pictures.any);
      layers.showPicture(visible);
      if (!visible || layers.constructor.kind === 'public') return;
      const bitmap = await this.pictures.get(frame);
      if (bitmap && this.frame === frame && this.layers === layers) layers.setPicture(this.scene.corners(frame).slice(1), bitmap);
    }

    // What the controls say of the frame.
    showFrame() {
      const {scene: {meta}, frame} = this, seconds = meta.times_s[frame].toFixed(2);
      this.drawnPoints = CLOUDS.reduce((sum, name) => sum + this.layers.drawn(name), this.surfaces.count());
      this.find('.uv-frame').value = frame;
      this.find('.uv-frame').setAttribute('aria-valuetext', `${seconds} seconds, frame ${frame + 1} of ${meta.frames}`);
      this.find('.uv-clock').textContent = `${seconds} s · ${frame + 1}/${meta.frames}`;
      const reduced = this.layers.constructor.kind === 'public' ? ' (reduced)' : '';
      this.find('.uv-count').textContent = `${this.drawnPoints.toLocaleString('en')} points${reduced}`;
      this.tell();
    }

    // For whatever else keeps time with the scene, such as a video beside it.
    tell() {
      if (!this.scene) return;
      const detail = {time_s: this.scene.meta.times_s[this.frame], playing: this.playing, speed: Number(this.find('.uv-speed').value)};
      this.element.dispatchEvent(new CustomEvent('unish:time', {detail, bubbles: true}));
    }

    get style() { return this.surfaces && this.surfaces.possible ? this.find('.uv-style').value : 'points'; }
    get sceneMode() { return this.surfaces && this.surfaces.possible ? this.find('.uv-scene-mode').value : 'whole'; }
    get colorBy() { return this.find('.uv-color').value; }

    // Everything but the frame: layers, point size, threshold, crop box.
    refresh() {
      const {meta, arrays} = this.scene, {layers, at, shown} = this, points = this.style === 'points';
      this.threshold = Number(this.find('.uv-confidence').value);
      this.find('.uv-least').textContent = `${Math.round(100 * this.threshold)} %`;
      this.crop = cropBox(this);
      const every = {size: Number(this.find('.uv-size').value), crop: this.crop};
      const count = countConfident(arrays.still_color, 0, arrays.still_color.length / 4, this.threshold);
      // Where there are surfaces, their vertices are the points: as many as the clip's depth has, and no discs.
      const clouds = points && !this.surfaces.possible;
      layers.setCloud('still', {...every, count, visible: clouds && shown.scene});
      layers.setCloud('moving', {...every, visible: shown.points && (clouds || this.colorBy === 'distance')});
      this.surfaces.refresh();
      layers.showTrace(at.cameraPath, this.cameraVisible && meta.frames > 1);
      layers.showTrace(at.grid, shown.grid);
      at.paths.forEach((index, person) => layers.showTrace(index, Boolean(shown.paths && this.shownPeople[person])));
      this.setFrame(this.frame);
    }

    // What the points' colours say, and the scale beside the choice.
    recolor() {
      const by = this.colorBy, scale = colorScale(this.scene, by);
      for (const name of CLOUDS) this.layers.recolor(name, cloudColors(this.scene, name, by));
      this.find('.uv-scale').hidden = !scale;
      [this.find('.uv-from').textContent, this.find('.uv-to').textContent] = scale || ['', ''];
      this.refresh();
    }

    // ---- the view ------------------------------------------------------------------------------------------------

    firstView() {
      const {scene} = this, {view} = scene.meta;
      return {up: {x: 0, y: 0, z: 1}, center: scene.place(view.target), eye: scene.place(view.eye)};
    }

    resetView() {
      const camera = this.firstView();
      this.follow.release();
      this.layers.look(camera, PLOTLY_FOV, false);
      return Plotly.relayout(this.plot, {'scene.camera': camera});
    }

    // Says which view is taken, after it changed.
    followed() {
      const select = this.find('.uv-follow');
      select.value = this.follow.mode;
      this.announce(`View: ${select.selectedOptions[0].textContent}.`);
    }

    camera() { return this.plot._fullLayout.scene._scene.getCamera(); }

    // How metres become pixels of the stage, as it is seen now.
    view() {
      return viewOf(this.scene, this.camera(), this.layers.fov, this.plot.offsetWidth, this.plot.offsetHeight);
    }

    zoom(factor) {
      if (!this.layers || !this.layers.zoom) return false;
      this.follow.release();
      this.layers.zoom(factor);
      return true;
    }

    // A free view from there.
    look({eye, center}) {
      this.follow.release();
      this.layers.look({eye, center, up: {x: 0, y: 0, z: 1}}, PLOTLY_FOV, false);
      this.layers.flush();
    }

    turn(aside, upward) { if (this.layers) this.look(turned(this.camera(), aside, upward)); }
    pan(right, up) { if (this.layers) this.look(panned(this.camera(), right, up, PLOTLY_FOV)); }

    resize() {
      if (!this.layers || !this.plot.offsetWidth) return;
      this.layers.keepCamera();
      Promise.resolve(Plotly.Plots.resize(this.plot)).then(() => {
        if (this.layers && this.follow.mode !== 'free') this.refresh();
      });
    }

    announce(text) { this.find('.uv-announce').textContent = text; }

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
