// What stands in the viewer while the scene that the address asks for is on its way: a frame of its clip. Gradio runs the
// viewer's own script seconds after it has drawn its elements. `POSTERS` is [[name, address], …] of the examples.
{
  const query = new URLSearchParams(window.location.search), asked = query.get('example'), posters = new Map(POSTERS);
  const poster = query.has('result') ? null : asked === null ? [...posters.values()][0] : posters.get(asked);
  if (poster) new Image().src = poster;   // fetched now
  const observer = new MutationObserver(() => {
    const words = document.querySelector('#viewer .uv-message'), image = document.querySelector('#viewer .uv-poster');
    if (!words) return;
    observer.disconnect();
    words.textContent = 'Loading scene…';
    if (!poster) return;
    image.src = poster;
    image.hidden = false;
  });
  if (poster || query.has('result')) observer.observe(document, {childList: true, subtree: true});
}
