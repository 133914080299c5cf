"""Whether kernels' GPUs are in use, by what DCGM's exporter tells Prometheus. Optional. Pure.

A kernel that is idle for its gateway may train in a thread of its own: its GPUs are at work, and so
is it (`use.observed`). One that is busy may hold GPUs that do nothing, which is noted and ends
nothing (`use.unused_since`). `series` has the questions and reads the answers.
"""
