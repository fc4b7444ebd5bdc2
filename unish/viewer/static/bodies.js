// People in the GL layer: bodies of tinted clay, skinned in the vertex shader; what they stand on; their bones.
const BODY_VERTEX = `
  attribute vec3 position, normal; attribute vec4 jointsA, jointsB, weightsA, weightsB; attribute vec2 clothes;
  uniform mat4 model, view, projection; uniform vec3 scale; uniform vec4 bones[72];
  varying vec3 facing, metres; varying vec2 worn;
  vec4 place, turn;
  void blend(float joint, float weight) {
    int at = 3 * int(joint + 0.5);
    vec4 p = vec4(position, 1.0), n = vec4(normal, 0.0), x = bones[at], y = bones[at + 1], z = bones[at + 2];
    place.xyz += weight * vec3(dot(x, p), dot(y, p), dot(z, p));
    turn.xyz += weight * vec3(dot(x, n), dot(y, n), dot(z, n));
  }
  void main() {
    place = vec4(0.0); turn = vec4(0.0);
    blend(jointsA.x, weightsA.x); blend(jointsA.y, weightsA.y); blend(jointsA.z, weightsA.z); blend(jointsA.w, weightsA.w);
    blend(jointsB.x, weightsB.x); blend(jointsB.y, weightsB.y); blend(jointsB.z, weightsB.z); blend(jointsB.w, weightsB.w);
    facing = turn.xyz;
    metres = place.xyz;
    worn = clothes;
    gl_Position = projection * (view * (model * vec4(place.xyz * scale, 1.0)));
  }`;
// Clay in the person's colour, as a figure in plain clothes: paler where there is skin, darker downwards.
const BODY_FRAGMENT = `
  precision highp float;
  varying vec3 facing, metres; varying vec2 worn;
  uniform vec3 tint, eye; uniform float opacity, vivid;
  void main() {
    vec3 n = normalize(facing), away = normalize(eye - metres);
    if (dot(n, away) < 0.0 && dot(n, away) < -0.3) n = -n;
    vec3 side = normalize(cross(vec3(0.0, 0.0, 1.0), away) + vec3(1e-4, 0.0, 0.0));
    float key = max(0.0, dot(n, normalize(away + 0.75 * vec3(0.0, 0.0, 1.0) - 0.55 * side)));
    float sky = 0.5 + 0.5 * n.z, rim = pow(1.0 - max(0.0, dot(n, away)), 3.0);
    float cloth = mix(worn.x, 0.95, vivid), tone = mix(worn.y, max(worn.y, 0.8), vivid);
    vec3 clay = mix(vec3(0.95, 0.93, 0.90), tint, cloth) * tone;
    vec3 rgb = clay * (0.36 + 0.26 * sky + 0.48 * key) + 0.10 * rim * (0.4 + 0.6 * sky);
    gl_FragColor = vec4(rgb * opacity, opacity);
  }`;
const FLOOR_VERTEX = `
  attribute vec2 corner;
  uniform mat4 model, view, projection; uniform vec3 scale, middle, eye; uniform float reach, lift;
  varying vec2 metres;
  void main() {
    metres = middle.xy + reach * corner;
    vec4 place = projection * (view * (model * vec4(vec3(metres, middle.z) * scale, 1.0)));
    // The floor that was seen is uneven: this lies on it, not in it.
    vec4 nearer = projection * (view * (model * vec4((vec3(metres, middle.z) + lift * normalize(eye - vec3(metres, middle.z))) * scale, 1.0)));
    place.z = nearer.z / nearer.w * place.w;
    gl_Position = place;
  }`;
// A soft shadow under every joint, wider and fainter the higher it is; rings where feet stand.
const FLOOR_FRAGMENT = `
  precision highp float;
  varying vec2 metres;
  uniform vec3 joints[24], feet[2], tint, middle; uniform float reach, strength;
  void main() {
    float light = 1.0;
    for (int i = 0; i < 24; i++) {
      float height = max(0.0, joints[i].z - middle.z), width = 0.085 + 0.16 * height;
      vec2 d = (metres - joints[i].xy) / width;
      light *= 1.0 - 0.42 / (1.0 + 5.0 * height) * exp(-0.5 * dot(d, d));
    }
    float fade = 1.0 - smoothstep(0.7, 1.0, length(metres - middle.xy) / reach);
    float dark = strength * (1.0 - light) * fade;
    vec4 color = vec4(vec3(0.05, 0.06, 0.08) * dark, dark);
    for (int i = 0; i < 2; i++) {
      float ring = 0.8 * feet[i].z * (1.0 - smoothstep(0.008, 0.018, abs(length(metres - feet[i].xy) - 0.12)));
      color = vec4(tint * ring, ring) + color * (1.0 - ring);
    }
    if (color.a < 0.01) discard;
    gl_FragColor = color;
  }`;
