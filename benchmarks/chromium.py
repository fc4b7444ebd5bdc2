"""How headless Chromium is started, for benchmarks, scripts and tests alike."""

CHROMIUM_FLAGS = [
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
]
"""No GPU, no sandbox (which wants a user of its own), nothing fetched."""
