"""As much of a W&B server as a run talks to: what it was sent can be looked at."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class WandbServer(ThreadingHTTPServer):
    """Keeps the history lines of every run, and how it ended."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.history: dict[str, list[str]] = defaultdict(list)
        self.exit_codes: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def rows(self, run: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.history[run]]

    def take(self, run: str, body: dict[str, Any]) -> None:
        """A part of a run's files: lines from an offset on."""
        for name, chunk in (body.get("files") or {}).items():
            if "history" in name:
                self.history[run][chunk["offset"] :] = chunk["content"]
        if body.get("complete"):
            self.exit_codes[run] = body["exitcode"]

    def answer(self, query: str, run: str) -> dict[str, Any]:
        """To a GraphQL query."""
        lines = self.history.get(run)
        project = {"id": "project", "name": "snnrl", "entity": {"id": "entity", "name": "me"}}
        bucket = {"id": "run", "name": run, "displayName": run, "project": project, "config": "{}"}
        if "upsertBucket" in query:
            return {"upsertBucket": {"bucket": bucket, "inserted": lines is None}}
        if "historyTail" in query:
            known = {
                **bucket,
                "summaryMetrics": "{}",
                "logLineCount": 0,
                "historyLineCount": len(lines or []),
                "eventsLineCount": 0,
                "historyTail": json.dumps((lines or [])[-1:]),
                "eventsTail": "[]",
                "wandbConfig": '{"t": 1}',
            }
            return {"model": {**project, "bucket": None if lines is None else known}}
        if "createRunFiles" in query:
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": []}}
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        if stream := re.fullmatch(r"/files/[^/]*/[^/]*/([^/]+)/file_stream", self.path):
            self.server.take(stream[1], json.loads(data))
            self._reply({})
        elif self.path == "/graphql":
            asked = json.loads(data)
            run = (asked.get("variables") or {}).get("name", "")
            self._reply({"data": self.server.answer(asked["query"], run)})
        else:
            self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def _reply(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    server = WandbServer()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
