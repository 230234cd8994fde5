"""A server for tests of the load client: it answers a completion of N tokens with N events at once,
in chunks that end where they will. A prompt that begins with REFUSED gets status 400, one that
begins with SHORT loses its last token, one that begins with BROKEN its end."""

import argparse
import http.server
import json

REFUSED, SHORT, BROKEN = 1, 2, 3
CHUNK_BYTES = 37


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = body["prompt"][0]
        self.send_response(400 if kind == REFUSED else 200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        count = body["max_tokens"] - (kind == SHORT)
        events = [{"choices": [{"index": 0, "text": ""}], "usage": None}]
        events += [{"choices": [{"index": 0, "text": '"error":\n'}]}] * count
        events += [{"choices": [], "usage": {"completion_tokens": count}}]
        stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
        stream += b"" if kind == BROKEN else b"data: [DONE]\n\n"
        for start in range(0, len(stream), CHUNK_BYTES):
            part = stream[start : start + CHUNK_BYTES]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


def main():
    parser = argparse.ArgumentParser(description="A stand-in for servers, for tests.")
    parser.add_argument("--port", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
