"""Passwords and keys in addresses: what is shown or written anywhere shows `***` in their place."""

import re
from typing import Any

HIDDEN = "***"

# All repetitions are bounded, so that no text, however long, takes more than a time in proportion to its length.
_PASSWORD = re.compile(r"(://(?:(?!%3A)[^/?#@:\s]){0,500})(?::|%3A)\S{0,500}@", re.IGNORECASE)
"""Up to the last @ of the word: a password may have one. What else is in the word goes with it."""
_QUOTED_PASSWORD = re.compile(r"(%3A%2F%2F(?:(?!%3A|%40)[^/?#@:&\s]){0,500})(?::|%3A)[^&\s]{0,500}%40", re.IGNORECASE)
_TOKEN = re.compile(r"(https?://)[^/?#@:\s]{1,500}@", re.IGNORECASE)
_OPTION = re.compile(
    r"([?&;][^=&;\s]{0,60}(?:secret|passw|pwd|token|key|credential|sig)[^=&;\s]{0,60}=)"
    r"(?:\{[^}]{0,500}\}|[^&;#\s'\"]+)",
    re.IGNORECASE,
)
_NAME = (
    r"(?:secret|passw(?:or)?d|passphrase|pwd|(?:api|access|private|account)[_-]?key|(?<=[_.-])token|token(?=['\"=])"
    r"|sharedaccesssignature)[\w.-]{0,60}"
)
"""The end of one, in a connection string, a header or JSON: what stands before is shown in any case."""
_QUOTED = r"'(?:\\.|[^'\\]){0,500}'|\"(?:\\.|[^\"\\]){0,500}\"|\{[^}]{0,500}\}"
_PAIR = re.compile(rf"({_NAME}['\"]?(?:=|: ?))({_QUOTED}|['\"]?[^\s&;,'\"]+)", re.IGNORECASE)
_QUOTED_PAIR = re.compile(rf"({_NAME}%3D)()[^\s&;,'\"%]+", re.IGNORECASE)
_WORDS = re.compile(r"(--[\w-]{0,60}(?:secret|passw(?:or)?d|token|api-?key)[\w-]{0,60} )()(?!-)\S+", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(\bauthorization['\"]?(?:=|: ?)['\"]?(?:[a-z]{1,20} )?)()[^\s'\",;]+", re.IGNORECASE)
_SCHEME = re.compile(r"(\b(?:bearer|basic) )()[\w.~+/=-]{8,}", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text, fit to be shown: `scheme://user:***@host/path?secret_key=***`, with whatever stands around it."""
    text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _QUOTED_PASSWORD.sub(rf"\1:{HIDDEN}%40", text)
    text = _TOKEN.sub(rf"\1{HIDDEN}@", text)
    text = _OPTION.sub(rf"\1{HIDDEN}", text)
    for pattern in (_PAIR, _QUOTED_PAIR, _WORDS, _AUTHORIZATION, _SCHEME):
        text = pattern.sub(_hidden, text)
    return text


def _hidden(found: re.Match[str]) -> str:
    """In the quotes in which it stood, if it stood in some."""
    quote = found[2][:1] if found[2][:1] in ("'", '"') else ""
    closing = quote if quote and found[2].endswith(quote) and len(found[2]) > 1 else ""
    return f"{found[1]}{quote}{HIDDEN}{closing}"


def tree_without_secrets(tree: Any) -> Any:
    """The same of every text in a tree of dictionaries and lists."""
    if isinstance(tree, dict):
        return {key: tree_without_secrets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [tree_without_secrets(value) for value in tree]
    return without_secrets(tree) if isinstance(tree, str) else tree
