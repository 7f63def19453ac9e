"""Running independent tasks: on local worker processes or on a Ray cluster, behind one signature.

    with open_executor("ray", workers=8, address="auto", gpus_per_task=0.25) as run:
        for outcome in run(tasks, train_one_fleet):
            print(outcome.task, outcome.error or outcome.result)

`run(tasks, fn)` yields one :class:`~pipeline.executors.attempts.Outcome` per task as they finish. `fn` is a
function at module level, tasks and results are small; tasks are drawn from their iterable only when there is room for
them. :mod:`pipeline.executors.attempts` says what is tried again. Every worker computes with one thread. Ctrl-C stops
the workers at once; what they had finished is on disk.
"""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from functools import partial
from typing import Any

from pipeline.executors.attempts import Backlog, Outcome, Reply, Task, first_line, run_task
from pipeline.executors.local import WORKER_ENVIRONMENT, run_local
from pipeline.run_folder.object_store import can_see
from zoo.errors import WeightzooError
from zoo.ray_cluster import ray_cluster
from zoo.words import plural

Run = Callable[..., Generator[Outcome, None, None]]
SHIPPED = ("pipeline", "zoo")  # all that a worker imports of ours


def run_ray(
    tasks: Iterable[Task],
    fn: Callable[[Task], Any],
    workers: int = 2,
    max_in_flight: int | None = None,
    address: str = "local",
    gpus_per_task: float = 0.0,
    actors: bool = False,
) -> Generator[Outcome, None, None]:
    """Run `fn` on every task as Ray tasks of one CPU (and a share of a GPU); yield outcomes as they finish.

    Args:
        workers: CPUs of the cluster that `address="local"` starts.
        max_in_flight: tasks submitted at a time; default: twice as many as the cluster has room for.
        address: `local`, `auto` or `ray://host:port`; always named: a stale address file does no harm.
        actors: run on long-lived processes instead, each with one task at a time: what `fn` caches, such as a
            large model, is loaded once by each.
    """
    with connected(address, workers) as ray:
        _check_gpus(ray, address, gpus_per_task)
        options = {"num_cpus": 1, "num_gpus": gpus_per_task}
        pool = _ActorPool(ray, options) if actors else _TaskPool(ray, options)
        backlog = Backlog(tasks)
        running: dict[Any, tuple[Task, int]] = {}
        try:
            while True:
                slots = _slots(ray, gpus_per_task)
                limit = max_in_flight or 2 * slots
                if actors:  # one that the cluster has no place for would wait for those that are kept
                    limit = min(limit, slots)
                while len(running) < limit and (taken := backlog.take()):
                    running[pool.submit(fn, taken[0])] = taken
                if len(running) < limit and backlog.pause() is None:
                    pool.stop_idle()
                if not running:
                    if (pause := backlog.pause()) is None:
                        return
                    time.sleep(pause)
                    continue
                room = len(running) < limit
                done, _ = ray.wait(list(running), timeout=backlog.pause() if room else None)
                for reference in done:
                    task, attempt = running.pop(reference)
                    try:
                        reply = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        reply = Reply(error=f"the cluster lost it: {first_line(error)}", retry=True)
                        pool.finished(reference, alive=False)
                    else:
                        pool.finished(reference, alive=not reply.replace)
                    if outcome := backlog.settle(task, attempt, reply):
                        yield outcome
        finally:
            pool.stop(running)


EXECUTORS: dict[str, Run] = {"local": run_local, "ray": run_ray}


@contextmanager
def open_executor(name: str, workers: int, **options: Any) -> Iterator[Run]:
    """Yield `run(tasks, fn)` of the executor called `name`; a cluster lives as long as the context.

    Raises:
        WeightzooError: Ray is not installed, or there is no cluster at the address.
    """
    run = partial(EXECUTORS[name], workers=workers, **options)
    if name != "ray":
        yield run
        return
    # Ray prints what its nodes do to stdout, which belongs to results
    with connected(options.get("address", "local"), workers), redirect_stdout(sys.stderr):
        yield run


