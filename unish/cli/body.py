"""`unish body`: body models are checked and installed."""

import argparse
from pathlib import Path


def add(commands) -> None:
    """Describe `unish body`."""
    body = commands.add_parser("body", help="install body models")
    body_commands = body.add_subparsers(title="commands", required=True, metavar="COMMAND")
    install = body_commands.add_parser("install", help="check a licensed SMPL file and keep it for later runs")
    install.add_argument("file", type=Path, help="SMPL_NEUTRAL.pkl, basicModel_*.pkl or an .npz in that format")
    install.set_defaults(command=_install_body)


def _install_body(options: argparse.Namespace) -> int:
    from unish.body import install

    print(f"Installed: {install(options.file)}")
    return 0
