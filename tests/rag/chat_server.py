"""An HTTP server that speaks chat completions as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[[BaseHTTPRequestHandler], None]


class ChatServer:
    """`acts` are done one after the other, a request each; the last one again and again. `requests`: the bodies that came;
    `headers`: theirs. `release` ends the waiting of `silence`."""

    def __init__(self, port: int = 0) -> None:
        self.acts: list[Act] = [says("yes")]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Message] = []
        self.paths: list[str] = []
        self.at_once = self.most_at_once = 0
        self.release = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                act = outer._came(self, body)
                try:
                    act(self)
                except OSError:  # the client went away
                    self.close_connection = True
                finally:
                    with outer._lock:
                        outer.at_once -= 1

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            chat = self

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def _came(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> Act:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.requests.append(body)
            self.headers.append(handler.headers)
            self.paths.append(handler.path)
            return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    try:
        yield server
    finally:
        server.close()


def raw(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Act:
    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return act


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Act:
    return raw(status, json.dumps(data).encode(), headers)


def completion(text: str | None, *, finish: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> dict[str, Any]:
    """A reply as OpenAI's reference shows it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    made: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    made["choices"] = [choice]
    if usage is not None:
        made["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return made


def says(text: str | None, *, finish: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> Act:
    return answer(completion(text, finish=finish, usage=usage))


def refuses(status: int, message: str, headers: Mapping[str, str] | None = None, **about: Any) -> Act:
    return answer({"error": {"message": message, **about}}, status, headers)


def streams(parts: Sequence[str], *, usage: tuple[int, int] | None = (7, 3), finish: str | None = "stop") -> Act:
    """Server-sent events; finish None: the stream ends in the middle."""

    def chunk(delta: Mapping[str, Any], end: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    events = [json.dumps(chunk({"role": "assistant", "content": ""}))]
    events += [json.dumps(chunk({"content": part})) for part in parts]
    if finish is not None:
        events.append(json.dumps(chunk({}, finish)))
        if usage is not None:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            events.append(json.dumps({**chunk({}), "choices": [], "usage": counts}))
        events.append("[DONE]")
    return raw_stream(events)


def raw_stream(events: Sequence[str]) -> Act:
    return raw(200, "".join(f"data: {event}\n\n" for event in events).encode(), {"Content-Type": "text/event-stream"})


def silence(handler: BaseHTTPRequestHandler) -> None:
    """No reply until the test ends."""
    handler.server.chat.release.wait(30)  # type: ignore[attr-defined]
    handler.close_connection = True


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