def connected(address: str, workers: int) -> AbstractContextManager[Any]:
    """Connect to the cluster at `address` with what a fleet's worker needs: see :mod:`zoo.ray_cluster`."""
    return ray_cluster(address, workers, SHIPPED, WORKER_ENVIRONMENT)


def check_shared(where: str, address: str, workers: int) -> None:
    """Refuse a run folder (or store) that a node of the cluster cannot see, before anything is computed.

    Raises:
        WeightzooError: naming the nodes.
    """
    with connected(address, workers) as ray:
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = ray.remote(num_cpus=0, max_retries=3)(can_see)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = [look.options(scheduling_strategy=strategy(node, soft=False)).remote(where) for node in nodes]
        blind = [place for place, answer in zip(nodes.values(), asked, strict=True) if not _seen(ray, answer)]
    if blind:
        raise WeightzooError(
            f"{where} is not visible on {len(blind)} of {plural(len(nodes), 'node')} ({', '.join(blind[:3])}); "
            "put the run folder on storage that all nodes share"
        )


def _seen(ray: Any, answer: Any) -> bool:
    try:
        return ray.get(answer)
    except ray.exceptions.RayError:
        return True  # a node that has died meanwhile will run no fleet


def _slots(ray: Any, gpus_per_task: float) -> int:
    """Return how many tasks the cluster can run at once, as far as it has grown."""
    resources = ray.cluster_resources()
    slots = resources.get("CPU", 1)
    if gpus_per_task:
        slots = min(slots, resources.get("GPU", 0) / gpus_per_task)
    return max(1, int(slots))


def _check_gpus(ray: Any, address: str, gpus_per_task: float) -> None:
    if gpus_per_task and address == "local" and not ray.cluster_resources().get("GPU"):
        raise WeightzooError("this machine has no GPU that Ray sees; leave --gpus-per-fleet out")


class _TaskPool:
    """Every task is a Ray task; Ray chooses the process, for tasks on a GPU always a new one.

    Retries are ours, so that they are counted and paced.
    """

    def __init__(self, ray: Any, options: dict[str, Any]) -> None:
        self.ray = ray
        self.remote = ray.remote(**options, max_retries=0)(run_task)

    def submit(self, fn: Callable[[Task], Any], task: Task) -> Any:
        return self.remote.remote(fn, task)

    def finished(self, reference: Any, alive: bool) -> None:
        pass

    def stop_idle(self) -> None:
        pass

    def stop(self, running: Iterable[Any]) -> None:
        for reference in running:
            self.ray.cancel(reference, force=True)


class _ActorPool:
    """Long-lived processes, one task at a time each; a lost one is replaced by a new one."""

    def __init__(self, ray: Any, options: dict[str, Any]) -> None:
        self.ray = ray
        self.remote = ray.remote(**options)(_TaskActor)
        self.idle: list[Any] = []
        self.busy: dict[Any, Any] = {}

    def submit(self, fn: Callable[[Task], Any], task: Task) -> Any:
        actor = self.idle.pop() if self.idle else self.remote.remote()
        reference = actor.run.remote(fn, task)
        self.busy[reference] = actor
        return reference

    def finished(self, reference: Any, alive: bool) -> None:
        actor = self.busy.pop(reference)
        if alive:
            self.idle.append(actor)
        else:
            self.ray.kill(actor)

    def stop_idle(self) -> None:
        """Give the places of idle processes back: a process that was submitted may be waiting for one."""
        for actor in self.idle:
            self.ray.kill(actor)
        self.idle.clear()

    def stop(self, running: Iterable[Any]) -> None:
        for actor in (*self.idle, *self.busy.values()):
            self.ray.kill(actor)


class _TaskActor:
    """Runs tasks in one process that keeps what `fn` caches."""

    def run(self, fn: Callable[[Task], Any], task: Task) -> Reply:
        return run_task(fn, task)
