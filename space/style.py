"""How the page looks: theme, styles, and the few lines of script that are not the viewer's."""

from gradio.themes import Base

# The fonts are those of the visitor: none is fetched.
THEME = Base(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
INTRODUCTION = """
<h1>UniSH</h1>
<p>Turn a phone video into a 3D scene: the place, the camera and the people, in real-world metres.</p>
"""
CSS = """
.gradio-container { overflow: clip !important; }  /* hidden, as Gradio has it, keeps the buttons from sticking */
.gradio-container .fillable.app { max-width: 1560px; margin: 0 auto; padding: 16px clamp(14px, 2.5vw, 32px); }
:is(#introduction, #viewer, #numbers, #note) .html-container { padding: 0; }
#introduction h1 { font-size: 26px; font-weight: 650; margin: 0; }
#introduction p { font-size: 16px; opacity: .8; margin: 2px 0 0; }
#clip video { max-height: 230px; }
/* Once people are shown, the clip steps back: between video, people and button nobody has to scroll. */
.column:has(> #people .people-picker[data-empty=false]) > #examples { display: none; }
.column:has(> #people .people-picker[data-empty=false]) > #clip { height: 150px !important; min-height: 0; }
.column:has(> #people .people-picker[data-empty=false]) > #clip video { max-height: 105px; }
#note p { margin: 0; padding: 8px 12px; border-left: 3px solid #d8a20a; font-size: 14px; }
#note p.error { border-left-color: #d64545; }
#examples { align-items: end; }
#people, #people > * { background: var(--block-background-fill); }
#people { border: 1px solid var(--border-color-primary); }
#actions { position: sticky; bottom: 0; z-index: 20; padding: 8px 0; background: var(--body-background-fill); }
#viewer .unish-viewer { height: clamp(620px, calc(100vh - 150px), 920px); }
#viewer .unish-viewer:has(.uv-plot:empty) :is(.uv-controls, .uv-hint), #viewer .pending .uv-message,
#viewer .uv-notes { display: none !important; }
#viewer > .wrap:has(.error) { display: none; }
#viewer > .wrap { inset: 0; height: 100%; justify-content: center; border-radius: 10px; }
#viewer .progress-level-inner { font: 15px/1.6 var(--font); text-align: center; padding: 0 12px; }
#viewer .progress-text { inset: auto 16px 12px auto; transform: none; font: 13px/1.6 var(--font); }
:is(#page, #archive) { font-weight: 500; }
#overlay video { max-height: 420px; }
@media (max-width: 640px) { #viewer .unish-viewer { height: max(560px, 86vh); } }
"""
SHOW_VIEWER = "() => document.getElementById('viewer').scrollIntoView({behavior: 'smooth', block: 'nearest'})"
# On a Space the page stands in a frame: the address that visitors see and share is that of the page around it.
KEEP_LINK = """(name) => {
  const here = new URL(window.location);
  if (name) here.searchParams.set('result', name); else here.searchParams.delete('result');
  window.history.replaceState(null, '', here);
  const queryString = name ? `result=${encodeURIComponent(name)}` : '';
  if (window.parent !== window) window.parent.postMessage({queryString}, 'https://huggingface.co');
}"""
