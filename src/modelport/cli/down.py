"""`modelport down`: stops the platform and its models; what was applied stays."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from modelport.cli import home
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    down = commands.add_parser(
        "down",
        help="stop the platform and its models",
        description="Stops the platform and its models. What was applied stays: the next `modelport up` serves it.",
    )
    down.set_defaults(command=run)
    home.add_dir(down)


def run(options: argparse.Namespace) -> int:
    """Stops it; returns once everything has ended."""
    from modelport.local import process
    from modelport.local.supervisor import end, stop

    home.settings(options)
    folder = home.folder(options)
    found = process.read(folder.run / "supervisor.json")
    if found is not None and found.alive:
        end(found, 120.0)
        if found.alive:  # it did not even end when killed
            found.signal(signal.SIGKILL)
    stop(folder)  # what it left, or what a killed one had left
    note(f"The platform in {folder.path} is stopped.")
    return 0
