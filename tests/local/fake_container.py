"""A fake serving container of the standard library, whose model's files control its behaviour.

`release` is what it answers with; `mode` may be `exit` (ends at once) or `deaf` (never healthy).
A request's body may be `fail`, `refuse`, `slow`, `trickle`, `talk` or `die`.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = Path(os.environ["MODEL_DIR"])
MODE = (MODEL / "mode").read_text() if (MODEL / "mode").exists() else "serve"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self.reply(503 if MODE == "deaf" else 200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(9)
        if body == b"slow":
            time.sleep(0.5)
        if body == b"talk":
            sys.stdout.write("the container talks\n")
        if body == b"trickle":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.05)
            return
        statuses = {b"fail": 500, b"refuse": 400}
        self.reply(statuses.get(body, 200), (MODEL / "release").read_bytes() + b":" + body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "X-Amzn-SageMaker-Custom-Attributes",
            f"greeting={os.environ.get('GREETING', '')}",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


if __name__ == "__main__":
    if MODE == "exit":
        sys.exit("the weights are missing")
    address = ("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
    ThreadingHTTPServer(address, Handler).serve_forever()
