"""Where the zoo and the weight generator that come with weightzoo lie, found without importing torch."""

from importlib.util import find_spec
from pathlib import Path

EMBEDDED = "weightzoo-small"


def embedded_zoo(name: str = EMBEDDED) -> Path:
    """Return the folder of the embedded zoo ``name``.

    Raises:
        WeightzooError: there is no embedded zoo of that name.
    """
    return _embedded("zoo", name)


def embedded_model(name: str = EMBEDDED) -> Path:
    """Return the folder of the embedded weight generator ``name``.

    Raises:
        WeightzooError: there is no embedded weight generator of that name.
    """
    return _embedded("weightgen", name)


def model_source(model: str | None) -> str:
    """Return ``model`` (a folder, or a repository as user/name); the embedded one for ``None``."""
    return str(embedded_model()) if model is None else model


def model_folder(model: Path | None) -> Path:
    """Return ``model``, or the embedded weight generator's folder when it is ``None``.

    Raises:
        WeightzooError: there is no such folder.
    """
    from zoo.errors import WeightzooError

    folder = embedded_model() if model is None else model
    if not folder.is_dir():
        raise WeightzooError(f"{folder} does not exist; give the output folder of `weightzoo train`")
    return folder


def zoo_folder(data: Path | None) -> Path:
    """Return ``data``, or the embedded zoo when it is ``None``.

    Raises:
        WeightzooError: the folder is not that of a zoo.
    """
    from zoo.errors import WeightzooError

    folder = embedded_zoo() if data is None else data
    if not (folder / "manifest.json").is_file():
        raise WeightzooError(
            f"{folder} is no finished zoo (it has no manifest.json); finish it with `weightzoo build`, "
            "or leave --data out to use the embedded one"
        )
    return folder


def _embedded(package: str, name: str) -> Path:
    from zoo.errors import WeightzooError

    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise WeightzooError(f"the package {package} is not installed; run: pip install weightzoo")
    home = Path(spec.origin).parent / "embedded"
    folder = home / name
    if not folder.is_dir():
        known = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
        raise WeightzooError(
            f"nothing named {name!r} comes with weightzoo; known: {', '.join(known) or 'none'}"
        )
    return folder
