"""A stub of a language model's endpoint."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = ["A round thing.", "It has a lid.", "It stands on tables."]
SECRET = "hunter2"


class Stub:
    """An endpoint that gives its answers in turn, the last one for ever."""

    def __init__(self):
        self.answers: list[tuple[int, object]] = [(200, GOOD)]
        self.usage: object = {"prompt_tokens": 100, "completion_tokens": 20}
        self.raw: bytes | None = None
        self.seen: list[tuple[str, str | None, dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.seen.append((self.path, self.headers.get("Authorization"), body))
                status, said = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                content = said if isinstance(said, str) else json.dumps(said)
                answer = {"choices": [{"message": {"content": content}}], "usage": stub.usage}
                data = json.dumps(answer).encode() if stub.raw is None else stub.raw
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
