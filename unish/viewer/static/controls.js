// Buttons, sliders and keys of a viewer. What they show follows the viewer; what they do is in the viewer.
const NARROW_PX = 640, LOW_PX = 460;

function bindControls(viewer, keys) {
  const {element, find} = viewer, on = (selector, event, handle) => find(selector).addEventListener(event, handle);
  on('.uv-play', 'click', () => viewer.toggle());
  on('.uv-frame', 'input', event => { viewer.pause(); viewer.setFrame(Number(event.target.value)); });
  for (const selector of ['.uv-size', '.uv-confidence']) on(selector, 'input', () => viewer.refresh());
  for (const selector of ['.uv-scene-mode', '.uv-style']) on(selector, 'change', () => viewer.refresh());
  on('.uv-motion', 'change', event => {
    viewer.scene.bodies.choose(event.target.value);
    viewer.refresh();
  });
  on('.uv-follow', 'change', event => viewer.follow.set(event.target.value));
  on('.uv-color', 'change', event => {
    // Person and distance are properties of the people's points alone, which are hidden at first.
    if (['person', 'distance'].includes(event.target.value)) viewer.showLayer('points', true);
    viewer.recolor();
  });
  on('.uv-home', 'click', () => viewer.resetView());
  on('.uv-measure', 'click', event => {
    viewer.measure.toggle();
    if (!event.detail) element.focus({preventScroll: true});   // by keyboard: arrows and Enter are the crosshair's
  });
  on('.uv-shot', 'click', () => saveScreenshot(viewer));
  on('.uv-help-button', 'click', () => showPanel(viewer, 'help'));
  on('.uv-speed', 'change', () => viewer.tell());
  bindShare(viewer);
  on('.uv-box', 'input', event => { keepApart(event.target, find('.uv-box')); viewer.refresh(); });
  on('.uv-crop', 'click', () => showCrop(viewer));
  for (const button of find('.uv-layers').children) {
    button.addEventListener('click', () => {
      viewer.showLayer(button.dataset.layer, !viewer.shown[button.dataset.layer]);
      viewer.refresh();
    });
  }
  on('.uv-plot', 'pointerdown', () => {
    find('.uv-hint').classList.add('uv-read');
    element.focus({preventScroll: true});
  });
  keys.addEventListener('keydown', event => key(viewer, event));
  foldWhenNarrow(viewer);
}

// On a narrow or a low page, such as a phone's, the options fold away, so that the view keeps its room.
function foldWhenNarrow({element, find}) {
  let narrow = null;
  new ResizeObserver(([{contentRect: {width, height}}]) => {
    const now = width <= NARROW_PX || height <= LOW_PX;
    if (!width || narrow === now) return;
    narrow = now;
    element.toggleAttribute('data-narrow', narrow);
    find('.uv-more').open = !narrow;
  }).observe(element);
}

function key(viewer, event) {
  if (!viewer.scene || event.ctrlKey || event.metaKey || event.altKey) return;
  const control = event.target.closest ? event.target.closest('button, input, select, textarea, summary') : null;
  if (control && !viewer.element.contains(control)) return;
  const on = names => Boolean(control && names.includes(control.localName)), frames = event.shiftKey ? 10 : 1;
  const onTime = control === viewer.find('.uv-frame');
  // Keys that the control under the focus needs itself stay with it.
  const free = {
    ' ': !control || onTime, ArrowRight: !on(['input', 'select', 'textarea']), ArrowLeft: !on(['input', 'select', 'textarea']),
    Home: !on(['input', 'select', 'textarea']), Escape: true,
  };
  const actions = {
    ' ': () => viewer.toggle(),
    ArrowRight: () => viewer.step(frames),
    ArrowLeft: () => viewer.step(-frames),
    Home: () => viewer.resetView(),
    f: () => viewer.follow.next(),
    m: () => viewer.measure.toggle(),
    s: () => saveScreenshot(viewer),
    '?': () => showPanel(viewer, 'help'),
    v: () => fullscreen(viewer),
    Escape: () => escape(viewer),
  };
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const person = /^[1-9]$/.test(name) && viewer.find('.uv-people').children[Number(name) - 1];
  const navigate = navigationKey(name, event.shiftKey), measure = control ? null : viewer.measure.key(name, event.shiftKey);
  const action = measure || (person ? () => person.click() : navigate ? () => navigate(viewer) : actions[name]);
  if (!action || !(name in free ? free[name] : !on(['select', 'textarea']))) return;
  event.preventDefault();
  action();
}

// The panels beside the tools, one at a time: 'help', 'share'.
function showPanel(viewer, panel, shown = viewer.find(`.uv-${panel}`).hidden) {
  for (const name of ['help', 'share']) {
    const open = shown && name === panel;
    if (!open && viewer.find(`.uv-${name}`).contains(document.activeElement)) viewer.find(`.uv-${name}-button`).focus();
    viewer.find(`.uv-${name}`).hidden = !open;
    viewer.find(`.uv-${name}-button`).setAttribute('aria-expanded', String(open));
  }
}

