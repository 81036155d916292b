"""A web site of real media on loopback: good ones of every kind, pages about them, servers with faults, hostile ones.

Test support. `Site` (in `server`) is the whole of it; `clock` measures what was heard of its media.
"""
