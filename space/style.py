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
<p>A phone video goes in; the scene, the camera and the people in it come out, in metres.</p>
"""
CSS = """
.gradio-container .fillable.app { max-width: 1560px; margin: 0 auto; padding: 16px clamp(14px, 2.5vw, 32px); }
:is(#introduction, #viewer, #numbers) .html-container { padding: 0; }
#introduction h1 { font-size: 26px; font-weight: 650; margin: 0; }
#introduction p { font-size: 16px; opacity: .75; margin: 2px 0 0; }
#clip video { max-height: 250px; }
#picture img { cursor: crosshair; object-fit: contain; }
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
KEEP_LINK = """(name) => {
  const here = new URL(window.location);
  if (name) here.searchParams.set('result', name); else here.searchParams.delete('result');
  window.history.replaceState(null, '', here);
}"""
