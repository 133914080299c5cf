"""Homes: whose volumes, at which paths, on which node, and what is said of it."""

import pytest
from kubespawner.slugs import safe_slug

from hub_service import homes
from hub_service.homes import JobHome, Mount
from hub_service.names import user_slug
from hub_service.settings import SettingsError, parse
from hub_service.starts import room

HOME = {"persistentVolumeClaim": {"claimName": "claim-ada"}}
DATA = {"nfs": {"server": "files", "path": "/data"}}


def notebook_pod(owner="ada", server="", namespace="users", node="node-a", **spec):
    annotations = {"hub.jupyter.org/username": owner}
    if server:
        annotations["hub.jupyter.org/servername"] = server
    return {
        "metadata": {
            "name": f"jupyter-{owner}",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/component": "singleuser-server"},
            "annotations": annotations,
        },
        "spec": {
            "nodeName": node,
            "volumes": [
                {"name": "home", **HOME},
                {"name": "data", **DATA},
                {"name": "scratch", "emptyDir": {}},
                {"name": "token", "secret": {"secretName": "token-of-ada"}},
                {"name": "host", "hostPath": {"path": "/etc"}},
            ],
            "containers": [
                {"name": "sidecar", "volumeMounts": [{"name": "data", "mountPath": "/side"}]},
                {
                    "name": "notebook",
                    "volumeMounts": [
                        {"name": "home", "mountPath": "/home/jovyan", "subPath": "ada"},
                        {"name": "data", "mountPath": "/data", "readOnly": True},
                        {"name": "scratch", "mountPath": "/scratch"},
                        {"name": "token", "mountPath": "/run/token"},
                        {"name": "host", "mountPath": "/host"},
                        {"name": "home", "mountPath": "/me", "subPathExpr": "$(WHO)"},
                    ],
                    "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": False},
                },
            ],
            "securityContext": {"fsGroup": 100, "supplementalGroups": [7]},
            **spec,
        },
        "status": {"phase": "Running"},
    }


def kernel_pod(container=None, **spec):
    return {
        "metadata": {"name": "kernel-1", "namespace": "users"},
        "spec": {"containers": [{"name": "kernel", "image": "i", **(container or {})}], **spec},
    }


def kernel(owner="ada", namespace="users", **spec):
    return {"metadata": {"name": "k", "namespace": namespace}, "spec": {"owner": owner, **spec}}


def mounts_of(pod):
    return {m["mountPath"]: m for m in pod["spec"]["containers"][0]["volumeMounts"]}


# --- whose pod


@pytest.mark.parametrize(
    ("of_kernel", "pod"),
    [
        (kernel(server=""), notebook_pod()),
        (kernel(), notebook_pod()),
        (kernel(server="gpu"), notebook_pod(server="gpu")),
        (kernel("Ada/..", server=""), notebook_pod("Ada/..")),
    ],
    ids=["default server", "no server", "named server", "any name"],
)
def test_a_kernel_has_the_volumes_of_its_owners_server(of_kernel, pod):
    assert homes.server_of_kernel(of_kernel) == homes.server_of_pod(pod)


@pytest.mark.parametrize(
    ("of_kernel", "pod"),
    [
        (kernel("bob", server=""), notebook_pod()),
        (kernel(server="gpu"), notebook_pod()),
        (kernel(server=""), notebook_pod(server="gpu")),
        (kernel(server=""), notebook_pod(namespace="elsewhere")),
        (kernel('ada", "', server=""), notebook_pod()),
    ],
    ids=["another owner", "not that server", "its named one", "another namespace", "a trick"],
)
def test_and_of_no_other(of_kernel, pod):
    assert homes.server_of_kernel(of_kernel) != homes.server_of_pod(pod)


def test_a_pod_that_says_whose_it_is_without_being_the_hubs_is_nobodys_server():
    pod = notebook_pod()
    pod["metadata"]["labels"] = {"app.kubernetes.io/component": "kernel"}
    assert homes.server_of_pod(pod) is None


