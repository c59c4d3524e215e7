"""Passwords and keys in addresses: what is shown or written anywhere shows `***` in their place."""

import re
from typing import Any

HIDDEN = "***"

_PASSWORD = re.compile(r"(://(?:(?!%3A)[^/?#@:\s])*)(?::|%3A)\S*@", re.IGNORECASE)
"""Up to the last @ of the word: a password may have one. What else is in the word goes with it."""
_QUOTED_PASSWORD = re.compile(r"(%3A%2F%2F(?:(?!%3A|%40)[^/?#@:&\s])*)(?::|%3A)[^&\s]*%40", re.IGNORECASE)
_TOKEN = re.compile(r"(https?://)[^/?#@:\s]+@", re.IGNORECASE)
_OPTION = re.compile(
    r"([?&;][^=&;\s]*(?:secret|passw|pwd|token|key|credential|sig)[^=&;\s]*=)[^&;#\s'\"]+", re.IGNORECASE
)
_PAIR = re.compile(
    r"(\b\w*(?:passw(?:or)?d|pwd|secret|access_token|api_?key)\w*['\"]?(?:=|%3D|: ?)['\"]?)[^\s&;,'\"%]+", re.IGNORECASE
)
"""In a connection string, a header or JSON."""
_AUTHORIZATION = re.compile(r"\b((?:bearer|basic) )[\w.~+/=-]{8,}", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text, fit to be shown: `scheme://user:***@host/path?secret_key=***`, with whatever stands around it."""
    text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _QUOTED_PASSWORD.sub(rf"\1:{HIDDEN}%40", text)
    text = _TOKEN.sub(rf"\1{HIDDEN}@", text)
    for pattern in (_OPTION, _PAIR, _AUTHORIZATION):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def tree_without_secrets(tree: Any) -> Any:
    """The same of every text in a tree of dictionaries and lists."""
    if isinstance(tree, dict):
        return {key: tree_without_secrets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [tree_without_secrets(value) for value in tree]
    return without_secrets(tree) if isinstance(tree, str) else tree
