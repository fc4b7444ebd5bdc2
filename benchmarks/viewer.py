"""What the viewer costs in a browser: bytes to send, time to the first image, and time per frame while playing.

    python benchmarks/viewer.py                       # 50, 150 and 400 thousand points, beside the fallback
    python benchmarks/viewer.py --demo                # from the click in the demo to the scene, and to all files

Headless Chromium with software GL, so times are for comparing rows, not for a visitor's machine. The scene is made up:
a bumpy floor with so many points and three people who walk.
"""

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from playwright.sync_api import Browser, sync_playwright
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.app_client import running_app
from benchmarks.chromium import CHROMIUM_FLAGS
from unish.body import open_body
from unish.structures import Cameras, Person, Provenance, Reconstruction
from unish.utils.assets import SAMPLE_CLIP
from unish.viewer import encode_scene, scene_arrays
from unish.viewer.page import offline_page

HEIGHT, WIDTH = 336, 448


@dataclass(frozen=True)
class ViewerConfig:
    """What is measured."""

    points: tuple[int, ...] = (50_000, 150_000, 400_000)
    frames: int = 24
    shown_frames: int = 10
    """How many frames are stepped through."""
    demo: bool = False
    """Measure the demo instead."""
    fit: bool = True
    """Whether the demo fits bodies to the video, as it does unless a visitor says otherwise."""


def made_up(frames: int) -> Reconstruction:
    """A camera that walks over a bumpy floor, and three people who walk."""
    body, random = open_body(), np.random.default_rng(0)
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    poses[:, :3, :3] = [[1, 0, 0], [0, -0.5, 0.866], [0, -0.866, -0.5]]
    poses[:, :3, 3] = np.stack([0.1 * np.arange(frames), 0 * np.arange(frames), np.full(frames, 2.0)], -1)
    depth = np.tile(np.linspace(6, 2, HEIGHT, dtype=np.float32)[:, None], (frames, 1, WIDTH))
    depth += 0.3 * random.random((1, HEIGHT, WIDTH), np.float32)
    upright = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
    people = []
    for index in range(3):
        zeros = np.zeros((frames, 3), np.float32)
        swing = Rotation.from_rotvec(0.5 * np.sin(np.arange(frames) + index)[:, None] * [1, 0, 0]).as_matrix()
        turns = np.tile(np.eye(3, dtype=np.float32), (frames, 24, 1, 1))
        turns[:, [1, 5]], turns[:, [2, 4]] = swing[:, None], swing.transpose(0, 2, 1)[:, None]
        turns[:, 0] = upright
        way = np.stack([0.08 * np.arange(frames) + index, np.full(frames, 3.0), np.full(frames, 1.2)], -1)
        way = way.astype(np.float32)
        posed = body(torch.zeros(frames, 10), torch.from_numpy(turns), torch.from_numpy(way))
        people.append(
            Person(
                index + 1, f"Person {index + 1}", np.ones(frames, bool), np.ones(frames, np.float32),
                np.zeros((frames, 4), np.float32), np.zeros(10, np.float32), turns, zeros, turns[:, 0], way,
                posed.joints.numpy(), posed.vertices.numpy(),
            )
        )  # fmt: skip
    intrinsics = np.array([[400, 0, WIDTH / 2], [0, 400, HEIGHT / 2], [0, 0, 1]], np.float32)
    return Reconstruction(
        images=random.integers(0, 255, (frames, HEIGHT, WIDTH, 3), np.uint8),
        depth_m=depth,
        confidence=np.ones_like(depth),
        person_mask=np.zeros(depth.shape, np.uint8),
        cameras=Cameras(poses, np.tile(intrinsics, (frames, 1, 1)), WIDTH, HEIGHT),
        people=tuple(people),
        faces=body.faces.numpy().astype(np.int32),
        times_s=np.arange(frames) / 6,
        fps=6.0,
        world_up=np.array([0, 0, 1], np.float32),
        provenance=Provenance("made up", "none", "none", "open", "cpu", 0, "0", 1.0),
    )


def measure(browser: Browser, page: Path, query: str, steps: int) -> tuple[float, float, float, int]:
    """(seconds to the first image, JS and wall milliseconds a frame, points drawn)."""
    tab = browser.new_page(viewport={"width": 1000, "height": 700})
    start = time.perf_counter()
    tab.goto(page.as_uri() + query)
    tab.locator("[data-ready=true]").wait_for(timeout=240_000)
    ready_s = time.perf_counter() - start
    script, wall = tab.evaluate(
        """async steps => {
          const v = unishViewers[0], next = () => new Promise(done => requestAnimationFrame(done));
          let script = 0;
          const start = performance.now();
          for (let k = 1; k <= steps; k++) {
            v.setFrame(k % v.scene.meta.frames);
            script += v.milliseconds.frame;
            await next();
            await next();
          }
          return [script / steps, (performance.now() - start) / steps];
        }""",
        steps,
    )
    drawn = tab.evaluate("unishViewers[0].state.drawnPoints")
    tab.close()
    return ready_s, script, wall, drawn


def measure_demo(browser: Browser, fit: bool) -> tuple[float, ...]:
    """Seconds from the click on Reconstruct, for the bundled clip, until the scene is sent, is drawn, has its fitted
    bodies and numbers, and until all its files are there."""
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as app:
        tab = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce").new_page()
        tab.set_default_timeout(300_000)
        tab.goto(f"{app.url}/?example=none")
        tab.locator("#clip input[type=file]").set_input_files(SAMPLE_CLIP)
        tab.locator("#people img").first.wait_for()
        if not fit:
            tab.locator("#options button").first.click()
            tab.locator("#fit input").uncheck()
        tab.locator("#run").click()
        start, times_s = time.perf_counter(), []
        tab.wait_for_function("unishViewers[0].loads > 0")
        times_s.append(time.perf_counter() - start)
        for part in ("#viewer [data-ready=true]", "#numbers", "#archive"):
            tab.locator(part).wait_for()
            times_s.append(time.perf_counter() - start)
        return tuple(times_s)


def main(config: ViewerConfig) -> None:
    """Print one table; the fallback stands below the direct way for every number of points."""
    if config.demo:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
            times_s = measure_demo(browser, config.fit)
            browser.close()
        for what, time_s in zip(("scene sent", "scene drawn", "bodies fitted", "all files"), times_s, strict=True):
            print(f"from click to {what}: {time_s:.1f} s")
        return
    scene = made_up(config.frames)
    print(
        "| points asked for | way | points drawn | payload MB | first image s | JS ms per frame | wall ms per frame |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        for points in config.points:
            data = encode_scene(scene_arrays(scene, points))
            page = Path(folder) / f"{points}.html"
            page.write_text(offline_page(data, "benchmark"), encoding="utf-8")
            for way, query in (("direct", ""), ("fallback", "?fallback=1")):
                ready_s, script, wall, drawn = measure(browser, page, query, config.shown_frames)
                print(
                    f"| {points:,} | {way} | {drawn:,} | {len(data) / 1e6:.1f} | {ready_s:.1f} | {script:.0f} | "
                    f"{wall:.0f} |",
                    flush=True,
                )
        browser.close()


if __name__ == "__main__":
    main(tyro.cli(ViewerConfig, description=__doc__))