def test_a_notebook_without_a_hub_has_its_own_and_only_in_its_namespace():
    pod = notebook_pod()
    pod["metadata"]["labels"] = {
        "app.kubernetes.io/component": "notebook",
        "kubeflow.tkestack.io/notebook": "mine",
    }
    own = {"name": "mine", "namespace": "users"}
    assert homes.server_of_kernel(kernel(notebook=own)) == homes.server_of_pod(pod)
    assert homes.server_of_kernel(kernel(notebook={**own, "namespace": "x"})) is None
    # What a pod of that kind says in the hub's annotations counts for nothing.
    assert homes.server_of_kernel(kernel(server="")) != homes.server_of_pod(pod)


# --- which volumes


def test_what_lasts_is_taken_at_the_same_path_and_nothing_else():
    home = homes.of_pod(notebook_pod())
    assert home.mounts == (
        Mount("/home/jovyan", HOME, "ada"),
        Mount("/data", DATA, None, read_only=True),
    )
    assert home.identity == {"runAsUser": 1000, "fsGroup": 100, "supplementalGroups": [7]}
    assert homes.of_pod(notebook_pod(), ["home"]).mounts == home.mounts[:1]


def test_a_notebook_that_runs_as_root_does_not_make_kernels_do_so():
    pod = notebook_pod()
    pod["spec"]["containers"][1]["securityContext"] = {"runAsUser": 0, "runAsGroup": 0}
    assert homes.of_pod(pod).identity == {"fsGroup": 100, "supplementalGroups": [7]}


def test_mounted_in_the_kernels_pod():
    home = homes.of_pod(notebook_pod())
    pod, there, missing = homes.furnish(kernel_pod(), home.mounts, identity=home.identity)
    assert mounts_of(pod)["/home/jovyan"]["subPath"] == "ada"
    assert mounts_of(pod)["/data"]["readOnly"] is True
    assert [v for v in pod["spec"]["volumes"] if v.items() >= HOME.items()]
    assert pod["spec"]["securityContext"] == {
        "runAsUser": 1000,
        "fsGroup": 100,
        "fsGroupChangePolicy": "OnRootMismatch",
        "supplementalGroups": [7],
    }
    assert there == ["claim-ada at /home/jovyan", "files:/data at /data"]
    assert missing == []


def test_two_folders_of_a_claim_are_one_volume():
    mounts = [Mount("/home/jovyan", HOME, "ada"), Mount("/team", HOME, "team")]
    pod, _, _ = homes.furnish(kernel_pod(), mounts)
    assert len(pod["spec"]["volumes"]) == 1
    assert set(mounts_of(pod)) == {"/home/jovyan", "/team"}


def test_what_the_template_says_stands_and_is_said():
    own = [{"name": "own", "mountPath": "/home/jovyan/"}]
    before = kernel_pod(
        {"volumeMounts": own, "securityContext": {"runAsUser": 7}},
        volumes=[{"name": "own", "emptyDir": {}}],
        securityContext={"fsGroup": 8},
    )
    home = homes.of_pod(notebook_pod())
    pod, there, missing = homes.furnish(before, home.mounts, identity=home.identity)
    assert mounts_of(pod)["/home/jovyan/"]["name"] == "own"
    assert there == ["files:/data at /data"]
    assert missing == [
        "claim-ada at /home/jovyan is not mounted: the kernel's template has that path."
    ]
    assert pod["spec"]["securityContext"]["fsGroup"] == 8
    assert "runAsUser" not in pod["spec"]["securityContext"]
    assert before == kernel_pod(  # and nothing of what was given is changed
        {"volumeMounts": own, "securityContext": {"runAsUser": 7}},
        volumes=[{"name": "own", "emptyDir": {}}],
        securityContext={"fsGroup": 8},
    )


@pytest.mark.parametrize("path", ["/run/elastic", "/run", "/", "/run/elastic/"])
def test_the_connection_file_is_not_covered(path):
    _, there, missing = homes.furnish(kernel_pod(), [Mount(path, HOME)])
    assert not there
    assert len(missing) == 1


