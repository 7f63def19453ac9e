"""The distribution: a wheel has every file of the packages and nothing else, and works where there is no checkout."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cli", "data_cards", "pipeline", "weightgen", "zoo")
BUILD = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir")


def package_files():
    """Every file of the packages, relative to the checkout."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    return {path.relative_to(ROOT).as_posix() for path in found if path.is_file() and "__pycache__" not in path.parts}


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(tmp_path):
    names = package_files()
    for name in names:  # empty files are packed in no time
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tree" / "tests").mkdir()
    (tmp_path / "tree" / "tests" / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tmp_path / "tree")
    subprocess.run([*BUILD, tmp_path / "dist", tmp_path / "tree"], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        inside = {name for name in packed.namelist() if ".dist-info/" not in name}
        (entry_points,) = (name for name in packed.namelist() if name.endswith("entry_points.txt"))
        assert "weightzoo = cli.main:main" in packed.read(entry_points).decode()
    assert inside == names


@pytest.fixture
def weightzoo(tmp_path):
    """The command of an environment that has the wheel and, of this one, only the dependencies."""
    subprocess.run([*BUILD, tmp_path / "dist", ROOT], check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    entries = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(entries))  # lines of a .pth do not make a checkout importable
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--force-reinstall"]
    subprocess.run([*pip, *(tmp_path / "dist").glob("*.whl")], check=True, capture_output=True)
    (tmp_path / "work").mkdir()
    place = subprocess.run(
        [python, "-c", "import zoo; print(zoo.__file__)"], capture_output=True, text=True, cwd=tmp_path
    )
    assert place.stdout.startswith(str(site)), place
    return python.with_name("weightzoo")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_alone_generates_applies_tunes_evaluates_and_serves(tmp_path, weightzoo):
    work = tmp_path / "work"
    for i, path in enumerate(sorted((ROOT / "pipeline" / "photos" / "test").glob("*.jpg"))[:4]):
        image = Image.open(path).convert("RGB").resize((96, 72))
        for half, picture in (("source", image), ("target", ImageOps.invert(image))):
            (work / "pairs" / half).mkdir(parents=True, exist_ok=True)
            picture.save(work / "pairs" / half / f"{i}.png")
    for command in (
        ("--version",),
        ("generate", "warm evening light", "-o", "warm"),
        ("apply", "warm", "pairs/source/0.png", "-o", "out.png"),
        ("finetune", "--pairs", "pairs", "--steps", "0", "-o", "mine"),
        ("evaluate", "--split", "external", "--grid", "tiny", "--zero-steps-only", "-o", "evaluation"),
    ):
        done = subprocess.run([weightzoo, *command], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
    assert (work / "out.png").exists() and (work / "evaluation" / "report" / "index.html").exists()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([weightzoo, "serve", "--port", str(port)], cwd=work, env=os.environ)
    try:
        assert "<html" in page(f"http://127.0.0.1:{port}/", server)
    finally:
        server.terminate()
        server.wait(30)


def page(address, server):
    """The page, as soon as the server has started."""
    while server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=10).read().decode()
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server ended")
