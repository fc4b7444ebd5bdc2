// Handing a view on: a link that opens at the same moment from the same place, a frame for other pages, the whole screen.
const FARTHEST_M = 1e4, NEAREST_M = 0.01;

// The `view=` (eye and target, metres) and the `time=` (seconds) behind the # of an address, or null without them.
function sharedView(address = window.location) {
  const words = new URLSearchParams(address.hash.slice(1)), place = (words.get('view') || '').split(',').map(parseFloat);
  const [eye, center] = [place.slice(0, 3), place.slice(3)], usable = value => Math.abs(value) < FARTHEST_M;
  const view = place.length === 6 && place.every(usable) && norm(add(eye, center, -1)) > NEAREST_M ? {eye, center} : null;
  const time_s = words.has('time') ? Number(words.get('time')) : NaN;
  return view || Number.isFinite(time_s) ? {view, time_s: Number.isFinite(time_s) ? time_s : null} : null;
}

function linkToView(viewer) {
  const {scene, frame} = viewer, {eye, center} = viewer.camera(), link = new URL(window.location);
  const place = [eye, center].flatMap(point => scene.unplace(point)).map(value => value.toFixed(2));
  link.searchParams.delete('embed');
  link.hash = `view=${place.join(',')}&time=${scene.meta.times_s[frame].toFixed(2)}`;
  return link.href;
}

function embedSnippet(viewer) {
  const link = new URL(linkToView(viewer));
  if (document.querySelector('.gradio-container')) link.searchParams.set('embed', '1');
  const address = link.href.replace(/&/g, '&amp;').replace(/"/g, '&quot;');
  return `<iframe src="${address}" title="3D scene" width="800" height="560" style="border:0" allow="fullscreen" loading="lazy"></iframe>`;
}

// Takes up the view of a link.
function showShared(viewer, {view, time_s}) {
  const {times_s, frames} = viewer.scene.meta;
  if (time_s !== null) {
    let frame = 0;
    while (frame + 1 < frames && times_s[frame + 1] <= time_s + 0.005) frame++;
    viewer.setFrame(frame);
  }
  if (view) viewer.look({eye: viewer.scene.place(view.eye), center: viewer.scene.place(view.center)});
}

async function copyText(viewer, text, what) {
  const field = viewer.find('.uv-shared');
  field.value = text;
  field.hidden = false;
  field.select();
  const copied = navigator.clipboard ? await navigator.clipboard.writeText(text).then(() => true, () => false) : document.execCommand('copy');
  viewer.find('.uv-copied').textContent = copied ? `${what} copied.` : `Copy this ${what.toLowerCase()}:`;
}

function bindShare(viewer) {
  const {find, element} = viewer, screen = find('.uv-full');
  find('.uv-share-button').addEventListener('click', event => {
    showPanel(viewer, 'share');
    if (!event.detail && !find('.uv-share').hidden) find('.uv-copy-link').focus();   // by keyboard: what opened comes next
  });
  find('.uv-copy-link').addEventListener('click', () => copyText(viewer, linkToView(viewer), 'Link'));
  find('.uv-copy-embed').addEventListener('click', () => copyText(viewer, embedSnippet(viewer), 'Embed code'));
  find('.uv-record').hidden = !videoType();
  find('.uv-record').addEventListener('click', () => saveTurntable(viewer));
  screen.hidden = !document.fullscreenEnabled;
  screen.addEventListener('click', () => fullscreen(viewer));
  document.addEventListener('fullscreenchange', () => {
    const full = document.fullscreenElement === element;
    screen.setAttribute('aria-pressed', String(full));
    screen.setAttribute('aria-label', full ? 'Leave fullscreen' : 'Fullscreen');
  });
}

function fullscreen({element}) {
  if (document.fullscreenElement) document.exitFullscreen(); else if (document.fullscreenEnabled) element.requestFullscreen();
}
