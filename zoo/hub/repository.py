"""One repository of the Hub, written to.

    repository = Repository("user/zoo", "dataset")
    repository.create(private=True)
    head, there = repository.state()
    head = repository.commit(head, files, (), "Add files")
    repository.published(head)                             # what this process has sent
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from zoo.errors import WeightzooError
from zoo.hub.client import HubUnreachable, files_at, patiently, unreachable


@dataclass(frozen=True)
class Published:
    """What publishing did.

    Attributes:
        url: the repository's page.
        revision: the commit that now holds everything.
        files, bytes: sent; 0 where all was there.
        commits: made.
    """

    url: str
    revision: str
    files: int
    bytes: int
    commits: int


class Repository:
    """The calls to one repository, and what they have sent.

    Args:
        kind: of the Hub's types, "dataset" or "model".
    """

    def __init__(self, repo_id: str, kind: str) -> None:
        self.api = HfApi()
        self.id, self.kind, self.url = repo_id, kind, ""
        self.files = self.bytes = self.commits = 0

    def published(self, revision: str) -> Published:
        """Return what was sent so far."""
        return Published(self.url, revision, self.files, self.bytes, self.commits)

    def create(self, private: bool) -> None:
        """Make the repository unless it exists.

        Raises:
            WeightzooError: it is to be private, but is public, or the Hub cannot be reached.
        """
        try:
            if cause := unreachable(self.id, self.kind):
                raise HubUnreachable(f"{self.id} cannot be published: {cause}")
        except RepositoryNotFoundError:
            pass
        where = {"repo_id": self.id, "repo_type": self.kind}
        made = patiently(lambda: self.api.create_repo(**where, private=private or None, exist_ok=True))
        self.url = made.url
        if private and not patiently(lambda: self.api.repo_info(**where)).private:
            raise WeightzooError(
                f"{self.id} exists and is public; make it private on its page, or choose another"
            )

    def state(self) -> tuple[str, dict[str, RepoFile]]:
        """Return the head of main and its files by name."""
        head = patiently(lambda: self.api.repo_info(self.id, repo_type=self.kind)).sha
        return head, files_at(self.id, self.kind, head)

    def commit(
        self, parent: str, files: Sequence[CommitOperationAdd], gone: Sequence[str], message: str
    ) -> str:
        """Make one commit on top of `parent`; returns it."""
        info = self.api.create_commit(
            self.id,
            [*map(copy, files), *map(CommitOperationDelete, gone)],  # the client marks those that it has sent
            commit_message=message,
            repo_type=self.kind,
            parent_commit=parent,
        )
        self.files += len(files)
        self.bytes += sum(file.upload_info.size for file in files)
        self.commits += 1
        return info.oid

    def tags(self) -> dict[str, str]:
        """Return tag -> commit."""
        refs = patiently(lambda: self.api.list_repo_refs(self.id, repo_type=self.kind))
        return {tag.name: tag.target_commit for tag in refs.tags}

    def tag(self, name: str, commit: str, now: str | None) -> None:
        """Let the tag `name` point to `commit`; `now` is where it points, if it exists."""
        where = {"tag": name, "repo_type": self.kind}
        if now == commit:
            return
        if now is not None:
            try:
                patiently(lambda: self.api.delete_tag(self.id, **where))
            except RevisionNotFoundError:
                pass  # deleted by the call whose answer was lost
        patiently(lambda: self.api.create_tag(self.id, **where, revision=commit, exist_ok=True))
