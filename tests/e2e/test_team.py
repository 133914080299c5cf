"""A team with a namespace for each member: profiles, two kernels each, and modules that they share.

Settings and profiles are those of helm-values/namespaces-per-user.yaml, and the kernels those of
examples/kernels/namespaces-per-user.yaml, but for what they ask of a node.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from demo.client import RequestFailedError
from demo.install import ROOT, Images, Installation, kubectl
from hub_service.kinds import LABEL_OWNER, PODS, condition, namespace_of, spec_of
from hub_service.kube.client import Cluster
from tests.e2e.support import House, OneKernel

pytestmark = [pytest.mark.team, pytest.mark.long]

KERNELS = ROOT / "examples" / "kernels" / "namespaces-per-user.yaml"
MEMBERS = ("ada", "grace")


@pytest.fixture(scope="session")
def team(installation: Installation, images: Images) -> Iterator[None]:
    """What an administrator prepares: kernels, and namespaces with a claim on the same folder."""
    text = KERNELS.read_text().replace("elastic/kernel:dev", images.name("kernel"))
    text = re.sub(r"memory: (512Mi|\d+Gi)", "memory: 256Mi", text)
    kubectl("apply", "-f", "-", manifest=re.sub(r'cpu: ("\d+"|200m)', "cpu: 100m", text))
    for member in MEMBERS:
        kubectl("create", "namespace", f"hub-{member}")
        kubectl("label", "namespace", f"hub-{member}", f"{LABEL_OWNER}={member}")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "team"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    first, second = (f"hub-{member}" for member in MEMBERS)
    kubectl("-n", first, "apply", "-f", "-", manifest=json.dumps(claim))
    bound = "--for=jsonpath={.status.phase}=Bound"
    kubectl("-n", first, "wait", bound, "--timeout=60s", "pvc/team")
    made = json.loads(kubectl("-n", first, "get", "pvc", "team", "-o", "json"))
    volume = json.loads(kubectl("get", "pv", made["spec"]["volumeName"], "-o", "json"))
    # One share is behind several volumes: a claim can't be used from another namespace.
    volume["metadata"] = {"name": f"team-of-{second}"}
    volume["spec"]["claimRef"] = {"namespace": second, "name": "team"}
    kubectl("apply", "-f", "-", manifest=json.dumps({**volume, "status": None}))
    claim["spec"] |= {"volumeName": f"team-of-{second}"}
    kubectl("-n", second, "apply", "-f", "-", manifest=json.dumps(claim))
    yield
    kubectl("delete", "--wait=false", "pv", f"team-of-{second}")


async def test_profiles_two_kernels_each_and_shared_modules(
    house: House, team: None, cluster: Cluster, kernel_of: OneKernel
) -> None:
    ada, grace = [await house.enter(name) for name in MEMBERS]
    await asyncio.gather(ada.login(), grace.login())
    await asyncio.gather(ada.start_server(profile="gpu"), grace.start_server(profile="high-memory"))
    for _ in range(2):  # jupyter_server learns its gateway's default from the first answer
        specs = [await person.kernelspecs() for person in (ada, grace)]
    assert [set(one["kernelspecs"]) for one in specs] == [
        {"python", "python-gpu"},
        {"python", "python-high-memory"},
    ]
    assert [one["default"] for one in specs] == ["python-gpu", "python-high-memory"]

    # Two kernels each, and no third.
    await ada.save_file("model.py", "def answer():\n    return 42\n")
    gpu = await ada.open_notebook("train.ipynb", "python-gpu")
    plain = await ada.open_notebook("look.ipynb", "python")
    with pytest.raises(RequestFailedError) as refused:
        await ada.open_notebook("more.ipynb", "python")
    assert "2 kernels" in refused.value.message

    # All that is hers is in her namespace: the notebook, its volume, the gateway, the kernels.
    kinds = ("pods", "persistentvolumeclaims", "jupytergateways", "jupyterkernels", "secrets")
    for kind in kinds:
        assert kubectl("-n", "hub-ada", "get", kind, "-o", "name").strip(), kind
    assert "kernel" not in kubectl("-n", "jupyter-users", "get", "pods", "-o", "name")
    shows = "import os; print(os.environ.get('NVIDIA_VISIBLE_DEVICES', 'none') != 'none')"
    assert (await ada.run(gpu, shows)).text == "True\n"
    assert (await ada.run(plain, "import model; print(model.answer())")).text == "42\n"

    # Data is shared by imports: she gives the team her module, and a colleague imports it.
    share = "import shutil; print(shutil.copy('model.py', '/srv/team/model.py'))"
    assert (await ada.run(gpu, share)).text == "/srv/team/model.py\n"
    large = await grace.open_notebook("use.ipynb", "python-high-memory")
    use = "import sys; sys.path.append('/srv/team'); import model; print(model.answer())"
    assert (await grace.run(large, use)).text == "42\n"
    mine = "from pathlib import Path; print(Path('model.py').exists())"
    assert (await grace.run(large, mine)).text == "False\n"

    kernel = await kernel_of("grace")
    assert namespace_of(kernel) == "hub-grace"
    said = condition(kernel, "HomeMounted") or {}
    assert (said["status"], said["reason"]) == ("True", "Mounted"), said
    pod = await cluster.get(PODS, "hub-grace", f"kernel-{large}")
    asked = spec_of(pod)["containers"][0]["resources"]
    assert asked["requests"]["memory"] == asked["limits"]["memory"]