const BONE_VERTEX = `
  attribute vec4 position;
  uniform mat4 model, view, projection; uniform vec3 scale; varying float shade;
  void main() { gl_Position = projection * (view * (model * vec4(position.xyz * scale, 1.0))); shade = position.w; }`;
const BONE_FRAGMENT = `
  precision mediump float; varying float shade; uniform vec3 tint;
  void main() { gl_FragColor = vec4(mix(tint * 0.35, mix(tint, vec3(1.0), 0.55), shade), 1.0); }`;
const SEE_THROUGH = 0.32, OVER_VIDEO = 0.82, SHADOW_REACH_M = 1.3;

// One bone: two pyramids with a common square, thickest near the parent; a corner is x, y, z, shade.
function addBone(into, from, to) {
  const along = add(to, from, -1), length = norm(along), thick = Math.min(0.035, 0.14 * length);
  if (!(length > 1e-4)) return;
  const ahead = unitVector(along), side = unitVector(cross(ahead, Math.abs(ahead[2]) < 0.9 ? [0, 0, 1] : [1, 0, 0])), other = cross(ahead, side);
  const waist = add(from, along, 0.2), ring = [[1, 0], [0, 1], [-1, 0], [0, -1]].map(([p, q]) => add(add(waist, side, p * thick), other, q * thick));
  ring.forEach((corner, k) => {
    const next = ring[(k + 1) % 4], shade = [0.85, 1, 0.5, 0.25][k];
    for (const tip of [from, to]) for (const point of [tip, corner, next]) into.push(...point, shade);
  });
}

