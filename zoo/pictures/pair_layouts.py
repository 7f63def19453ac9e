"""How a person may lay out before/after pairs, and which file is the source and which the target.

    found = find_pairs(Path("my-pairs"))
    found.taken_as           # "16 pairs: A/ is the source, B/ the target"
    found.left_out           # one line for every reason why files are left out

A folder, a tar, or a folder of tars holds its pairs in one of three ways, which are tried in this order:

- two folders (`source/ target/`, `A/ B/` and the others of `WORDS`) with files of equal names; suffixes may differ;
- files `NAME.source.png` and `NAME.target.png`, or with another pair of `WORDS`, as unpacked WebDataset shards
  have them; `NAME_before.jpg`, `before-NAME.jpg` and plain `before.jpg` are read as well;
- side-by-side pictures as in pix2pix, with the source on the left.

What fits two of them is refused, as is a file without its partner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zoo.errors import WeightzooError
from zoo.pictures.picture_files import (
    PictureFile,
    SortedFiles,
    left_out_lines,
    list_files,
    list_folders,
    list_tar,
    some,
    sort_files,
)
from zoo.words import plural

Words = tuple[str, str]
WORDS: tuple[Words, ...] = (  # what people call a source and its target
    ("source", "target"),
    ("sources", "targets"),
    ("src", "dst"),
    ("before", "after"),
    ("input", "output"),
    ("inputs", "outputs"),
    ("original", "edited"),
    ("originals", "edited"),
    ("A", "B"),
    ("trainA", "trainB"),
    ("train_A", "train_B"),
)
DIRECTIONS = ("source-to-target", "target-to-source")
LONE_NAME = "pair"  # of before.jpg and after.jpg

Placed = tuple[int, str]  # 0 for a source, 1 for a target, and the pair's name


@dataclass(frozen=True)
class PairFiles:
    """One pair that is not decoded yet.

    Attributes:
        name: the pair's name, unique among its pairs.
        source: label (for errors) and file or bytes of the source image.
        target: the same for the target; `None` when `source` is a side-by-side image of both.
        reverse: of a side-by-side image, whether its right half is the source.
    """

    name: str
    source: tuple[str, Path | bytes]
    target: tuple[str, Path | bytes] | None
    reverse: bool = False


@dataclass(frozen=True)
class FoundPairs:
    """The pairs of a folder or tar, sorted by name.

    Attributes:
        taken_as: one line that says how many there are and what was taken for the source.
        left_out: one line for every reason why files were left out.
    """

    files: list[PairFiles]
    taken_as: str
    left_out: list[str]


@dataclass(frozen=True)
class _Layout:
    """A way to lay out pairs: its two words, how a file is placed by it, and what its halves are called."""

    words: Words
    place: Callable[[PictureFile], Placed | None]
    names: Words


def find_pairs(path: Path, direction: str = DIRECTIONS[0]) -> FoundPairs:
    """List the pairs under `path` without decoding them.

    Args:
        path: a folder, a `.tar` or a folder of them.
        direction: one of `DIRECTIONS`; the second one swaps source and target.

    Raises:
        WeightzooError: nothing that looks like pairs, more than one way to read it, or a file without its partner.
    """
    if direction not in DIRECTIONS:
        raise WeightzooError(f"direction {direction!r} is unknown; use {' or '.join(DIRECTIONS)}")
    files, folders = _list(path)
    listed = sort_files(files)
    reverse = direction == DIRECTIONS[1]
    if layout := _choose(path, listed.pictures, folders):
        return _partners(path, layout, listed, folders, reverse)
    has_sheets = any(not picture.folder for picture in listed.pictures)
    _refuse_half_a_layout(path, folders, has_sheets)
    if has_sheets:
        return _sheets(path, listed, folders, reverse)
    raise WeightzooError(_nothing_found(path, listed, folders))


def _list(path: Path) -> tuple[list[PictureFile], list[str]]:
    """Return the files of `path` and of the folders in it that a layout may use, and the names of all its folders."""
    if not path.exists():
        raise WeightzooError(f"{path} does not exist; give a folder with source/ and target/, or a .tar file")
    if path.is_file():
        if path.suffix.lower() != ".tar":
            raise WeightzooError(f"{path} is neither a folder nor a .tar file; give one of these")
        return _list_tars([path])
    folders = list_folders(path)
    known = {word.lower() for words in WORDS for word in words}
    used = [name for name in folders if name.lower() in known]
    tars = sorted(file for file in path.glob("*.tar") if file.is_file())
    if tars and not used:
        return _list_tars(tars)
    return [*list_files(path), *(file for name in used for file in list_files(path / name, name))], folders


def _list_tars(tars: Iterable[Path]) -> tuple[list[PictureFile], list[str]]:
    files = [file for tar in tars for file in list_tar(tar)]
    return files, sorted({file.folder for file in files} - {""})


def _choose(path: Path, pictures: Sequence[PictureFile], folders: Sequence[str]) -> _Layout | None:
    """Return the one layout that fits.

    Raises:
        WeightzooError: several fit.
    """
    for candidates in (_by_folders(path, folders), _by_names(pictures)):
        if len(candidates) > 1:
            first, second = (" and ".join(layout.names) for layout in candidates[:2])
            raise WeightzooError(f"{path} can be read as {first} or as {second}; keep one of them there")
        if candidates:
            return candidates[0]
    return None


def _by_folders(path: Path, folders: Sequence[str]) -> list[_Layout]:
    layouts = []
    for words in WORDS:
        found = [[name for name in folders if name.lower() == word.lower()] for word in words]
        if twice := next((names for names in found if len(names) > 1), None):
            raise WeightzooError(f"{path} has {twice[0]}/ and {twice[1]}/; keep one of them there")
        if all(found):
            halves = (found[0][0], found[1][0])
            layouts.append(_Layout(halves, _placed_by_folder(halves), (f"{halves[0]}/", f"{halves[1]}/")))
    return layouts


def _placed_by_folder(halves: Words) -> Callable[[PictureFile], Placed | None]:
    def place(file: PictureFile) -> Placed | None:
        return (halves.index(file.folder), file.stem) if file.folder in halves else None

    return place


def _by_names(pictures: Sequence[PictureFile]) -> list[_Layout]:
    """Layouts that a whole pair follows; single letters count only where every picture has one."""
    layouts = []
    for words in WORDS:
        place = _placed_by_name(words)
        placed = [place(picture) for picture in pictures]
        halves = [{found[1] for found in placed if found and found[0] == which} for which in (0, 1)]
        fits = halves[0] & halves[1] and (len(words[0]) > 1 or all(placed))
        if fits or (words == WORDS[0] and any(map(_is_webdataset, pictures))):
            layouts.append(_Layout(words, place, (f"NAME.{words[0]}", f"NAME.{words[1]}")))
    return layouts


def _is_webdataset(file: PictureFile) -> bool:
    """Return whether a name ends in .source or .target before its suffix, which can hardly mean anything else."""
    return PurePosixPath(file.stem).suffix.lower() in (".source", ".target")


def _placed_by_name(words: Words) -> Callable[[PictureFile], Placed | None]:
    either = "|".join(words)
    alone = rf"|(?P<only>{either})" if len(words[0]) > 1 else "(?P<only>)"
    pattern = re.compile(rf"(?P<name>.+)[._ -](?P<last>{either})|(?P<first>{either})[._ -](?P<rest>.+){alone}", re.I)

    def place(file: PictureFile) -> Placed | None:
        match = pattern.fullmatch(file.stem)
        if match is None:
            return None
        word = match["last"] or match["first"] or match["only"]
        name = match["name"] or match["rest"]
        parts = [file.folder, *([name] if name else [])] if file.folder else [name or LONE_NAME]
        return [w.lower() for w in words].index(word.lower()), "/".join(parts)

    return place


def _partners(path: Path, layout: _Layout, listed: SortedFiles, folders: Sequence[str], reverse: bool) -> FoundPairs:
    halves: tuple[dict[str, PictureFile], dict[str, PictureFile]] = ({}, {})
    others = []
    for file in listed.pictures:
        placed = layout.place(file)
        if placed is None:
            others.append((file, f"neither {layout.names[0]} nor {layout.names[1]}"))
            continue
        half, name = placed
        if (other := halves[half].setdefault(name, file)) is not file:
            raise WeightzooError(f"{path} has {_path(other)} and {_path(file)} for one picture; keep one of them")
    _refuse_lone(path, layout, halves, listed)
    sources, targets = halves[::-1] if reverse else halves
    names = layout.names[::-1] if reverse else layout.names
    files = [
        PairFiles(name, (file.label, file.data), (targets[name].label, targets[name].data))
        for name, file in sorted(sources.items())
    ]
    taken_as = f"{plural(len(files), 'pair')}: {names[0]} is the source, {names[1]} the target"
    return FoundPairs(files, taken_as, _left_out(listed, others, folders, layout.words))


def _refuse_lone(path: Path, layout: _Layout, halves: Sequence[Mapping[str, PictureFile]], listed: SortedFiles) -> None:
    """Raise `WeightzooError` for pictures without a partner, and say where the partner was left out."""
    for have, lack in ((0, 1), (1, 0)):
        alone = sorted(halves[have].keys() - halves[lack].keys())
        if not alone:
            continue
        unread = [
            f"; {_path(file)} is left out: {reason}"
            for file, reason in listed.left_out
            if layout.place(file) == (lack, alone[0])
        ]
        advice = unread[0] if unread else "; give both files of a pair the same name"
        raise WeightzooError(f"{path}: {some(alone)} in {layout.names[have]} but not in {layout.names[lack]}{advice}")


def _sheets(path: Path, listed: SortedFiles, folders: Sequence[str], reverse: bool) -> FoundPairs:
    pictures: dict[str, PictureFile] = {}
    others = []
    for file in listed.pictures:
        if file.folder:
            others.append((file, "in a folder beside the side-by-side pictures"))
        elif (other := pictures.setdefault(file.stem, file)) is not file:
            raise WeightzooError(f"{path} has {other.name} and {file.name} for one picture; keep one of them")
    files = [PairFiles(name, (file.label, file.data), None, reverse) for name, file in sorted(pictures.items())]
    halves = ("right", "left") if reverse else ("left", "right")
    taken_as = (
        f"{plural(len(files), 'side-by-side picture')}: the {halves[0]} half is the source, "
        f"the {halves[1]} half the target"
    )
    return FoundPairs(files, taken_as, _left_out(listed, others, folders, ()))


def _left_out(
    listed: SortedFiles, others: list[tuple[PictureFile, str]], folders: Sequence[str], used: Sequence[str]
) -> list[str]:
    lines = left_out_lines([*listed.left_out, *others])
    seen = {file.folder for file, _ in others}
    if unused := [f"{name}/" for name in folders if name not in used and name not in seen and "/" not in name]:
        lines.append(f"{plural(len(unused), 'folder')} {'is' if len(unused) == 1 else 'are'} left out: {some(unused)}")
    return lines


def _refuse_half_a_layout(path: Path, folders: Sequence[str], has_sheets: bool) -> None:
    """Raise `WeightzooError` for a folder of sources without one of targets, or the other way round."""
    lower = {name.lower(): name for name in folders}
    for words in WORDS:
        for have, lack in (words, words[::-1]):
            if have.lower() in lower and (len(have) > 1 or not has_sheets):
                here = lower[have.lower()]
                raise WeightzooError(f"{path} has {here}/ but no {lack}/; add the folder {lack}/")


def _nothing_found(path: Path, listed: SortedFiles, folders: Sequence[str]) -> str:
    if lines := left_out_lines(listed.left_out):
        return f"{path} has no pictures that can be read; {lines[0]}"
    hint = f"; is it one of its folders ({', '.join(folders[:3])})?" if folders else "; check the path"
    return f"{path} has neither source/ and target/ folders, side-by-side pictures nor .tar files{hint}"


def _path(file: PictureFile) -> str:
    return f"{file.folder}/{file.name}" if file.folder else file.name
