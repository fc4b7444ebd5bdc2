"""Where errors leave the server: a sentence for what a visitor can mend, an apology and a log entry for the rest."""

import contextlib
import logging
import re
from collections.abc import Iterator

import gradio as gr

from space.results import ResultFolders
from unish.errors import UniSHError

log = logging.getLogger("unish")


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
        raise gr.Error("Something went wrong on our side. Please try again.", print_exception=False) from error


def without_paths(error: Exception, folders: ResultFolders) -> str:
    """What an error says, with "this video" where it names a visitor's file on the server."""
    roots = "|".join(re.escape(str(root)) for root in (folders.private, folders.served))
    return re.sub(rf"(?:{roots})(?:/[^\s/]*)*", "this video", str(error))
