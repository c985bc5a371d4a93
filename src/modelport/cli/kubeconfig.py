"""`modelport kubeconfig`: prints the path of the file that kubectl and the SDKs need."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from modelport.cli import home

if TYPE_CHECKING:
    from modelport.cli import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    kubeconfig = commands.add_parser(
        "kubeconfig",
        help="print the path of the platform's kubeconfig",
        description="Prints the path of the kubeconfig: export KUBECONFIG=$(modelport kubeconfig)",
    )
    kubeconfig.set_defaults(command=run)
    home.add_dir(kubeconfig)
    kubeconfig.add_argument(
        "--role",
        choices=("admin", "edit", "view"),
        default="admin",
        help="whose token it holds (default admin)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints it."""
    home.settings(options)
    folder = home.folder(options)
    print(folder.kubeconfig if options.role == "admin" else folder.path / f"kubeconfig-{options.role}")
    return 0
