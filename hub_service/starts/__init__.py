"""A kernel's start, judged from its pod, the pod's Events and the settings. Pure.

`judge` says which step a start is at and whether it can still succeed; `faults` knows the words of
kubelet, container runtime and API server for what never will; `room` compares what a pod asks for
with what nodes have; `line` says who waits before whom; `events` reads the pod's Events.
"""
