"""What every server shares is what every server holds: what hardly any needs stays out of the fork server."""

import subprocess
import sys

IMPORTS = """
import sys
from modelport.forkserver import __main__
from modelport.forkserver.preload import Shared
shared = Shared(bare=False)
shared.server()
shared.modules(["numpy", "scipy", "sklearn", "joblib", "sklearn.linear_model"])
print(sorted({"pandas", "unittest", "urllib.request", "yaml", "httpx2", "modelport.cli.bench"} & set(sys.modules)))
print("sklearn.linear_model" in sys.modules)
"""


def test_the_fork_server_holds_no_more_than_servers_need():
    """Lost otherwise: 30 MB of pandas, NumPy's test tools and others, in each place where a page of them is written to."""
    said = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["[]", "True"]
