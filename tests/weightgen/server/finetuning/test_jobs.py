"""Fine-tuning jobs: events, result, limits, cancelling, dying processes."""

import io
import json
import os
import signal
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.weightgen.server.conftest import picture, taken_turn, until
from weightgen.server.finetuning.files import append_event, clean, last_event, read_events
from weightgen.server.schemas import JobEvent

PROMPT = {"prompt": "a darker picture", "seconds": 2}


def pairs(count: int = 4, size: tuple[int, int] = (16, 16), names: str = "{}.png") -> list[tuple[str, tuple]]:
    files = []
    for index in range(count):
        for half in ("sources", "targets"):
            files.append((half, (names.format(index), picture(*size, seed=index), "image/png")))
    return files


def events(text: str) -> list[dict]:
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]


@pytest.mark.timeout(200)
def test_a_job_from_pairs_to_an_edited_photograph(serve, settings, tmp_path) -> None:
    client = serve(limits={"job_seconds": 60})
    started = client.post("/v1/finetune", data=PROMPT, files=pairs(names="../../{}.png"))
    assert started.status_code == 202, started.text
    job = started.json()
    stream = client.get(job["events"])
    assert stream.headers["content-type"].startswith("text/event-stream")
    told = events(stream.text)
    kinds = [event["event"] for event in told]
    assert kinds[:2] == ["waiting", "running"] and kinds[-1] == "done", told
    curve = [event for event in told if event["event"] == "progress"]
    assert curve[0]["step"] == 0 and all(event["l1"] > 0 for event in curve)
    assert client.get(f"/v1/finetune/{job['id']}").json()["event"] == "done"

    rest = events(client.get(job["events"], headers={"Last-Event-ID": str(len(told) - 1)}).text)
    assert rest == told[-1:]

    zipped = zipfile.ZipFile(io.BytesIO(client.get(job["result"]).content))
    assert "result/generator.safetensors" in zipped.namelist()
    edited = client.post("/v1/images", data={"adapter": job["adapter"]}, files={"photo": picture()})
    assert edited.status_code == 200
    assert "full" in json.loads(zipped.read("result/finetune.json"))["mode"]
    until(lambda: not (settings.state / job["id"] / "pairs").exists())
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not any("0.png" in name for name in written), "pictures are removed, and never had the visitor's name"


@pytest.mark.timeout(200)
def test_a_job_in_closed_form_tells_what_the_solve_is_worth(serve) -> None:
    client = serve(limits={"job_seconds": 60})
    fields = {"mode": "closed-form", "seconds": "5"}  # without a prompt
    job = client.post("/v1/finetune", data=fields, files=pairs()).json()
    told = events(client.get(job["events"]).text)
    curve = [event for event in told if event["event"] == "progress"]
    assert told[-1]["event"] == "done" and len(curve) >= 2, told
    assert told[-1]["l1"] == curve[-1]["l1"] <= curve[0]["l1"]
    zipped = zipfile.ZipFile(io.BytesIO(client.get(job["result"]).content))
    assert json.loads(zipped.read("result/finetune.json"))["init"] == "closed-form"
    edited = client.post("/v1/images", data={"adapter": job["adapter"]}, files={"photo": picture()})
    assert edited.status_code == 200


@pytest.mark.timeout(200)
def test_the_network_of_the_pairs_edits_while_it_is_trained_and_after_a_stop(serve) -> None:
    client = serve(limits={"job_seconds": 60})
    fields = PROMPT | {"mode": "closed-form", "seconds": "60"}
    job = client.post("/v1/finetune", data=fields, files=pairs()).json()
    status = f"/v1/finetune/{job['id']}"

    def edited() -> int:
        photo = {"photo": picture()}
        return client.post("/v1/images", data={"adapter": job["adapter"]}, files=photo).status_code

    assert edited() == 409
    until(lambda: client.get(status).json().get("adapter") == job["adapter"], 100)
    assert edited() == 200
    assert client.get(job["result"]).status_code == 409
    assert client.delete(status).json()["event"] == "cancelled"
    assert edited() == 200
    told = events(client.get(job["events"]).text)
    assert "adapter" not in told[2], "the prior is measured before there is a network"


@pytest.mark.timeout(200)
def test_one_pair_trains_and_its_notes_are_told(serve) -> None:
    client = serve(limits={"job_seconds": 60})
    photo, other = smooth(5, 6), smooth(2, 3)
    animation, unrelated = io.BytesIO(), io.BytesIO()
    photo.save(animation, "PNG", save_all=True, append_images=[other])
    other.save(unrelated, "PNG")
    files = [("sources", ("a.png", animation.getvalue())), ("targets", ("a.png", unrelated.getvalue()))]
    started = client.post("/v1/finetune", data=PROMPT, files=files)
    assert started.status_code == 202, started.text
    assert "source 1: the first of 2 frames is used" in started.json()["warnings"]
    last = events(client.get(started.json()["events"]).text)[-1]
    assert last["event"] == "done" and last["pairs"] == 1, last
    unlike, only = sorted(last["warnings"])
    assert unlike.startswith("source and target of pair 0001 have nothing in common")
    assert only.startswith("the only pair is measured on as well")


