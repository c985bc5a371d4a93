"""The page for those who come from KServe: its Python, typed in."""

from __future__ import annotations

import re
from typing import Any

from sdk_platform import ROOT, Platform

PAGE = ROOT / "docs" / "how-to" / "from-kserve.md"


def test_the_pages_python_prints_what_it_says(platform: Platform, capsys: Any) -> None:
    """Lost otherwise: who follows the page writes the half that it leaves out by guesswork."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    code = code.replace('"…"', repr(str(platform.kubeconfig))).replace("localhost:8080", platform.gateway)
    try:
        exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    finally:
        platform.run("kubectl", "delete", "isvc", "sklearn-iris", "--timeout=60s")
    printed = capsys.readouterr().out
    said = re.findall(r"^ *print\(.*# (.+)$", code, re.MULTILINE)
    assert len(said) == 2
    assert all(line in printed for line in said), printed
