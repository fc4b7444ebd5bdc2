"""How the page looks: theme, styles, and the few lines of script that are not the viewer's."""

from pathlib import Path

from gradio.themes import Base

# The fonts are those of the visitor: none is fetched. Colours are dark enough for text of any size to be read.
THEME = Base(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
    button_cancel_background_fill="*neutral_700",
    button_cancel_background_fill_hover="*neutral_800",
    button_cancel_text_color="white",
    button_cancel_text_color_hover="white",
    block_label_text_color="*neutral_600",
    block_label_text_color_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
)
PAPER, PROJECT = "https://arxiv.org/abs/2601.01222", "https://murphylmf.github.io/UniSH/"
CODE, MODEL = "https://github.com/unish-project/unish", "https://huggingface.co/Murphyyyy/UniSH"
SENTENCE = "Turn a phone video into a 3D scene: the place, the camera and the people, in real-world metres."
INTRODUCTION = f"""
<header>
<h1>UniSH</h1>
<p>{SENTENCE}</p>
<nav aria-label="About UniSH">
<a href="{PAPER}" target="_blank" rel="noopener">Paper</a>
<a href="{PROJECT}" target="_blank" rel="noopener">Project</a>
<a href="{CODE}" target="_blank" rel="noopener">Code</a>
<a href="{MODEL}" target="_blank" rel="noopener">Model</a>
<a href="{CODE}/blob/main/README.md#licences" target="_blank" rel="noopener">Licences</a>
</nav>
</header>
"""
# In a frame of another page (`embed`) the viewer stands alone; on somebody's link it comes first.
HEAD = f"""
<meta name="description" content="{SENTENCE}">
<meta property="og:title" content="UniSH: from a phone video to a 3D scene">
<meta property="og:description" content="{SENTENCE}">
<meta property="og:type" content="website">
<meta name="twitter:card" content="summary">
<script>
{{
  const query = new URLSearchParams(window.location.search);
  document.documentElement.classList.toggle('unish-embed', query.has('embed'));
  const opened = query.get('result') || query.get('example');
  document.documentElement.classList.toggle('unish-link', Boolean(opened) && opened !== 'none');
  // Gradio's player complains of videos that this browser cannot play; many of them can be read here all the same, and
  // of those that cannot the page says so itself.
  window.addEventListener('error', event => {{
    if (event.target instanceof HTMLVideoElement && event.target.closest('#clip')) event.stopImmediatePropagation();
  }}, true);
}}
</script>
"""
_STATIC = Path(__file__).parent / "static"
CSS = (_STATIC / "page.css").read_text(encoding="utf-8")
ARRIVAL = (_STATIC / "arrival.js").read_text(encoding="utf-8")
WAITING = (_STATIC / "waiting.js").read_text(encoding="utf-8")
# What was wrong with the run before is over with the next one.
BEGIN_RUN = """() => {
  document.querySelectorAll('.toast-close').forEach(button => button.click());
  document.getElementById('viewer').scrollIntoView({behavior: 'smooth', block: 'nearest'});
}"""
# The button under the focus goes away as it is pressed: the focus goes to what takes its place, once that is there
# (within two minutes: a busy server is slow to give a button back), unless the visitor has moved it meanwhile or a new
# run has begun. For two seconds it is held there: a button that is drawn anew loses it. A cancelled run may still end
# as a success: the viewer gets the focus only with a scene in it.
_FOCUS = """() => {{
  const run = window.unishRuns = (window.unishRuns || 0) + {begun};
  const hand = (tries, checks) => {{
    const now = document.activeElement, target = document.querySelector('{selector}');
    if (run !== window.unishRuns) return;
    if (now && now !== document.body && now !== target && !['run', 'cancel'].includes(now.id)) return;
    const there = target && target.offsetParent;
    if (there) target.focus({{preventScroll: true}});
    if (there ? checks : tries) setTimeout(() => there ? hand(tries, checks - 1) : hand(tries - 1, checks), 50);
  }};
  hand(2400, 40);
}}"""
FOCUS_CANCEL = _FOCUS.format(selector="#cancel", begun=1)
FOCUS_RUN, FOCUS_VIEWER = (
    _FOCUS.format(selector=selector, begun=0) for selector in ("#run", "#viewer .unish-viewer[data-ready=true]")
)
SETTLE_VIEWER = "() => unishViewers.forEach(viewer => viewer.settle())"
# The query of the link to what is shown. On a Space the page stands in a frame: the address that visitors see and share
# is that of the page around it.
KEEP_LINK = """(queryString) => {
  const here = new URL(window.location);
  here.search = queryString || '';
  here.hash = '';
  window.history.replaceState(null, '', here);
  if (window.parent !== window) window.parent.postMessage({queryString: queryString || ''}, 'https://huggingface.co');
}"""
