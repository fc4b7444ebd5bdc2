// Texts on the page whose contrast with their ground is below 4.5:1.
() => {
  const parse = text => (text.match(/[\d.]+/g) || []).map(Number);
  const rgba = text => { const [r, g, b, a = 1] = parse(text); return text.startsWith('rgb') ? [r, g, b, a] : [0, 0, 0, 0]; };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = element => {
    if (!element) return [255, 255, 255];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, ground(element.parentElement));
  };
  const poor = [];
  for (const element of document.querySelectorAll('.gradio-container *')) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join('');
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true}) || box.width < 2 || element.disabled) continue;
    let opacity = 1;
    for (let e = element; e; e = e.parentElement) opacity *= Number(getComputedStyle(e).opacity);
    const back = ground(element), [r, g, b, a] = rgba(style.color), front = over([r, g, b, a * opacity], back);
    const [low, high] = [light(front), light(back)].sort((x, y) => x - y), ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(1)} ${element.className || element.tagName}: ${text.slice(0, 30)}`);
  }
  return poor;
}
