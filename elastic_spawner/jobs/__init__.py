"""Notebooks that run unattended, on the same kernels as a person's: where the job runs.

No hub server takes part: the job speaks to the gateway itself, with a hub token of the user that
the kernel shall belong to. Needs the extra `jobs`; imports neither the hub's nor the gateway's
libraries.
"""
