"""What can go wrong between a client and the Hub, on demand: put around the test server as ASGI middleware.

hub.faults.add(Fault("GET", "train-00001", drop_after=100))            # the connection breaks after 100 bytes
hub.faults.add(Fault("POST", "/commit/", lose_answer=True))            # done, but the client never hears of it
hub.faults.add(Fault("HEAD", "/resolve/", status=429, times=2))
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """One thing that goes wrong ``times`` times with requests of ``method`` whose path contains ``part``.

    Attributes:
        status: answer this instead of doing anything.
        headers, body: of that answer.
        drop_after: send so many bytes of the body, then close the connection.
        lose_answer: do what was asked, then close the connection before the answer.
        corrupt: flip one bit of the body.
        skip: leave the first requests that match alone.
    """

    method: str
    part: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=lambda: {"retry-after": "0"})
    body: bytes = b""
    drop_after: int | None = None
    lose_answer: bool = False
    corrupt: bool = False
    times: int = 1
    skip: int = 0


@dataclass
class Faults:
    """The faults that are still to happen."""

    pending: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        self.pending.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that hits this request, if any."""
        for fault in self.pending:
            if fault.method == method and fault.part in path:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if not fault.times:
                    self.pending.remove(fault)
                return fault
        return None


class ConnectionDropped(Exception):
    """Makes the server close the connection in the middle of an answer."""


class FaultyApp:
    """The application with its faults; also notes every request."""

    def __init__(self, app: Any, hub: Any) -> None:
        self.app, self.hub = app, hub

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.hub.requests.append((scope["method"], scope["path"]))
        fault = self.hub.faults.take(scope["method"], scope["path"])
        if fault is None:
            return await self.app(scope, receive, send)
        if fault.status:
            headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
            headers.append((b"content-length", str(len(fault.body)).encode()))
            await send({"type": "http.response.start", "status": fault.status, "headers": headers})
            return await send({"type": "http.response.body", "body": fault.body})
        if fault.lose_answer:

            async def swallow(_: Any) -> None: ...

            await self.app(scope, receive, swallow)
            await _break_off(send)
        return await self.app(scope, receive, _tampering(send, fault))


async def _break_off(send: Any) -> None:
    """Promise a body and close the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    raise ConnectionDropped


def _tampering(send: Any, fault: Fault) -> Any:
    async def wrapped(message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        if message["type"] == "http.response.body" and body:
            if fault.drop_after is not None:
                await send(message | {"body": body[: fault.drop_after], "more_body": True})
                raise ConnectionDropped
            if fault.corrupt:
                message = message | {"body": bytes([body[0] ^ 1]) + body[1:]}
        await send(message)

    return wrapped
