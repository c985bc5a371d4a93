"""What every server shares is what every server holds: what hardly any needs stays out of the fork server."""

import subprocess
import sys
from pathlib import Path

import joblib
from sklearn.linear_model import LogisticRegression

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


SERVES = """
import sys
from modelport.forkserver.preload import Shared
from modelport.server.supervisor import Supervisor
shared = Shared(bare=False)
shared.server()
arguments = [sys.argv[1], "--http-port", "0", "--grpc-port", "0"]
shared.arguments(arguments)
before = set(sys.modules)
Supervisor.run = lambda self: 0  # all but serving
from modelport.cli import main
print(main(["serve", *arguments]), sorted(set(sys.modules) - before))
"""


def test_a_server_finds_all_that_it_imports(tmp_path: Path):
    """What each imports for itself, each holds for itself, and its start takes the time of it."""
    model = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), model)
    said = subprocess.run(
        [sys.executable, "-c", SERVES, str(model)], capture_output=True, text=True, check=True
    )
    assert said.stdout == "0 []\n"
