"""The networks of the revolution of depth, by name. Imports torch and nothing else of ours."""

from models.registry import create, input_size, names, options
from models.sizes import SizeError

__all__ = ["SizeError", "create", "input_size", "names", "options"]
