// The scene as a video, playing while the view turns to and fro once, so that the video can be looped. Recorded by the
// browser itself: WebM where it can, as its MP4 is empty at some sizes.
const TURNTABLE_S = 10, VIDEO_FPS = 30, SLICE_MS = 250, VIDEO_BITS_PER_S = 8e6;
const LEAST_FRAMES = 8, SLOW_DRAW_MS = 60, HEADER_BYTES = 500, PATIENCE_S = 20;   // for slow machines
const VIDEO_TYPES = ['video/webm;codecs=vp9', 'video/webm', 'video/mp4'];

const videoType = () => (window.MediaRecorder ? VIDEO_TYPES.find(type => MediaRecorder.isTypeSupported(type)) : null);

// Turns the view for so many seconds and gives the video as a Blob; viewer.recording = false ends it earlier.
async function recordTurntable(viewer, seconds = TURNTABLE_S) {
  const canvas = await viewCanvas(viewer), {eye, center} = viewer.camera(), parts = [];
  const stream = canvas.captureStream(VIDEO_FPS), [track] = stream.getVideoTracks();
  const recorder = new MediaRecorder(stream, {mimeType: videoType(), videoBitsPerSecond: VIDEO_BITS_PER_S});
  recorder.addEventListener('dataavailable', event => parts.push(event.data));
  const draw = async () => {
    const begun = performance.now();
    await viewCanvas(viewer, canvas);
    if (track.requestFrame) track.requestFrame();
    await new Promise(requestAnimationFrame);
    // Where drawing is slow, the encoder would come by its images only when all is over: it gets as much time.
    const took = performance.now() - begun;
    if (took > SLOW_DRAW_MS) await new Promise(done => setTimeout(done, took));
  };
  const stopped = new Promise(done => recorder.addEventListener('stop', done, {once: true}));
  viewer.recording = true;
  recorder.start(SLICE_MS);
  const start = performance.now();
  for (let share = 0; share < 1 && viewer.recording;) {
    viewer.look({eye: around(eye, center, ORBIT_RAD * Math.sin(2 * Math.PI * share)), center});
    await draw();
    share = Math.min(share + 1 / LEAST_FRAMES, (performance.now() - start) / 1000 / seconds);
  }
  viewer.look({eye, center});
  // A slow machine is behind with encoding.
  const until = performance.now() + 1000 * PATIENCE_S, length = () => parts.reduce((sum, part) => sum + part.size, 0);
  while (length() < HEADER_BYTES && performance.now() < until) await draw();
  recorder.stop();
  await stopped;
  viewer.recording = false;
  // A header alone is no video: an empty one says that nothing was recorded.
  return new Blob(length() < HEADER_BYTES ? [] : parts, {type: recorder.mimeType.split(';')[0]});
}

async function saveTurntable(viewer) {
  const button = viewer.find('.uv-record');
  if (viewer.recording) { viewer.recording = false; return; }
  button.textContent = 'Stop recording';
  viewer.play();
  const video = await recordTurntable(viewer);
  button.textContent = 'Record a video';
  if (video.size) saveBlob(viewer, video, `turntable.${video.type.split('/')[1]}`);
  else viewer.find('.uv-copied').textContent = 'This browser could not record the view.';
}
