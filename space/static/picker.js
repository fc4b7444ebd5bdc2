// The people of a clip on some of its frames: click one to leave it out, drag a box around somebody to add them, name
// them. `props.value` is {preview, selection} (space/person_selection.py): the preview comes from the server, what the
// visitor makes of it goes into `selection`. Boxes are [x0, y0, x1, y1] in pixels of the source,
// and `content` is what the frames show of it. Names are only ever
// set as textContent or value.
const picker = (() => {
  const SVG = 'http://www.w3.org/2000/svg', DRAG_PX = 5, NUDGE = 0.01, MAX_NAME = 40;
  const root = element.querySelector('.people-picker'), find = selector => root.querySelector(selector);
  const stage = find('.pp-stage'), image = find('.pp-frame'), svg = find('.pp-boxes'), slider = find('.pp-time input');
  // A finger that drags scrolls the page, until the button is tapped.
  const [HINT, NOBODY] = matchMedia('(pointer: coarse)').matches ? [
    'Tap a person to include or leave out. Someone we missed? Tap “Add a person”.',
    'No people found. Tap “Add a person”, then drag a box around them.',
  ] : [
    'Click a person to include or leave out. Drag a box around someone we missed.',
    'No people found. Drag a box around someone to add them.',
  ];
  const ARMED = 'Now drag a box around the person.';
  let preview = null, frame = 0, people = [], armed = false, drag = null, shown = '';

  const make = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const inPixels = event => {
    const {left, top, width, height} = image.getBoundingClientRect(), [x0, y0, x1, y1] = preview.content;
    return [x0 + (event.clientX - left) / width * (x1 - x0), y0 + (event.clientY - top) / height * (y1 - y0)]
      .map((value, axis) => Math.min(Math.max(value, preview.content[axis]), preview.content[axis + 2]));
  };
  const longSide = () => Math.max(preview.content[2] - preview.content[0], preview.content[3] - preview.content[1]);
  const boxOf = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const boxNow = person => (person.added ? (person.frame === frame ? person.box : null) : person.boxes[frame]);
  const nameOf = person => person.name || `Person ${person.id}`;
  const chosen = () => people.filter(person => person.chosen).length;
  const say = text => { find('.pp-said').textContent = text; };
  const largeEnough = box => Math.min(box[2] - box[0], box[3] - box[1]) >= preview.smallest_share * longSide();

  function show(value) {
    preview = value ? value.preview : null;
    root.dataset.empty = String(!preview);
    if (!preview) return;
    people = preview.people.map((person, index) => ({...person, chosen: index < preview.max_people, name: ''}));
    const seen = preview.times_s.map((_, k) => people.filter(person => person.boxes[k]).length);
    frame = seen.indexOf(Math.max(...seen));
    slider.max = preview.times_s.length - 1;
    slider.disabled = preview.times_s.length < 2;
    arm(false);
    list();
    draw();
  }

  function draw() {
    const [left, top, right, bottom] = preview.content, letter = longSide() / 28;
    const url = preview.frames[frame].url || preview.frames[frame];
    stage.style.setProperty('--pp-aspect', (right - left) / (bottom - top));  // its place is kept until the picture is there
    if (image.getAttribute('src') !== url) image.src = url;
    image.alt = `The video at ${preview.times_s[frame].toFixed(1)} seconds`;
    slider.value = frame;
    slider.setAttribute('aria-valuetext', `${preview.times_s[frame].toFixed(1)} seconds`);
    find('output').textContent = `${preview.times_s[frame].toFixed(1)} s`;
    svg.setAttribute('viewBox', `${left} ${top} ${right - left} ${bottom - top}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    const focused = svg.contains(document.activeElement) ? document.activeElement.dataset.person : null;
    const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
    const seen = people.filter(boxNow).sort((a, b) => area(boxNow(b)) - area(boxNow(a)));  // small ones on top
    svg.replaceChildren(...seen.map(person => {
      const [x0, y0, x1, y1] = boxNow(person), label = make('text', {x: x0 + 0.25 * letter, y: y0 + letter, 'font-size': letter, 'stroke-width': 0.35 * letter});
      label.textContent = person.name || person.id;
      const group = make('g', {role: 'checkbox', tabindex: 0, 'aria-checked': person.chosen, 'aria-label': nameOf(person), 'data-person': person.id, style: `--pp-color: ${preview.colors[person.id] || '#888'}`},
        make('rect', {x: x0, y: y0, width: x1 - x0, height: y1 - y0}), label);
      group.addEventListener('keydown', event => keyOn(person, event));
      return group;
    }));
    if (drag && drag.box) {
      const [x0, y0, x1, y1] = drag.box;
      svg.append(make('rect', {x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: 'pp-new'}));
    }
    if (focused) svg.querySelector(`[data-person="${focused}"]`)?.focus();
  }

  function list() {
    const hint = find('.pp-hint');
    hint.textContent = armed ? ARMED : people.length ? HINT : NOBODY;
    hint.classList.toggle('pp-nobody', !people.length && !armed);
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    find('.pp-people').replaceChildren(...people.map(person => {
      const item = document.createElement('li'), box = document.createElement('input'), name = document.createElement('input');
      item.style.setProperty('--pp-color', preview.colors[person.id] || '#888');
      item.classList.toggle('pp-out', !person.chosen);
      Object.assign(box, {type: 'checkbox', checked: person.chosen, title: 'Include'});
      box.dataset.key = `include-${person.id}`;
      box.setAttribute('aria-label', `Include ${nameOf(person)}`);
      box.addEventListener('change', () => toggle(person));
      Object.assign(name, {type: 'text', value: person.name, placeholder: `Person ${person.id}`, maxLength: MAX_NAME, title: 'Name'});
      name.setAttribute('aria-label', `Name of person ${person.id}`);
      name.addEventListener('input', () => { person.name = name.value.trim(); draw(); send(); });
      item.append(box, name);
      if (person.added) {
        const remove = document.createElement('button');
        Object.assign(remove, {type: 'button', textContent: '✕', title: 'Remove'});
        remove.setAttribute('aria-label', `Remove ${nameOf(person)}`);
        remove.addEventListener('click', () => drop(person));
        item.append(remove);
      }
      return item;
    }));
    if (focused) root.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  function send() {
    const selection = {
      chosen: people.filter(person => !person.added && person.chosen).map(person => person.id),
      added: people.filter(person => person.added && person.chosen)
        .map(person => ({id: person.id, box: person.box, time_s: preview.times_s[person.frame]})),
      names: Object.fromEntries(people.filter(person => person.name).map(person => [person.id, person.name])),
    };
    props.value = {...props.value, selection};
  }

  function toggle(person) {
    if (!person.chosen && chosen() >= preview.max_people) {
      say(`At most ${preview.max_people} people can be reconstructed at once.`);
      list();
      return;
    }
    person.chosen = !person.chosen;
    say(`${nameOf(person)} ${person.chosen ? 'included' : 'left out'}.`);
    list();
    draw();
    send();
  }

  function addPerson(box) {
    const id = Math.max(preview.first_added - 1, ...people.map(person => person.id)) + 1;
    if (chosen() >= preview.max_people) { say(`At most ${preview.max_people} people can be reconstructed at once.`); return null; }
    const person = {id, box, frame, added: true, chosen: true, name: ''};
    people.push(person);
    arm(false);
    say(`${nameOf(person)} added.`);
    draw();
    send();
    return person;
  }

  function drop(person) {
    people = people.filter(other => other !== person);
    say(`${nameOf(person)} removed.`);
    list();
    draw();
    send();
    find('.pp-add').focus();
  }

  function arm(on) {
    armed = on;
    stage.classList.toggle('pp-armed', on);
    find('.pp-add').setAttribute('aria-pressed', String(on));
    list();
  }

  // Space and Enter include or leave out; a box that was added moves with the arrow keys, and grows or shrinks with Shift.
  function keyOn(person, event) {
    const step = NUDGE * longSide();
    const by = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]}[event.key];
    if (event.key === ' ' || event.key === 'Enter') toggle(person);
    else if (person.added && (event.key === 'Delete' || event.key === 'Backspace')) drop(person);
    else if (person.added && by) {
      const [x0, y0, x1, y1] = person.box, moved = event.shiftKey ? [x0, y0, x1 + by[0], y1 + by[1]] : [x0 + by[0], y0 + by[1], x1 + by[0], y1 + by[1]];
      const inside = moved.every((value, k) => value >= preview.content[k % 2] && value <= preview.content[k % 2 + 2]);
      if (inside && largeEnough(moved)) person.box = moved;
      draw();
      send();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  stage.addEventListener('pointerdown', event => {
    if (!preview || event.button !== 0) return;
    if (event.pointerType !== 'mouse' && !armed) { drag = {from: inPixels(event), at: event, tap: true}; return; }
    stage.setPointerCapture(event.pointerId);
    drag = {from: inPixels(event), at: event, box: null};
    event.preventDefault();
  });
  stage.addEventListener('pointermove', event => {
    if (!drag || drag.tap) return;
    if (!drag.box && Math.hypot(event.clientX - drag.at.clientX, event.clientY - drag.at.clientY) < DRAG_PX) return;
    drag.box = boxOf(drag.from, inPixels(event));
    draw();
  });
  stage.addEventListener('pointerup', event => {
    if (!drag) return;
    const {box, from} = drag;
    drag = null;
    if (box) {
      if (largeEnough(box)) addPerson(box); else say('That box is too small to hold a person.');
      draw();
      return;
    }
    const inside = people.filter(person => {
      const b = boxNow(person);
      return b && from[0] >= b[0] && from[0] <= b[2] && from[1] >= b[1] && from[1] <= b[3];
    });
    const size = person => { const [x0, y0, x1, y1] = boxNow(person); return (x1 - x0) * (y1 - y0); };
    if (inside.length) toggle(inside.reduce((best, other) => (size(other) < size(best) ? other : best)));
  });
  const giveUp = () => { drag = null; if (preview) draw(); };
  stage.addEventListener('pointercancel', giveUp);
  root.addEventListener('keydown', event => { if (event.key === 'Escape') { giveUp(); arm(false); } });
  slider.addEventListener('input', () => { frame = Number(slider.value); draw(); });
  find('.pp-add').addEventListener('click', event => {
    if (event.detail) { arm(!armed); return; }
    const [x0, y0, x1, y1] = preview.content, w = x1 - x0, h = y1 - y0;
    // By keyboard: a box in the middle, to be moved with the arrow keys.
    const person = addPerson([x0 + 0.4 * w, y0 + 0.15 * h, x0 + 0.6 * w, y0 + 0.85 * h]);
    if (person) svg.querySelector(`[data-person="${person.id}"]`).focus();
  });

  return {
    update() {
      const value = props.value;
      const came = JSON.stringify(value ? value.preview : null);
      if (value && value.selection && came === shown) return;   // what we have sent ourselves, this or an earlier one
      shown = came;
      show(value);
    },
  };
})();
watch('value', picker.update);
picker.update();
