"""The zoos that come with weightzoo: found by name, copied and verified without any network.

path = find_zoo("weightzoo-small")             # or the path of any run folder
copy_embedded("weightzoo-small", "zoos/small")
"""

from pathlib import Path

from zoo.errors import WeightzooError
from zoo.files import EMBEDDED_DIR, PathLike, sha256_file, write_bytes
from zoo.manifest import MANIFEST_FILE, load_manifest
from zoo.results import ZOO, check_kind
from zoo.verify import verify_run

EMBEDDED = ("weightzoo-small",)


def find_zoo(name_or_path: PathLike) -> Path:
    """Return the folder of an embedded zoo by name, or an existing run folder.

    Raises:
        WeightzooError: neither.
    """
    if str(name_or_path) in EMBEDDED and not Path(name_or_path).is_dir():
        folder = EMBEDDED_DIR / str(name_or_path)
        if not (folder / MANIFEST_FILE).exists():
            raise WeightzooError(
                f"this installation does not contain {name_or_path}; install weightzoo again"
            )
        return folder
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    known = ", ".join(EMBEDDED)
    raise WeightzooError(
        f"{name_or_path} is neither a folder nor an embedded zoo; embedded: {known}; "
        "for a zoo on the Hub run first `weightzoo download USER/NAME -o FOLDER`"
    )


def copy_embedded(name: PathLike, out: PathLike) -> Path:
    """Copy an embedded zoo to `out`, manifest last, and verify it; files that are there and right are kept.

    Raises:
        WeightzooError: unknown name, a full disk, or a copy that does not verify.
    """
    source, out = find_zoo(name), Path(out)
    check_kind(out, ZOO)
    manifest = load_manifest(source)
    if (out / MANIFEST_FILE).exists() and load_manifest(out) != manifest:
        raise WeightzooError(f"{out} holds another zoo; choose another folder")
    expected = manifest.hashes()
    for relative in (*expected, "README.md", MANIFEST_FILE):
        target = out / relative
        if relative not in expected and relative != MANIFEST_FILE and target.exists():
            continue  # the card, which people edit
        if relative in expected and target.exists() and sha256_file(target) == expected[relative]:
            continue
        if (source / relative).exists():
            write_bytes(target, (source / relative).read_bytes())
    if problems := verify_run(out):
        raise WeightzooError(f"the copy in {out} is not sound ({problems[0]}); delete it and download again")
    return out
