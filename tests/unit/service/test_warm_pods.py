"""Which specs can have warm pods, what those are, and which kernel may get one."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest

from elastic_spawner.gateway.environment import own_environment
from hub_service import homes
from hub_service.kernels import kernel
from hub_service.kernelspecs.kernelspec import set_values
from hub_service.kinds import name_of
from hub_service.warm import pods
from tests.unit.service.kernels import LATER, NOW, STAMP

HOME = {"name": "all", "mountPath": "/home", "subPathExpr": "users/$(KERNEL_USERNAME)"}
COMMAND = ["python3", "-m", "ipykernel_launcher", "-f", "/run/elastic/connection.json"]


def a_spec(**fields):
    return {
        "metadata": {"name": "py", "namespace": "users", "uid": "s-1"},
        "spec": {"warm": {"pods": 2, "imports": ["numpy", "scipy.stats"]}, **fields},
    }


def a_template(container=None, **pod_spec):
    own = {"name": "kernel", "image": "kernel:1", "command": COMMAND, **(container or {})}
    return {"metadata": {"labels": {"team": "x"}}, "spec": {"containers": [own], **pod_spec}}


def cold(template=None, **spec):
    """The pod that would be made for a user's kernel, whose gateway adds variables of its own."""
    template = copy.deepcopy(template or a_template())
    own = own_environment(user="ada", kernel_id="0b2c", language="python")
    set_values(template["spec"]["containers"][0], own)
    return kernel.desired_pod(
        {
            "metadata": {"name": "kernel-1", "namespace": "users", "uid": "u-1"},
            "spec": {
                "owner": "ada",
                "server": "",
                "kernelID": "0b2c",
                "kernelSpecName": "py",
                "gateway": {"name": "gw"},
                "connectionSecret": "kernel-1",
                "template": template,
                **spec,
            },
        }
    )


def of_nobody(template=None):
    return kernel.desired_pod(pods.prototype(a_spec(), template or a_template()))


def waiting(template=None, name="py-warm-1", *, ready=True, created=STAMP):
    pod = copy.deepcopy(pods.of_spec(a_spec(), of_nobody(template)))
    pod["metadata"] |= {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "creationTimestamp": created,
    }
    pod["spec"]["nodeName"] = "node-1"
    container = {"name": "kernel", "started": ready, "state": {"running": {"startedAt": created}}}
    pod["status"] = {"phase": "Running", "containerStatuses": [container]}
    return pod


class TestWhichSpecs:
    def test_an_ordinary_one_can(self):
        assert pods.problem(of_nobody(), encrypted=False, home=False, gpus=False) is None

    @pytest.mark.parametrize(
        ("template", "options", "said"),
        [
            (a_template(), {"home": True}, "home: false"),
            (a_template(), {"encrypted": True}, "encryption: curve"),
            (
                a_template({"resources": {"limits": {"nvidia.com/gpu": 1}}}),
                {},
                "warmKernels.gpus",
            ),
            (a_template({"command": ["xpython", "-f", "x"]}), {}, "python -m"),
            (a_template({"command": ["python3", "kernel.py", "-m", "x"]}), {}, "python -m"),
            (a_template({"command": ["python3", "-c", "-m", "x"]}), {}, "python -m"),
            (a_template({"command": [*COMMAND, "$(KERNEL_ID)"]}), {}, "'$(KERNEL_ID)' holds"),
            (
                a_template({"env": [{"name": "LANG", "value": "$(KERNEL_LANGUAGE)"}]}),
                {},
                "'$(KERNEL_LANGUAGE)' holds",
            ),
            (a_template({"readinessProbe": {"exec": {}}}), {}, "readinessProbe"),
            (a_template({"lifecycle": {"postStart": {"exec": {}}}}), {}, "postStart"),
            (a_template(activeDeadlineSeconds=3600), {}, "activeDeadlineSeconds"),
            (a_template({"volumeMounts": [HOME]}), {}, "'users/$(KERNEL_USERNAME)' holds"),
            (
                a_template(initContainers=[{"name": "copy", "volumeMounts": [HOME]}]),
                {},
                "'users/$(KERNEL_USERNAME)' holds",
            ),
            (
                a_template(
                    {
                        "env": [
                            {
                                "name": "WHO",
                                "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}},
                            }
                        ]
                    }
                ),
                {},
                "The variable WHO",
            ),
        ],
    )
    def test_others_are_told_why_not(self, template, options, said):
        given = {"encrypted": False, "home": False, "gpus": False, **options}
        assert said in pods.problem(of_nobody(template), **given)

    def test_gpus_where_they_are_allowed(self):
        template = a_template({"resources": {"limits": {"nvidia.com/gpu": 1}}})
        pod = of_nobody(template)
        assert pods.problem(pod, encrypted=False, home=False, gpus=True) is None


