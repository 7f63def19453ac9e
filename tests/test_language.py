"""The texts that people meet: plurals are computed, rates are written out, and each is said as everywhere else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from cli.main import app
from zoo.words import plural

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for package in ("cli", "pipeline", "weightgen", "zoo") for path in (ROOT / package).rglob("*.py"))
PAGES = [
    *(ROOT / "data_cards").glob("*.md"),
    ROOT / "weightgen" / "report" / "report.html",
    *(ROOT / "weightgen" / "server" / "page" / name for name in ("index.html", "page.js")),
]
# Nouns whose number is computed: a number in braces before one of these is "1 pairs" some day.
COUNTED = (
    "adapters concepts cores crops edits failures files fleets images jobs megapixels networks nodes pairs photographs "
    "pictures problems processes prompts records requests shards steps workers"
).split()
BARE = re.compile(rf" (?:[a-z-]+ )?(?:{'|'.join(COUNTED)})\b")
UNUSUAL = re.compile(r"\(s\)|\b(?:one|pairs|steps|seconds|concepts) an? (?:core|step|minute|second|concept)\b")
# Names and paths, constants, and what is above 1 where it is told: limits, prompts in need of quotes, "1 of 3" shards.
NO_COUNT = re.compile(r"^(?:name|path|what|where|speed|num_shards|len\(prompt\)|[A-Z_]+)$|MAX|most_|limit|\['shards'\]")


@pytest.mark.parametrize(("count", "words"), [(0, "0 pairs"), (1, "1 pair"), (2, "2 pairs"), (12000, "12,000 pairs")])
def test_plural(count, words):
    assert plural(count, "pair") == words


def test_plural_of_an_irregular_noun():
    assert [plural(count, "copy", "copies") for count in (1, 2)] == ["1 copy", "2 copies"]


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module with their lines; documentation for readers of the source is not among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef)
    apart = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield node.lineno, node.value


def bare_plurals(path: Path) -> Iterator[str]:
    """Numbers in f-strings before a noun that is always in the plural."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        before = ""
        for value, after in zip(node.values, [*node.values[1:], None], strict=True):
            if isinstance(value, ast.Constant):
                before = str(value.value)
            elif isinstance(after, ast.Constant) and isinstance(value, ast.FormattedValue):
                number = ast.unparse(value.value)
                found = BARE.match(str(after.value))
                is_decimal = value.format_spec is not None and "." in ast.unparse(value.format_spec)
                if found and not is_decimal and "plural" not in number and not NO_COUNT.search(number):
                    yield f"{path.relative_to(ROOT)}:{value.lineno} {before[-20:]}{{{number}}}{found[0]}"
                before = ""


def test_no_text_has_a_plural_in_brackets_or_a_rate_with_an_article():
    found = [(str(path), line, text) for path in SOURCES for line, text in strings(path) if UNUSUAL.search(text)]
    assert found == []
    assert [path.name for path in PAGES if UNUSUAL.search(path.read_text(encoding="utf-8"))] == []


def test_plurals_are_computed():
    assert [line for path in SOURCES for line in bare_plurals(path)] == []


def commands() -> dict[str, object]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", commands())
def test_every_option_has_a_help_that_is_a_sentence(name):
    command = commands()[name]
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        text = (parameter.help or "").partition("  [")[0]
        assert re.match(r"[A-Z0-9]|source-", text) and text.endswith((".", ")")), f"{name} {parameter.name}: {text!r}"
    first = command.help.splitlines()[0]
    assert first[0].isupper() and first.endswith(".")


# Parts of names -> what is said in their place.
NOT_SAID = {
    "judge": "discriminator",
    "judges": "discriminators",
    "oracle": "teacher",
    "net_g": "generator",
    "net_d": "discriminator",
    "real_a": "source image",
    "fake_b": "target image",
    "style_id": "concept",
    "delta": "adapter",
    "diffusion_model": "denoiser",
    "n_blk": "num_blocks",
    "iters": "global_step",
    "ver": "revision",
    "infer": "generate",
    "head_solve": "closed-form output layer",
    "familiar": "out-of-distribution score",
    "house": "services",
    "studio": "services",
    "workbench": "context",
    "bench": "context",
    "util": "what it is for",
    "utils": "what it is for",
    "manager": "what it is",
    "helper": "what it is",
    "helpers": "what it is",
}


def words_of(name: str) -> str:
    """A name as lower-case words between underscores: `nBlk` and `NBlk` give `_n_blk_`."""
    return "_".join(["", *re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name), ""]).lower()


def names(path: Path) -> Iterator[str]:
    """The names of a module, its classes with their fields, its functions and their parameters."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def misnamed(name: str) -> list[str]:
    return [f"{name}: say {said}" for word, said in NOT_SAID.items() if f"_{word}_" in words_of(name)]


@pytest.mark.parametrize("name", ["netG", "nBlk", "JudgeNetwork", "style_id", "train_utils", "ShardManager", "Bench"])
def test_a_name_that_is_not_said_is_found(name):
    assert misnamed(name)


def test_names_are_those_of_the_word_list():
    paths = [*SOURCES, *sorted((ROOT / "benchmarks").rglob("*.py"))]
    found = {f"{path.relative_to(ROOT)}: {line}" for path in paths for name in names(path) for line in misnamed(name)}
    assert sorted(found) == []
    assert not any(misnamed(name) for name in ("benchmarks", "is_unfamiliar", "verify", "discriminators"))
