"""`python -m modelport.forkserver`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from modelport.forkserver.preload import Shared
from modelport.forkserver.serving import ForkServer, SocketTaken


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM, or until nothing has been asked and nothing runs for `--idle` seconds."""
    parser = argparse.ArgumentParser(prog="python -m modelport.forkserver", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen on")
    parser.add_argument("--exits", type=Path, required=True, help="folder for the exit codes of children")
    parser.add_argument("--identity", type=Path, help="file for this process's number and start time")
    parser.add_argument("--idle", type=float, default=3600.0, metavar="S", help="end when idle for so long")
    parser.add_argument("--bare", action="store_true", help="import no framework: start every child afresh")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s fork server: %(message)s")
    try:
        server = ForkServer(options.socket, options.exits, options.idle, Shared(bare=options.bare))
    except SocketTaken as taken:
        sys.stderr.write(f"{taken}\n")
        return 3
    server.run(options.identity)
    return 0


if __name__ == "__main__":
    sys.exit(main())
