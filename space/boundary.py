"""Where errors leave the server: a sentence for what a visitor can mend, an apology and a log entry for the rest."""

import contextlib
import logging
import re
from collections.abc import Iterator

import gradio as gr

from space.results import ResultFolders
from unish.errors import UniSHError, is_out_of_memory

log = logging.getLogger("unish")
_PAGE_WORDS = {
    "the bundled weights with --weights mini": "the small model (Options, Model)",
    "--start": "From",
    "--end": "To",
    "--fps": "Frames per second",
}
"""What stands on the page for a command's options."""
TOO_LARGE = (
    "The server ran out of memory. Choose a shorter part of the video, fewer frames per second, or fewer people."
)


@contextlib.contextmanager
def spoken(folders: ResultFolders) -> Iterator[None]:
    """Turns errors into `gr.Error`, the only kind whose text Gradio sends to whoever asked."""
    try:
        yield
    except UniSHError as error:
        raise gr.Error(without_paths(error, folders), duration=None, print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:
        log.exception("A request failed")
        if is_out_of_memory(error):
            raise gr.Error(TOO_LARGE, duration=None, print_exception=False) from error
        raise gr.Error("Something went wrong on our side. Please try again.", print_exception=False) from error


def without_paths(error: Exception, folders: ResultFolders) -> str:
    """What an error says, with "this video" where it names a visitor's file on the server, and the page's controls
    where it names a command's options."""
    roots = "|".join(re.escape(str(root)) for root in (folders.private, folders.served))
    text = re.sub(rf"(?:{roots})(?:/[^\s/]*)*", "this video", str(error))
    for option, control in _PAGE_WORDS.items():
        text = text.replace(option, control)
    return text
