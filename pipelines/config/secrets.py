"""Passwords and keys in addresses: what is shown or written anywhere shows `***` in their place."""

import re
from typing import Any

HIDDEN = "***"

_PASSWORD = re.compile(r"((?:://|%3A%2F%2F)[^/?#@:%\s]*)(?::|%3A)[^@\s]*?(@|%40)", re.IGNORECASE)
_TOKEN = re.compile(r"(https?://)[^/?#@:\s]+@", re.IGNORECASE)
_OPTION = re.compile(
    r"([?&;][^=&;\s]*(?:secret|passw|pwd|token|key|credential|sig)[^=&;\s]*=)[^&;#\s'\"]+", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """The text, fit to be shown: `scheme://user:***@host/path?secret_key=***`, with whatever stands around it."""
    text = _PASSWORD.sub(rf"\1:{HIDDEN}\2", text)
    text = _TOKEN.sub(rf"\1{HIDDEN}@", text)
    return _OPTION.sub(rf"\1{HIDDEN}", text)


def tree_without_secrets(tree: Any) -> Any:
    """The same of every text in a tree of dictionaries and lists."""
    if isinstance(tree, dict):
        return {key: tree_without_secrets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [tree_without_secrets(value) for value in tree]
    return without_secrets(tree) if isinstance(tree, str) else tree