class TestThePodThatWaits:
    def test_is_nobodys(self):
        pod = pods.of_spec(a_spec(), of_nobody())
        assert pod["metadata"]["labels"] == {
            "team": "x",
            "app.kubernetes.io/name": "elastic-kernels",
            "app.kubernetes.io/component": "kernel",
            "app.kubernetes.io/managed-by": "elastic-hub-service",
            "kubeflow.tkestack.io/kernel-spec": "py",
            "kubeflow.tkestack.io/warm": "true",
        }
        assert pod["metadata"]["ownerReferences"][0]["kind"] == "JupyterKernelSpec"
        assert "name" not in pod["metadata"]
        assert pods.pool_of({**pod, "metadata": {**pod["metadata"]}}) == "users/py"

    def test_runs_what_the_kernel_would_and_mounts_no_secret(self):
        spec = pods.of_spec(a_spec(), of_nobody())["spec"]
        (container,) = spec["containers"]
        words = container["command"][4:]  # after the supervisor's
        assert words == [
            "python3",
            "-c",
            pods.boot_text(),
            "/run/elastic",
            "numpy,scipy.stats",
            "ipykernel_launcher",
            "-f",
            "/run/elastic/connection.json",
        ]
        assert container["command"][0] == "/bin/sh"
        assert [volume["name"] for volume in spec["volumes"]] == ["elastic-connection"]
        assert spec["volumes"][0]["emptyDir"]["medium"] == "Memory"
        assert not any("secret" in volume for volume in spec["volumes"])

    def test_keeps_the_interpreters_options(self):
        template = a_template({"command": ["/opt/python3.11", "-u"], "args": ["-m", "k", "-x"]})
        container = pods.of_spec(a_spec(), of_nobody(template))["spec"]["containers"][0]
        assert container["command"][4:6] == ["/opt/python3.11", "-u"]
        assert container["command"][-2:] == ["k", "-x"]
        assert "args" not in container

    def test_is_another_where_the_imports_are(self):
        revisions = {
            pods.of_spec(a_spec(warm={"pods": 1, "imports": names}), of_nobody())["metadata"][
                "annotations"
            ]["kubeflow.tkestack.io/warm-revision"]
            for names in ([], ["numpy"])
        }
        assert len(revisions) == 2


class TestWhoMayHaveIt:
    def test_a_kernel_whose_pod_would_be_the_same(self):
        assert pods.candidates([waiting()], cold()) == [waiting()]

    def test_also_with_a_folder_on_a_volume_of_all(self):
        shared = [homes.Mount("/data", {"nfs": {"server": "s", "path": "/"}})]
        in_pool, _, _ = homes.furnish(of_nobody(), shared)
        mine, _, _ = homes.furnish(cold(), shared)
        mine, problem = homes.started_in(mine, "/data/notes")
        assert problem is None
        assert pods.likeness(in_pool) == pods.likeness(mine)

    @pytest.mark.parametrize(
        "other",
        [
            a_template({"image": "kernel:2"}),
            a_template({"env": [{"name": "X", "value": "y"}]}),
            a_template({"resources": {"limits": {"memory": "1Gi"}}}),
            a_template(nodeSelector={"zone": "b"}),
            a_template(volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "ada"}}]),
            a_template(securityContext={"runAsUser": 1001}),
            {**a_template(), "metadata": {"labels": {"team": "y"}}},
            {**a_template(), "metadata": {"labels": {"team": "x"}, "annotations": {"a": "b"}}},
        ],
    )
    def test_none_whose_pod_would_differ(self, other):
        assert pods.candidates([waiting()], cold(other)) == []

    def test_none_of_another_spec(self):
        assert pods.candidates([waiting()], cold(kernelSpecName="other")) == []

    def test_the_oldest_that_is_ready(self):
        there = [
            waiting(name="c", created="2030-01-02T03:05:00Z"),
            waiting(name="b", created="2030-01-02T03:04:00Z"),
            waiting(name="a", ready=False),
        ]
        assert [name_of(pod) for pod in pods.candidates(there, cold())] == ["b", "c"]

    def test_none_that_goes(self):
        pod = waiting()
        pod["metadata"]["deletionTimestamp"] = STAMP
        assert pods.candidates([pod], cold()) == []


class TestClaim:
    def test_makes_the_pod_the_kernels(self):
        mine = cold()
        metadata = pods.claim(waiting(), mine, NOW)["metadata"]
        assert metadata["ownerReferences"] == mine["metadata"]["ownerReferences"]
        assert metadata["labels"] == {
            **mine["metadata"]["labels"],
            "kubeflow.tkestack.io/warm": None,
        }
        assert (metadata["uid"], metadata["resourceVersion"]) == ("uid-py-warm-1", "7")

    def test_its_time_is_not_the_time_it_waited(self):
        pod = waiting()
        assert pods.started(pod, STAMP) == STAMP
        pod["metadata"]["annotations"] |= pods.claim(pod, cold(), LATER)["metadata"]["annotations"]
        assert pods.started(pod, STAMP) == (NOW + timedelta(minutes=1)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )

    def test_it_is_the_kernels_once_the_kernel_was_told(self):
        pod = waiting()
        item = {"spec": {"incarnation": 1}}
        assert not pods.is_delivered(pod, 1)
        pod["metadata"]["annotations"] |= pods.delivered(item)["metadata"]["annotations"]
        assert pods.is_delivered(pod, 1)
        assert not pods.is_delivered(pod, 2)
