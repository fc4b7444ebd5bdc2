// The wheel and two fingers call zoom(factor), which says whether it did, and two fingers pan(right, down), in pixels:
// Plotly alone follows one finger and the wheel only. Below 1 is closer.
function useGestures(stage, {zoom, pan}) {
  let apart = 0, middle = null;
  const midway = ({touches: [a, b]}) => [0.5 * (a.clientX + b.clientX), 0.5 * (a.clientY + b.clientY)];
  const distance = ({touches: [a, b]}) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const take = (event, factor) => {
    if (!zoom(factor)) return;
    event.preventDefault();
    event.stopPropagation();
  };
  const listen = (name, handle) => stage.addEventListener(name, handle, {capture: true, passive: false});
  listen('wheel', event => {
    const lines = event.deltaY * (event.deltaMode ? 30 : 1);
    take(event, Math.exp(Math.min(200, Math.max(-200, lines)) * 0.0015));
  });
  listen('touchstart', event => {
    if (event.touches.length !== 2) return;
    [apart, middle] = [distance(event), midway(event)];
    take(event, 1);
  });
  listen('touchmove', event => {
    if (event.touches.length !== 2) return;
    const [now, at] = [distance(event), midway(event)];
    pan(at[0] - middle[0], at[1] - middle[1]);
    take(event, apart / now);
    [apart, middle] = [now, at];
  });
}

// Tells a drag from a click: drag() once the pointer has moved a little with a button held, else click(x, y, touch). A
// finger is not held as still as a mouse.
function dragOrClick(plot, drag, click) {
  let from = null;
  const touch = event => event.pointerType === 'touch';
  const moved = event => Math.hypot(event.clientX - from.x, event.clientY - from.y) > (touch(event) ? 10 : 4);
  plot.addEventListener('pointerdown', event => { from = {x: event.clientX, y: event.clientY}; }, true);
  window.addEventListener('pointermove', event => {
    if (from && moved(event)) { from = null; drag(); }
  }, true);
  window.addEventListener('pointerup', event => {
    if (!from) return;
    from = null;
    const box = plot.getBoundingClientRect();
    if (event.button === 0) click(event.clientX - box.left, event.clientY - box.top, touch(event));
  }, true);
  window.addEventListener('pointercancel', () => { from = null; }, true);
}
