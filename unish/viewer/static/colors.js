// What a point's colour says. Bytes r, g, b, confidence a point; the confidence stays, because the slider reads it.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];   // dark to bright, even for the colour-blind
const UNKNOWN = 255, PALED = 0.55;

function rampColor(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), below = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[below].map((value, channel) => Math.round(value + (at - below) * (RAMP[below + 1][channel] - value)));
}

function rgbOf(hex) { return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)); }

// The colours of a cloud ('still', 'moving') by 'photo', 'confidence', 'person' or 'distance'. What belongs to
// nobody has neither person nor distance: it keeps its photo, paled a little so that the people stand out.
function cloudColors({meta, arrays}, name, by) {
  const photo = arrays[`${name}_color`];
  if (by === 'photo') return photo;
  const table = Array.from({length: 255}, (_, value) => rampColor(value / 254)).concat([rampColor(1)]);
  const people = meta.people.map(person => rgbOf(person.color));
  const person = name === 'moving' && arrays.moving_person, distance = name === 'moving' && arrays.moving_distance;
  const color = new Uint8Array(photo.length);
  for (let i = 0, at = 0; at < photo.length; i++, at += 4) {
    let rgb = null;
    if (by === 'confidence') rgb = table[photo[at + 3]];
    else if (by === 'person' && person) rgb = people[person[i] - 1];
    else if (by === 'distance' && distance && distance[i] !== UNKNOWN) rgb = table[distance[i]];
    const grey = 96 + 0.5 * (0.3 * photo[at] + 0.59 * photo[at + 1] + 0.11 * photo[at + 2]);
    for (let channel = 0; channel < 3; channel++) {
      color[at + channel] = rgb ? rgb[channel] : (1 - PALED) * photo[at + channel] + PALED * grey;
    }
    color[at + 3] = photo[at + 3];
  }
  return color;
}

// The same for the vertices of surfaces: a function of (frame, vertex), or null for the image's own colours. By person,
// the scene keeps its image, paled as it is drawn (surface.js).
function surfaceColors({meta, arrays}, by) {
  if (by === 'photo' || by === 'distance') return null;
  const {surface_people: {shape: [, rows, columns]}, surface_people, surface_confidence} = arrays, count = rows * columns;
  const ramp = Array.from({length: meta.surface.confidence_levels + 1}, (_, level) => rampColor(level / meta.surface.confidence_levels));
  const people = meta.people.map(person => rgbOf(person.color));
  if (by === 'confidence') return (frame, vertex) => ramp[surface_confidence[frame * count + vertex]];
  return (frame, vertex) => people[surface_people[frame * count + vertex] - 1] || [188, 191, 196];
}

// [what the dark end means, what the bright end means], or null where no scale is needed.
function colorScale({meta}, by) {
  if (by === 'confidence') return ['0 %', '100 %'];
  if (by === 'distance') return ['0 cm', `${Math.round(100 * meta.distance_range_m)}+ cm`];
  return null;
}
