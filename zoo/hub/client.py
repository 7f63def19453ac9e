"""Talking to the Hub: patience with what passes, one clear line for what does not.

with hub_errors("user/zoo"):
    commit = patiently(lambda: api.repo_info("user/zoo", repo_type="dataset").sha)
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from zoo.errors import WeightzooError

T = TypeVar("T")
ATTEMPTS = 6
FIRST_WAIT = 2.0  # seconds, doubled from attempt to attempt; the client has waited itself before most errors
PASSING = (408, 412, 429, 500, 502, 503, 504)  # 412: somebody (or a lost answer of ours) committed meanwhile
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


class HubUnreachable(WeightzooError):
    """The machine or the Hub could not do it; nothing that was given is wrong."""

    exit_code = 1


def patiently(call: Callable[[], T]) -> T:
    """Return ``call()``, tried again with growing waits while the connection breaks or the Hub is busy."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return call()
        except Exception as error:
            if not is_passing(error):
                raise
            wait(attempt)
    return call()


def wait(attempt: int) -> None:
    """Sleep before attempt number ``attempt + 1``."""
    time.sleep(FIRST_WAIT * 2**attempt)


def is_passing(error: BaseException | None) -> bool:
    """Whether the same call may well succeed a little later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    if isinstance(error, (httpx2.TransportError, XetDownloadError)):
        return True
    if type(error) is OSError and error.errno is None:  # the client's own "Consistency check failed"
        return True
    return isinstance(error, RuntimeError) and is_passing(error.__cause__)  # the client's upload threads


@contextmanager
def hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the Hub's client raises into one line that names the repository and the way out."""
    try:
        with quiet():
            yield
    except WeightzooError:
        raise
    except (GatedRepoError, RevisionNotFoundError, RepositoryNotFoundError) as error:
        raise WeightzooError(_not_found(error, repo_id, revision)) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise HubUnreachable(
            f"the Hub cannot be reached and the cache lacks what is needed of {repo_id}; try again when online"
        ) from error
    except EntryNotFoundError as error:
        raise WeightzooError(
            f"{repo_id} lacks a file that its manifest names; ask its owner to publish it again"
        ) from error
    except HFValidationError as error:
        raise WeightzooError(f"{repo_id!r} is no name of a repository; give USER/NAME") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise WeightzooError(
                f"the Hub does not let you do this with {repo_id} ({status}); {LOG_IN}"
            ) from error
        raise HubUnreachable(
            f"the Hub answers {status} for {repo_id}; run the same command later, it goes on"
        ) from error
    except Exception as error:
        if not is_passing(error):
            raise
        raise HubUnreachable(
            f"the connection to the Hub broke too often ({error}); run the same command again, it goes on"
        ) from error


def _not_found(error: Exception, repo_id: str, revision: str | None) -> str:
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated; ask for access on its page, then {LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision}; see its branches and tags on its page"
    return f"the repository {repo_id} does not exist or is private; check the name, or {LOG_IN}"


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of the client: commands show their own."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
