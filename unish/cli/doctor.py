"""`unish doctor`: what is installed and what a run would use."""

import argparse


def add(commands) -> None:
    """Describe `unish doctor`."""
    doctor = commands.add_parser("doctor", help="say what is installed and what a run would use")
    doctor.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from unish.doctor import report

    for name, finding in report():
        print(f"{name:14} {finding}")
    return 0
