"""A job's command line: `CONF.yaml key=value …` to its frozen settings, `--help`, and errors that say what to do."""

import difflib
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipelines.config import InputError, Settings

S = TypeVar("S", bound=Settings)


def run(settings_type: type[S], job: Callable[[S], None], command: str) -> None:
    """Run `job` on the settings that `sys.argv` asks for; a user's mistake ends in one clear line and exit status 2.

    command: how the job is started, without its arguments, for `--help`.
    """
    try:
        if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
            print(explain(settings_type, command))
        else:
            job(parse(settings_type, sys.argv[1:]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parse(settings_type: type[S], arguments: Sequence[str]) -> S:
    """Defaults, then the YAML file that `arguments` begin with, then `key=value` in their order.

    Raises InputError that names the key, where it came from, the legal values and the nearest legal key.
    """
    if not arguments or "=" in arguments[0]:
        raise InputError("no configuration file: give a YAML file of conf/ first, then key=value; --help explains")
    path, *overrides = arguments
    tree = read_yaml(Path(path))
    overridden = [_override(tree, argument) for argument in overrides]
    try:
        return settings_type.model_validate(tree)
    except ValidationError as error:
        raise InputError("\n       ".join(_messages(settings_type, error, path, overridden))) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The tree in a YAML file; an InputError that names the file if it is not there or not a tree."""
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        near = difflib.get_close_matches(str(path), [str(p) for p in Path("conf").rglob("*.yaml")], 1, 0.5)
        raise InputError(f"{path}: no such file" + (f"; did you mean {near[0]}?" if near else "")) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected keys and values, found {type(tree).__name__}")
    return tree


def _override(tree: dict[str, Any], argument: str) -> str:
    """Set one `a.b=value` in the tree; the value is YAML, so lists, numbers and null work."""
    key, equals, text = argument.partition("=")
    if not equals or not key:
        raise InputError(f"{argument}: expected key=value, as in optimizer.lr=0.01")
    *branches, leaf = key.split(".")
    node = tree
    for branch in branches:
        child = node.setdefault(branch, {})
        if not isinstance(child, dict):
            raise InputError(f"{argument}: {branch} is a value, not a group of settings")
        node = child
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{argument}: {text!r} is not readable as a YAML value") from None
    return key


def _messages(root: type[Settings], error: ValidationError, path: str, overridden: list[str]) -> Iterator[str]:
    legal = dict(_leaves(root))
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"])
        origin = "command line" if any(key == k or key.startswith(k + ".") for k in overridden) else path
        if detail["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, legal, 1, 0.5)
            siblings = [k for k in legal if k.rpartition(".")[0] == key.rpartition(".")[0]]
            hint = f"did you mean {near[0]}? " if near else ""
            yield f"{origin}: {key} is no setting; {hint}Legal here: {', '.join(siblings) or 'none'}"
        elif detail["type"] == "missing":
            yield f"{path}: {key} is missing; give it in the file or as {key}=…"
        elif detail["type"] == "value_error":
            yield f"{origin}: {detail['ctx']['error']}"
        else:
            yield f"{origin}: {key} = {detail['input']!r}: {detail['msg'].replace('Input should', 'it should')}"


def explain(settings_type: type[Settings], command: str) -> str:
    """The text of `--help`: every setting with its type, default and meaning, from where it is declared."""
    lines = [f"usage: {command} CONF.yaml [key=value …]", "", (settings_type.__doc__ or "").strip(), ""]
    for key, field in _leaves(settings_type):
        default = "required" if field.is_required() else f"default {_shown(field.default)}"
        lines.append(f"  {key}  ({_type_name(field)}; {default})")
        lines += textwrap.wrap(
            " ".join((field.description or "").split()), 100, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


def _leaves(node: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in node.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _type_name(field: FieldInfo) -> str:
    choices = get_args(field.annotation)
    if choices and not any(isinstance(choice, type) or get_args(choice) for choice in choices):
        return " | ".join(map(str, choices))
    name = getattr(field.annotation, "__name__", "")
    return name if isinstance(field.annotation, type) and not choices else "list" if name == "tuple" else "path"


def _shown(value: object) -> str:
    return "[]" if value == () else "''" if value == "" else "none" if value is None else str(value)
