// The clip's frames as small pictures, decoded when they are first wanted.
const KEPT_PICTURES = 120;

class Pictures {
  constructor({pictures, pictures_start}) {
    Object.assign(this, {pictures, start: pictures_start, kept: new Map()});
  }

  get any() { return this.pictures.length > 0; }

  // A promise of the frame's ImageBitmap; null where it cannot be read.
  get(frame) {
    if (!this.kept.has(frame)) {
      const bytes = this.pictures.subarray(this.start[frame], this.start[frame + 1]);
      this.kept.set(frame, createImageBitmap(new Blob([bytes], {type: 'image/jpeg'})).catch(() => null));
      if (this.kept.size > KEPT_PICTURES) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(frame);
  }
}
