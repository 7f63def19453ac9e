"""The zoo and the weight generator that come with weightzoo: what commands use unless told otherwise."""

from pathlib import Path

EMBEDDED = "weightzoo-small"
MODELS = Path(__file__).resolve().parents[2] / "weightgen" / "embedded"


def model_source(model: str | None) -> str:
    """Return `model` (a folder, or a repository as user/name); the embedded one for `None` or its name."""
    return str(model_folder(None)) if is_embedded(model) else str(model)


def is_embedded(model: str | Path | None) -> bool:
    """Return whether the embedded weight generator is meant: a folder of its name goes before it."""
    return model is None or (str(model) == EMBEDDED and not Path(model).is_dir())


def model_folder(model: Path | None) -> Path:
    """Return `model`, or the embedded weight generator's folder when it is `None` or its name.

    Raises:
        WeightzooError: there is no such folder.
    """
    from zoo.errors import WeightzooError

    if model is None or is_embedded(model):
        folder = MODELS / EMBEDDED
        if not (folder / "model_index.json").is_file():
            raise WeightzooError("no weight generator comes with this installation; name one with --model")
        return folder
    if not model.is_dir():
        raise WeightzooError(f"{model} does not exist; give the output folder of `weightzoo train`")
    return model


def zoo_folder(data: str | None) -> Path:
    """Return the folder of a finished zoo, called by its path or an embedded zoo's name; `None` is the embedded one.

    Raises:
        WeightzooError: there is no such zoo, or it is not finished.
    """
    from zoo.errors import WeightzooError
    from zoo.hub import find_zoo

    folder = find_zoo(EMBEDDED if data is None else data)
    if not (folder / "manifest.json").is_file():
        raise WeightzooError(
            f"{folder} is not a finished zoo (it has no manifest.json); finish it with `weightzoo build`"
        )
    return folder
