"""What is wrong between this machine and the Hub is told as what it is, at once, and a cached copy as a cached copy."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from tests import hub_server
from tests.hub_faults import Fault
from zoo.errors import WeightzooError
from zoo.hub import client, download, publish
from zoo.hub.causes import seconds_of
from zoo.hub.remote import open_named
from zoo.verify import verify_run

REPO = "user/zoo"
CARD = {"README.md": b"---\nlicense: apache-2.0\n---\n# zoo\n"}
# for 127.0.0.1, signed by nobody that a machine trusts, valid until 2126
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgy+RSehWuoGwh4Wy3
oLrA2VT1DddmdQgnHzfujlK3U36hRANCAATZ1gWA9HyBqTYxgLIc+AZ7WRDOWL5M
sqF7v4k/LrI6OUfQ++HHO6lD/Lw5rrlYKMQM7x/BBFqWyD+5QROzcNiE
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUQlK2/uUHqqGCqafD6LDhLlSBDIwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyODE4NTIxOFoYDzIxMjYxMTA0
MTg1MjE4WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATZ1gWA9HyBqTYxgLIc+AZ7WRDOWL5MsqF7v4k/LrI6OUfQ++HHO6lD
/Lw5rrlYKMQM7x/BBFqWyD+5QROzcNiEo2QwYjAdBgNVHQ4EFgQUcdfTgBeAicru
+yankCcZgYkViXYwHwYDVR0jBBgwFoAUcdfTgBeAicru+yankCcZgYkViXYwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IAeX4THQIWeNuAE/Sk7Y/V3e9Z1hjT/JOhcOeoEOekjxAiEAv0v02A3LZDqoIyyS
4LAc9h4JG01u5Gku/W32t8vsdFc=
-----END CERTIFICATE-----
"""


@pytest.fixture
def waits(monkeypatch):
    """The waits of ours in seconds, none of which takes any time; the client library must not wait for long."""
    waited = []
    monkeypatch.setattr(client.time, "sleep", waited.append)
    monkeypatch.setattr(client, "_told_until", 0.0)
    return waited


@pytest.fixture
def published(hub, run_dir):
    publish(run_dir, REPO, CARD)
    return run_dir


@pytest.fixture
def reconnect():
    """Settings of the network are read when a session begins."""
    close_session()
    yield
    close_session()


def refusal(call):
    with pytest.raises(client.HubUnreachable) as error:
        call()
    return str(error.value)


@pytest.mark.parametrize(
    "headers",
    [{"retry-after": "300"}, {"ratelimit": '"api";r=0;t=300', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}],
)
@pytest.mark.parametrize("part", ["/api/datasets/user/zoo", "weights/train-00000", "/tree/"])
def test_a_quota_is_waited_for_and_told(hub, published, tmp_path, waits, capsys, headers, part):
    hub.faults.add(Fault("GET", part, status=429, headers=headers))
    out = download(REPO, tmp_path / "out")
    assert verify_run(out) == [] and max(waits) == 300
    assert "the Hub asks to wait 300 s (429); trying again in 300 s" in " ".join(capsys.readouterr().err.split())


def test_who_asks_for_too_long_a_wait_is_not_waited_for(hub, published, tmp_path, waits):
    hub.faults.add(Fault("GET", "/api/datasets/user/zoo", status=503, headers={"retry-after": "7200"}))
    said = refusal(lambda: download(REPO, tmp_path / "out"))
    assert "the Hub asks to wait 7,200 s (503); run the same command then" in said and waits == []


def test_seconds_of_retry_after():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < seconds_of(later) <= 90
    assert [seconds_of(value) for value in ("120", " 0 ", "", "soon", "-3")] == [120, 0, 0, 0, 0]


def test_every_wait_is_told(hub, published, tmp_path, waits, capsys):
    hub.faults.add(Fault("GET", "/api/datasets/user/zoo", status=503, headers={}, times=2))
    download(REPO, tmp_path / "out")
    said = [line for line in capsys.readouterr().err.splitlines() if "answers 503" in line]
    assert waits == [2, 4] and said == [f"the Hub answers 503; trying again in {s:.0f} s" for s in waits]


def only_this_machine(host, *_, **__):
    if host != "127.0.0.1":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 9))]


@pytest.mark.parametrize(
    ("endpoint", "proxy", "said"),
    [
        ("http://127.0.0.1:9", "", "127.0.0.1 refuses the connection; check the network"),
        ("http://no-such-host.invalid", "", "no-such-host.invalid is a name that cannot be looked up"),
        ("http://hub.example", "http://me:secret@127.0.0.1:9", "the proxy http://127.0.0.1:9 refuses the connection"),
        ("http://hub.example", "http://no-such-host.invalid", "the proxy http://no-such-host.invalid is a name that"),
    ],
)
def test_no_contact_is_told_at_once(hub, tmp_path, monkeypatch, waits, reconnect, endpoint, proxy, said):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", only_this_machine)  # a network may answer for any name
    if proxy:
        monkeypatch.setenv("http_proxy", proxy)
    line = refusal(lambda: download(REPO, tmp_path / "out"))
    assert said in line and "secret" not in line and waits == []
    assert "the cache has no manifest.json of user/zoo" in line
    assert said in refusal(lambda: client.patiently(lambda: open_named(REPO)))


