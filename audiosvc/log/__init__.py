"""The daemon's log: what is written of what happens, as what, and where, without anybody waiting for it."""
