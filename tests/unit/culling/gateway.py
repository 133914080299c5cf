"""A gateway that serves one kernel: what it is told, and what it reports of that."""

from datetime import UTC, datetime, timedelta

from elastic_spawner.gateway import activity as activities
from hub_service import timestamps

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


def at(seconds):
    """A moment, in seconds since the kernel's start."""
    return START + timedelta(seconds=seconds)


def seconds(moment):
    """The other way round."""
    return (moment - START).total_seconds()


class Gateway:
    """Messages of the kernel and its clients, each at a moment in seconds since the start."""

    def __init__(self):
        self.activity = activities.started(START)
        self.connections = 0
        self.heart_lost_since = None

    def answered(self, second):
        self.activity = activities.answered(self.activity, at(second))
        return self

    def sent(self, second, kind, message_id="", command=""):
        """A client's message."""
        header = {"msg_type": kind, "msg_id": message_id or kind}
        self.activity = activities.passed_on(self.activity, header, at(second), command)
        return self

    def published(self, second, kind, parent, message_id="", state=None):
        """A message of the kernel's."""
        header = {"msg_type": parent, "msg_id": message_id or parent}
        self.activity = activities.published(self.activity, kind, header, state, at(second))
        return self

    def asked(self, second, kind, message_id=""):
        """A message of a client's, which the kernel takes up at once."""
        self.sent(second, kind, message_id)
        return self.published(second, "status", kind, message_id, "busy")

    def did(self, second, kind="execute_request", message_id=""):
        """The same, and the kernel is done with it at once."""
        self.asked(second, kind, message_id)
        return self.published(second, "status", kind, message_id, "idle")

    def connected(self, tabs):
        self.connections = tabs
        return self

    def left(self, second):
        self.connections = 0
        self.activity = activities.left(self.activity, at(second))
        return self

    def revived(self, second):
        """Another process takes over, which knows what was reported."""
        self.activity = activities.adopted(self.reported, at(second))
        return self

    def silent(self, second):
        """The kernel's heart has not answered since."""
        self.heart_lost_since = at(second)
        return self

    @property
    def reported(self):
        """`status.activity`, as it is once the report's merge patch was applied."""
        report = activities.status(
            self.activity, self.connections, self.heart_lost_since, process="g-1"
        )
        by_pod = {name: said for name, said in report.items() if isinstance(said, dict)}
        there = {name: {k: v for k, v in said.items() if v} for name, said in by_pod.items()}
        return {**report, **there}

    def may_seal(self, idle_before):
        """Whether it would end the kernel."""
        unheard = self.heart_lost_since is not None
        return not unheard and activities.may_seal(self.activity, idle_before)


def a_kernel(activity, *, phase="Running", incarnation=0, culling=None, started=START):
    """A JupyterKernel with a GPU, and this report of its gateway's."""
    return {
        "metadata": {"name": "kernel-a", "namespace": "users", "resourceVersion": "1"},
        "spec": {"owner": "alice", "incarnation": incarnation},
        "status": {
            "phase": phase,
            "gpus": 1,
            "incarnation": incarnation,
            "startTime": timestamps.microseconds(started),
            "activity": activity,
            "culling": culling or {},
        },
    }
