"""The configuration file gets into a notebook's pod, and nothing that was there gets lost."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hub_service.notebooks.notebook_config import (
    ANNOTATION,
    FOLDER,
    file_text,
    with_notebook_config,
)


def a_pod(**notebook: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "jupyter-ada", "annotations": {"team": "blue"}},
        "spec": {
            "containers": [
                {"name": "sidecar"},
                {
                    "name": "notebook",
                    "env": [{"name": "A", "value": "1"}],
                    "volumeMounts": [{"name": "home", "mountPath": "/home/jovyan"}],
                    **notebook,
                },
            ],
            "volumes": [{"name": "home", "emptyDir": {}}],
        },
    }


def test_the_file_is_mounted_and_found() -> None:
    pod = with_notebook_config(a_pod(), "c = 1")

    assert pod["metadata"]["annotations"] == {"team": "blue", ANNOTATION: "c = 1"}
    home, volume = pod["spec"]["volumes"]
    assert home["name"] == "home"
    (item,) = volume["downwardAPI"]["items"]
    assert item["path"] == "jupyter_server_config.py"
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{ANNOTATION}']"
    sidecar, notebook = pod["spec"]["containers"]
    assert sidecar == {"name": "sidecar"}
    assert [mount["mountPath"] for mount in notebook["volumeMounts"]] == ["/home/jovyan", FOLDER]
    assert notebook["volumeMounts"][1]["name"] == volume["name"]
    assert notebook["env"][-1] == {"name": "JUPYTER_CONFIG_PATH", "value": FOLDER}


def test_an_administrators_folders_come_first() -> None:
    theirs = {"name": "JUPYTER_CONFIG_PATH", "value": "/srv/jupyter:/opt/jupyter"}

    pod = with_notebook_config(a_pod(env=[theirs]), "c = 1")

    (entry,) = pod["spec"]["containers"][1]["env"]
    assert entry["value"] == f"/srv/jupyter:/opt/jupyter:{FOLDER}"


def test_a_folder_from_elsewhere_is_left_alone() -> None:
    theirs = {"name": "JUPYTER_CONFIG_PATH", "valueFrom": {"configMapKeyRef": {"name": "x"}}}

    pod = with_notebook_config(a_pod(env=[theirs]), "c = 1")

    assert pod["spec"]["containers"][1]["env"] == [theirs]


def test_once_is_enough_and_the_argument_stays() -> None:
    pod = a_pod()
    before = deepcopy(pod)

    once = with_notebook_config(pod, "c = 1")

    assert pod == before
    assert with_notebook_config(once, "c = 1") == once


def test_a_bare_pod_template_will_do() -> None:
    pod = with_notebook_config({"spec": {"containers": [{"name": "jupyter"}]}}, "c = 1")

    (container,) = pod["spec"]["containers"]
    assert container["env"] == [{"name": "JUPYTER_CONFIG_PATH", "value": FOLDER}]


def test_the_file_fits_into_an_annotation() -> None:
    # 256 KiB is what all of an object's annotations may have.
    assert len(file_text().encode()) < 64 * 1024
