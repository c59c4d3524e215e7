"""A job's command line: `CONF.yaml key=value …` to its frozen settings, `--help`, and errors that say what to do.

A job about one thing that has a name takes `NAME key=value …` instead, without a file.
"""

import difflib
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipelines.config import InputError, Settings, Transform, without_secrets

S = TypeVar("S", bound=Settings)


def run(settings_type: type[S], job: Callable[[S], None], command: str, subject: str = "") -> None:
    """Run `job` on the settings that `sys.argv` asks for; a user's mistake ends in one clear line and exit status 2.

    command: how the job is started, without its arguments, for `--help`.
    subject: the key that a first word stands for, of a job that takes no file.
    """
    _answer(lambda arguments: job(parse(settings_type, arguments, subject)), explain(settings_type, command, subject))


def run_each(settings_type: type[S], job: Callable[[list[S]], None], command: str) -> None:
    """As `run`, of a job that takes several files: settings of each, all of them with the same `key=value`."""
    _answer(
        lambda arguments: job(parse_each(settings_type, arguments)), explain(settings_type, command, more_files=True)
    )


def _answer(job: Callable[[list[str]], None], explanation: str) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that `with` blocks end
    try:
        if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
            print(explanation)
        else:
            job(sys.argv[1:])
    except Exception as error:
        if isinstance(error, InputError) or (isinstance(error, OSError) and error.filename is not None):
            print(f"error: {without_secrets(str(error))}", file=sys.stderr)
            sys.exit(2)
        print(without_secrets(traceback.format_exc()), file=sys.stderr, end="")  # a defect, to be seen whole
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def parse(settings_type: type[S], arguments: Sequence[str], subject: str = "") -> S:
    """Defaults, then the YAML file that `arguments` begin with, then `key=value` in their order.

    With `subject` there is no file, and a first word without `=` is that key's value.
    Raises InputError that names the key, where it came from, the legal values and the nearest legal key.
    """
    path, given, tree = _named(subject, arguments) if subject else _configured(arguments)
    overrides = [_switched_on(argument, settings_type) for argument in given]
    overridden = [_override(tree, argument) for argument in overrides]
    try:
        return settings_type.model_validate(tree)
    except ValidationError as error:
        raise InputError("\n       ".join(_messages(settings_type, error, path, overridden))) from None


def parse_each(settings_type: type[S], arguments: Sequence[str]) -> list[S]:
    """`parse` with each of the files that `arguments` begin with."""
    files = list(takewhile(lambda argument: "=" not in argument and not argument.startswith("--"), arguments))
    rest = arguments[len(files) :]
    return [parse(settings_type, [file, *rest]) for file in files] or [parse(settings_type, rest)]


def _configured(arguments: Sequence[str]) -> tuple[str, list[str], dict[str, Any]]:
    """Where the tree came from, what overrides it, the tree."""
    if not arguments or "=" in arguments[0]:
        raise InputError("no configuration file: give a YAML file of conf/ first, then key=value; --help explains")
    path, *given = arguments
    return path, given, read_yaml(Path(path))


def _named(subject: str, arguments: Sequence[str]) -> tuple[str, list[str], dict[str, Any]]:
    if not arguments or "=" in arguments[0] or arguments[0].startswith("--"):
        return "command line", list(arguments), {}
    word, *given = arguments
    return "command line", given, {subject: word}


def _switched_on(argument: str, settings_type: type[Settings]) -> str:
    """`--prune` for `output.prune=true`: a switch may be given by its last name. Other arguments as they are."""
    keys = {key.rpartition(".")[2]: key for key, field in leaves(settings_type) if field.annotation is bool}
    name = argument.removeprefix("--").replace("-", "_")
    return f"{keys[name]}=true" if argument.startswith("--") and name in keys else argument


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
        child = node[branch] = {} if node.get(branch) is None else node[branch]
        if not isinstance(child, dict):
            raise InputError(f"{argument}: {branch} is a value, not a group of settings")
        node = child
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{argument}: {text!r} is not readable as a YAML value") from None
    return key