# --- the folder


@pytest.mark.parametrize(
    "folder", ["/home/jovyan", "/home/jovyan/course/week 1", "/home/jovyan/$a"]
)
def test_the_kernel_starts_in_the_notebooks_folder(folder):
    mounted, _, _ = homes.furnish(kernel_pod(), [Mount("/home/jovyan", HOME)])
    pod, problem = homes.started_in(mounted, folder)
    container = pod["spec"]["containers"][0]
    # The volume's own folder is there for certain; from there the kernel's first process goes on.
    assert container["workingDir"] == "/home/jovyan"
    assert container["env"] == [{"name": "KERNEL_WORKING_DIR", "value": folder.replace("$", "$$")}]
    assert problem is None


@pytest.mark.parametrize("folder", ["/home/jovyan2", "/tmp", "/home"])
def test_a_folder_that_the_kernel_does_not_have_is_said(folder):
    mounted, _, _ = homes.furnish(kernel_pod(), [Mount("/home/jovyan", HOME)])
    pod, problem = homes.started_in(mounted, folder)
    assert pod == mounted
    assert problem == f"The notebook's folder {folder} is on no volume that the kernel has too."


def test_a_folder_on_a_volume_of_the_kernels_own_is_no_folder_of_the_notebook():
    own = [{"name": "own", "mountPath": "/home/jovyan"}]
    before = kernel_pod({"volumeMounts": own}, volumes=[{"name": "own", "emptyDir": {}}])
    pod, problem = homes.started_in(before, "/home/jovyan/x")
    assert pod == before
    assert problem


def test_a_templates_own_folder_stands():
    mounted, _, _ = homes.furnish(kernel_pod({"workingDir": "/srv"}), [Mount("/h", HOME)])
    pod, problem = homes.started_in(mounted, "/h/x")
    assert pod == mounted
    assert problem == "It starts in /srv, as its template says."


# --- the node


def claim(*modes, **annotations):
    metadata = {"name": "claim-ada", "annotations": annotations}
    return {"metadata": metadata, "spec": {"accessModes": list(modes)}, "status": {}}


@pytest.mark.parametrize(
    ("modes", "read_only", "one_node", "one_pod"),
    [
        (["ReadWriteMany"], False, False, False),
        (["ReadWriteOnce", "ReadWriteMany"], False, False, False),
        (["ReadWriteOnce"], False, True, False),
        (["ReadWriteOnce"], True, True, False),
        (["ReadOnlyMany"], True, False, False),
        (["ReadOnlyMany", "ReadWriteOnce"], False, True, False),
        (["ReadWriteOncePod"], False, False, True),
        ([], False, True, False),
    ],
)
def test_how_many_nodes_can_use_a_claim(modes, read_only, one_node, one_pod):
    mount = Mount("/h", HOME, read_only=read_only)
    found = homes.bound_to_one_node([mount], {"claim-ada": claim(*modes)})
    assert found == ([mount] if one_node else [], [mount] if one_pod else [])


def test_what_a_claim_was_given_goes_before_what_it_asked_for():
    given = {**claim("ReadWriteOnce"), "status": {"accessModes": ["ReadWriteMany"]}}
    assert homes.bound_to_one_node([Mount("/h", HOME)], {"claim-ada": given}) == ([], [])


def test_of_shares_and_unknown_claims_nothing_is_said():
    assert homes.bound_to_one_node([Mount("/d", DATA), Mount("/h", HOME)], {}) == ([], [])


def test_the_node_is_where_the_volume_is_in_use():
    ended = notebook_pod(node="node-z")
    ended["status"]["phase"] = "Succeeded"
    pods = [notebook_pod(node=None), ended, notebook_pod(node="node-b")]
    assert homes.node_that_has({"claim-ada"}, pods) == "node-b"
    assert homes.node_that_has({"claim-bob"}, pods) is None


