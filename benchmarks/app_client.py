"""The app in a process of its own, and calls over plain HTTP as any program can send them: for tests and campaigns."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 180


@dataclass(frozen=True)
class RunningApp:
    url: str
    log: Path
    """What the process prints."""
    files: Path
    """Where Gradio keeps uploads and results."""
    process: int

    def failed(self) -> bool:
        """Whether an error went through that is no visitor's. (What Gradio itself refuses, it logs as well.)"""
        return "A request failed" in self.log.read_text()

    def peak_memory_mb(self) -> float:
        """The most that it has held at any moment."""
        lines = Path(f"/proc/{self.process}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextlib.contextmanager
def running_app(folder: Path, *options: str) -> Iterator[RunningApp]:
    """`python app.py`, started from another folder, with the bundled weights and without Hub or GPU."""
    log, files = folder / "log.txt", folder / "files"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GRADIO_TEMP_DIR": str(files),
    }
    words = f"--port {port} --host 127.0.0.1 --weights mini".split()
    command = [sys.executable, str(Path(__file__).resolve().parents[1] / "app.py"), *words, *options]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_open(url, process, log)
        yield RunningApp(url, log, files, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def _wait_until_open(url: str, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"app.py ended with {process.returncode}: {log.read_text()}")
        try:
            with urllib.request.urlopen(url, timeout=30):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"app.py did not answer within {START_SECONDS} s: {log.read_text()}")


def call_api(url: str, name: str, data: list, patience_s: float = 240) -> tuple[str, object]:
    """One call of a public endpoint over plain HTTP, as any program can send it: its event, and its values or text."""
    event = _post(f"{url}/gradio_api/call/{name}", {"data": data})["event_id"]
    with urllib.request.urlopen(f"{url}/gradio_api/call/{name}/{event}", timeout=patience_s) as answer:
        kind = ""
        for line in answer:
            key, _, value = line.decode().strip().partition(": ")
            if key == "event":
                kind = value
            elif key == "data" and kind in ("complete", "error"):
                said = json.loads(value)
                return kind, said.get("error") if isinstance(said, dict) else said
    raise AssertionError("the stream ended without an answer")


def call_private(url: str, fn_index: int, data: list, patience_s: float = 240) -> tuple[bool, object]:
    """One call of any endpoint of the page, private ones too, as a browser sends it: (success, values or text)."""
    session = secrets.token_hex(8)
    _post(f"{url}/gradio_api/queue/join", {"data": data, "fn_index": fn_index, "session_hash": session})
    with urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash={session}", timeout=patience_s) as answer:
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            message = json.loads(line[6:])
            if message["msg"] == "process_completed":
                output = message["output"]
                return message["success"], output.get("data") if message["success"] else output.get("error")
    raise AssertionError("the stream ended without an answer")


def api_values(*values: object) -> list:
    """All eleven values that /reconstruct takes, those that are not given as their defaults."""
    return [*values, *[None, 6, None, None, "auto", "", "", False, "", "", True][len(values) :]]


def upload_file(url: str, path: Path) -> dict:
    """A file sent to the app, as the file data that its endpoints take."""
    border = secrets.token_hex(16)
    head = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{border}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={border}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/gradio_api/upload", body, kind), timeout=60) as answer:
        (stored,) = json.load(answer)
    return {"path": stored, "meta": {"_type": "gradio.FileData"}}


def _post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