def _messages(root: type[Settings], error: ValidationError, path: str, overridden: list[str]) -> Iterator[str]:
    legal = dict(leaves(root))
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"])
        from_command_line = any(f"{k}.".startswith(f"{key}.") or f"{key}.".startswith(f"{k}.") for k in overridden)
        origin = "command line" if from_command_line else path
        if detail["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, legal, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            yield f"{origin}: {key} is no setting; {hint}Legal here: {', '.join(_siblings(root, detail['loc']))}"
        elif detail["type"] == "missing":
            yield f"{path}: {key} is missing; give it in the file or as {key}=…"
        elif detail["type"] == "value_error":
            yield f"{origin}: {detail['ctx']['error']}"
        else:
            yield f"{origin}: {key} = {detail['input']!r}: {detail['msg'].replace('Input should', 'it should')}"


def _siblings(root: type[Settings], place: tuple[int | str, ...]) -> list[str]:
    """What may stand where `place` ends, which names a key of the tree or of one entry of a list of transforms."""
    node: type[Settings] | None = root
    for part in place[:-1]:
        if node and isinstance(part, str) and part in node.model_fields:
            node = branch_of(node.model_fields[part])
        elif isinstance(part, str):
            node = next((kind for kind in get_args(get_args(Transform)[0]) if kind_of(kind) == part), None)
    prefix = "" if any(isinstance(part, int) for part in place) else "".join(f"{part}." for part in place[:-1])
    return [prefix + name for name in (node.model_fields if node else ())]


def kind_of(transform: type[Settings]) -> str:
    """What an entry of a list of transforms says to be this one."""
    return str(get_args(transform.model_fields["kind"].annotation)[0])


def explain(settings_type: type[Settings], command: str, subject: str = "", more_files: bool = False) -> str:
    """The text of `--help`: every setting with its type, default and meaning, from where it is declared."""
    first = f"[{subject.upper()}]" if subject else "CONF.yaml [CONF.yaml …]" if more_files else "CONF.yaml"
    lines = [f"usage: {command} {first} [key=value …]", "", (settings_type.__doc__ or "").strip(), ""]
    for key, field in leaves(settings_type):
        default = "required" if field.is_required() else f"default {shown(field.default)}"
        lines.append(f"  {key}  ({type_name(field)}; {default})")
        lines += textwrap.wrap(
            " ".join((field.description or "").split()), 100, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    if any(field.annotation == tuple[Transform, ...] for _, field in leaves(settings_type)):
        lines += ["", "  An entry of a list of transforms is one of these:"]
        for transform in get_args(get_args(Transform)[0]):
            fields = "".join(f", {name}: …" for name in transform.model_fields if name != "kind")
            texts = [f"{name}: {field.description}" for name, field in transform.model_fields.items() if name != "kind"]
            lines.append(f"      {{kind: {kind_of(transform)}{fields}}}    {' '.join(texts)}")
    return "\n".join(lines)


def leaves(node: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting below a branch, by its dotted key."""
    for name, field in node.model_fields.items():
        branch = branch_of(field)
        if branch:
            yield from leaves(branch, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def branch_of(field: FieldInfo) -> type[Settings] | None:
    """The settings below a key, which may be optional; None if it holds a value."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def type_name(field: FieldInfo) -> str:
    """For people: its choices, or the name of its type."""
    kinds = get_args(field.annotation)
    kind = next(kind for kind in kinds if kind is not NoneType) if NoneType in kinds else field.annotation
    choices = get_args(kind)
    if choices and not any(isinstance(choice, type) or get_args(choice) for choice in choices):
        return " | ".join(map(str, choices))
    return {"tuple": "list", "Path": "path"}.get(name := getattr(kind, "__name__", "value"), name)


def shown(value: object) -> str:
    """A default, for people."""
    return "[]" if value == () else "''" if value == "" else "none" if value is None else str(value)