def node(name, labels=None, **allocatable):
    amounts = {
        "cpu": "4",
        "memory": "8Gi",
        **{k.replace("_", "/"): v for k, v in allocatable.items()},
    }
    return room.node(
        {"metadata": {"name": name, "labels": labels or {}}, "status": {"allocatable": amounts}}
    )


GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
GPU_NODE = {"nvidia.com_gpu": "2"}


@pytest.mark.parametrize(
    ("home", "nodes", "why"),
    [
        ("a", [node("a", **GPU_NODE)], None),
        ("a", [node("a", **GPU_NODE), node("b")], None),
        (
            "a",
            [node("a"), node("b", **GPU_NODE)],
            "asks for 1 GPU (nvidia.com/gpu), and that node has none",
        ),
        ("a", [node("b", **GPU_NODE)], "or the node is gone"),
        ("a", [], None),  # nothing is known of nodes: the scheduler decides
        (None, [node("a"), node("b", **GPU_NODE)], None),
    ],
    ids=["there", "there of two", "elsewhere", "gone", "unknown", "free to go"],
)
def test_whether_a_kernel_can_run_where_its_home_is(home, nodes, why):
    pod = homes.placed(kernel_pod(GPU), "claim-ada", home)
    fault = room.never_fits(pod, nodes)
    if why is None:
        assert fault is None
    else:
        assert fault is not None
        assert fault.reason == "HomeElsewhere"
        assert why in fault.message


def test_a_node_selector_that_leads_elsewhere_counts_too():
    pod = homes.placed(kernel_pod(nodeSelector={"pool": "gpu"}), "claim-ada", "node")
    fault = room.never_fits(pod, [node("node"), node("other", {"pool": "gpu"})])
    assert fault is not None
    assert fault.reason == "HomeElsewhere"


@pytest.mark.parametrize(
    ("nodes", "may_grow", "reason"),
    [
        ([node("a"), node("b")], False, "LargerThanAnyNode"),
        ([node("a"), node("b")], True, "HomeElsewhere"),
        ([node("a"), node("b", **GPU_NODE)], True, "HomeElsewhere"),
        ([node("a", **GPU_NODE), node("b")], True, None),
    ],
    ids=["nowhere", "not yet", "elsewhere", "there"],
)
def test_a_home_is_no_reason_where_no_node_has_what_is_asked_for(nodes, may_grow, reason):
    pod = homes.placed(kernel_pod(GPU), "claim-ada", "a")
    fault = room.never_fits(pod, nodes, may_grow=may_grow)
    assert (fault and fault.reason) == reason


def test_a_pod_is_held_to_the_node_and_to_what_its_template_asks_for():
    terms = [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
    ]
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    before = kernel_pod(affinity={"nodeAffinity": {field: {"nodeSelectorTerms": terms}}})
    placed = homes.placed(before, "claim-ada", "node-a")
    pin = [{"key": "metadata.name", "operator": "In", "values": ["node-a"]}]
    found = placed["spec"]["affinity"]["nodeAffinity"][field]["nodeSelectorTerms"]
    assert found == [{**term, "matchFields": pin} for term in terms]


def test_pods_of_a_volume_that_is_nowhere_yet_come_together():
    pod = homes.placed(kernel_pod(), "claim-ada", None)
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    (term,) = pod["spec"]["affinity"]["podAffinity"][field]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


# --- jobs, and what is said


def test_the_home_of_a_job():
    rule = JobHome("claim-{username}", "/home/jovyan", "home/{username}")
    (mount,) = homes.of_job("ada", rule).mounts
    assert mount == Mount("/home/jovyan", HOME, "home/ada")


@pytest.mark.parametrize(
    "name",
    [
        "ada",
        "ada-l",
        "Ada",
        "ada--l",
        "0ada",
        "-",
        "ада",
        "a" * 48,
        "a" * 49,
        "a@example.org",
        "a-",
        "9" * 60,
    ],
)
def test_names_are_written_as_kubespawner_writes_them(name):
    assert user_slug(name) == safe_slug(name, max_length=48)


