"""What the page's buttons do, and the API for programs."""

from collections.abc import Callable, Mapping

import gradio as gr

from space.boundary import spoken, without_paths
from space.downloads import described_sizes, write_all, write_archive, write_exports
from space.examples import Examples
from space.limits import PREVIEW_LIMIT_S, TIME_LIMIT_S
from space.person_selection import ClipPreview, PeopleSelection
from space.request import DEFAULT_FPS, ClipRequest, ExportChoices, Settings, parse_boxes, parse_formats
from space.results import (
    EarlyScene,
    Result,
    ResultFolders,
    find_result,
    write_original,
    write_overlay,
    write_page,
)
from space.tasks import Cancelled, Task, cancel_tasks
from space.updates import button_updates, early_updates, formats_in, preview_updates, result_updates, video_value
from space.upload_pipeline import everybody, marked, preview_upload, reconstruct_upload, selected
from space.upload_reader import open_upload, part_used
from space.uploads import uploaded_file
from unish.errors import UniSHError
from unish.pipeline.options import Options
from unish.video import LONGEST_SHOT


class Demo:
    """What the buttons do, and the API."""

    def __init__(
        self,
        weights: Mapping[str, str],
        folders: ResultFolders,
        examples: Examples,
        time_limit_s: float | int = TIME_LIMIT_S,
        sfm: str = Options.sfm,
    ):
        self.weights = weights
        """What a visitor may ask for → what is loaded."""
        self.folders = folders
        self.time_limit_s = time_limit_s
        self.sfm = sfm
        self.examples = examples

    def clip_request(self, video: object, fps: object, start_s: object, end_s: object) -> ClipRequest:
        return ClipRequest.of(uploaded_file(video, self.folders.served), fps, start_s, end_s)

    # ------------------------------------------------------------ the page

    def preview(self, video, fps, start_s, end_s, seen, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        """A clip has come, or another part of it is wanted: show some of its frames and who is in them."""
        if not video:
            yield preview_updates(None, False)
            return
        yield from self._preview(lambda: self.clip_request(video, fps, start_s, end_s), request, progress, seen)

    def preview_shot(self, shot, seen, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        """Another of the shots is chosen: show that one."""
        if isinstance(seen, ClipPreview):
            yield from self._preview(lambda: seen.request.with_shot(shot), request, progress)

    def _preview(self, wanted: Callable[[], ClipRequest], request, progress, seen: object = None):
        with spoken(self.folders):
            try:
                part = wanted()
                if isinstance(seen, ClipPreview) and seen.request.with_shot(LONGEST_SHOT) == part:
                    return
                unused = part_used(part, open_upload(part))
                yield preview_updates(None, True, unused or "")
                task = Task(request.session_hash or "", PREVIEW_LIMIT_S, progress)
                seen = task.run(lambda report: preview_upload(part, self.folders, task, report))
                yield preview_updates(seen, True, unused or " ".join(seen.warnings))
            except UniSHError as error:  # said beside the clip, where it stays; only the button opens a message
                yield preview_updates(None, False, without_paths(error, self.folders), "error")

    def run(
        self, video, fps, start_s, end_s, weights, focal, static, height, fit, seen, picked,
        request: gr.Request, progress=gr.Progress(),  # noqa: B008
    ):  # fmt: skip
        """The button: from the form and the people selected to the scene."""
        with spoken(self.folders):
            part = self.clip_request(video, fps, start_s, end_s)
            settings = Settings.of(self.weights, weights, focal, static, height, fit, self.sfm)
            if isinstance(seen, ClipPreview) and seen.request.with_shot(LONGEST_SHOT) == part:
                part = seen.request
                people = selected(seen, PeopleSelection.of(picked, seen))
            else:
                people = everybody()
            task = Task(request.session_hash or "", self.time_limit_s, progress)

            def work(report, show):
                return reconstruct_upload(part, people, settings, self.folders, task, report, show)

            try:
                for shown in task.steps(work):
                    early = isinstance(shown, EarlyScene)
                    yield early_updates(shown, self.examples) if early else result_updates(shown, self.examples)
            except Cancelled:  # said by the button
                yield [gr.skip()] * 10

    def finish(self, result, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        """Behind the scene that is shown: the viewer's page, the overlay video, the archive, each when it is ready."""
        if not isinstance(result, Result):
            return
        with spoken(self.folders):
            # All that is there, each time: where files are there already, the page hears of the last step alone.
            page = gr.DownloadButton(value=str(write_page(result)), visible=True)
            yield page, video_value(), gr.skip()
            task = Task(request.session_hash or "", self.time_limit_s, progress)
            overlay = task.run(lambda report: write_overlay(result, report))
            yield page, video_value(overlay), gr.skip()
            archive = task.run(lambda report: write_archive(result))
            yield page, video_value(overlay), gr.DownloadButton(value=str(archive), visible=True)

    def export(self, request: gr.Request, progress=gr.Progress(), result=None, *choices):  # noqa: B008
        """The button below the result: files for other programs; `choices` are the values of `ExportForm.parts`."""
        with spoken(self.folders):
            if not isinstance(result, Result):
                raise gr.Error("There is no result yet.", print_exception=False)
            task = Task(request.session_hash or "", self.time_limit_s, progress)
            scene, fbx_scene, names, *groups = choices
            wanted = ExportChoices.of(formats_in(groups), scene, fbx_scene, names)
            path = task.run(lambda report: write_exports(result, wanted, report))
            label = f"Download exports (.zip): {described_sizes(path, wanted.formats)}"
        return gr.DownloadButton(label, value=str(path), visible=True)

    def reopen(self, request: gr.Request) -> list:
        """A reload, or somebody's link: the result is shown again while its files live."""
        name = request.query_params.get("result")
        result = find_result(self.folders, name)
        if name and result is None:
            gr.Info("This result has expired (results are kept for an hour). Please run the video again.")
        if result is None:
            result = self.examples.result(request.query_params.get("example"))
        return result_updates(result, self.examples)

    def open_example(self, chosen: gr.EventData) -> list:
        """A click on an example."""
        with spoken(self.folders):
            return result_updates(self.examples.result(getattr(chosen, "name", "")), self.examples)

    def use_example(self, chosen: gr.EventData) -> str:
        """The clip of an example, to be run again."""
        with spoken(self.folders):
            example = self.examples.examples.get(str(getattr(chosen, "name", "")))
            if example is None:
                raise gr.Error("This example does not exist.", print_exception=False)
            return str(example.clip)

    def original(self, result, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        """The clip itself, without bodies, on the scene's timeline."""
        with spoken(self.folders):
            if not isinstance(result, Result):
                return gr.skip()
            task = Task(request.session_hash or "", self.time_limit_s, progress)
            original = task.run(lambda report: write_original(result, report))
            return video_value(result.overlay, original)

    def cancel(self, request: gr.Request):
        """The cancel button: the work ends with the window that it is at."""
        cancel_tasks(request.session_hash or "")
        gr.Info("Cancelled.")
        return button_updates(running=False)

    def leave(self, request: gr.Request) -> None:
        """The tab is closed."""
        cancel_tasks(request.session_hash or "")

    # ------------------------------------------------------------ for programs

    def reconstruct(
        self,
        clip: gr.FileData,
        fps: float = DEFAULT_FPS,
        start_s: float | None = None,
        end_s: float | None = None,
        weights: str = "auto",
        boxes: str = "",
        focal: str = "",
        static_camera: bool = False,
        height: str = "",
        formats: str = "",
        fit: bool = True,
    ) -> tuple[gr.FileData, gr.FileData, gr.FileData, str]:
        """For programs: a clip goes in; zipped data, the viewer's page, the overlay video and numbers (HTML) come out.

        boxes: one per line, x0,y0,x1,y1 in pixels of the first frame, @seconds for a later one; empty: detected people.
        fit: bodies are fitted to the video; without it they have the network's motion.
        formats: those of `unish export --to` that are wanted, as glb,bvh,mesh: the zip then holds them as well.
        """
        with spoken(self.folders):
            part = self.clip_request(clip, fps, start_s, end_s)
            settings = Settings.of(self.weights, weights, focal, static_camera, height, fit, self.sfm)
            wanted, drawn = ExportChoices(parse_formats(formats)), parse_boxes(boxes)
            people = marked(drawn) if drawn else everybody()
            task = Task("", self.time_limit_s)

            def work(report):
                result = reconstruct_upload(part, people, settings, self.folders, task, report)
                return result, write_all(result, wanted, report)

            result, files = task.run(work)
        return (*(gr.FileData(path=str(file), orig_name=file.name) for file in files), result.numbers)  # type: ignore[return-value]
