// The 3D view with its ground and a measured line, as a canvas and as a file.
async function viewCanvas(viewer, canvas = document.createElement('canvas')) {
  const {layers, plot} = viewer, style = getComputedStyle(viewer.element);
  await layers.snapshot(picture => {
    if (canvas.width !== picture.width) canvas.width = picture.width;   // setting it anew ends a recording of it
    if (canvas.height !== picture.height) canvas.height = picture.height;
    const pen = canvas.getContext('2d'), {width, height} = canvas;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    const ground = pen.createRadialGradient(0.5 * width, 0.4 * height, 0, 0.5 * width, 0.4 * height, 0.75 * Math.max(width, height));
    ground.addColorStop(0, style.getPropertyValue('--uv-back'));
    ground.addColorStop(1, style.getPropertyValue('--uv-back-edge'));
    pen.fillStyle = ground;
    pen.fillRect(0, 0, width, height);
    pen.drawImage(picture, 0, 0);
  });
  const {measure} = viewer, places = measure.places.filter(place => place), scale = canvas.width / plot.offsetWidth;
  if (places.length === 2) {
    const pen = canvas.getContext('2d'), [[x1, y1], [x2, y2]] = places;
    pen.scale(scale, scale);
    Object.assign(pen, {strokeStyle: style.getPropertyValue('--uv-accent'), fillStyle: style.getPropertyValue('--uv-text'), lineWidth: 2.5});
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
    pen.stroke();
    Object.assign(pen, {font: '600 15px system-ui, sans-serif', textAlign: 'center', lineWidth: 4, lineJoin: 'round', strokeStyle: style.getPropertyValue('--uv-panel')});
    for (const draw of ['strokeText', 'fillText']) pen[draw](measure.text, 0.5 * (x1 + x2), 0.5 * (y1 + y2) - 10);
  }
  return canvas;
}

async function saveScreenshot(viewer) {
  const canvas = await viewCanvas(viewer), blob = await new Promise(done => canvas.toBlob(done, 'image/png'));
  saveBlob(viewer, blob, `${viewer.scene.meta.times_s[viewer.frame].toFixed(2)}s.png`);
}

// Saves a file that is named after the clip.
function saveBlob(viewer, blob, ending) {
  const link = document.createElement('a'), name = (viewer.scene.meta.name || 'unish').replace(/[^\p{L}\p{N}_-]+/gu, '_');
  link.download = `${name}_${ending}`;
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  viewer.announce(`Saved ${link.download}.`);
}
