"""KServe's module of this name, for scripts that build on its command line:

parser = argparse.ArgumentParser(parents=[modelport.model_server.parser])
"""

from __future__ import annotations

from modelport.server.model_server import ModelServer, parser

__all__ = ["ModelServer", "parser"]
