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


def test_an_init_container_is_named():
    """`cannot prepare` alone leaves open whose words they are, and which log holds more."""
    state = {"terminated": {"exitCode": 3, "message": "cannot prepare"}}
    status = {"initContainerStatuses": [{"name": "prep", "state": state}]}
    found = of_pod({"metadata": {"name": "p"}, "status": status})
    assert found is not None
    assert found.message == "init container prep: cannot prepare"
