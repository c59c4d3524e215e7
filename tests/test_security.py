"""What docs/security.md promises of all our code, and that its page names tests that there are."""

import ast
import re

import pytest

from tests.conftest import REPOSITORY

SOURCES = [
    path
    for folder in ("models", "pipelines", "jobs", "setup", "docker", "benchmarks")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]

RUNS_WHAT_IT_READS = {
    "eval", "exec", "compile", "__import__", "loads", "Unpickler", "read_pickle", "unsafe_load", "full_load",
    "load_module", "import_module", "broadcast_object", "allgather_object", "load_model", "extractall", "extract",
    "system", "popen",
}  # fmt: skip
"""Names of calls; of those that are harmless by their module or arguments, `is_harmless` knows."""

LOADS_GRAPHS = {"pipelines/dataset/graph_file.py", "pipelines/scoring/network.py"}
"""The former once it has found it harmless, the latter what the former has loaded."""


def calls_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield node, name


def is_harmless(node, name):
    of = ast.unparse(node.func).rpartition(".")[0]
    if name == "loads":
        return of == "json"
    if name == "compile":
        return of in ("re", "torch") or not of.startswith("builtins")
    if name == "import_module":
        return isinstance(node.args[0], ast.Constant)
    if name == "eval":
        return bool(of)  # a network's .eval()
    return False


@pytest.mark.attack
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_of_ours_runs_what_it_reads(path):
    for node, name in calls_of(path):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        called = ast.unparse(node.func)
        assert name not in RUNS_WHAT_IT_READS or is_harmless(node, name), f"line {node.lineno}: {called}"
        assert called != "torch.load" or given.get("weights_only") == "True", f"line {node.lineno}: {called}"
        assert called != "yaml.load", f"line {node.lineno}: {called}"
        assert called != "torch.export.load" or str(path.relative_to(REPOSITORY)) in LOADS_GRAPHS, f"line {node.lineno}"
        assert given.get("shell", "False") == "False", f"line {node.lineno}: a shell"
        assert given.get("allow_pickle", "False") == "False", f"line {node.lineno}: {called}"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = {name.name for name in node.names} & (RUNS_WHAT_IT_READS | {"load"}) - {"import_module"}
            assert not names or str(node.module).startswith("pipelines."), f"line {node.lineno}: {names}"
    assert not re.search(r"^\s*(?:import|from) (?:pickle|cloudpickle|marshal|shelve|dill)\b(?! import \w*Error)",
                         path.read_text(), re.MULTILINE)  # fmt: skip


PAGE = (REPOSITORY / "docs" / "security.md").read_text()


@pytest.mark.parametrize("cited", sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))))
def test_a_cited_file_of_tests_attacks(cited):
    assert "pytest.mark.attack" in (REPOSITORY / cited).read_text()


def test_every_file_that_attacks_is_cited():
    attacking = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if re.search(r"^@pytest\.mark\.attack$", path.read_text(), re.MULTILINE)
    }
    assert attacking == set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
