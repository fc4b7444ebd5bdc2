"""Videos are found in folders and in Hub data sets, always in the same order and under the same names."""

from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest

from train.data.prepare.videos import list_videos, share_of
from unish.errors import InputError, MissingAssetError


def touch(folder, *places):
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(place.encode())


def test_a_folder_is_searched_to_any_depth(tmp_path):
    touch(tmp_path, "b.mp4", "a/c.MOV", "a/c.mkv", "notes.txt", ".hidden.mp4", ".cache/d.mp4")
    videos = list_videos(str(tmp_path))
    assert [video.place for video in videos] == ["a/c.MOV", "a/c.mkv", "b.mp4"]
    assert len({video.name for video in videos}) == 3  # although two have the same stem
    with videos[0].opened() as path:
        assert path.read_bytes() == b"a/c.MOV"
    alone = list_videos(str(tmp_path / "b.mp4"))
    assert [video.place for video in alone] == ["b.mp4"] and alone[0].content() == videos[2].content()
    touch(tmp_path, "b.mp4")
    (tmp_path / "b.mp4").write_bytes(b"another")
    assert alone[0].content() == videos[2].content() != videos[1].content()


def test_names_are_safe_and_do_not_depend_on_the_machine(tmp_path):
    for place in ("one", "two"):
        touch(tmp_path / place, "Ünsafe näme (1) %.mp4")
    first, second = (list_videos(str(tmp_path / place))[0].name for place in ("one", "two"))
    assert first == second and first.isascii() and "/" not in first and "%" not in first


def test_shares_partition(tmp_path):
    touch(tmp_path, *(f"{k}.mp4" for k in range(11)))
    videos = list_videos(str(tmp_path))
    shares = [share_of(videos, (i, 4)) for i in range(4)]
    assert sorted(video.place for share in shares for video in share) == sorted(video.place for video in videos)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_nothing_to_label(tmp_path):
    with pytest.raises(InputError, match="found none"):
        list_videos(str(tmp_path))
    with pytest.raises(InputError, match="neither"):
        list_videos(str(tmp_path / "no" / "such"))


def hub_has(monkeypatch, *files: str) -> None:
    """The Hub's data set is these files; those with an even number of letters are in LFS."""
    siblings = [
        SimpleNamespace(
            rfilename=name,
            blob_id=f"of {name}",
            lfs=SimpleNamespace(sha256=f"of {name}") if len(name) % 2 == 0 else None,
        )
        for name in files
    ]
    info = SimpleNamespace(siblings=siblings)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name, files_metadata: info)


def test_video_files_on_the_hub_are_fetched_when_their_turn_comes(tmp_path, monkeypatch):
    fetched = []

    def download(repository, place, repo_type):
        assert (repository, repo_type) == ("somebody/dances", "dataset")
        fetched.append(place)
        touch(tmp_path, place)
        return str(tmp_path / place)

    hub_has(monkeypatch, "README.md", "train/b.mp4", "train/a.webm")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    videos = list_videos("somebody/dances")
    assert [video.place for video in videos] == ["train/a.webm", "train/b.mp4"]
    assert [video.content() for video in videos] == ["of train/a.webm", "of train/b.mp4"] and not fetched
    with videos[1].opened() as path:
        assert path.is_file() and fetched == ["train/b.mp4"]


def test_a_column_of_videos(tmp_path, monkeypatch):
    touch(tmp_path, "x.mp4")
    rows = [{"bytes": b"first", "path": "first.webm"}, {"bytes": None, "path": str(tmp_path / "x.mp4")}]
    table = datasets.Dataset.from_dict(
        {"label": [0, 1], "clip": rows},
        features=datasets.Features({"label": datasets.Value("int64"), "clip": datasets.Video()}),
    )
    hub_has(monkeypatch, "train.parquet")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict({"train": table}))
    videos = list_videos("somebody/dances")
    assert [video.place for video in videos] == ["train/00000000", "train/00000001"]
    with videos[0].opened() as path:
        assert path.read_bytes() == b"first" and path.suffix == ".webm"
    assert not path.exists()
    with videos[1].opened() as path:
        assert path.read_bytes() == b"x.mp4"
    assert len({video.content() for video in videos}) == 2


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def unreachable(self, name, files_metadata):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    with pytest.raises(MissingAssetError, match=r"somebody/dances .* no route to host"):
        list_videos("somebody/dances")
