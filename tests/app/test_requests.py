"""What anybody can send to the app over HTTP: other files of the server, absurd numbers, values of a wrong kind."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from benchmarks.hostile_app import visit_beside_a_hostile_one
from tests.app.conftest import api_values, call_api, call_private, upload_file
from unish.utils.assets import SAMPLE_CLIP

pytestmark = pytest.mark.slow

PART = [2, 0, 0.8, "mini"]  # fps, start_s, end_s, weights: two frames
REFUSED = "upload the clip first"


@pytest.fixture(scope="module")
def clip(app) -> dict:
    return upload_file(app.url, SAMPLE_CLIP)


@pytest.fixture
def private_video(tmp_path) -> Path:
    """A video that is none of a visitor's business."""
    return Path(shutil.copy(SAMPLE_CLIP, tmp_path / "private.mp4"))


def test_the_api_opens_uploads_and_no_other_file_of_the_server(app, clip, private_video):
    assert call_api(app.url, "reconstruct", api_values(clip, *PART))[0] == "complete"
    named = [
        str(private_video),
        str(SAMPLE_CLIP),
        str(private_video.with_name("not there.mp4")),
        clip["path"] + "/../../../../../../.." + str(private_video),
        "/etc/passwd",
    ]
    said = set()
    for path in named:
        for file in ({"path": path}, path, {"path": path, "url": clip["path"]}, {"path": path, "meta": {}}):
            kind, answer = call_api(app.url, "reconstruct", api_values(file, *PART))
            assert kind == "error" and REFUSED in str(answer), (file, answer)
            said.add(str(answer))
        kind, answer = call_api(
            app.url, "reconstruct", api_values({"path": path, "meta": {"_type": "gradio.FileData"}}, *PART)
        )
        assert kind == "error" and answer, "this one Gradio refuses"
    assert len(said) == 1, "nothing tells whether a file exists"


def test_a_link_among_the_uploads_leads_nowhere(app, clip, private_video):
    link = Path(clip["path"]).with_name("link.mp4")
    link.symlink_to(private_video)
    assert REFUSED in str(call_api(app.url, "reconstruct", api_values({"path": str(link)}, *PART))[1])
    link.unlink()


def test_private_endpoints_open_no_other_file_either(app, clip, private_video):
    with urllib.request.urlopen(f"{app.url}/config", timeout=60) as answer:
        config = json.load(answer)
    (video,) = (one["id"] for one in config["components"] if one["props"].get("elem_id") == "clip")
    takers = [one for one in config["dependencies"] if video in one["inputs"]]
    assert len(takers) == 2, "the preview and the run"
    kinds = {one["id"]: one["type"] for one in config["components"]}
    usual = {"slider": 2, "dropdown": "mini", "checkbox": False, "textbox": ""}
    for taker in takers:
        for file in (
            {"path": str(private_video)},
            {"path": str(private_video), "meta": {"_type": "gradio.FileData"}},
            {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
            {"path": app.files.as_posix(), "meta": {"_type": "gradio.FileData"}},
        ):
            data = [file if one == video else usual.get(kinds[one]) for one in taker["inputs"]]
            success, answer = call_private(app.url, taker["id"], data)
            assert "data:image" not in str(answer) and "preview" not in str(answer), (file, answer)
            assert (not success and answer) or REFUSED in str(answer), (file, answer)


WRONG = [
    (0, None, "Add a video first"),
    (0, [1], REFUSED),
    (0, {"path": {"a": 1}}, REFUSED),
    (1, 1e308, "Frames per second"),
    (1, "six", "Frames per second"),
    (1, None, "Frames per second"),
    (1, [6], "Frames per second"),
    (2, {"a": 1}, "From"),
    (2, -1, "From"),
    (3, "never", "To"),
    (3, 0, "To must be later"),
    (4, "/etc", "weights"),
    (4, {}, "weights"),
    (5, "1,1,9,9\n" * 300, "at most"),
    (5, "1,1,9,9\n" * 20, "At most 10 people"),
    (5, [1, 2], "Boxes must be a text"),
    (5, "banana", "banana"),
    (6, 26, "Focal length must be a text"),
    (6, "wide", "focal length"),
    (7, "yes", "tripod"),
    (8, 1.8, "Height must be a text"),
    (8, "1=1e9", "height"),
    (8, "7=1.8", "Known height names person 7"),
    (9, "../../evil", "formats"),
    (9, 7, "Formats must be a text"),
]


@pytest.mark.parametrize(("place", "value", "sentence"), WRONG)
def test_values_that_cannot_be_get_a_sentence(app, clip, place, value, sentence):
    values = [clip, *PART, "", "", False, "", "", True]
    values[place] = value
    kind, answer = call_api(app.url, "reconstruct", values)
    assert kind == "error" and sentence in str(answer), answer
    assert not app.failed()


def test_components_of_a_wrong_kind_get_a_sentence_too(app, clip):
    """Gradio itself looks at what a browser sends, before any function of ours does."""
    with urllib.request.urlopen(f"{app.url}/config", timeout=60) as answer:
        config = json.load(answer)
    for one in config["dependencies"]:
        if one["inputs"] and one["backend_fn"] is not False:
            success, answer = call_private(app.url, one["id"], [{"a": [1]}] * len(one["inputs"]))
            assert success or isinstance(answer, str), (one["id"], answer)


def test_twenty_visitors_finish_or_are_told_to_wait_while_a_hostile_one_goes_on(app, clip, tmp_path):
    answers = visit_beside_a_hostile_one(app.url, clip, tmp_path)
    assert set(answers) <= {"done", "told to wait"}, answers
    assert answers.count("done") >= 10
    assert app.peak_memory_mb() < 4000