function peopleLayer(scene, data, surface) {
  const {gl} = scene.glplot, {arrays, meta} = data, people = meta.people, unit01 = hex => rgbOf(hex).map(value => value / 255);
  const bodies = glProgram(gl, BODY_VERTEX, BODY_FRAGMENT), floor = glProgram(gl, FLOOR_VERTEX, FLOOR_FRAGMENT), bones = glProgram(gl, BONE_VERTEX, BONE_FRAGMENT);
  const count = people.length ? data.vertices : 0, wide = count > 65536, faces = wide ? arrays.faces : Uint16Array.from(arrays.faces);
  if (wide && !gl.getExtension('OES_element_index_uint')) throw new Error('this GL draws no more than 65536 vertices');
  const index = gl.createBuffer();
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, index);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
  const halves = (values, Type) => [0, 1].map(half => {
    const part = new Type(4 * count);
    for (let vertex = 0; vertex < count; vertex++) for (let k = 0; k < 4; k++) part[4 * vertex + k] = values[8 * vertex + 4 * half + k];
    return glBuffer(gl, part);
  });
  const first = Uint16Array.from({length: 8 * count}, (_, i) => (i % 8 ? 0 : 65535));   // all of joint 0, for bodies that come as vertices
  const [jointsA, jointsB] = halves(data.skinned ? arrays.skin_joints : new Uint8Array(8 * count), Uint8Array);
  const [weightsA, weightsB] = halves(data.skinned ? arrays.skin_weights : first, Uint16Array);
  const clothes = glBuffer(gl, clothesOf(data.skinned ? arrays.skin_regions : new Uint8Array(count).fill(1), faces));
  const meshes = people.map(({color}, person) => {
    const mesh = {tint: unit01(color), position: gl.createBuffer(), normal: gl.createBuffer(), filled: null};
    mesh.fill = points => {   // for bodies that come as vertices, in every frame
      const normals = data.skinned ? figureNormals(arrays, points, data.of('rest_joints', person)) : meshNormals(points, arrays.faces, 1);
      for (const [buffer, values] of [[mesh.position, points], [mesh.normal, normals]]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
      }
    };
    return mesh;
  });
  const corners = glBuffer(gl, new Float32Array([-1, -1, 1, -1, 1, 1, -1, 1])), boneBuffer = gl.createBuffer();
  const identity = new Float32Array(288);
  for (let joint = 0; joint < 24; joint++) for (let row = 0; row < 3; row++) identity[12 * joint + 5 * row] = 1;
  const attribute = ({program}, name, buffer, size, type, normalized = false) => {
    const at = gl.getAttribLocation(program, name);
    if (at < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, type, normalized, 0, 0);
  };
  const blended = () => {
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.ONE, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  };

  function drawFloor(camera, {person, pose, standing}) {
    const {at} = floor, [x, y] = pose.joints, feet = new Float32Array(6);
    [10, 11].forEach((joint, side) => feet.set([pose.joints[3 * joint], pose.joints[3 * joint + 1], standing[side] ? 1 : 0], 3 * side));
    gl.uniform3f(at.middle, x, y, meta.ground_z);
    gl.uniform1f(at.reach, SHADOW_REACH_M);
    gl.uniform1f(at.lift, 0.25);
    gl.uniform3fv(at.eye, eyeOf(camera, scene.dataScale));
    gl.uniform1f(at.strength, 0.75);
    gl.uniform3fv(at['joints[0]'], pose.joints);
    gl.uniform3fv(at['feet[0]'], feet);
    gl.uniform3fv(at.tint, meshes[person].tint);
    attribute(floor, 'corner', corners, 2, gl.FLOAT);
    gl.drawArrays(gl.TRIANGLE_FAN, 0, 4);
  }

  function drawBody(person, pose, opacity) {
    const mesh = meshes[person], {at} = bodies;
    const filled = data.skinned ? data.chosen : pose.frame;
    if (mesh.filled !== filled) {
      mesh.fill(data.skinned ? data.rest(person) : interleaved(data.body(person, pose.frame)));
      mesh.filled = filled;
    }
    gl.uniform4fv(at['bones[0]'], pose.matrices || identity);
    gl.uniform3fv(at.tint, mesh.tint);
    gl.uniform1f(at.opacity, opacity);
    attribute(bodies, 'position', mesh.position, 3, gl.FLOAT);
    attribute(bodies, 'normal', mesh.normal, 3, gl.FLOAT);
    attribute(bodies, 'jointsA', jointsA, 4, gl.UNSIGNED_BYTE);
    attribute(bodies, 'jointsB', jointsB, 4, gl.UNSIGNED_BYTE);
    attribute(bodies, 'weightsA', weightsA, 4, gl.UNSIGNED_SHORT, true);
    attribute(bodies, 'weightsB', weightsB, 4, gl.UNSIGNED_SHORT, true);
    attribute(bodies, 'clothes', clothes, 2, gl.UNSIGNED_BYTE, true);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, index);
    const draw = () => gl.drawElements(gl.TRIANGLES, faces.length, wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
    if (opacity < 1) {   // only the nearest layer of a body is seen through it
      gl.colorMask(false, false, false, false);
      draw();
      gl.colorMask(true, true, true, true);
    }
    draw();
  }

  function drawBones({person, pose}) {
    const {at} = bones, values = [], joint = k => [...pose.joints.subarray(3 * k, 3 * k + 3)];
    meta.bones.forEach(([from, to]) => addBone(values, joint(from), joint(to)));
    gl.bindBuffer(gl.ARRAY_BUFFER, boneBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(values), gl.DYNAMIC_DRAW);
    attribute(bones, 'position', boneBuffer, 4, gl.FLOAT);
    gl.uniform3fv(at.tint, meshes[person].tint);
    gl.drawArrays(gl.TRIANGLES, 0, values.length / 4);
  }

  return drawable({
    shown: [], floorShown: true,   // {person, pose, standing, body, skeleton} of everybody in the frame
    isOpaque() { return this.visible && this.shown.length > 0; },
    dispose() {
      [index, corners, boneBuffer, jointsA, jointsB, weightsA, weightsB, clothes, ...meshes.flatMap(mesh => [mesh.position, mesh.normal])].forEach(buffer => gl.deleteBuffer(buffer));
      [bodies, floor, bones].forEach(({program}) => gl.deleteProgram(program));
    },
    draw(camera) {
      const turnedAway = surface.turned(camera), eye = eyeOf(camera, scene.dataScale);
      glStart(scene, floor, camera);
      blended();
      gl.depthMask(false);
      if (this.floorShown) this.shown.filter(({body}) => body).forEach(each => drawFloor(camera, each));
      glStart(scene, bodies, camera);
      blended();
      gl.uniform3fv(bodies.at.eye, eye);
      gl.uniform1f(bodies.at.vivid, surface.paled ? 1 : 0);   // coloured by person: all of each in their colour
      for (const {person, pose, body, skeleton} of this.shown) {
        if (body) drawBody(person, pose, skeleton ? SEE_THROUGH : OVER_VIDEO + (1 - OVER_VIDEO) * turnedAway);
      }
      glStart(scene, bones, camera);
      gl.depthFunc(gl.ALWAYS);
      this.shown.filter(({skeleton}) => skeleton).forEach(drawBones);
      gl.depthFunc(gl.LEQUAL);
      for (let i = gl.getParameter(gl.MAX_VERTEX_ATTRIBS) - 1; i >= 0; i--) gl.disableVertexAttribArray(i);
    },
  });
}