function showCrop(viewer, shown = viewer.find('.uv-box').hidden) {
  viewer.find('.uv-box').hidden = !shown;
  viewer.find('.uv-crop').setAttribute('aria-expanded', String(shown));
}

// One thing at a time: an open panel, the measured points, measuring itself.
function escape(viewer) {
  const {measure} = viewer;
  const open = ['help', 'share'].find(panel => !viewer.find(`.uv-${panel}`).hidden);
  if (open) showPanel(viewer, open, false);
  else if (measure.points.length) measure.clear();
  else if (measure.on) measure.toggle(false);
}

// The two ends of an edge never pass each other.
function keepApart(moved, box) {
  const other = box.querySelector(`[data-axis="${moved.dataset.axis}"][data-end=${moved.dataset.end === 'low' ? 'high' : 'low'}]`);
  const beyond = moved.dataset.end === 'low' ? Number(moved.value) > Number(other.value) : Number(moved.value) < Number(other.value);
  if (beyond) moved.value = other.value;
}

// The crop box in metres, {low, high}, or null while nothing is cut. Says the edges beside the sliders.
function cropBox(viewer) {
  const box = {low: [], high: []}, {low, high} = viewer.scene.meta;
  let cuts = false;
  viewer.find('.uv-box').querySelectorAll('input').forEach(input => {
    const {axis, end} = input.dataset, share = Number(input.value);
    box[end][axis] = low[axis] + share * (high[axis] - low[axis]);
    if (share !== (end === 'low' ? 0 : 1)) cuts = true;
  });
  viewer.find('.uv-box').querySelectorAll('output').forEach((output, axis) => {
    output.textContent = `${box.low[axis].toFixed(1)} – ${box.high[axis].toFixed(1)} m`;
  });
  return cuts ? box : null;
}

function setEnabled(viewer, enabled) {
  const {find, scene} = viewer, still = Boolean(scene && scene.meta.frames < 2);
  for (const part of ['.uv-controls', '.uv-tools']) {
    for (const control of find(part).querySelectorAll('button, input, select')) control.disabled = !enabled;
  }
  if (still) for (const name of ['.uv-play', '.uv-frame', '.uv-speed']) find(name).disabled = true;
  find('.uv-controls').classList.toggle('uv-still', still);
}

// An element with text in it, which stays text whatever it says.
function labelled(tag, text, attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.textContent = text;
  return made;
}

// The controls that depend on the scene: time range, starting threshold, people, views, crop box, notes.
function describe(viewer) {
  const {find, scene: {meta}} = viewer;
  find('.uv-frame').max = meta.frames - 1;
  find('.uv-confidence').value = meta.default_confidence;
  find('.uv-people').replaceChildren(...meta.people.map((person, index) => personButton(viewer, person, index)));
  find('.uv-follow').replaceChildren(...viewer.follow.modes.map((value, index) => labelled(
    'option', ['Free', 'Original camera'][index] || `Follow ${meta.people[index - 2].name}`, {value},
  )));
  for (const input of find('.uv-box').querySelectorAll('input')) {
    Object.assign(input, {min: 0, max: 1, step: 0.01, value: input.dataset.end === 'low' ? 0 : 1});
  }
  describeMotions(viewer);
  const possible = viewer.layers.constructor.kind === 'direct';
  for (const choice of ['.uv-style', '.uv-scene-mode']) find(choice).closest('label').hidden = !possible;
  showCrop(viewer, false);
  find('.uv-notes').hidden = meta.notes.length === 0;
  find('.uv-notes ul').replaceChildren(...meta.notes.map(note => labelled('li', note)));
  const hidden = {
    people: !meta.people.length, points: !meta.people.length, skeleton: !meta.people.length,
    paths: !meta.people.length || meta.frames < 2,
    picture: viewer.layers.constructor.kind === 'public' || !viewer.pictures.any,
  };
  for (const [layer, hide] of Object.entries(hidden)) find(`[data-layer=${layer}]`).hidden = hide;
  for (const by of ['person', 'distance']) find(`.uv-color [value=${by}]`).hidden = !meta.people.length;
}

// Which motions there are to choose from.
function describeMotions({find, scene: {meta, bodies}}) {
  find('.uv-motion').value = bodies.motion;
  find('.uv-motion').closest('label').hidden = !meta.bodies.motions.length;
}

function personButton(viewer, person, index) {
  const button = labelled('button', '', {type: 'button', title: index < 9 ? `Show or hide (${index + 1})` : 'Show or hide'});
  const dot = labelled('span', '', {className: 'uv-dot'});
  dot.style.background = person.color;
  button.setAttribute('aria-pressed', 'true');
  button.append(dot, labelled('span', person.name));
  button.addEventListener('click', () => {
    const shown = viewer.shownPeople[index] = !viewer.shownPeople[index];
    button.setAttribute('aria-pressed', String(shown));
    viewer.announce(`${person.name} ${shown ? 'shown' : 'hidden'}.`);
    viewer.refresh();
  });
  return button;
}
