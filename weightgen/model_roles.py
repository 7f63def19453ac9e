"""What a weight generator stands for beside others, and finding the models in a folder by that.

    find_models("models/")         # {"generated": Path("models/generated"), "polished": Path("models/polished")}
    find_best("models/")           # ("polished", Path("models/polished"))
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json_object

PAIRED = "paired"
ROLES = {
    "generated": "trained on the zoo's weights",
    "generated_unet1d": "the same with the per-block 1-D UNet",
    "labelled": "trained on the zoo's weights and on pseudo-labels",
    "polished": "trained on by pictures",
    PAIRED: "trained to read pairs beside the prompt",
    "control": "trained by pictures from random initialisation",
}
FURTHEST = (PAIRED, "polished")  # of the stages of training, the last first


def find_models(folder: PathLike) -> dict[str, Path]:
    """Return the models in a folder by role, or by the folder's name where two have the same role.

    Args:
        folder: a model folder, or a folder of several (`polished/`, `generated/`, ...).

    Raises:
        WeightzooError: there is none, or one whose role this weightzoo does not know.
    """
    folder = Path(folder)
    found: dict[str, Path] = {}
    for path in [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]:
        if (path / "model_index.json").is_file():
            role = read_role(path)
            found[path.name if role in found else role] = path
    if not found:
        raise WeightzooError(f"{folder} holds no weight generator (no model_index.json); train one first")
    return found


def find_all_models(folders: Iterable[PathLike]) -> dict[str, Path]:
    """Return the models in all of `folders` by name.

    Raises:
        WeightzooError: two of them have one name; see also :func:`find_models`.
    """
    models: dict[str, Path] = {}
    for folder in folders:
        found = find_models(folder)
        for name in sorted(models.keys() & found):
            raise WeightzooError(
                f"{models[name]} and {found[name]} would both be called {name!r}; "
                "put them into one folder, where the second goes by its folder's name"
            )
        models |= found
    return models


def find_best(folder: PathLike) -> tuple[str, Path]:
    """Return the model to use where only one can be: the folder itself, or of several in it the one trained furthest.

    Raises:
        WeightzooError: there is none, or one whose role this weightzoo does not know.
    """
    found = find_models(folder)
    first = next(iter(found))
    furthest = next((role for role in FURTHEST if role in found), first)
    name = first if found[first] == Path(folder) else furthest
    return name, found[name]


def read_role(folder: Path) -> str:
    """Return the key of `ROLES` that training wrote into a model's metadata.

    Folders from before roles were written are told by their name, else by what their training noted.

    Raises:
        WeightzooError: a role that this weightzoo does not know.
    """
    metadata = read_json_object(folder / "weightgen.json").get("metadata", {})
    if "role" in metadata:
        if (role := str(metadata["role"])) not in ROLES:
            raise WeightzooError(f"{folder} has the unknown role {role!r}; upgrade weightzoo, or train the model again")
        return role
    if folder.name in ("generated", "generated_unet1d", "polished"):
        return folder.name
    if metadata.get("polish", {}).get("config", {}).get("random_init"):
        return "control"
    if metadata.get("stage") == "polished":
        return "polished"
    if "pseudo-labels" in metadata.get("zoo", ""):
        return "labelled"
    unet = "UNet" in str(read_json_object(folder / "denoiser" / "config.json").get("_class_name"))
    return "generated_unet1d" if unet else "generated"
