"""A small server on loopback for tests of downloads: plain files, and enough of the Hugging Face hub's protocol.

with Loopback() as server:
    server.add_file("/data/a.tar.gz", content)
    server.add_repo("timm/tiny", {"config.json": b"{}", "model.safetensors": weights})
    server.fault("/data/a.tar.gz", Cut(after=1000))       # the next GET only
    server.url("/data/a.tar.gz"), server.endpoint         # the latter for HF_ENDPOINT
    server.requests                                       # what was asked, in order
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlsplit


@dataclass(frozen=True)
class Cut:
    """Announce the whole length, send ``after`` bytes of the body, close the connection."""

    after: int


@dataclass(frozen=True)
class Corrupt:
    """Send the right number of bytes, one of them changed."""

    at: int = 0


@dataclass(frozen=True)
class Status:
    """Answer with an error code."""

    code: int


@dataclass(frozen=True)
class NoRange:
    """Ignore the wish for a part and send everything with code 200."""


@dataclass(frozen=True)
class Stall:
    """Announce the whole length, send ``after`` bytes, then nothing for ``seconds``."""

    after: int
    seconds: float


Fault = Cut | Corrupt | Status | NoRange | Stall


@dataclass(frozen=True)
class Asked:
    """One request as it came: method, path without query, the Range header or None."""

    method: str
    path: str
    range: str | None


@dataclass
class _Repo:
    revision: str
    commit: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class _Answer:
    code: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Loopback:
    """The server; a context manager. Faults are taken one per GET of their path, in the order they were set."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.repos: dict[str, _Repo] = {}
        self.requests: list[Asked] = []
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    @property
    def endpoint(self) -> str:
        """Scheme, host and port: the value for HF_ENDPOINT and FROSTLINE_MIRROR."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, path: str) -> str:
        """Address of a path."""
        return self.endpoint + quote(path)

    def add_file(self, path: str, content: bytes) -> str:
        """Serve ``content`` at ``path`` and return its address."""
        self.files[path] = content
        return self.url(path)

    def add_repo(self, name: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """Serve a model repository and return the 40 hex digits of its one commit."""
        state = hashlib.sha1(usedforsecurity=False)
        for path in sorted(files):
            state.update(path.encode() + b"\0" + hashlib.sha256(files[path]).digest())
        self.repos[name] = _Repo(revision, state.hexdigest(), dict(files))
        return state.hexdigest()

    def repo_path(self, name: str, file: str, revision: str | None = None) -> str:
        """The path at which a file of a repository is served: what ``fault`` needs."""
        return f"/{name}/resolve/{revision or self.repos[name].revision}/{file}"

    def fault(self, path: str, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` GETs of ``path`` go wrong."""
        with self._lock:
            self._faults.setdefault(path, []).extend([fault] * times)

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers of all GETs of ``path``, in order."""
        return [asked.range for asked in self.requests if asked.method == "GET" and asked.path == path]

    def _take_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            waiting = self._faults.get(path, [])
            return waiting.pop(0) if waiting and method == "GET" else None

    def _answer(self, path: str, query: str) -> _Answer:
        if path in self.files:
            body = self.files[path]
            return _Answer(200, body, {"ETag": _etag(body)})
        for name, repo in self.repos.items():
            for prefix, respond in ((f"/{name}/resolve/", _resolve), (f"/api/models/{name}", _api)):
                if path.startswith(prefix):
                    return respond(name, repo, path.removeprefix(prefix))
        code = {"X-Error-Code": "RepoNotFound"} if "/resolve/" in path or path.startswith("/api/") else {}
        return _Answer(404, b"not found", code)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'


def _resolve(name: str, repo: _Repo, rest: str) -> _Answer:
    revision, _, file = rest.partition("/")
    if revision not in (repo.revision, repo.commit):
        return _Answer(404, b"no such revision", {"X-Error-Code": "RevisionNotFound"})
    commit = {"X-Repo-Commit": repo.commit}
    if file not in repo.files:
        return _Answer(404, b"no such file", {"X-Error-Code": "EntryNotFound", **commit})
    body = repo.files[file]
    return _Answer(200, body, {"ETag": _etag(body), **commit})


def _api(name: str, repo: _Repo, rest: str) -> _Answer:
    if re.fullmatch(rf"/tree/({repo.revision}|{repo.commit})/.+", rest):  # a folder; ours are listed as a whole
        return _Answer(404, b"no such folder", {"X-Error-Code": "EntryNotFound"})
    asked = re.fullmatch(r"(?:/(revision|tree)/([^/]+)/?)?", rest)
    if asked is None or (asked[2] or repo.revision) not in (repo.revision, repo.commit):
        return _Answer(404, b"no such revision", {"X-Error-Code": "RevisionNotFound"})
    entries: list[dict[str, object]] = [
        {"type": "file", "path": path, "size": len(body), "oid": hashlib.sha1(body, usedforsecurity=False).hexdigest()}
        for path, body in repo.files.items()
    ]
    info = {
        "id": name,
        "modelId": name,
        "sha": repo.commit,
        "private": False,
        "tags": [],
        "siblings": [{"rfilename": path} for path in repo.files],
    }
    content = json.dumps(entries if asked[1] == "tree" else info).encode()
    return _Answer(200, content, {"Content-Type": "application/json"})


def _handler(server: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

        def do_HEAD(self) -> None:
            self._respond(send_body=False)

        def do_GET(self) -> None:
            self._respond(send_body=True)

        def _respond(self, send_body: bool) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            server.requests.append(Asked(self.command, path, self.headers.get("Range")))
            fault = server._take_fault(self.command, path)
            answer = server._answer(path, parts.query)
            if isinstance(fault, Status):
                answer = _Answer(fault.code, b"as the test wants it")
            body, code, headers = answer.body, answer.code, dict(answer.headers)
            if isinstance(fault, Corrupt):
                body = body[: fault.at] + bytes([body[fault.at] ^ 0xFF]) + body[fault.at + 1 :]
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if wanted and code == 200 and not isinstance(fault, NoRange):
                start = int(wanted[1])
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                code, body = (206, body[start:]) if start < len(body) else (416, b"")
            self._send(code, headers, body, fault, send_body)

        def _send(
            self, code: int, headers: Mapping[str, str], body: bytes, fault: Fault | None, send_body: bool
        ) -> None:
            self.send_response(code)
            for key, value in {"Accept-Ranges": "bytes", **headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if not send_body:
                return
            self.wfile.write(body[: fault.after] if isinstance(fault, Cut | Stall) else body)
            if isinstance(fault, Stall):
                self.wfile.flush()
                time.sleep(fault.seconds)
            if isinstance(fault, Cut | Stall):
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    return Handler
