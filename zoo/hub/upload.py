"""Publishing a finished run folder as a dataset repository, so that it can be stopped at any moment.

    publish("runs/small", "user/small", {"README.md": card, "pictures/sepia.webp": picture})

The same call again sends what is missing and makes no commit when nothing is: files are compared by hash with what
the repository has. Batches of files go first; the card and the manifest come in the last commit, then the tags.
Every commit names its parent, so that a lost answer or a second publisher cannot double anything. The client's own
`upload_folder` names the parent in its first commit only and sends a commit again whose answer was lost, deletes in the
first commit what the manifest still names, and makes one commit of everything where Xet is not there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from huggingface_hub import CommitOperationAdd, get_token
from huggingface_hub.hf_api import RepoFile

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.hub.causes import LOG_IN
from zoo.hub.client import hub_errors, patiently
from zoo.hub.local_files import check_limits, checked_file, is_at
from zoo.hub.pairs import pairs_manifest
from zoo.hub.repository import Published, Repository
from zoo.manifest import MANIFEST_FILE, ZooManifest, load_manifest, read_manifest
from zoo.progress import bar
from zoo.records import FORMAT_VERSION
from zoo.shards import FORMATS, format_of
from zoo.words import plural

FORMAT_TAG = f"v{FORMAT_VERSION}"
FILES_PER_COMMIT, BYTES_PER_COMMIT = 100, 5 * 10**9  # the Hub allows 128 commits an hour
CARD, ATTRIBUTES = "README.md", ".gitattributes"


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
    last = {**more, MANIFEST_FILE: (run_dir / MANIFEST_FILE).read_bytes()}
    return _publish(repo_id, manifest, files, last, private, tag)


def publish_pairs(
    run_dir: PathLike, repo_id: str, more: Mapping[str, bytes], private: bool = False, tag: str | None = None
) -> Published:
    """Publish the image pairs of a run folder (`pairs/`); see :func:`publish`."""
    manifest, data = pairs_manifest(run_dir)
    files = [checked_file(Path(run_dir), name, digest) for name, digest in manifest.files.items()]
    return _publish(repo_id, manifest, files, {**more, MANIFEST_FILE: data}, private, tag)


def _publish(
    repo_id: str,
    manifest: ZooManifest,
    files: Sequence[CommitOperationAdd],
    more: Mapping[str, bytes],
    private: bool,
    tag: str | None,
) -> Published:
    repo, last = Repository(repo_id, "dataset"), [CommitOperationAdd(name, data) for name, data in more.items()]
    names = {file.path_in_repo for file in (*files, *last)}
    stale = partial(_stale, repo, manifest, names)
    return publish_files(repo, files, last, "Add the card and the manifest", private, tag, stale, (FORMAT_TAG,))


def publish_files(
    repo: Repository,
    files: Sequence[CommitOperationAdd],
    last: Sequence[CommitOperationAdd],
    message: str,
    private: bool,
    tag: str | None,
    stale: Callable[[str, Mapping[str, RepoFile]], list[str]] = lambda head, remote: [],
    moving_tags: Sequence[str] = (),
) -> Published:
    """Send what a repository lacks.

    Args:
        last: files of the last commit, which has the `message`; deletions are in it, too.
        private: make the repository private, or insist that it is.
        tag: a name for this state; never moved.
        stale: which files of the repository, given by its head and its files, are to be deleted.
        moving_tags: names that follow the newest state.

    Raises:
        WeightzooError: see :func:`publish`.
    """
    check_limits([*files, *last])
    if get_token() is None:
        raise WeightzooError(f"publishing needs an account on the Hub; {LOG_IN}")
    with hub_errors(repo.id):
        repo.create(private)
        head, remote = repo.state()
        gone, tags = stale(head, remote), repo.tags()
        complete = not gone and not _missing([*files, *last], remote)
        if tag in tags and tag not in moving_tags and not (complete and tags[tag] == head):
            raise WeightzooError(
                f"the tag {tag} of {repo.id} already names another state; choose another --tag"
            )
        # the listing tells what arrived; as long as commits get through there is progress
        head = patiently(lambda: _send(repo, files, last, gone, message), lambda: repo.commits)
        for name in dict.fromkeys((*moving_tags, *([tag] if tag else ()))):
            repo.tag(name, head, tags.get(name))
    return repo.published(head)


def _send(
    repo: Repository,
    files: Sequence[CommitOperationAdd],
    last: Sequence[CommitOperationAdd],
    stale: Sequence[str],
    message: str,
) -> str:
    """Commit what the repository lacks, `last` and deletions in the last commit; returns the head."""
    head, remote = repo.state()
    for batch in _batches(_missing(files, remote)):
        others = f" and {plural(len(batch) - 1, 'more file')}" if len(batch) > 1 else ""
        head = repo.commit(head, batch, (), f"Add {batch[0].path_in_repo}{others}")
    final, gone = _missing(last, remote), [name for name in stale if name in remote]
    return repo.commit(head, final, gone, message) if final or gone else head


def _missing(files: Sequence[CommitOperationAdd], remote: Mapping[str, RepoFile]) -> list[CommitOperationAdd]:
    return [file for file in files if not is_at(file, remote.get(file.path_in_repo))]


def _stale(
    repo: Repository, manifest: ZooManifest, names: set[str], head: str, remote: Mapping[str, RepoFile]
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


def _batches(files: Sequence[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    """Cut `files` into the contents of commits, and show how many of them are sent."""
    batches, size = [list[CommitOperationAdd]()], 0
    for file in files:
        size += file.upload_info.size
        if batches[-1] and (len(batches[-1]) >= FILES_PER_COMMIT or size > BYTES_PER_COMMIT):
            batches.append([])
            size = file.upload_info.size
        batches[-1].append(file)
    with bar() as progress:
        line = progress.add_task("uploading", total=len(files), unit="files")
        for batch in filter(None, batches):
            yield batch
            progress.advance(line, len(batch))
