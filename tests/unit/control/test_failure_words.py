"""What a container's end is called: the one line that helps."""

from modelport.control.failure import of_pod


def test_of_a_traceback_the_last_line_is_told():
    """The first is the same for every program that fails, and fills the condition."""
    traceback = (
        'Traceback (most recent call last):\n  File "/app/a.py", line 1, in <module>\nKeyError: "HOME"\n'
    )
    state = {"terminated": {"exitCode": 1, "message": traceback}}
    pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "main", "state": state}]}}
    found = of_pod(pod)
    assert found is not None
    assert found.message == 'container main: KeyError: "HOME"'
