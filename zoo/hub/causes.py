"""Why the Hub did not do what it was asked, in words: what is wrong, and what to do next.

    try:
        HfApi().repo_info("user/zoo")
    except Exception as error:
        if cause := explain(error): ...      # Cause("hub.example refuses the connection", "check ...")

A client wraps what went wrong several times; the whole chain of an exception is looked through.
"""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, OfflineModeIsEnabled, XetDownloadError
from huggingface_hub.utils import parse_ratelimit_headers

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
LATER = "run the same command later, it goes on"
SERVER_WORDS = 200  # characters of what the Hub itself says


@dataclass(frozen=True)
class Cause:
    """What is wrong, and what to do next; both without a full stop."""

    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.what}; {self.todo}"


def explain(error: BaseException) -> Cause | None:
    """Return why the Hub could not be used, or None when the error has another reason."""
    errors = list(chain(error))
    for one in errors:
        if isinstance(one, OfflineModeIsEnabled):
            return Cause("HF_HUB_OFFLINE is set, so the Hub is not asked", "unset it to go online")
        if isinstance(one, HfHubHTTPError):
            return answered(one)
        if isinstance(one, (JSONDecodeError, FileMetadataError)):
            return Cause(
                f"what answers at {constants.ENDPOINT} is not the Hub",
                "check HF_ENDPOINT and the proxy, or log in to your network with a browser",
            )
        if isinstance(one, (httpx2.TransportError, XetDownloadError)):
            return unanswered(one, errors)
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # the client hides the system's own error


def answered(error: HfHubHTTPError) -> Cause:
    """Return the cause of an answer that is an error."""
    status, said = error.response.status_code, (error.server_message or "").strip()[:SERVER_WORDS]
    more = f": {said}" if said else ""
    if status == 401 and get_token():
        return Cause(f"the Hub does not accept your token (401{more})", "make a new one, then " + LOG_IN)
    if status in (401, 403):
        return Cause(f"the Hub does not let you do this ({status}{more})", LOG_IN)
    if seconds := seconds_to_wait(error):
        return Cause(f"the Hub asks to wait {seconds:,.0f} s ({status}{more})", "run the same command then, it goes on")
    if status == 429:
        return Cause(f"the Hub says that there were too many requests (429{more})", LATER)
    return Cause(f"the Hub answers {status}{more}", LATER)


def seconds_to_wait(error: BaseException) -> float:
    """Return for how long the Hub asks to wait before the next request; 0 where it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    headers = error.response.headers
    limits = parse_ratelimit_headers(headers)
    if error.response.status_code == 429 and limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    return seconds_of(headers.get("retry-after", ""))


def seconds_of(value: str) -> float:
    """Return what a Retry-After header says, which is a number of seconds or a date; 0 for anything else."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return 0.0


def unanswered(error: BaseException, errors: list[BaseException]) -> Cause:
    """Return the cause of a request that got no answer.

    Args:
        error: the client's own.
        errors: the whole chain.
    """
    request = getattr(error, "_request", None)  # the property raises where there is none
    url = urlsplit(str(request.url) if request else constants.ENDPOINT)
    host, proxy = url.hostname or constants.ENDPOINT, proxy_of(url.scheme, url.hostname or "")
    for one in errors:
        if isinstance(one, ssl.SSLCertVerificationError):
            return Cause(
                f"the certificate of {host} is not trusted ({one.verify_message})",
                "name the certificates of your organisation in SSL_CERT_FILE, and check this machine's clock",
            )
    who, check = host, "check the network, and HF_ENDPOINT where it is set"
    if proxy:
        who, check = f"the proxy {proxy}", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    if isinstance(error, httpx2.ProxyError):
        return Cause(f"{who} does not let requests to {host} through ({error})", check)
    if any(isinstance(one, socket.gaierror) for one in errors):
        return Cause(f"{who} is a name that cannot be looked up", check)
    if any(isinstance(one, ConnectionRefusedError) for one in errors):
        return Cause(f"{who} refuses the connection", check)
    if isinstance(error, httpx2.TimeoutException):
        return Cause(f"{who} did not answer in time", check)
    return Cause(f"the connection to {who} broke ({error})", "run the same command again, it goes on")


def proxy_of(scheme: str, host: str) -> str:
    """Return the proxy that requests to a host go through, without its password; empty for none."""
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all") or ""
    if not found or proxy_bypass(host):
        return ""
    parts = urlsplit(found if "//" in found else f"//{found}")
    return f"{parts.scheme or 'http'}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def cached_note(repo_id: str, when: float, cause: Cause) -> str:
    """Return what to tell a person who gets a copy from the cache.

    Args:
        when: seconds since 1970, when the copy was fetched.
    """
    day = datetime.fromtimestamp(when).strftime("%Y-%m-%d")
    return f"{repo_id} is the copy that the cache got on {day}, not checked against the Hub ({cause.what})"