class Answer(BaseHTTPRequestHandler):
    """A proxy that wants a password."""

    def do_GET(self):  # noqa: N802
        self.send_error(407, "Proxy Authentication Required")

    do_CONNECT = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """An HTTP server, not running yet."""
    made = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    yield made, thread
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_proxy_that_refuses(hub, tmp_path, monkeypatch, waits, reconnect, server):
    made, thread = server
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{made.server_port}")
    said = refusal(lambda: download(REPO, tmp_path / "out"))
    assert "does not let requests to hub.example through (407" in said and "check HTTPS_PROXY" in said and waits == []


def test_a_certificate_that_nobody_trusts(hub, tmp_path, monkeypatch, waits, reconnect, server):
    made, thread = server
    (tmp_path / "both.pem").write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    made.socket = context.wrap_socket(made.socket, server_side=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"https://127.0.0.1:{made.server_port}")
    said = refusal(lambda: download(REPO, tmp_path / "out"))
    assert "the certificate of 127.0.0.1 is not trusted (self-signed certificate" in said
    assert "SSL_CERT_FILE" in said and waits == []


def test_a_login_page_of_the_network(hub, published, tmp_path, waits):
    page = {"content-type": "text/html"}
    hub.faults.add(Fault("GET", "/api/datasets/", status=200, headers=page, body=b"<html>log in</html>"))
    assert "is not the Hub; check HF_ENDPOINT" in refusal(lambda: download(REPO, tmp_path / "out"))
    assert waits == []


@pytest.mark.parametrize(
    ("part", "status", "said"),
    [
        ("/api/datasets/user/zoo", 401, "the Hub does not accept your token"),
        ("/resolve/", 403, r"does not let you do this \(403\); log in"),
    ],
)
def test_who_may_not(hub, published, tmp_path, waits, part, status, said):
    for method in ("GET", "HEAD"):
        hub.faults.add(Fault(method, part, status=status, headers={}, times=9))
    with pytest.raises(WeightzooError, match=f"user/zoo.*{said}") as error:
        download(REPO, tmp_path / "out")
    assert error.value.exit_code == 2 and waits == []


def test_a_gated_repository(hub, published, tmp_path, waits):
    gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to dataset user/zoo is restricted"}
    for method in ("GET", "HEAD"):
        hub.faults.add(Fault(method, "/resolve/", status=403, headers=gated, times=9))
    with pytest.raises(WeightzooError, match="user/zoo is gated; ask for access on its page"):
        download(REPO, tmp_path / "out")


def test_a_mirror_whose_pages_link_to_the_hub_itself(hub, published, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(hub_server, "PAGE", 2)
    monkeypatch.setattr(hub, "linked", "https://huggingface.co")
    assert verify_run(download(REPO, tmp_path / "out")) == [] and waits == []
    assert hub.count("GET", "/tree/") > 2


@pytest.mark.parametrize("revision", [None, "v1", "the commit"])
def test_a_cached_copy_is_told_as_what_it_is(hub, published, tmp_path, monkeypatch, waits, revision):
    if revision == "the commit":
        revision = hub.dataset(REPO).branches["main"]
    notes = []
    download(REPO, tmp_path / "out", revision, tell=notes.append)
    assert notes == []
    hub.faults.add(Fault("GET", "/api/datasets/user/zoo", status=502, headers={}, times=99))
    download(REPO, tmp_path / "again", revision, tell=notes.append)
    today = datetime.now().strftime("%Y-%m-%d")
    line = f"user/zoo is the copy that the cache got on {today}, not checked against the Hub (the Hub answers 502)"
    assert notes == ([] if revision and revision != "v1" else [line])  # a commit cannot have changed
    assert verify_run(tmp_path / "again") == []


def test_publishing_without_contact_ends_at_once(hub, run_dir, monkeypatch, waits, reconnect):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = refusal(lambda: publish(run_dir, REPO, CARD))
    assert said.startswith("user/zoo cannot be published: 127.0.0.1 refuses the connection") and waits == []


def test_what_a_person_edits_changes_no_other_copy(hub, published, tmp_path):
    first, second = download(REPO, tmp_path / "first"), download(REPO, tmp_path / "second")
    for path in filter(lambda path: path.is_file(), first.rglob("*")):
        with open(path, "ab") as file:
            file.write(b"mine")
    assert verify_run(second) == [] and (second / "README.md").read_bytes() == CARD["README.md"]
    assert verify_run(download(REPO, tmp_path / "third")) == []


def test_an_edited_card_stays(hub, published, tmp_path):
    notes = []
    out = download(REPO, tmp_path / "out")
    (out / "README.md").write_text("my notes")
    download(REPO, out, tell=notes.append)
    assert (out / "README.md").read_text() == "my notes" and "README.md is not the published one" in notes[0]
    (out / "README.md").unlink()
    download(REPO, out, tell=notes.append)
    assert (out / "README.md").read_bytes() == CARD["README.md"] and len(notes) == 1
