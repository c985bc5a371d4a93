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


def test_what_stays_beside_the_others_has_failed_only_until_it_runs_again():
    """It never ends well, so what it once died of would be told for ever."""
    last = {"terminated": {"exitCode": 1, "message": "no database"}}
    container = {"name": "proxy", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}
    pod = {"metadata": {"name": "p"}, "spec": spec, "status": {"initContainerStatuses": [container]}}
    found = of_pod(pod)
    assert found is not None
    assert found.message == "no database"
    container |= {"state": {"running": {}}, "started": True}
    assert of_pod(pod) is None


def looping(**ended):
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 4 s restarting failed container"}}
    container = {"name": "main", "state": state, "lastState": {"terminated": ended}}
    found = of_pod({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}})
    assert found is not None
    return found


def test_a_program_that_ends_well_again_and_again_is_told_so():
    """How long it waits now says nothing, and would be another condition and event with every round."""
    found = looping(exitCode=0, reason="Completed")
    assert found.message == "container main: ended by itself with exit code 0, where a server goes on"
    assert found.exit_code == 0


def test_an_end_that_nobody_saw_is_not_called_a_good_one():
    """Whoever reads exit code 0 looks for a mistake of their program, where the machine's processes were killed."""
    found = looping(exitCode=255, reason="ContainerStatusUnknown")
    assert found.message.startswith("container main: it has ended, and nobody saw how")


def test_a_program_that_ends_without_a_word_is_told_by_its_exit_code():
    assert looping(exitCode=3, reason="Error").message == "container main: Error (exit code 3)"


def test_how_it_once_ended_is_no_failure_of_a_container_that_starts_with_the_platform():
    """Else each `modelport up` calls the models that were ever killed unable to load, until they have started."""
    ended = {"exitCode": 137, "reason": "Error", "signal": 9}
    container = {"name": "main", "lastState": {"terminated": ended}, "state": {"waiting": {"reason": ""}}}
    pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}}
    assert of_pod(pod) is None
    container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert of_pod(pod) is not None


def test_our_own_command_line_is_told_in_one_line():
    said = "error: unrecognized arguments: --nonsense\n\nhint: modelport --help lists what it takes"
    found = looping(exitCode=2, reason="Error", message=said)
    assert found.message == "unrecognized arguments: --nonsense. modelport --help lists what it takes"


def test_an_init_container_that_runs_again_has_failed_until_it_ends_well():
    """Else a service's condition would come and go with every round, with an event each time."""
    container = {
        "name": "prep",
        "started": True,
        "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 3, "message": "cannot prepare"}},
    }
    found = of_pod({"metadata": {"name": "p"}, "status": {"initContainerStatuses": [container]}})
    assert found is not None
    assert found.message == "init container prep: cannot prepare"
    container["state"] = {"terminated": {"exitCode": 0}}
    assert of_pod({"metadata": {"name": "p"}, "status": {"initContainerStatuses": [container]}}) is None


def test_an_end_that_nobody_saw_is_no_failure_of_the_model():
    """After a power cut every container has ended somehow: `deploy` would give up on services that start right now."""
    ended = {"terminated": {"exitCode": 255, "reason": "ContainerStatusUnknown"}}
    container = {"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": ended}
    assert of_pod({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}}) is None
