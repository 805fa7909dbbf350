"""What lies between a box and the gateway: a network that can be cut, and one that delivers everything twice."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Network:
    """An HTTP forwarder on a free loopback port in front of `upstream_port`.

    `cut` True: connections end without an answer. `doubled` True: each request is delivered twice, one after the
    other, and the second answer is passed on. `answers` counts statuses of all deliveries.
    """

    def __init__(self, upstream_port):
        self.upstream_port = upstream_port
        self.cut = False
        self.doubled = False
        self.refused = 0
        self.answers = {}
        self._lock = threading.Lock()
        network = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                network.forward(self)

            def do_GET(self):
                network.forward(self)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def forward(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if self.cut:
            self.refused += 1
            handler.close_connection = True
            return
        try:
            answers = [self._deliver(handler, body) for _ in range(2 if self.doubled else 1)]
        except (OSError, http.client.HTTPException):
            handler.close_connection = True  # the server is away: so is the answer
            return
        status, headers, content = answers[-1]
        handler.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _deliver(self, handler, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=10)
        try:
            headers = {k: v for k, v in handler.headers.items() if k.lower() not in HOP_BY_HOP}
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            with self._lock:
                self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            return answer.status, answer.getheaders(), content
        finally:
            connection.close()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
