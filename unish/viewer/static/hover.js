// The name of the joint under the pointer, while bones are shown.
const HOVER_PX = 14;

function nameJoints(viewer) {
  const label = viewer.find('.uv-joint');
  const hide = () => { label.hidden = true; };
  viewer.plot.addEventListener('pointermove', event => {
    const box = viewer.plot.getBoundingClientRect();
    const joint = viewer.layers && viewer.shown.skeleton && !event.buttons && jointAt(viewer, event.clientX - box.left, event.clientY - box.top);
    label.hidden = !joint;
    if (!joint) return;
    label.textContent = viewer.scene.meta.people.length > 1 ? `${joint.name}, ${joint.person}` : joint.name;
    label.style.transform = `translate(${joint.x}px, ${joint.y}px) translate(-50%, -160%)`;
  });
  viewer.plot.addEventListener('pointerleave', hide);
  viewer.plot.addEventListener('pointerdown', hide);
}

// The nearest joint in reach of a point of the stage: {name, person, x, y}, or null.
function jointAt(viewer, x, y) {
  const {scene: {meta, bodies}, frame, share} = viewer, view = viewer.view();
  let best = null, reach = HOVER_PX;
  meta.people.forEach((person, index) => {
    if (!viewer.personVisible(index)) return;
    const {joints} = bodies.pose(index, frame, share);
    meta.bodies.joint_names.forEach((name, joint) => {
      const [right, down, depth] = view.screen([...joints.subarray(3 * joint, 3 * joint + 3)]), away = Math.hypot(right - x, down - y);
      if (depth <= 0 || away >= reach) return;
      reach = away;
      best = {name: (name[0].toUpperCase() + name.slice(1)).replace(/\d/, ' $&'), person: person.name, x: right, y: down};
    });
  });
  return best;
}
