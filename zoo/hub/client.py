"""Talking to the Hub: patience with what passes, each wait told, one clear line for what does not pass.

    with hub_errors("user/zoo"):
        if cause := unreachable("user/zoo", "dataset"):
            ...                                        # the cache may serve
        files = files_at("user/zoo", "dataset", "main")
"""

import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    fix_hf_endpoint_in_url,
    get_session,
)

from zoo.errors import WeightzooError
from zoo.hub.causes import LOG_IN, Cause, chain, explain, seconds_to_wait
from zoo.progress import say

T = TypeVar("T")
ATTEMPTS = 6
FIRST_WAIT = 2.0  # seconds, doubled from attempt to attempt; the client has waited itself before most errors
LONGEST_WAIT = 600.0  # seconds; who asks for more is not waited for. The Hub's own quotas last 300 s
FIRST_ANSWER = 10.0  # seconds that the first answer may take
CLIENT_WAITS = 5.0  # seconds that the client library may wait by itself: it does so silently
PASSING = (408, 412, 429, 500, 502, 503, 504)  # 412: somebody (or a lost answer of ours) committed meanwhile
NO_CONTACT = (httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError, OfflineModeIsEnabled)
# what the client says of a repository and its names -> what is told; the first that fits
REFUSALS = {
    GatedRepoError: "{repo} is gated; ask for access on its page, then {log_in}",
    RevisionNotFoundError: "{repo} has no revision {revision}; see its branches and tags on its page",
    RepositoryNotFoundError: "the repository {repo} does not exist or is private; check the name, or {log_in}",
    HFValidationError: "{repo!r} is no name of a repository; give USER/NAME",
    RemoteEntryNotFoundError: "{repo} lacks a file that its manifest names; ask its owner to publish it again",
}
_RETRYING = re.compile(r"Retrying in ([\d.]+)s")  # of the client library's log
_telling = threading.Lock()
_told_until = 0.0  # on the monotonic clock


class HubUnreachable(WeightzooError):
    """The machine or the Hub could not do it; nothing that was given is wrong."""

    exit_code = 1


def unreachable(repo_id: str, kind: str, revision: str | None = None) -> Cause | None:
    """Return why the Hub does not answer, within seconds; None when it does.

    Errors about the repository itself are raised as the client has them.

    Args:
        kind: of the Hub's types, "dataset" or "model".
    """

    def call() -> Cause | None:
        try:
            HfApi().repo_info(repo_id, repo_type=kind, revision=revision, timeout=FIRST_ANSWER)
        except NO_CONTACT as error:
            return explain(error)
        return None

    try:
        return patiently(call)
    except (GatedRepoError, RevisionNotFoundError, RepositoryNotFoundError):
        raise
    except Exception as error:
        cause = explain(error)
        if cause is None or (isinstance(error, HfHubHTTPError) and not is_passing(error)):
            raise
        return cause


