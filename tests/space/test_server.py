"""How the demo is served."""

from pathlib import Path

import pytest

from space.server import arrival_script, card_image, offered_weights


def test_a_space_has_a_preview_card_with_an_image(monkeypatch):
    poster = Path('/tmp/a "b"/poster.jpg')
    monkeypatch.delenv("SPACE_HOST", raising=False)
    assert card_image(poster) == ""
    monkeypatch.setenv("SPACE_HOST", "name-unish.hf.space")
    assert card_image(None) == ""
    assert 'content="https://name-unish.hf.space/gradio_api/file=/tmp/a%20%22b%22/poster.jpg"' in card_image(poster)


def test_no_name_ends_the_script_that_it_stands_in():
    script = arrival_script({'a"b</script>': Path("/tmp/a b.jpg"), "c": Path("/tmp/c.jpg")})
    assert script.count("</script>") == 1 and "/gradio_api/file=/tmp/a%20b.jpg" in script and "POSTERS)" not in script


@pytest.mark.parametrize(("weights", "first"), [("mini", "mini"), ("runs/stage3", "own")])
def test_the_servers_own_weights_come_first(weights, first):
    offered = offered_weights(weights)
    assert next(iter(offered)) == first and offered[first] == weights
    assert {"auto", "mini", "release"} <= set(offered)
