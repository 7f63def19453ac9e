"""Publishing a finished run folder as a dataset repository, so that it can be stopped at any moment.

    publish("runs/small", "user/small", {"README.md": card, "pictures/sepia.webp": picture})

The same call again sends what is missing and makes no commit when nothing is: files are compared by hash with what
the repository has. Batches of files go first; the card and the manifest come in the last commit, then the tags.
Every commit names its parent, so that a lost answer or a second publisher cannot double anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_token
from huggingface_hub.hf_api import RepoFile

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.hub.causes import LOG_IN
from zoo.hub.client import ATTEMPTS, hub_errors, is_passing, patiently, wait
from zoo.hub.local_files import LocalFile, check_limits, checked_file, file_of_bytes
from zoo.hub.pairs import pairs_manifest
from zoo.hub.repository import Repository, Sent
from zoo.manifest import MANIFEST_FILE, ZooManifest, load_manifest, read_manifest
from zoo.progress import bar
from zoo.records import FORMAT_VERSION
from zoo.shards import FORMATS, format_of
from zoo.words import plural

FORMAT_TAG = f"v{FORMAT_VERSION}"
FILES_PER_COMMIT, BYTES_PER_COMMIT = 100, 5 * 10**9  # the Hub allows 128 commits an hour
CARD, ATTRIBUTES = "README.md", ".gitattributes"


@dataclass(frozen=True)
class Published:
    """What a call of :func:`publish` did.

    Attributes:
        url: the page of the dataset.
        revision: the commit that now holds everything.
        files, bytes: sent by this call; 0 where all was there.
        commits: made by this call.
    """

    url: str
    revision: str
    files: int
    bytes: int
    commits: int


def publish(
    run_dir: PathLike,
    repo_id: str,
    more: Mapping[str, bytes],
    private: bool = False,
    tag: str | None = None,
) -> Published:
    """Publish a finished run folder.

    Args:
        repo_id: `USER/NAME`; made if it does not exist.
        more: content of files beside those of the manifest, by name; `README.md`, the card, must be among them.
        private: make it private, or insist that it is.
        tag: a name for this state beside `v<format version>`, which follows the newest state; never moved.

    Raises:
        WeightzooError: the folder is unfinished, damaged or a subset, the repository holds something else, the tag
            names another state, no right to write, or the Hub cannot be reached.
    """
    run_dir = Path(run_dir)
    manifest = load_manifest(run_dir)
    if manifest.subset:
        whole = manifest.subset.get("repo", "its repository")
        raise WeightzooError(f"{run_dir} is a part of {whole} only; download the whole zoo to publish it")
    files = [checked_file(run_dir, name, digest) for name, digest in manifest.hashes().items()]
    last = [file_of_bytes(name, data) for name, data in more.items()]
    last.append(file_of_bytes(MANIFEST_FILE, (run_dir / MANIFEST_FILE).read_bytes()))
    return _publish(repo_id, manifest, files, last, private, tag)


def publish_pairs(
    run_dir: PathLike, repo_id: str, more: Mapping[str, bytes], private: bool = False, tag: str | None = None
) -> Published:
    """Publish the image pairs of a run folder (`pairs/`); see :func:`publish`."""
    manifest, data = pairs_manifest(run_dir)
    files = [checked_file(Path(run_dir), name, digest) for name, digest in manifest.files.items()]
    last = [file_of_bytes(name, content) for name, content in more.items()]
    return _publish(repo_id, manifest, files, [*last, file_of_bytes(MANIFEST_FILE, data)], private, tag)


def _publish(
    repo_id: str,
    manifest: ZooManifest,
    files: Sequence[LocalFile],
    last: Sequence[LocalFile],
    private: bool,
    tag: str | None,
) -> Published:
    check_limits([*files, *last])
    if get_token() is None:
        raise WeightzooError(f"publishing needs an account on the Hub; {LOG_IN}")
    repo = Repository(repo_id, "dataset")
    with hub_errors(repo_id):
        repo.create(private)
        head, remote = repo.state()
        stale = _stale(repo, manifest, head, remote, {file.name for file in (*files, *last)})
        tags = repo.tags()
        complete = not stale and all(file.is_at(remote.get(file.name)) for file in (*files, *last))
        if tag not in (None, FORMAT_TAG) and tag in tags and not (complete and tags[tag] == head):
            raise WeightzooError(
                f"the tag {tag} of {repo_id} already names another state; choose another --tag"
            )
        sent = Sent()
        head = _send(repo, files, last, stale, sent)
        for name in dict.fromkeys((FORMAT_TAG, tag or FORMAT_TAG)):
            repo.tag(name, head, tags.get(name))
    return Published(f"{repo.api.endpoint}/datasets/{repo_id}", head, sent.files, sent.bytes, sent.commits)


def _send(
    repo: Repository, files: Sequence[LocalFile], last: Sequence[LocalFile], stale: Sequence[str], sent: Sent
) -> str:
    """Commit what the repository lacks, `last` and deletions in the last commit; returns the head."""
    attempt, before = 0, -1
    while True:
        try:
            head, remote = repo.state()
            missing = [file for file in files if not file.is_at(remote.get(file.name))]
            for batch in _batches(missing):
                head = repo.commit(head, batch, (), f"Add {batch[0].name}" + _others(batch), sent)
            final = [file for file in last if not file.is_at(remote.get(file.name))]
            gone = [name for name in stale if name in remote]
            if final or gone:
                head = repo.commit(head, final, gone, "Add the card and the manifest", sent)
            return head
        except Exception as error:
            # the listing tells what arrived; as long as commits get through there is progress
            attempt, before = (0 if sent.commits > before else attempt + 1), sent.commits
            if attempt + 1 >= ATTEMPTS or not is_passing(error):
                raise
            wait(attempt, error)


def _stale(
    repo: Repository, manifest: ZooManifest, head: str, remote: Mapping[str, RepoFile], names: set[str]
) -> list[str]:
    """Return the files of an earlier state of this zoo that it has no more.

    Raises:
        WeightzooError: the repository holds something else than this zoo.
    """
    others = sorted(set(remote) - names - {CARD, ATTRIBUTES})
    if MANIFEST_FILE not in remote:
        if others:
            raise WeightzooError(f"{repo.id} holds something else ({others[0]}); choose another repository")
        return []
    where = {"repo_type": "dataset", "revision": head}
    there = read_manifest(patiently(lambda: repo.api.hf_hub_download(repo.id, MANIFEST_FILE, **where)))
    if (there.name, there.base_sha256) != (manifest.name, manifest.base_sha256):
        raise WeightzooError(
            f"{repo.id} holds the zoo {there.name!r}, another one; choose another repository"
        )
    if other := _formats(there) - _formats(manifest):
        ours = "-".join(_formats(manifest))
        raise WeightzooError(
            f"{repo.id} holds this zoo as {other.pop()}, and clients take one format a repository; "
            f"publish it as {ours} to another one, such as {repo.id}-{ours}"
        )
    known = there.hashes()
    return [name for name in others if name in known or name.startswith("pictures/")]


def _formats(manifest: ZooManifest) -> set[str]:
    """Return the names of the formats that a zoo's shards have: one, or none where it has no shard."""
    return {name for entry in manifest.shards for name, f in FORMATS.items() if format_of(entry.name) is f}


def _batches(files: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    """Cut `files` into the contents of commits."""
    with bar() as progress:
        line = progress.add_task("uploading", total=len(files), unit="files")
        batch: list[LocalFile] = []
        for file in files:
            size = sum(f.size for f in batch) + file.size
            if batch and (len(batch) >= FILES_PER_COMMIT or size > BYTES_PER_COMMIT):
                yield batch
                progress.advance(line, len(batch))
                batch = []
            batch.append(file)
        if batch:
            yield batch
            progress.advance(line, len(batch))


def _others(batch: Sequence[LocalFile]) -> str:
    return f" and {plural(len(batch) - 1, 'more file')}" if len(batch) > 1 else ""
