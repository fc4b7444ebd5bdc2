// Examples to open: `props.value` is {examples: [{name, title, poster}], open} (space/updates.py). A click on one says
// 'select' with its name, the button 'input' with the name of the one that is open. Titles are only ever textContent.
const gallery = element.querySelector('.example-gallery');

function showGallery() {
  const {examples = [], open = null} = props.value || {}, list = gallery.querySelector('.eg-list');
  const focused = gallery.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  gallery.dataset.empty = String(!examples.length);
  list.replaceChildren(...examples.map(({name, title, poster}) => {
    const button = document.createElement('button'), image = document.createElement('img'), words = document.createElement('span');
    Object.assign(image, {src: poster.url || poster.path, alt: '', draggable: false});
    words.textContent = title;
    button.type = 'button';
    button.dataset.name = name;
    button.setAttribute('aria-pressed', String(name === open));
    button.append(image, words);
    button.addEventListener('click', () => trigger('select', {name}));
    if (name === focused) setTimeout(() => button.focus());
    return button;
  }));
  if (!examples.some(({name}) => name === open)) return;
  const use = Object.assign(document.createElement('button'), {type: 'button', className: 'eg-use', textContent: 'Run this clip'});
  use.addEventListener('click', () => trigger('input', {name: open}));
  list.append(use);
}
watch('value', showGallery);
showGallery();
