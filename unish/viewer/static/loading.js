// What a viewer waits for before it can draw: the theme of its page, plotly.js, the bytes of a scene.
const PLOTLY_WAIT_MS = 20000;

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

// plotly.js as the offline page carries it: packed, in an element's text.
async function runPacked(holder) {
  const source = new TextDecoder().decode(await unpackBytes(bytesFromBase64(holder.textContent)));
  holder.remove();
  document.head.append(Object.assign(document.createElement('script'), {textContent: source}));
}

async function readSource({url, base64, buffer}) {
  if (buffer) return buffer;
  if (base64) return bytesFromBase64(base64);
  const answer = await fetch(url).catch(() => { throw new Error('the server cannot be reached'); });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.arrayBuffer();
}
