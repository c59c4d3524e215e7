"""What all settings share: frozen trees that refuse unknown keys, and the error for what a user got wrong."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.config.secrets import tree_without_secrets, without_secrets


class InputError(ValueError):
    """Something a user gave (a setting, a file, an image) is wrong; the message says what to do, and no password."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class Settings(BaseModel):
    """A branch of the tree: frozen, and refusing keys nobody declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def shown(self) -> dict[str, Any]:
        """The tree in JSON types, fit to be kept with a run: without the tracking store's address, or any password."""
        shown: dict[str, Any] = tree_without_secrets(self.model_dump(mode="json", exclude={"tracking": {"uri"}}))
        return shown

    def flat(self) -> dict[str, Any]:
        """The leaves of `shown` by dotted key, as MLflow's parameters are named."""
        return _flatten(self.shown())


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= _flatten(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


def digest_of(tree: object) -> str:
    """sha256, in hexadecimal, of anything JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
