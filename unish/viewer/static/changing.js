// A scene that is shown before all is done, and changes under the visitor's eyes when it is.
const EMPTY = 'Your 3D scene will appear here.';

// `value` is {scene, name, working}, a scene under a name, with words for what is still being done to it; later
// {scene, name, change, done}: the whole, and what differs where the scene of that name is shown. With a `poster`, an
// image of the clip, there is something to look at before the scene is there.
async function takeScene(viewer, {scene, name = '', working = '', change = null, done = '', poster = null}) {
  const follows = Boolean(change) && name === viewer.name;
  viewer.name = name;
  viewer.work(working);
  if (follows) await viewer.loading;
  if (name !== viewer.name) return;
  if (follows && viewer.element.dataset.ready && await changeScene(viewer, change)) {
    viewer.whole = scene;
    viewer.announce(done);
  } else {
    showPoster(viewer, poster);
    viewer.loading = viewer.load(scene);
    await viewer.loading;
  }
}

// Behind the words while a scene loads, one image after another without a gap; null: nothing.
function showPoster(viewer, image) {
  const poster = viewer.find('.uv-poster'), shown = !poster.hidden && poster.naturalWidth;
  viewer.poster = image;
  poster.hidden = !image;
  if (!image) poster.removeAttribute('src');
  else if (!shown) poster.src = image.url;
  else {
    const next = Object.assign(new Image(), {src: image.url});
    next.decode().then(() => { if (viewer.poster === image) poster.src = next.src; }, () => {});
  }
}

// What was awaited does not come: without a scene the stage is as at first.
function settleViewer(viewer) {
  viewer.work('');
  if (viewer.loads) return;
  showPoster(viewer, null);
  viewer.say(EMPTY);
}

// Other bodies, cameras and sizes, and people's points elsewhere (unish/viewer/fitted.py), seen from where the scene
// is seen. False where that cannot be: then the whole is loaded anew.
async function changeScene(viewer, source) {
  const {loads, scene, layers, at} = viewer;
  try {
    const {meta, arrays} = parseScene(await unpackBytes(await readSource(source)));
    if (loads !== viewer.loads) return true;
    if (layers.constructor.kind !== 'direct' || meta.bodies.skinned !== scene.meta.bodies.skinned) return false;
    const {scale, shift_m} = meta.moved, moved = point => add(shift_m, point, scale);
    const {eye, center, up} = viewer.camera(), [from, to] = [eye, center].map(point => moved(scene.unplace(point)));
    scene.become(meta, arrays);
    viewer.measure.move(moved);
    viewer.surfaces.moved(Boolean(arrays.surface_depth));
    if (arrays.moving_xyz) layers.moveCloud('moving', arrays.moving_xyz);
    at.paths.forEach((index, person) => layers.moveTrace(index, scene.walked(person, meta.frames - 1)));
    layers.moveTrace(at.cameraPath, scene.cameraPath());
    layers.moveTrace(at.grid, scene.grid());
    await layers.rescale(plotlyLayout(scene, {eye: scene.place(from), center: scene.place(to), up}));
    describeMotions(viewer);
    viewer.recolor();
    return true;
  } catch (error) {
    console.error(error);
    return false;
  }
}
