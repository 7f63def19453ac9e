"""A small Hub on 127.0.0.1: the wire protocol that huggingface_hub 2.4 speaks, for tests without a network.

    with HubServer(bound_socket) as hub:      # fixture `hub` in conftest.py
        hub.faults.add(Fault("GET", "/resolve/", status=503))
        HfApi().create_repo("user/zoo", repo_type="dataset")

Repositories are a list of commits (each the whole tree, path -> :class:`Blob`), branches and tags; everything is
in memory. Files of the suffixes in :data:`LFS` go through the LFS batch endpoint, as on the Hub, all others ride
in the commit. Without Xet: clients need ``HF_HUB_DISABLE_XET=1``. What it does wrong on demand is in
``hub_faults.py``.
"""

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tests.hub_faults import Faults, FaultyApp

LFS = (".parquet", ".tar", ".safetensors", ".bin", ".jpg", ".png", ".webp")
PAGE = 100  # entries of a tree per answer; small, so that paging is used
DATE = "2026-01-01T00:00:00.000Z"
TOKENS = {"hf_user": "user", "hf_other": "other"}


@dataclass(frozen=True)
class Blob:
    """One version of one file."""

    data: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """The git id of the content (the real Hub names the pointer file of LFS content)."""
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """The whole tree after one commit."""

    oid: str
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """One repository: its commits, oldest first, and what points to them."""

    id: str
    private: bool
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, title: str, files: dict[str, Blob]) -> Commit:
        oid = hashlib.sha1(f"{self.id} {len(self.commits)} {title}".encode()).hexdigest()
        self.commits.append(Commit(oid, title, files))
        self.branches["main"] = oid
        return self.commits[-1]

    def find(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return next((commit for commit in self.commits if commit.oid == oid), None)


class Refusal(Exception):
    """An answer that is an error, with the headers by which the client tells errors apart."""

    def __init__(self, status: int, code: str = "", message: str = "", **more: Any) -> None:
        self.status, self.more = status, more
        self.headers = {"X-Error-Code": code, "X-Error-Message": message or code}


class HubServer:
    """The server; all state is open to the test.

    Attributes:
        requests: (method, path) of what it was asked.
        linked: what the links to further pages begin with: as a mirror passes them on, the address of the real Hub.
    """

    def __init__(self, bound: socket.socket) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults = Faults()
        self.url = self.linked = "http://{}:{}".format(*bound.getsockname())
        self._socket = bound
        config = uvicorn.Config(
            FaultyApp(make_app(self), self), log_level="critical", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)

    def __enter__(self) -> "HubServer":
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def reset(self) -> None:
        """Forget everything."""
        for state in (self.repos, self.lfs, self.requests, self.faults.pending):
            state.clear()

    def dataset(self, repo_id: str) -> Repo:
        return self.repos["dataset", repo_id]

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Content of every file of a dataset."""
        commit = self.dataset(repo_id).find(revision)
        assert commit, f"no revision {revision}"
        return {path: blob.data for path, blob in commit.files.items() if path != ".gitattributes"}

    def count(self, method: str, part: str) -> int:
        """How many requests of ``method`` had ``part`` in their path."""
        return sum(m == method and part in path for m, path in self.requests)

    @contextmanager
    def counted(self, method: str, part: str) -> Iterator[Callable[[], int]]:
        """Yield a function that tells how many such requests came since."""
        before = self.count(method, part)
        yield lambda: self.count(method, part) - before


def make_app(hub: HubServer) -> FastAPI:
    """The endpoints. Routes of models have no prefix, those of datasets ``/datasets``."""
    app = FastAPI(openapi_url=None)

    @app.exception_handler(Refusal)
    def refuse(_: Request, error: Refusal) -> Response:
        content = {"error": error.headers["X-Error-Message"], **error.more}
        return JSONResponse(content, error.status, headers=error.headers)

    def user_of(request: Request, needed: bool = True) -> str | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if needed and token not in TOKENS:
            raise Refusal(401, message="Invalid username or password.")
        return TOKENS.get(token)

    def repo_of(request: Request, kind: str, space: str, name: str, write: bool = False) -> Repo:
        repo = hub.repos.get((kind.removesuffix("s"), f"{space}/{name}"))
        user = user_of(request, needed=write)
        if repo is None or (repo.private and user != space):
            # the Hub does not tell a stranger whether a repository exists
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and user != space:
            raise Refusal(403, message="You don't have the rights to write here")
        return repo

    def commit_of(repo: Repo, revision: str) -> Commit:
        if (found := repo.find(revision)) is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    @app.get("/api/agent-harnesses")
    def harnesses() -> Any:
        return {"standardEnvVars": [], "harnesses": {}}

    @app.get("/api/whoami-v2")
    def whoami(request: Request) -> Any:
        return {"name": user_of(request), "type": "user", "orgs": [], "auth": {"type": "access_token"}}

    @app.post("/api/validate-yaml")
    async def validate_yaml(request: Request) -> Any:
        text = (await request.json())["content"]
        if not text.startswith("---\n"):
            return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        return {"errors": [], "warnings": []}

    @app.post("/api/repos/create")
    async def create(request: Request) -> Any:
        values, user = await request.json(), user_of(request)
        kind, repo_id = values.get("type", "model"), f"{values.get('organization') or user}/{values['name']}"
        url = f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
        if (kind, repo_id) in hub.repos:
            raise Refusal(409, message="You already created this repo", url=url)
        if repo_id.split("/")[0] != user:
            raise Refusal(403, message="You don't have the rights to create a repo here")
        repo = hub.repos[kind, repo_id] = Repo(repo_id, values.get("visibility") == "private")
        repo.commit("initial commit", {".gitattributes": Blob(b"*.parquet filter=lfs\n", False)})
        return {"url": url, "name": repo_id, "private": repo.private}

    @app.get("/api/{kind}/{space}/{name}")
    @app.get("/api/{kind}/{space}/{name}/revision/{revision}")
    def info(request: Request, kind: str, space: str, name: str, revision: str = "main") -> Any:
        repo = repo_of(request, kind, space, name)
        commit = commit_of(repo, revision)
        siblings = [{"rfilename": path} for path in commit.files]
        about = {"id": repo.id, "sha": commit.oid, "private": repo.private, "siblings": siblings}
        return about | {"author": space, "tags": [], "lastModified": DATE, "downloads": 0, "likes": 0}

    @app.get("/api/{kind}/{space}/{name}/refs")
    def refs(request: Request, kind: str, space: str, name: str) -> Any:
        repo = repo_of(request, kind, space, name)
        named = {
            what: [{"name": k, "ref": f"refs/{short}/{k}", "targetCommit": v} for k, v in where.items()]
            for what, short, where in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
        }
        return named | {"converts": []}

    @app.get("/api/{kind}/{space}/{name}/commits/{revision}")
    def commits(request: Request, kind: str, space: str, name: str, revision: str) -> Any:
        repo = repo_of(request, kind, space, name)
        upto = repo.commits.index(commit_of(repo, revision)) + 1
        about = {"message": "", "date": DATE, "authors": [{"user": space}]}
        return [{"id": c.oid, "title": c.title, **about} for c in reversed(repo.commits[:upto])]

    @app.get("/api/{kind}/{space}/{name}/tree/{revision}")
    @app.get("/api/{kind}/{space}/{name}/tree/{revision}/{path:path}")
    def tree(request: Request, kind: str, space: str, name: str, revision: str, path: str = "") -> Any:
        files = commit_of(repo_of(request, kind, space, name), revision).files
        prefix = f"{path}/" if path else ""
        below = {p: blob for p, blob in sorted(files.items()) if p.startswith(prefix)}
        if path and not below:
            raise Refusal(404, "EntryNotFound", f"{path} does not exist")
        recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
        entries = _entries(below, prefix, recursive)
        start = int(request.query_params.get("cursor", 0))
        headers = {}
        if start + PAGE < len(entries):
            link = request.url.include_query_params(cursor=start + PAGE)
            headers["Link"] = f'<{link}>; rel="next"'.replace(hub.url, hub.linked)
        return JSONResponse(entries[start : start + PAGE], headers=headers)

    @app.post("/api/{kind}/{space}/{name}/paths-info/{revision}")
    async def paths_info(request: Request, kind: str, space: str, name: str, revision: str) -> Any:
        files = commit_of(repo_of(request, kind, space, name), revision).files
        asked = parse_qs((await request.body()).decode())["paths"]
        folders = {p.rsplit("/", n)[0] for p in files for n in range(1, p.count("/") + 1)}
        found = [_entry(path, files[path]) for path in asked if path in files]
        return found + [_folder(path) for path in asked if path in folders]

    @app.post("/api/{kind}/{space}/{name}/preupload/{revision}")
    async def preupload(request: Request, kind: str, space: str, name: str, revision: str) -> Any:
        files = commit_of(repo_of(request, kind, space, name, write=True), revision).files
        answers = []
        for asked in (await request.json())["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LFS) else "regular"
            oid = files[path].etag if path in files else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    @app.post("/{space}/{name}.git/info/lfs/objects/batch")
    @app.post("/{kind}/{space}/{name}.git/info/lfs/objects/batch")
    async def lfs_batch(request: Request, space: str, name: str, kind: str = "models") -> Any:
        repo_of(request, kind, space, name, write=True)
        objects = []
        for asked in (await request.json())["objects"]:
            action = {"upload": {"href": f"{hub.url}/lfs/{asked['oid']}"}}
            objects.append(asked if asked["oid"] in hub.lfs else asked | {"actions": action})
        return {"transfer": "basic", "objects": objects}

    @app.put("/lfs/{oid}")
    async def lfs_put(request: Request, oid: str) -> Any:
        data = await request.body()
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refusal(400, message="the content does not have this sha256")
        hub.lfs[oid] = data
        return {}

    @app.post("/api/{kind}/{space}/{name}/commit/{revision}")
    async def commit(request: Request, kind: str, space: str, name: str, revision: str) -> Any:
        repo = repo_of(request, kind, space, name, write=True)
        head = commit_of(repo, revision)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        header, files = lines[0]["value"], dict(head.files)
        if header.get("parentCommit") not in (None, head.oid):
            raise Refusal(412, message="A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            _apply(line["key"], line["value"], files, hub.lfs)
        made = repo.commit(header["summary"], files)
        return {"success": True, "commitOid": made.oid, "commitUrl": f"{hub.url}/{repo.id}/commit/{made.oid}"}

    @app.post("/api/{kind}/{space}/{name}/{what}/{revision}")
    async def make_ref(request: Request, kind: str, space: str, name: str, what: str, revision: str) -> Any:
        repo = repo_of(request, kind, space, name, write=True)
        values = await request.json() if await request.body() else {}
        new = values["tag"] if what == "tag" else revision
        where, start = (
            (repo.tags, revision) if what == "tag" else (repo.branches, values.get("startingPoint"))
        )
        if new in where:
            raise Refusal(409, message=f"{what} {new} already exists")
        where[new] = commit_of(repo, start or "main").oid
        return {}

    @app.delete("/api/{kind}/{space}/{name}/tag/{tag}")
    def delete_tag(request: Request, kind: str, space: str, name: str, tag: str) -> Any:
        repo = repo_of(request, kind, space, name, write=True)
        if repo.tags.pop(tag, None) is None:
            raise Refusal(404, "RevisionNotFound", f"no tag {tag}")
        return {}

    @app.api_route("/{space}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    @app.api_route("/{kind}/{space}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    def resolve(
        request: Request, space: str, name: str, revision: str, path: str, kind: str = "models"
    ) -> Response:
        commit = commit_of(repo_of(request, kind, space, name), revision)
        if (blob := commit.files.get(path)) is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
        return _body(request, blob.data, headers)

    return app


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid}
    return entry | (
        {"lfs": {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}} if blob.lfs else {}
    )


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def _entries(files: dict[str, Blob], prefix: str, recursive: bool) -> list[dict[str, Any]]:
    """The listing of a folder: its files and folders, or everything below it."""
    rest = [path.removeprefix(prefix).split("/") for path in files]
    deepest = max(map(len, rest), default=1) if recursive else 2
    folders = {prefix + "/".join(parts[:n]) for parts in rest for n in range(1, min(len(parts), deepest))}
    shown = {path: blob for path, blob in files.items() if recursive or "/" not in path.removeprefix(prefix)}
    return [_folder(path) for path in sorted(folders)] + [_entry(path, blob) for path, blob in shown.items()]


def _apply(key: str, value: dict[str, Any], files: dict[str, Blob], lfs: dict[str, bytes]) -> None:
    """One operation of a commit."""
    path = value["path"]
    if key == "file":
        files[path] = Blob(base64.b64decode(value["content"]), False)
    elif key == "lfsFile":
        if value["oid"] not in lfs:
            raise Refusal(400, message=f"LFS content of {path} was not uploaded")
        files[path] = Blob(lfs[value["oid"]], True)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
    else:
        raise Refusal(400, message=f"unknown operation {key}")


def _body(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    """The content, or the part of it that the ``Range`` header asks for."""
    asked = request.headers.get("range", "").removeprefix("bytes=")
    if not asked:
        return Response(data, headers=headers, media_type="application/octet-stream")
    first, _, last = asked.partition("-")
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers |= {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
    return Response(data[start : end + 1], 206, headers, media_type="application/octet-stream")
