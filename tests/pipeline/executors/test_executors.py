"""Executors: every task has one outcome; lost workers are replaced, errors of the task are not retried."""

import importlib.util
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.executors import attempts
from pipeline.executors.attempts import MAX_ATTEMPTS, Backlog, Reply, run_task
from pipeline.executors.local import SCRATCH
from pipeline.executors.ray import EXECUTORS, _ActorPool, check_shared, connected, run_local, run_ray
from zoo.errors import WeightzooError

# worker processes import the task functions by name
spec = importlib.util.spec_from_file_location("fake_tasks", Path(__file__).with_name("fake_tasks.py"))
fake_tasks = importlib.util.module_from_spec(spec)
sys.modules["fake_tasks"] = fake_tasks
spec.loader.exec_module(fake_tasks)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(attempts, "BACKOFF_SECONDS", 0.01)


@pytest.fixture(scope="module")
def cluster():
    """One local Ray cluster for all tests here: starting it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        with connected("local", 2) as ray:
            yield ray


@pytest.fixture
def run(request):
    """The executor called ``request.param``, ready to run."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return EXECUTORS[request.param]


EXECUTOR_NAMES = [pytest.param(name, marks=pytest.mark.ray if name == "ray" else ()) for name in EXECUTORS]


@pytest.mark.parametrize("run", EXECUTOR_NAMES, indirect=True)
def test_every_task_has_one_outcome(run):
    outcomes = list(run(range(5), fake_tasks.fail_on_odd, workers=2))
    assert sorted(outcome.task for outcome in outcomes) == [0, 1, 2, 3, 4]
    by_task = {outcome.task: outcome for outcome in outcomes}
    assert (by_task[4].result, by_task[4].error, by_task[4].attempts) == (4, None, 1)
    assert (by_task[1].error, by_task[1].attempts) == ("one is odd; give two", 1)
    assert by_task[3].error == "ValueError: three" and "Traceback" in by_task[3].details


@pytest.mark.parametrize("run", EXECUTOR_NAMES, indirect=True)
def test_a_killed_worker_and_a_storage_hiccup_are_tried_again(run, tmp_path):
    (outcome,) = run([str(tmp_path / "a")], fake_tasks.die_once, workers=1)
    assert (outcome.result, outcome.attempts) == ("done", 2)
    (outcome,) = run([str(tmp_path / "b")], fake_tasks.storage_hiccup_once, workers=1)
    assert (outcome.result, outcome.attempts) == ("done", 2)


def test_a_worker_whose_accelerator_is_gone_is_replaced(tmp_path):
    (outcome,) = run_local([str(tmp_path / "a")], fake_tasks.accelerator_fault_once, workers=1)
    assert (outcome.result, outcome.attempts) == ("done", 2)


def test_an_actor_that_is_not_to_be_used_again_gives_its_gpu_back():
    killed = []
    remote = SimpleNamespace(remote=lambda *_: object())
    actor = SimpleNamespace(run=remote)
    ray = SimpleNamespace(remote=lambda **_: lambda _: SimpleNamespace(remote=lambda: actor), kill=killed.append)
    pool = _ActorPool(ray, {})
    pool.finished(pool.submit(fake_tasks.square, 1), alive=True)
    assert pool.idle == [actor] and not killed
    pool.finished(pool.submit(fake_tasks.square, 1), alive=False)
    assert pool.idle == [] and killed == [actor]


@pytest.mark.parametrize(
    ("error", "retry", "application", "replaced"),
    [
        (fake_tasks.AcceleratorError("CUDA error"), True, False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True, False, True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True, False, False),
        (MemoryError(), True, False, False),
        (RuntimeError("shapes cannot be multiplied"), False, True, False),
        (ValueError("CUDA error in the name of a concept"), False, True, False),
    ],
)
def test_what_is_the_machines_fault(error, retry, application, replaced):
    def fail(_task):
        raise error

    def wrap(_task):
        raise WeightzooError("the teacher is gone; bring it back") from error

    reply = attempts.run_task(fail, None)
    assert (reply.retry, reply.application, reply.replace) == (retry, application, replaced)
    reply = attempts.run_task(wrap, None)
    assert (reply.retry, reply.application, reply.replace) == (retry, False, replaced)


def test_what_killed_workers_leave_is_removed():
    whole = [outcome.result for outcome in run_local(range(2), fake_tasks.fill_scratch, workers=2)]
    stopped = run_local(range(9), fake_tasks.fill_scratch, workers=1)
    first = next(stopped).result
    assert Path(first).is_dir() and SCRATCH not in os.environ
    stopped.close()
    assert len(set(whole)) == 2 and not any(Path(folder).exists() for folder in (*whole, first))


def test_workers_have_one_thread_and_are_used_again():
    outcomes = list(run_local(range(6), fake_tasks.tell_process, workers=2))
    assert len({outcome.result[0] for outcome in outcomes}) <= 2
    assert os.getpid() not in {outcome.result[0] for outcome in outcomes}
    assert {outcome.result[1:] for outcome in outcomes} == {("1", ":4096:8")}


