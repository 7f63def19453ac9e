"""Fine-tuning jobs when things happen at once: writing and starting, closing, full disks, several replicas."""

import asyncio
import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.weightgen.server.conftest import Slow, picture, post_as_a_server, taken_turn, until
from tests.weightgen.server.finetuning.test_jobs import PROMPT, events, pairs
from weightgen.server import photos
from weightgen.server.finetuning import files, jobs, routes
from weightgen.server.finetuning.files import append_event, clean, last_event, read_events, write_job
from weightgen.server.finetuning.job import run
from weightgen.server.finetuning.routes import PAIR_SIDES, decode_pair, kept_size
from weightgen.server.limits import Limits
from weightgen.server.schemas import JobEvent
from zoo.errors import WeightzooError
from zoo.pictures.apply import load_network

ABOUT = {"prompt": "a darker picture", "seconds": 1, "mode": "adapter"}
IMAGES = [(Image.new("RGB", (16, 16), (40 * i, 90, 9)), Image.new("RGB", (16, 16))) for i in range(4)]


@pytest.fixture
def slow_write(monkeypatch) -> Slow:
    slow = Slow(jobs.write_job)
    monkeypatch.setattr(jobs, "write_job", slow)
    return slow


def test_a_job_waits_only_when_it_is_written(serve, slow_write, settings) -> None:
    client = serve()
    served = client.app.state.services.jobs
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/v1/finetune", data=PROMPT, files=pairs(2))
        until(lambda: slow_write.calls == 1)
        assert client.post("/v1/finetune", data=PROMPT, files=pairs(2)).status_code == 429
        assert served.waiting == set() and served.running == {}
        with taken_turn(client):
            slow_write.go.set()
            job = asked.result().json()["id"]
            assert served.waiting == {job} and served.reserved == 0
            assert (settings.state / job / "job.json").is_file()


def test_a_server_may_close_while_a_job_is_written(serve, slow_write, settings) -> None:
    client = serve()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/v1/finetune", data=PROMPT, files=pairs(2))
        until(lambda: slow_write.calls == 1)
        client.portal.call(client.app.state.services.jobs.close)
        slow_write.go.set()
        assert asked.result().status_code == 503
    assert list(settings.state.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_takes_no_place(serve, settings, monkeypatch) -> None:
    client = serve()
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        refused = client.post("/v1/finetune", data=PROMPT, files=pairs(2))
        assert refused.status_code == 503 and "disk" in refused.json()["error"]
        assert list(settings.state.iterdir()) == []
    with taken_turn(client):
        assert client.post("/v1/finetune", data=PROMPT, files=pairs(2)).status_code == 202


def test_a_request_that_is_cancelled_while_its_job_is_written_leaves_nothing(serve, slow_write, settings) -> None:
    client = serve()
    served = client.app.state.services.jobs

    async def cancel() -> None:
        task = asyncio.create_task(served.submit("dark", 1, "full", IMAGES))
        await asyncio.to_thread(until, lambda: slow_write.calls == 1)
        task.cancel()
        slow_write.go.set()
        await asyncio.wait({task})
        assert task.cancelled()

    client.portal.call(cancel)
    assert list(settings.state.iterdir()) == [] and served.waiting == set()


def test_several_may_clean_at_once(tmp_path, monkeypatch) -> None:
    for index in range(3):
        folder = tmp_path / f"{index:032x}"
        folder.mkdir()
        append_event(folder, JobEvent(event="done"))

    def another_is_faster(folder):
        last = last_event(folder)
        files.remove_job(folder)
        return last

    monkeypatch.setattr(files, "last_event", another_is_faster)
    clean(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_cannot_be_started_does_not_keep_the_next_one(serve, settings) -> None:
    client = serve()
    served = client.app.state.services.jobs
    broken, cancelled, gone = (f"{index:032x}" for index in range(3))
    for job in (broken, cancelled):
        write_job(settings.state / job, ABOUT, IMAGES)
    (settings.state / broken / "job.json").unlink()
    append_event(settings.state / cancelled, JobEvent(event="cancelled"))
    for job in (broken, cancelled, gone):
        client.portal.call(served._run, job)
    assert served.running == {} and not served.turns.locked()
    assert last_event(settings.state / broken).event == "failed"
    assert not (settings.state / broken / "pairs").exists()


@pytest.mark.timeout(200)
def test_a_job_is_cancelled_at_another_replica(serve, settings) -> None:
    one, other = serve(limits={"job_seconds": 60}), serve(limits={"job_seconds": 60})
    owner = one.app.state.services.jobs
    running = one.post("/v1/finetune", data={**PROMPT, "seconds": 60}, files=pairs(2)).json()
    until(lambda: owner.running.get(running["id"]) is not None)
    os.kill(owner.running[running["id"]].pid, signal.SIGSTOP)  # it cannot end by itself
    waiting = one.post("/v1/finetune", data=PROMPT, files=pairs(2)).json()
    assert one.post("/v1/finetune", data=PROMPT, files=pairs(2)).status_code == 429
    assert other.delete(f"/v1/finetune/{waiting['id']}").json()["event"] == "cancelled"
    assert not (settings.state / waiting["id"] / "pairs").exists()
    with owner.room():
        assert owner.waiting == set(), "its place is free"
    assert other.delete(f"/v1/finetune/{running['id']}").json()["event"] == "cancelled"
    until(lambda: owner.running == {})
    assert events(one.get(running["events"]).text)[-1]["event"] == "cancelled"


def test_a_job_without_a_server_ends_when_it_is_cancelled(tmp_path, toy, monkeypatch) -> None:
    folder = tmp_path / ("a" * 32)
    write_job(folder, ABOUT | {"model": str(toy / "model"), "zoo": str(toy / "zoo")}, IMAGES)

    def train(*_: object, on_row) -> None:
        append_event(folder, JobEvent(event="cancelled"))
        on_row({"step": 0, "seconds": 1.0, "l1": 0.1, "psnr": 20.0})
        raise AssertionError("it goes on")

    monkeypatch.setattr("weightgen.server.finetuning.job.finetune", train)
    run(folder)
    run(folder)
    assert [event.event for event in read_events(folder)] == ["waiting", "running", "cancelled"]
    assert (folder / "events.jsonl").read_text().count("\n") == 3


def finished(folder: Path) -> None:
    write_job(folder, ABOUT, IMAGES)
    (folder / "result").mkdir()
    (folder / "result" / "generator.safetensors").write_bytes(b"weights")
    append_event(folder, JobEvent(event="done"))


@pytest.mark.parametrize("when", ["before it is zipped", "after a part of it"])
def test_a_result_that_is_removed_while_it_is_fetched_is_no_part_of_it(serve, settings, monkeypatch, when) -> None:
    client, job = serve(), "b" * 32
    finished(settings.state / job)
    zip_folder = routes.zip_folder

    def removed(folder: Path) -> bytes:
        data = b"" if when.startswith("before") else zip_folder(folder)
        files.remove_job(folder.parent)
        return data or zip_folder(folder)

    monkeypatch.setattr(routes, "zip_folder", removed)
    assert client.get(f"/v1/finetune/{job}/result").status_code == 404


def test_a_result_that_is_removed_before_it_is_used_is_not_there(serve, settings, monkeypatch) -> None:
    client, job = serve(), "b" * 32
    finished(settings.state / job)
    read_upload = photos.read_upload

    def removed(*arguments: object):
        files.remove_job(settings.state / job)
        return read_upload(*arguments)

    monkeypatch.setattr(photos, "read_upload", removed)
    answer = client.post("/v1/images", data={"adapter": f"j-{job}"}, files={"photo": picture()})
    assert answer.status_code == 404 and str(settings.state) not in answer.text


def test_a_network_that_is_being_replaced_is_read_again(serve, settings, engine, monkeypatch) -> None:
    client, job = serve(), "b" * 32
    finished(settings.state / job)
    asked = []

    def replaced(folder: Path) -> object:
        asked.append(folder)
        if len(asked) == 1:
            raise WeightzooError("the config is of another network than the weights")
        return network

    network = engine.network(engine.concept(engine.members.all[0].id))
    monkeypatch.setattr(engine, "network", replaced)
    answer = client.post("/v1/images", data={"adapter": f"j-{job}"}, files={"photo": picture()})
    assert answer.status_code == 200 and len(asked) == 2


def png(width: int, height: int) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return io.BytesIO(buffer.getvalue())


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (3000, 2000), (500, 80_000), (40_000_000, 1), (1, 7000)])
def test_what_is_kept_of_a_picture_is_small(size) -> None:
    short, long = sorted(kept_size(size))
    assert 1 <= short <= PAIR_SIDES[0] and long <= PAIR_SIDES[1]
    assert kept_size(size) == size or (short == PAIR_SIDES[0] or long == PAIR_SIDES[1])