def patiently(call: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Return `call()`, tried again with growing waits while the connection breaks or the Hub is busy.

    Args:
        progress: what grows while the call gets on; the attempts are then counted anew.
    """
    attempt, before = 0, -1
    while True:
        try:
            watch_answers()
            return call()
        except Exception as error:
            attempt, before = (0 if progress() > before else attempt + 1), progress()
            if attempt + 1 >= ATTEMPTS or not is_passing(error):
                raise
            wait(attempt, error)


def from_cache(call: Callable[[], str], what: str, offline: Cause | None) -> Path:
    """Return the path that a download of the client gives.

    Args:
        what: is downloaded, in words.
        offline: why only the cache is looked into; None where the Hub answers.

    Raises:
        HubUnreachable: the cache does not have it.
    """
    try:
        return Path(patiently(call))
    except LocalEntryNotFoundError as error:
        if offline is None:
            raise
        raise HubUnreachable(f"the cache has no {what}, and {offline}") from error


def files_at(repo_id: str, kind: str, revision: str) -> dict[str, RepoFile]:
    """Return the files of a repository by name."""
    listing = {"repo_type": kind, "revision": revision, "recursive": True}
    entries = patiently(lambda: list(HfApi().list_repo_tree(repo_id, **listing)))
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def wait(attempt: int, error: Exception) -> None:
    """Tell what is wrong and sleep before attempt number `attempt + 1`: as long as the Hub asks for, or longer.

    Raises:
        Exception: the error itself, when the Hub asks for more than `LONGEST_WAIT`.
    """
    asked = max(seconds_to_wait(one) for one in chain(error))
    if asked > LONGEST_WAIT:
        raise error
    seconds = max(asked, FIRST_WAIT * 2**attempt)
    cause = explain(error)
    tell(cause.what if cause else str(error), seconds, even_if_quiet=asked > 0)
    time.sleep(seconds)


def tell(what: str, seconds: float, even_if_quiet: bool = False) -> None:
    """Say that something is tried again after a wait; once for all threads that wait at the same time."""
    global _told_until
    with _telling:
        ends = time.monotonic() + seconds
        if ends > _told_until + 1:
            _told_until = ends
            say(f"{what}; trying again in {seconds:,.0f} s", even_if_quiet)


def is_passing(error: BaseException | None) -> bool:
    """Return whether the same call may well succeed a little later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    if error is None or isinstance(error, httpx2.ProxyError) or _is_untrusted(error):
        return False
    if isinstance(error, (httpx2.TransportError, XetDownloadError)):
        return True
    if type(error) is OSError and error.errno is None:  # the client's own "Consistency check failed"
        return True
    # the client's upload threads; a file that it neither reached nor had in its cache
    return isinstance(error, (RuntimeError, LocalEntryNotFoundError)) and is_passing(error.__cause__)


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)


def _is_untrusted(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in chain(error))


def watch_answers() -> None:
    """Let the client library show us each answer of the Hub; see :func:`look_at`."""
    hooks = get_session().event_hooks["response"]
    if look_at not in hooks:
        hooks.append(look_at)


def look_at(answer: httpx2.Response) -> None:
    """Mend the links of mirrors, and keep the client library from sleeping for minutes without a word.

    Raises:
        HfHubHTTPError: the Hub asks to wait; :func:`patiently` does, and says so.
    """
    if "link" in answer.headers:  # a mirror passes on links to the Hub itself, which may be out of reach
        answer.headers["link"] = fix_hf_endpoint_in_url(answer.headers["link"], None)
    if answer.status_code in PASSING:
        error = HfHubHTTPError(f"{answer.status_code} for {answer.url}", response=answer)
        if seconds_to_wait(error) > CLIENT_WAITS:
            raise error


@contextmanager
def hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the Hub's client raises into one line that names the repository and the way out."""
    try:
        with quiet():
            watch_answers()
            yield
    except WeightzooError:
        raise
    except Exception as error:
        for kind, said in REFUSALS.items():
            if isinstance(error, kind):
                raise WeightzooError(said.format(repo=repo_id, revision=revision, log_in=LOG_IN)) from error
        if cause := explain(error):
            refused = any(map(_is_refusal, chain(error)))
            raise (WeightzooError if refused else HubUnreachable)(f"{repo_id}: {cause}") from error
        if not is_passing(error):
            raise
        raise HubUnreachable(
            f"{repo_id}: what came is not whole ({error}); run the same command again, it goes on"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Progress bars and retries of the client in our words: commands show their own."""
    log, shown = logging.getLogger("huggingface_hub.utils._http"), not are_progress_bars_disabled()
    log.addFilter(_tell_retry)
    if shown:
        disable_progress_bars()
    try:
        yield
    finally:
        log.removeFilter(_tell_retry)
        if shown:
            enable_progress_bars()


def _tell_retry(record: logging.LogRecord) -> bool:
    if waiting := _RETRYING.search(record.getMessage()):
        tell("the Hub did not answer or is busy", float(waiting[1]))
    return False
