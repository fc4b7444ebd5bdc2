// How surfaces are drawn: where a vertex of a depth map is seen, and what colour its surface has there.
const SURFACE_VERTEX = `
  attribute vec2 grid; attribute float code; attribute vec4 tint, normal;
  uniform mat4 model, view, projection, pose;
  uniform vec4 lens; uniform vec2 size, first; uniform vec3 scale; uniform float stride, near, step, pixels, part;
  varying vec2 at; varying vec3 metres, seen; varying vec4 color; varying float shade;
  void main() {
    float depth = near * exp((code - 1.0) * step);
    at = (first + stride * grid + 0.5) / size;
    vec3 ray = vec3((at - lens.zw) / lens.xy, 1.0);
    metres = (pose * vec4(ray * depth, 1.0)).xyz;
    vec4 place = view * (model * vec4(metres * scale, 1.0));
    seen = place.xyz;
    gl_Position = projection * place;
    color = tint;
    vec3 n = normalize((pose * vec4(normal.xyz, 0.0)).xyz + 1e-6);
    shade = 0.62 + 0.24 * n.z + 0.3 * max(0.0, dot(n, normalize((pose * vec4(-ray, 0.0)).xyz)));
    // As points: one kind of vertex, whole ones, each as wide as the pixel that saw it.
    bool hidden = part > 0.5 && (tint.a < 0.5 || abs((part > 1.5 ? 1.0 : 0.0) - normal.w) > 0.5);
    gl_PointSize = clamp(pixels * depth * stride / (lens.x * size.x) / gl_Position.w, 1.0, 64.0);
    if (hidden) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  }`;
const SURFACE_FRAGMENT = `
  precision highp float;
  const vec3 GREY = vec3(0.3, 0.59, 0.11);
  const float WHOLE = 0.985;
  varying vec2 at; varying vec3 metres, seen; varying vec4 color; varying float shade;
  uniform sampler2D picture, codes;
  uniform mat4 nowFromDisplay; uniform vec4 nowLens, focus[4]; uniform float soles[4];
  uniform vec3 cropLow, cropHigh, upward; uniform vec2 size, first, cells;
  uniform float stride, near, step, behind, photo, paled, dyed, shading, opacity, turned, part, presence, veiled;
  // Whether the current frame shows what is here, or sees through it.
  bool covered() {
    vec3 point = (nowFromDisplay * vec4(metres, 1.0)).xyz;
    if (point.z < 0.01) return false;
    vec2 cell = ((point.xy / point.z * nowLens.xy + nowLens.zw) * size - first - 0.5) / stride + 0.5;
    if (any(lessThan(cell, vec2(0.0))) || any(greaterThan(cell, cells))) return false;
    vec4 texel = texture2D(codes, cell / cells);
    float code = floor(texel.r * 255.0 + 0.5) + 256.0 * floor(texel.a * 255.0 + 0.5);
    return code > 0.5 && point.z < 1.2 * near * exp((code - 1.0) * step);
  }
  void main() {
    if (any(lessThan(metres, cropLow)) || any(greaterThan(metres, cropHigh))) discard;
    // What stands between the eye and a person fades towards them, around all their height; what they stand on is not
    // in the way. What fades is drawn last of all, over the people.
    float kept = 1.0;
    if (turned > 0.01) for (int i = 0; i < 4; i++) {
      float away = length(seen), far = length(focus[i].xyz), reach = max(focus[i].w, 1e-6);
      vec3 aside = seen * (far / away) - focus[i].xyz;
      aside -= upward * clamp(dot(aside, upward), -0.65 * reach, 0.65 * reach);
      float before = smoothstep(0.0, 0.4 * reach, far - 0.35 * reach - away) * smoothstep(0.05, 0.3, metres.z - soles[i]);
      if (focus[i].w > 0.0) kept = min(kept, 1.0 - turned * before * (1.0 - smoothstep(0.4, 1.5, length(aside) / reach)));
    }
    if ((veiled > 0.5) != (kept < WHOLE)) discard;
    if (behind > 0.5 && covered()) discard;
    float alpha = opacity * presence * (veiled > 0.5 ? kept : 1.0) * (part > 0.5 ? 1.0 : smoothstep(0.12, 0.62, color.a));
    if (alpha < 0.02) discard;
    vec3 image = texture2D(picture, at).rgb, rgb = mix(color.rgb, image, photo);
    rgb = mix(rgb, vec3(0.376 + 0.5 * dot(rgb, GREY)), paled);               // as colors.js pales points
    rgb = mix(rgb, color.rgb * (0.6 + 0.7 * dot(image, GREY)), dyed);        // a person's image in the person's colour
    rgb *= mix(1.0, shade, shading);
    gl_FragColor = vec4(rgb * alpha, alpha);
  }`;
