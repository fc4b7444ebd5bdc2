// The clip's frames as images, decoded when they are first wanted.
const KEPT_PICTURES = 32, DECODED_AHEAD = 3;

class Pictures {
  constructor({images, images_start}) {
    Object.assign(this, {images, start: images_start, kept: new Map()});
  }

  get any() { return this.images.length > 0; }

  // A promise of the frame's ImageBitmap; null where it cannot be read.
  get(frame) {
    if (!this.kept.has(frame)) {
      const bytes = this.images.subarray(this.start[frame], this.start[frame + 1]);
      this.kept.set(frame, createImageBitmap(new Blob([bytes], {type: 'image/webp'})).catch(() => null));
      if (this.kept.size > KEPT_PICTURES) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(frame);
  }

  // While playing, so that the next frames are there when their time comes.
  ahead(frame) {
    const frames = this.start.length - 1;
    for (let next = 1; next <= DECODED_AHEAD; next++) this.get((frame + next) % frames);
  }
}
