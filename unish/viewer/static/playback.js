// Time passing in a viewer: frames in real time, bodies between them. The viewer is one of these and draws what it says.
const SLOW_TICK_MS = 60, SLOW_TICKS = 6, FORGIVEN = 0.02;   // so many slow ticks are made up for by a fast one

class Playback {
  constructor() { this.playing = false; }

  play() {
    if (this.playing || !this.scene || this.scene.meta.frames < 2) return;
    this.playing = true;
    this.time = this.scene.meta.times_s[this.frame];
    this.slowTicks = 0;
    let last = performance.now();
    const tick = now => {
      if (!this.playing) return;
      if (!this.element.isConnected) { this.pause(); return; }
      this.slowTicks = Math.max(0, this.slowTicks + (now - last > SLOW_TICK_MS ? 1 : -FORGIVEN));
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
    else if (this.smooth) {
      this.drawPeople();
      this.follow.apply();
    }
  }

  step(by) {
    this.pause();
    this.setFrame((this.frame + by + this.scene.meta.frames) % this.scene.meta.frames);
  }

  showPlaying() {
    const button = this.find('.uv-play');
    button.classList.toggle('uv-playing', this.playing);
    button.setAttribute('aria-label', this.playing ? 'Pause' : 'Play');
    this.tell();
  }

  // A slow machine draws the frames alone.
  get smooth() { return this.layers.constructor.kind === 'direct' && this.slowTicks < SLOW_TICKS; }

  // Between two frames, while they play: bodies move on, and the video does not. Seen as the video they wait for it.
  get share() {
    const {times_s, frames} = this.scene.meta, {frame} = this;
    if (!this.playing || !this.smooth || frame + 1 >= frames || this.follow.mode === 'clip' || this.opening.atCamera) return 0;
    return clamp((this.time - times_s[frame]) / (times_s[frame + 1] - times_s[frame]), 0, 1);
  }
}
