"""A day of interactive training in virtual time, under several rules for who holds the GPUs.

`trace` makes the day, or reads one; `day` lets its people work on a cluster (`pool`) under a
strategy: those of others (`others`), or ours (`elastic`), which asks the very functions that the
service imports. `make simulate` prints what comes of it.
"""
