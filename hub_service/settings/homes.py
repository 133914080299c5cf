"""The sections `homes` and `sharedVolumes`: users' files, and those of all, in kernels' pods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from hub_service.homes import Mount
from hub_service.kinds import CONNECTION_DIRECTORY
from hub_service.settings.section import DnsLabel, Section


def _beside_the_connection_file(path: str) -> str:
    taken, given = f"{CONNECTION_DIRECTORY}/", f"{path.rstrip('/')}/"
    if taken.startswith(given) or given.startswith(taken):
        raise ValueError(f"the kernel's connection file is in {CONNECTION_DIRECTORY}")
    return path


MountPath = Annotated[
    str,
    Field(pattern=r"^/[^:]+$", max_length=1024),
    AfterValidator(_beside_the_connection_file),
]


class JobHomeSettings(Section):
    """The home for kernels that belong to no notebook server: those of scheduled notebooks."""

    claim: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        description="Name of the PersistentVolumeClaim, with {username} for the user's name as "
        "KubeSpawner writes it in names: claim-{username}, for example. A claim that the hub made "
        "for somebody else is not taken. Unset: the volumes of the user's default server, while "
        "it runs.",
    )
    mount_path: MountPath = Field(
        "/home/jovyan", description="Where it is mounted; {username} may be in it."
    )
    sub_path: str | None = Field(
        None,
        pattern=r"^[^/]",
        description="The folder of the claim that is the user's: home/{username}, for example. "
        "Unset: the whole claim.",
    )


class HomeSettings(Section):
    """The files of a kernel's user."""

    enabled: bool = Field(
        True,
        description="Whether the volumes of a user's notebook server (claims and NFS shares) are "
        "in their kernels as well, at the same paths. home: false in a JupyterKernelSpec leaves "
        "them out of its kernels.",
    )
    volumes: list[str] = Field(
        default_factory=list,
        description="Which, by the names of the volumes in the notebook's pod; empty: all.",
    )
    elsewhere: Literal["fail", "without"] = Field(
        "fail",
        description="What becomes of a kernel that can't run on the one node where its user's "
        "volume can be used (ReadWriteOnce): it fails and says so, or starts without the volume.",
    )
    jobs: JobHomeSettings = JobHomeSettings()


class NfsShare(Section):
    """A folder of an NFS server."""

    server: str = Field(min_length=1, description="Its host name or address.")
    path: str = Field(pattern=r"^/", description="The folder that it exports.")


class SharedVolume(Section):
    """A volume that all kernels have, and the hub's notebooks: a class's data, for example."""

    name: DnsLabel = Field(description="Its name, for people.")
    mount_path: MountPath = Field(description="Where it is mounted.")
    claim: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        description="Name of a PersistentVolumeClaim in the namespace of the pods; with namespaces "
        "per user, in each of them.",
    )
    nfs: NfsShare | None = Field(None, description="An NFS share, in place of a claim.")
    sub_path: str | None = Field(
        None, pattern=r"^[^/]", description="A folder of the volume. Unset: all of it."
    )
    read_only: bool = Field(True, description="Whether nobody may write to it there.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> SharedVolume:
        if (self.claim is None) == (self.nfs is None):
            raise ValueError(f"{self.name}: give either claim or nfs")
        return self

    def mount(self) -> Mount:
        """As a pod has it."""
        if self.nfs is not None:
            source = {"nfs": self.nfs.model_dump()}
        else:
            # Some storage can be used on several nodes only where nobody may write at all.
            read_only = {"readOnly": True} if self.read_only else {}
            source = {"persistentVolumeClaim": {"claimName": self.claim, **read_only}}
        return Mount(self.mount_path, source, self.sub_path, self.read_only)
