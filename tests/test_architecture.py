"""The arrows between our folders of code, read from the source, and what ``weightzoo --help`` may load."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ARROWS = {
    "zoo": set(),
    "pipeline": {"zoo"},
    "weightgen": {"zoo"},
    "cli": {"pipeline", "weightgen", "zoo"},
    "benchmarks": {"pipeline", "weightgen", "zoo"},  # libraries: what a benchmark needs of a command belongs in one
    "spaces": {"weightgen", "zoo"},
}
# third-party package -> the files (or folders) that may import it
ONLY_IN = {
    "ray": ("zoo/ray_cluster.py", "weightgen/training/ray.py", "weightgen/server/run.py"),  # the first connects
    "typer": ("cli/",),
    "diffusers": ("weightgen/", "pipeline/teachers/"),
    "gradio": ("spaces/",),
    "kornia": ("pipeline/", "benchmarks/"),
    "click": (),
    "torchvision": (),
    "pickle": (),
    "dill": (),
    "cloudpickle": (),
    "joblib": (),
}
# what a file of cli/ may import at its top: anything else costs start-up time
LIGHT = set(sys.stdlib_module_names) | {"typer", "cli"}


def source_files() -> list[Path]:
    return sorted(path for package in ARROWS for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every module that is imported anywhere below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def top_level_imports(tree: ast.Module) -> Iterator[str]:
    """Yield what is imported when the module is: everything outside functions."""
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from imports(node)


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_follow_the_arrows(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    package = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in imports(tree):
        root = name.split(".")[0]
        if root in ARROWS and root != package:
            assert root in ARROWS[package], f"{relative} imports {name}: {package} may not import {root}"
        if root in ONLY_IN:
            allowed = ONLY_IN[root]
            assert relative.startswith(allowed) if allowed else False, f"{relative} imports {name}"
    if package == "cli":
        for name in top_level_imports(tree):
            assert name.split(".")[0] in LIGHT, (
                f"{relative} imports {name} at its top; import it in the function"
            )
    assert path.name != "utils.py"
    assert ast.get_docstring(tree), f"{relative} opens with what it is, what it gives, how to run it"


def module_graph(packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Return, for every module of ``packages``, those of their modules that it imports anywhere, functions included."""
    paths = [path for path in source_files() if path.relative_to(ROOT).parts[0] in packages]
    trees = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    graph = {}
    for name, tree in trees.items():
        found = set(imports(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):  # a name may be a module of the package that it comes from
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        graph[name] = found & trees.keys() - {name}
    return graph


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_there_is_no_import_circle() -> None:
    TopologicalSorter(module_graph(tuple(ARROWS))).prepare()  # raises CycleError, which names the modules of a circle


def test_the_product_stands_without_its_evaluation() -> None:
    rooms = ("weightgen.evaluation", "weightgen.report")
    for name, imported in module_graph(("weightgen",)).items():
        if not name.startswith(rooms):
            assert not (wrong := [other for other in imported if other.startswith(rooms)]), f"{name} imports {wrong}"


def loaded_modules(code: str) -> set[str]:
    """Run ``code`` in a fresh interpreter and return the top-level names of the modules that it loaded."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_help_loads_neither_torch_nor_ray() -> None:
    code = (
        "from typer.testing import CliRunner\n"
        "from cli.main import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'generate' in result.output, result.output\n"
        "assert CliRunner().invoke(app, ['build', '--help']).exit_code == 0"
    )
    loaded = loaded_modules(code)
    assert not loaded & {"torch", "ray", "datasets", "numpy", "pyarrow", "diffusers", "transformers", "PIL"}


def test_zoo_needs_neither_diffusers_nor_ray() -> None:
    assert not loaded_modules("import zoo.adapters.lora, zoo.layout, zoo.training.train_gan") & {
        "ray",
        "diffusers",
        "transformers",
    }