def test_a_full_disk_is_not_tried_again(tmp_path):
    (outcome,) = run_local([str(tmp_path / "a")], fake_tasks.disk_full, workers=1)
    assert "No space left" in outcome.error
    assert (tmp_path / "a").read_text() == "x"


def test_a_task_that_always_kills_its_worker_ends():
    (outcome,) = run_local(["x"], fake_tasks.always_die, workers=1)
    assert (outcome.error, outcome.attempts) == ("its worker process died", MAX_ATTEMPTS)


def test_ctrl_c_stops_the_workers(tmp_path, hears_ctrl_c):
    marker = tmp_path / "pid"

    def interrupt():
        while not (marker.exists() and marker.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        list(run_local([str(marker)], fake_tasks.sleep_long, workers=1))
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


@pytest.mark.parametrize(
    ("run", "room"), [("local", 2), pytest.param("ray", 3, marks=pytest.mark.ray)], indirect=["run"]
)
def test_tasks_are_drawn_when_there_is_room(run, room):
    drawn = []

    def draw():
        for task in range(8):
            drawn.append(task)
            yield task

    for finished, _ in enumerate(run(draw(), fake_tasks.square, workers=2, max_in_flight=3)):
        assert len(drawn) - finished <= room


def test_errors_say_whose_they_are(tmp_path):
    tasks = {task.task: task for task in run_local([1, 3], fake_tasks.fail_on_odd, workers=1)}
    assert not tasks[1].application and tasks[3].application
    (outcome,) = run_local([str(tmp_path / "a")], fake_tasks.disk_full, workers=1)
    assert not outcome.application


def test_a_failed_task_waits_while_fresh_ones_go_on(monkeypatch):
    monkeypatch.setattr(attempts, "BACKOFF_SECONDS", 0.2)
    backlog, hiccup = Backlog("ab"), Reply(error="a hiccup", retry=True)
    assert backlog.take() == ("a", 1) and backlog.settle("a", 1, hiccup) is None
    assert backlog.take() == ("b", 1) and backlog.take() is None and 0 < backlog.pause() <= 0.2
    assert backlog.settle("b", 1, Reply(result=1)).result == 1
    time.sleep(backlog.pause())
    assert backlog.take() == ("a", 2) and backlog.pause() is None
    assert backlog.settle("a", MAX_ATTEMPTS, hiccup).error == "a hiccup"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before?"),
        RuntimeError("Found no NVIDIA driver on your system."),
        AssertionError("Torch not compiled with CUDA enabled"),
    ],
)
def test_a_machine_without_its_gpu_is_no_fault_of_the_concepts(error):
    def fail(_task):
        raise error

    reply = run_task(fail, "x")
    assert reply.retry and not reply.application


@pytest.mark.ray
def test_actors_whose_accelerator_is_gone_are_replaced(cluster, tmp_path):
    (outcome,) = run_ray([str(tmp_path / "a")], fake_tasks.accelerator_fault_once, max_in_flight=1, actors=True)
    assert (outcome.result, outcome.attempts) == ("done", 2)


@pytest.mark.ray
def test_actors_keep_their_process_and_are_replaced(cluster, tmp_path):
    outcomes = list(run_ray(range(6), fake_tasks.tell_process, actors=True))
    assert len({outcome.result[0] for outcome in outcomes}) == 2
    (outcome,) = run_ray([str(tmp_path / "a")], fake_tasks.die_once, actors=True)
    assert (outcome.result, outcome.attempts) == ("done", 2)


@pytest.mark.ray
def test_more_actors_than_the_cluster_has_room_for(cluster):
    outcomes = list(run_ray(range(8), fake_tasks.tell_process, max_in_flight=5, actors=True))
    assert len(outcomes) == 8 and len({outcome.result[0] for outcome in outcomes}) <= 2


@pytest.mark.ray
def test_idle_actors_give_their_places_back(cluster, tmp_path):
    held = cluster.remote(fake_tasks.sleep_long).remote(str(tmp_path / "a"))  # half of the cluster is somebody else's
    while not (tmp_path / "a").exists():
        time.sleep(0.05)
    outcomes = list(run_ray(range(3), fake_tasks.tell_process, actors=True))
    assert sorted(outcome.task for outcome in outcomes) == [0, 1, 2]
    assert not cluster.wait([held], timeout=0)[0]
    cluster.cancel(held, force=True)


@pytest.mark.ray
def test_a_folder_that_nodes_cannot_see_is_refused(cluster, tmp_path):
    check_shared(str(tmp_path), "local", 2)
    descriptor = os.open(tmp_path, os.O_RDONLY)  # a path that exists in this process alone
    with pytest.raises(WeightzooError, match="not visible on 1 of 1 node .* that all nodes share"):
        check_shared(f"/proc/self/fd/{descriptor}", "local", 2)
    os.close(descriptor)


@pytest.mark.ray
def test_a_task_that_always_kills_its_worker_ends_on_ray_too(cluster):
    (outcome,) = run_ray(["x"], fake_tasks.always_die)
    assert outcome.error.startswith("the cluster lost it") and outcome.attempts == MAX_ATTEMPTS
    assert not outcome.application
