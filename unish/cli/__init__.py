"""The `unish` command. Bad input ends with one sentence on stderr and exit code 2.

One file a subcommand; each has `add(commands)`, which describes its options and names the function that does the work.
"""

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from unish.cli import batch, body, doctor, evaluate, export, run, view
from unish.errors import OUT_OF_MEMORY, InputError, UniSHError, is_out_of_memory

COMMANDS = (run, view, export, batch, evaluate, body, doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 2 bad input, 130 interrupted)."""
    parser = _parser()
    # Read when torch is imported: what Apple's GPUs cannot do runs on the CPU.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that are no text
    try:
        options = parser.parse_args(arguments)
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
        return options.command(options)
    except UniSHError as error:
        print(f"unish: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f"unish: {OUT_OF_MEMORY}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("unish: stopped; nothing was written.", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="unish", description="A clip goes in; scene, camera and people come out, in metres.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        command.add(commands)
    return parser
