"""A web server on loopback that can be told to misbehave: cut, damage, change, refuse."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Loopback:
    """What the server serves, and how. `asked` collects the headers of every request."""

    content: bytes = b""
    #: Bytes after which the connection breaks, one per request in order; None: the whole.
    cuts: list[int | None] = field(default_factory=list)
    #: Position of a byte that is another one on its way.
    damaged: int | None = None
    ranges: bool = True
    tag: str = '"one"'
    date: str = ""
    status: int = 200
    redirect: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    base: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(handler.headers))
        if self.redirect and handler.path != "/moved":
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = self._start(handler)
        if start is not None and start >= len(self.content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(200 if start is None else 206)
        rest = bytearray(self.content)
        if self.damaged is not None:
            rest[self.damaged] ^= 1
        rest = rest[start or 0 :]
        if start is not None:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        for name, value in (("ETag", self.tag), ("Last-Modified", self.date), ("Content-Length", str(len(rest)))):
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else None
        handler.wfile.write(rest[:cut])
        handler.close_connection = True

    def _start(self, handler: BaseHTTPRequestHandler) -> int | None:
        wanted, version = handler.headers.get("Range"), handler.headers.get("If-Range")
        if not (self.ranges and wanted) or (version and version not in (self.tag, self.date)):
            return None
        return int(wanted.removeprefix("bytes=").rstrip("-"))


class running:
    """The server, as long as the block lasts."""

    def __init__(self, loopback: Loopback) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                loopback.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.loopback = loopback
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self) -> Loopback:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.loopback.base = f"http://127.0.0.1:{self.server.server_port}"
        return self.loopback

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
