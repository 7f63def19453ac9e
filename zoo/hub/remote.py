"""A zoo of the Hub that is used without downloading it first: each file is fetched when it is asked for.

    zoo = open_named("user/zoo@v1")                  # also: a folder, or the name of an embedded zoo
    for record in zoo.records("train"): ...          # shard after shard, through the client's cache (HF_HOME)

Every file is checked by the manifest's sha256. All of it is of one commit, so that a zoo that is published anew
meanwhile does not change under a training run.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import WeightzooError
from zoo.hub.client import hub_errors
from zoo.hub.embedded import find_zoo
from zoo.hub.fetch import HubSource
from zoo.manifest import MANIFEST_FILE
from zoo.run import Zoo, manifest_layout, open_zoo
from zoo.verify import own_problems

_NAME = re.compile(r"([\w-][\w.-]*/[\w.-]+?)(?:@([\w./-]+))?")  # USER/NAME[@REVISION]


@dataclass(frozen=True)
class HubZoo(Zoo):
    """See the module; `path` is the commit's folder in the client's cache. Pickled, it is its name."""

    source: HubSource
    checked: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The repository."""
        return self.source.repo_id

    def file(self, name: str) -> Path:
        """Return the path of one of the zoo's files in the cache, fetched and checked once per process.

        Raises:
            WeightzooError: it is not what the manifest says, or the Hub cannot be reached.
        """
        if name not in self.checked:
            with hub_errors(self.source.repo_id):
                self.checked[name] = self.source.fetch(name)
        return self.checked[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return open_hub_zoo, (self.source.repo_id, self.source.commit)


def open_hub_zoo(repo_id: str, revision: str | None = None) -> HubZoo:
    """Open a published zoo.

    Raises:
        WeightzooError: unknown, private, no zoo, or the Hub cannot be reached and the cache lacks it.
    """
    with hub_errors(repo_id, revision):
        source = HubSource(repo_id, revision)
        if problems := own_problems(source.manifest):
            raise WeightzooError(f"{repo_id}: {problems[0]}")
        layout = manifest_layout(source.fetch("layout.json"), source.manifest)
        return HubZoo(source.fetch(MANIFEST_FILE).parent, layout, source.manifest, source)


def open_named(name: str) -> Zoo:
    """Open a zoo by what a person calls it: a folder, an embedded zoo, or USER/NAME[@REVISION] of the Hub.

    Raises:
        WeightzooError: there is no such zoo, or it is unfinished.
    """
    named = _NAME.fullmatch(name)
    if not named or Path(name).is_dir():
        return open_zoo(find_zoo(name))
    try:
        return open_hub_zoo(*named.groups())
    except WeightzooError as error:  # a mistyped folder looks like a repository
        raise type(error)(f"there is no folder {name}, and on the Hub: {error}") from error