def test_long_pictures_are_reduced() -> None:
    (source, target), said, pixels = decode_pair(1, (png(20, 5000), png(20, 5000)), Limits())
    assert pixels == 2 * 20 * 5000 and said == []
    assert source.size == target.size == kept_size((20, 5000)) == (4, 1024)


def test_pixels_of_all_pictures_together_are_bounded(serve) -> None:
    client = serve(limits={"pairs_pixels": 7 * 16 * 16})
    refused = client.post("/v1/finetune", data=PROMPT, files=pairs(4))
    assert refused.status_code == 413 and "together" in refused.json()["error"]
    with taken_turn(client):
        assert client.post("/v1/finetune", data=PROMPT, files=pairs(3)).status_code == 202


def test_decoding_stops_when_its_request_is_given_up(serve, monkeypatch) -> None:
    client = serve(limits={"request_seconds": 0.2})
    slow = Slow(routes.read_upload)
    monkeypatch.setattr(routes, "read_upload", slow)
    assert client.post("/v1/finetune", data=PROMPT, files=pairs(4)).status_code == 504
    assert client.app.state.services.jobs.reserved == 0
    slow.go.set()
    client.app.state.services.photos.shutdown()  # when the thread is done
    assert slow.calls <= 2, "the pair that it was at, and no other"


def test_a_full_server_reads_no_pictures(serve) -> None:
    async def receive() -> dict[str, object]:
        raise AssertionError("the body is read")

    client = serve(limits={"jobs_waiting": 0})
    assert post_as_a_server(client, "/v1/finetune", b"multipart/form-data; boundary=x", receive) == 429


@pytest.mark.timeout(200)
def test_an_adapter_that_a_job_has_trained_finds_its_base(tmp_path, toy) -> None:
    folder = tmp_path / "jobs" / ("a" * 32)
    write_job(folder, ABOUT | {"model": str(toy / "model"), "zoo": str(toy / "zoo")}, IMAGES)
    run(folder)
    assert last_event(folder).event == "done", last_event(folder)
    load_network((folder / "result").rename(tmp_path / "elsewhere"))
