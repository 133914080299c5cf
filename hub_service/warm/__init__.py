"""Warm kernels: pods whose interpreter has its imports loaded, and that wait for a user.

`boot` runs in them; `pods` says which specs can have them, what they are and which kernel may get
one; `pool` says how many there are to be. Pure, but for `boot`.
"""
