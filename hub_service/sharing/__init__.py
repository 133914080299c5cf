"""Who gets the next GPU, and whose is reclaimed for it. Pure.

`line` orders those that wait and says who goes on to the scheduler; `room` says what nodes have
free; `suitable` which nodes a pod may run on; `victims` which idle kernels end so that others can
start; `pods` reads all that from pods. The service acts on it in `reconcile/sharing.py`.
"""
