// The video on the scene's timeline: the viewer leads ('unish:time'), the video follows. It stands below the scene, or
// shares its stage behind a line that can be dragged. `props.value` is {overlay, original} (space/updates.py), files
// that come one after the other, the second when it is asked for ('select'); null without a result.
const companion = (() => {
  const AHEAD_S = 0.35;   // so far the video may be from the scene's frame while both play: one frame, and some haste
  const root = element.querySelector('.video-companion'), find = name => root.querySelector(name);
  const screen = find('.vc-screen'), video = find('video'), kind = find('.vc-kind'), place = find('.vc-place');
  const viewer = () => (window.unishViewers || []).find(one => one.element.closest('#viewer') && one.element.isConnected);
  const line = document.createElement('div');
  let split = 50, last_s = 0;
  line.className = 'vc-line';
  for (const [name, value] of Object.entries({role: 'slider', tabindex: 0, 'aria-label': 'Video to the left, scene to the right', 'aria-valuemin': 0, 'aria-valuemax': 100})) line.setAttribute(name, value);

  function follow({time_s, playing, speed}) {
    if (!video.src) return;
    video.playbackRate = speed;
    const again = time_s < last_s, apart = Math.abs(video.currentTime - time_s);
    last_s = time_s;
    if (!playing) {
      video.pause();
      if (apart > 0.005) video.currentTime = time_s + 0.001;
      return;
    }
    if (again || apart > AHEAD_S * Math.max(1, speed)) video.currentTime = time_s + 0.001;
    if (video.paused) video.play().catch(() => {});   // a pause that comes at once is no error
  }

  function divide(share) {
    split = Math.min(98, Math.max(2, share));
    screen.style.clipPath = `inset(0 ${100 - split}% 0 0)`;
    line.style.left = `${split}%`;
    line.setAttribute('aria-valuenow', String(Math.round(split)));
    line.setAttribute('aria-valuetext', `${Math.round(split)} % video`);
  }

  function put() {
    const stage = viewer() && viewer().find('.uv-stage'), inside = place.value === 'split' && stage && video.src;
    root.dataset.mode = !props.value ? 'none' : !video.src ? 'waiting' : inside ? 'split' : 'below';
    if (inside) {
      stage.querySelector('.uv-plot').after(screen, line);
      divide(split);
      viewer().follow.set('clip');
    } else {
      screen.style.clipPath = '';
      line.remove();
      find('.vc-below').append(screen);
    }
    if (viewer()) viewer().tell();
  }

  function show() {
    const {overlay, original} = props.value || {};
    if (!overlay) kind.value = 'overlay';
    const file = kind.value === 'original' ? original : overlay;
    if (file && video.src !== new URL(file.url, location).href) {
      video.src = find('.vc-save').href = file.url;
      find('.vc-save').download = file.orig_name;
    }
    if (!overlay) video.removeAttribute('src');
    put();
  }

  kind.addEventListener('change', () => {
    if (kind.value === 'original' && !props.value.original) trigger('select', {kind: 'original'}); else show();
  });
  place.addEventListener('change', put);
  video.addEventListener('click', () => viewer() && viewer().toggle());
  video.addEventListener('loadedmetadata', () => viewer() && viewer().tell());
  document.addEventListener('unish:time', event => { if (event.target.closest('#viewer')) follow(event.detail); });
  line.addEventListener('pointerdown', event => { line.setPointerCapture(event.pointerId); event.preventDefault(); line.focus(); });
  line.addEventListener('pointermove', event => {
    if (!line.hasPointerCapture(event.pointerId)) return;
    const {left, width} = line.parentElement.getBoundingClientRect();
    divide(100 * (event.clientX - left) / width);
  });
  line.addEventListener('keydown', event => {
    const by = {ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100}[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    divide(split + by);
  });
  return {show};
})();
watch('value', companion.show);
companion.show();
