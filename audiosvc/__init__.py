"""audiosvc: many listeners, each with a sound of their own, over one Unix socket."""

__version__ = "0.1.0"