def smooth(rows: int, columns: int) -> Image.Image:
    """A picture of soft patches, which has edges to compare."""
    patches = np.random.default_rng(rows).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((96, 80), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (pairs(3)[:-1], "'2' has no partner"),
        (pairs(2) + pairs(2), "same name"),
        (
            [*pairs(2), ("sources", ("9.png", picture(16, 16))), ("targets", ("9.png", picture(16, 18)))],
            "one size",
        ),
        (
            [*pairs(2), ("sources", ("9.png", b"text")), ("targets", ("9.png", b"text"))],
            "not a readable image",
        ),
    ],
    ids=["no partner", "same names", "two sizes", "text"],
)
def test_pairs_that_are_refused(client, files, words) -> None:
    answer = client.post("/v1/finetune", data=PROMPT, files=files)
    assert answer.status_code in (400, 422) and words in answer.json()["error"], answer.text
    assert client.app.state.services.jobs.waiting == set()


def test_forms_that_are_refused(client) -> None:
    for data in (
        {"prompt": ""},
        {"prompt": "", "mode": "adapter"},
        {**PROMPT, "seconds": 10**6},
        {**PROMPT, "seconds": "nan"},
        {**PROMPT, "mode": "x"},
    ):
        assert client.post("/v1/finetune", data=data, files=pairs(2)).status_code == 422
    many = client.post("/v1/finetune", data=PROMPT, files=pairs(65, (1, 1)))
    assert many.status_code in (400, 422)
    large = client.post("/v1/finetune", data=PROMPT, files=pairs(6, (200, 180)))
    assert large.status_code == 413


def test_too_many_jobs_are_answered_429_and_waiting_ones_can_be_cancelled(client) -> None:
    with taken_turn(client):
        waiting = client.post("/v1/finetune", data=PROMPT, files=pairs(2)).json()
        refused = client.post("/v1/finetune", data=PROMPT, files=pairs(2))
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert client.get(waiting["result"]).status_code == 409
        assert 'weightzoo_jobs{state="waiting"} 1.0' in client.get("/metrics").text
        assert client.delete(f"/v1/finetune/{waiting['id']}").json()["event"] == "cancelled"
        told = events(client.get(waiting["events"]).text)
        assert [event["event"] for event in told] == ["waiting", "cancelled"]
        assert client.app.state.services.jobs.waiting == set()
        assert client.post("/v1/finetune", data=PROMPT, files=pairs(2)).status_code == 202


def test_a_killed_process_is_a_failed_job_and_the_next_one_runs(serve) -> None:
    client = serve(limits={"job_seconds": 60})
    jobs = client.app.state.services.jobs
    first = client.post("/v1/finetune", data={**PROMPT, "seconds": 60}, files=pairs(2)).json()
    until(lambda: jobs.running.get(first["id"]) is not None)
    os.kill(jobs.running[first["id"]].pid, signal.SIGKILL)
    told = events(client.get(first["events"]).text)
    assert told[-1]["event"] == "failed" and "process ended" in told[-1]["error"]
    second = client.post("/v1/finetune", data={**PROMPT, "seconds": 60}, files=pairs(2)).json()
    until(lambda: jobs.running.get(second["id"]) is not None)
    client.delete(f"/v1/finetune/{second['id']}")
    assert events(client.get(second["events"]).text)[-1]["event"] == "cancelled"
    until(lambda: not jobs.running)


def test_results_are_removed_to_make_room(serve, settings) -> None:
    client = serve(limits={"jobs_kept": 1})
    for index in range(3):
        folder = settings.state / f"{index:032x}"
        folder.mkdir(parents=True)
        append_event(folder, JobEvent(event="done"))
        os.utime(folder / "events.jsonl", (index, index))
    clean(settings.state, 0)
    assert list(settings.state.iterdir()) == []
    assert client.get(f"/v1/finetune/{0:032x}").status_code == 404


def test_events_end_with_the_first_final_one_and_half_a_line_is_no_event(tmp_path) -> None:
    for kind in ("waiting", "cancelled", "done"):
        append_event(tmp_path, JobEvent(event=kind))
    assert [event.event for event in read_events(tmp_path)] == ["waiting", "cancelled"]
    (tmp_path / "events.jsonl").write_text('{"event": "waiting"}\n{"event": "runn')
    assert last_event(tmp_path).event == "waiting"
    append_event(tmp_path, JobEvent(event="failed", error="the disk is full"))
    assert [event.event for event in read_events(tmp_path)] == ["waiting", "failed"]
