"""`weightzoo serve`: what it refuses before anything is loaded, and what it hands on."""

import socket
import sys

import pytest

from zoo.errors import WeightzooError


@pytest.fixture
def served(monkeypatch):
    calls = []
    for name in ("run_uvicorn", "run_ray"):
        monkeypatch.setattr(f"weightgen.server.run.{name}", lambda *a, name=name: calls.append((name, *a)))
    return calls


def test_a_public_address_without_a_token_is_refused(run, served) -> None:
    refused = run("serve", "--host", "0.0.0.0")
    assert refused.code == 2 and "--token" in refused.error
    short = run("serve", "--host", "0.0.0.0", "--token", "short")
    assert short.code == 2 and "16" in short.error
    assert served == []


def test_the_plain_server_gets_the_embedded_model_and_zoo(run, served) -> None:
    assert run("serve", "--port", "8001", "--allow-host", "example.org").code == 0
    [(name, settings, host, port)] = served
    assert (name, host, port) == ("run_uvicorn", "127.0.0.1", 8001)
    assert settings.model.name == settings.zoo.name == "weightzoo-small"
    assert settings.token is None and "example.org" in settings.hosts and "127.0.0.1" in settings.hosts


def test_ray_gets_the_replicas_and_the_token_of_the_environment(run, served, monkeypatch, world) -> None:
    monkeypatch.setenv("WEIGHTZOO_TOKEN", "a token of the environment")
    done = run("serve", "--replicas", "3", "--model", world / "models" / "polished", "--data", world / "zoo")
    assert done.code == 0, done.err
    [(name, settings, _, _, replicas, address)] = served
    assert (name, replicas, address) == ("run_ray", 3, "local")
    assert settings.token == "a token of the environment"


def test_an_address_asks_for_ray_too(run, served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:  # the cluster listens on a machine of its own
        done = run("serve", "--address", "ray://head:10001", "--port", other.getsockname()[1])
    assert done.code == 0, done.err
    assert served[0][0] == "run_ray" and served[0][4:] == (1, "ray://head:10001")


@pytest.mark.parametrize("with_ray", [(), ("--replicas", "1")], ids=["plain", "ray"])
def test_a_port_in_use_is_told_before_anything_is_loaded(run, served, monkeypatch, with_ray) -> None:
    monkeypatch.setattr("weightgen.generate.open_model", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = run("serve", *with_ray, "--port", port)
    assert refused.code == 2 and f"port {port} of 127.0.0.1 is in use" in refused.error and "--port" in refused.error
    absent = run("serve", *with_ray, "--port", port, "--host", "192.0.2.1", "--token", "a token that is long")
    assert absent.code == 2 and "192.0.2.1 is no address of this machine" in absent.error
    assert served == []


def test_nobody_takes_the_port_while_the_model_is_loaded(monkeypatch, world, tmp_path) -> None:
    from weightgen.server import run as serve
    from weightgen.server.limits import ServerSettings

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

    def load(_: ServerSettings) -> None:
        with pytest.raises(WeightzooError, match=f"port {port} of 127.0.0.1 is in use"):
            with serve.listening("127.0.0.1", port):
                pass
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "build_app", load)
    settings = ServerSettings(world / "models" / "polished", world / "zoo", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        serve.run_uvicorn(settings, "127.0.0.1", port)
    with serve.listening("127.0.0.1", port) as sockets:  # it is free again
        assert len(sockets) == 1


def test_without_ray_the_extra_is_named(run, monkeypatch, world) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    model = ("--model", world / "models" / "polished", "--data", world / "zoo")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    refused = run("serve", "--replicas", "2", "--port", port, *model)
    assert refused.code == 2 and "weightzoo[serve]" in refused.err


@pytest.mark.parametrize("option", [("--model", "nothing"), ("--data", "nothing"), ("--port", "0")])
def test_wrong_options(run, served, option) -> None:
    assert run("serve", *option).code == 2
