"""`weightzoo serve`: what it refuses before anything is loaded, and what it hands on."""

import pytest


@pytest.fixture
def served(monkeypatch):
    calls = []
    for name in ("run_uvicorn", "run_ray"):
        monkeypatch.setattr(f"weightgen.server.run.{name}", lambda *a, name=name: calls.append((name, *a)))
    return calls


def test_a_public_address_without_a_token_is_refused(run, served) -> None:
    refused = run("serve", "--no-ray", "--host", "0.0.0.0")
    assert refused.code == 2 and "--token" in refused.error
    short = run("serve", "--no-ray", "--host", "0.0.0.0", "--token", "short")
    assert short.code == 2 and "16" in short.error
    assert served == []


def test_the_plain_server_gets_the_embedded_model_and_zoo(run, served) -> None:
    assert run("serve", "--no-ray", "--port", "8001", "--allow-host", "example.org").code == 0
    [(name, settings, host, port)] = served
    assert (name, host, port) == ("run_uvicorn", "127.0.0.1", 8001)
    assert settings.model.name == settings.zoo.name == "weightzoo-small"
    assert settings.token is None and "example.org" in settings.hosts and "127.0.0.1" in settings.hosts


def test_ray_gets_the_replicas_and_the_token_of_the_environment(run, served, monkeypatch, world) -> None:
    monkeypatch.setenv("WEIGHTZOO_TOKEN", "a token of the environment")
    done = run("serve", "--replicas", "3", "--model", world / "models" / "polished", "--data", world / "zoo")
    assert done.code == 0, done.err
    [(name, settings, _, _, replicas)] = served
    assert (name, replicas, settings.token) == ("run_ray", 3, "a token of the environment")


def test_replicas_need_ray(run, served) -> None:
    assert "--no-ray" in run("serve", "--no-ray", "--replicas", "2").error


def test_without_ray_the_extra_is_named(run, served, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "weightzoo[serve]" in run("serve").error


@pytest.mark.parametrize("option", [("--model", "nothing"), ("--data", "nothing"), ("--port", "0")])
def test_wrong_options(run, served, option) -> None:
    assert run("serve", "--no-ray", *option).code == 2
