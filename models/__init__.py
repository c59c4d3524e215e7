"""The networks of the revolution of depth, by name. Imports torch and nothing else of ours."""

from models.registry import create, names

__all__ = ["create", "names"]
