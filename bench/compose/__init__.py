"""Renders the built-in demo pieces out of nothing but notes and arithmetic."""