def test_a_claim_that_the_hub_made_for_somebody_else_is_known():
    assert homes.is_somebody_elses(claim(**{"hub.jupyter.org/username": "bob"}), "ada")
    assert not homes.is_somebody_elses(claim(**{"hub.jupyter.org/username": "ada"}), "ada")
    assert not homes.is_somebody_elses(claim(), "ada")


@pytest.mark.parametrize(
    ("report", "holds", "reason", "words"),
    [
        (homes.describe(["A."], []), True, "Mounted", "A."),
        (homes.describe(["A."], ["Not B."]), True, "PartlyMounted", "A. Not B."),
        (homes.describe(["A."], ["Not B."], folder="F."), True, "FolderNotMounted", "A. Not B. F."),
        (homes.describe([], ["No."]), False, "NoHome", "No."),
        # Where there are no files at all, their folder goes without saying.
        (homes.describe([], ["No."], folder="F."), False, "NoHome", "No."),
        (homes.describe(["A."], ["N."], elsewhere=True), False, "HomeElsewhere", "A. N."),
    ],
)
def test_what_is_said_is_read_off_the_pod_again(report, holds, reason, words):
    assert report == (holds, reason, words)
    assert homes.report_of(homes.with_report(kernel_pod(), report)) == report


def test_of_a_pod_that_says_nothing_nothing_is_said():
    assert homes.report_of(kernel_pod()) is None
    other = kernel_pod()
    other["metadata"]["annotations"] = {"kubeflow.tkestack.io/home": "yes"}
    assert homes.report_of(other) is None


def test_what_all_share_is_in_notebooks_too_and_stays_where_something_else_is():
    shared = [Mount("/srv/team", DATA), Mount("/data", HOME)]
    pod = homes.with_shared(notebook_pod(), shared)
    (container,) = [one for one in pod["spec"]["containers"] if one["name"] == "notebook"]
    by_path = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert by_path["/srv/team"]["name"].startswith("elastic-home-")
    assert by_path["/data"]["name"] == "data"
    assert homes.with_shared(pod, shared) == pod  # the spawner may try again


# --- settings


def settings(**sections):
    return parse({"gateway": {"image": "gateway"}, **sections})


DATASETS = {"claimName": "datasets", "readOnly": True}


def test_shared_volumes_as_pods_have_them():
    given = settings(
        sharedVolumes=[
            {"name": "data", "mountPath": "/data", "claim": "datasets", "subPath": "of/2030"},
            {
                "name": "models",
                "mountPath": "/models",
                "nfs": {"server": "files", "path": "/models"},
                "readOnly": False,
            },
        ]
    )
    assert [volume.mount() for volume in given.shared_volumes] == [
        Mount("/data", {"persistentVolumeClaim": DATASETS}, "of/2030", True),
        Mount("/models", {"nfs": {"server": "files", "path": "/models"}}),
    ]


@pytest.mark.parametrize(
    ("volumes", "words"),
    [
        ([{"name": "a", "mountPath": "/a"}], "give either claim or nfs"),
        (
            [{"name": "a", "mountPath": "/a", "claim": "x", "nfs": {"server": "s", "path": "/"}}],
            "give either claim or nfs",
        ),
        ([{"name": "a", "mountPath": "a", "claim": "x"}], "mountPath"),
        ([{"name": "a", "mountPath": "/run/elastic/x", "claim": "x"}], "connection file"),
        ([{"name": "a", "mountPath": "/run", "claim": "x"}], "connection file"),
        ([{"name": "a", "mountPath": "/", "claim": "x"}], "mountPath"),
        (
            [{"name": n, "mountPath": "/a", "claim": "x"} for n in ("a", "b")],
            "two have the same mountPath: /a",
        ),
    ],
)
def test_shared_volumes_that_can_not_be(volumes, words):
    with pytest.raises(SettingsError, match=words):
        settings(sharedVolumes=volumes)


def test_a_job_has_no_home_unless_it_is_said_where():
    assert settings().homes.jobs.claim is None
    with pytest.raises(SettingsError, match=r"homes\.elsewhere"):
        settings(homes={"elsewhere": "anywhere"})
