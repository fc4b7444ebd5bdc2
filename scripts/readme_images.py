"""Makes the image and the animation of README from the bundled clip, in headless Chromium.

python scripts/readme_images.py                # docs/images/viewer.png and viewer.gif
"""

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import unish  # noqa: E402
from benchmarks.chromium import CHROMIUM_FLAGS  # noqa: E402
from unish.utils.assets import SAMPLE_CLIP  # noqa: E402
from unish.utils.atomic_write import atomic_path  # noqa: E402
from unish.viewer import write_html  # noqa: E402

SIZE = {"width": 1280, "height": 800}
ANIMATION_WIDTH_PX = 560
EVERY = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "images")
    options = parser.parse_args()
    clip = SAMPLE_CLIP
    scene = unish.reconstruct(clip, weights=options.weights, finder="mini", device="cpu", body="open")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = write_html(scene, Path(folder) / "viewer.html", title="UniSH", source=clip)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        tab = browser.new_page(viewport=SIZE)
        tab.goto(page.as_uri())
        tab.locator("[data-ready=true]").wait_for(timeout=120_000)
        frames = [shot(tab, frame) for frame in range(0, len(scene), EVERY)]
        browser.close()
    options.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(options.out / "viewer.png") as temporary:
        frames[len(frames) // 3].save(temporary, optimize=True)
    height = round(ANIMATION_WIDTH_PX * SIZE["height"] / SIZE["width"])
    small = [frame.resize((ANIMATION_WIDTH_PX, height), Image.Resampling.LANCZOS).quantize(128) for frame in frames]
    with atomic_path(options.out / "viewer.gif") as temporary:
        duration_ms = round(1000 * EVERY / scene.fps)
        small[0].save(temporary, save_all=True, append_images=small[1:], duration=duration_ms, loop=0, optimize=True)
    for path in sorted(options.out.iterdir()):
        print(f"{path.relative_to(REPOSITORY)} {path.stat().st_size / 1024:.0f} KiB")


def shot(tab: Page, frame: int) -> Image.Image:
    """The page at a frame, once it is drawn."""
    tab.locator(".uv-frame").fill(str(frame))
    tab.evaluate("document.activeElement.blur()")
    while not tab.evaluate("unishViewers[0].state.settled"):  # the page forbids what wait_for_function needs
        tab.wait_for_timeout(50)
    tab.evaluate("unishViewers[0].layers.redraw()")
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return Image.open(io.BytesIO(tab.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
