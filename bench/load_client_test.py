"""Tests of load_client.py: reading streams, the figures, and whole loads on a stand-in server."""

import asyncio
import json
import math
import socket
import sys
import unittest

import load_client
import stand_in_server
from load_client import Answer, AnswerReader, Workload
from server_process import running_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
EVENTS = (
    b'data: {"choices":[{"text":""}],"usage":null}\n\n'
    b'data: {"choices":[{"text":"a"}],"usage":null}\n\n'
    b'data: {"choices": [{"index": 0, "text": "\\"error\\": [DONE]"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


def chunked(payload, size):
    parts = [payload[i : i + size] for i in range(0, len(payload), size)]
    return b"".join(b"%X;x=y\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def read(stream, size, wanted_tokens=2):
    """The answer of a stream that arrives `size` bytes a second."""
    reader = AnswerReader(Answer(sent=0))
    for second, start in enumerate(range(0, len(stream), size)):
        reader.feed(stream[start : start + size], float(second))
    reader.finish(wanted_tokens)
    return reader.answer


class AnswerReaderTest(unittest.TestCase):
    def test_counts_events_with_text_however_they_arrive(self):
        for stream in [HEAD + EVENTS] + [CHUNKED_HEAD + chunked(EVENTS, n) for n in (1, 50, 999)]:
            for size in (1, 7, 64, len(stream)):
                answer = read(stream, size)
                self.assertEqual(answer.error, "")
                self.assertEqual(answer.output_tokens, 2)
                self.assertEqual(len(answer.text_times), 2)

    def test_times_are_those_of_the_arrival(self):
        lines = EVENTS.split(b"\n\n")
        reader = AnswerReader(Answer(sent=0))
        reader.feed(HEAD + lines[0] + b"\n\n" + lines[1], 1.0)
        reader.feed(b"\n\n", 2.0)
        reader.feed(lines[2] + b"\n\n", 3.5)
        self.assertEqual(reader.answer.text_times, [2.0, 3.5])

    def test_failures(self):
        self.assertEqual(read(HEAD + EVENTS, 64, 3).error, "2 tokens instead of 3")
        self.assertEqual(read(HEAD + EVENTS[:-14], 64).error, "the stream ended early")
        self.assertEqual(read(b"", 64).error, "the stream ended early")
        lines = EVENTS.split(b"\n\n")
        self.assertEqual(read(HEAD + b"\n\n".join(lines[3:]), 64).error, "no text")
        refused = b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}"
        self.assertEqual(read(refused, 64).error, "HTTP status 503")
        failed = HEAD + b'data: {"error":{"message":"no memory"}}\n\ndata: [DONE]\n\n'
        self.assertEqual(read(failed, 64).error, '{"error":{"message":"no memory"}}')


class FiguresTest(unittest.TestCase):
    def test_percentile_interpolates(self):
        self.assertEqual(load_client.percentile([30, 10, 20], 0.5), 20)
        self.assertEqual(load_client.percentile([10, 20], 0.25), 12.5)
        self.assertEqual(load_client.percentile([7], 0.99), 7)
        self.assertTrue(math.isnan(load_client.percentile([], 0.5)))

    def test_summary_leaves_failures_out(self):
        answers = [
            Answer(sent=1.0, text_times=[1.5, 1.6, 1.9], output_tokens=3),
            Answer(sent=2.0, text_times=[2.1, 2.3], output_tokens=2),
            Answer(sent=2.0, text_times=[9.0], output_tokens=1, error="HTTP status 500"),
        ]
        figures = load_client.summary(answers, seconds=4.0)
        self.assertEqual(figures["requests/s"], 0.5)
        self.assertEqual(figures["output tokens/s"], 1.25)
        self.assertAlmostEqual(figures["first token ms, p50"], 300)
        self.assertAlmostEqual(figures["gap ms, p50"], 200)
        self.assertAlmostEqual(figures["gap ms, p99"], 298)
        self.assertEqual(figures["errors"], 1)

    def test_requests_share_their_prefix_alone(self):
        load = Workload(
            clients=2, requests=3, prompt_tokens=10, shared_tokens=6, output_tokens=4
        )
        requests = load_client.make_requests(load, "a")
        bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in requests]
        prompts = [body["prompt"] for body in bodies]
        self.assertEqual([len(prompt) for prompt in prompts], [10] * 3)
        self.assertEqual(len({tuple(prompt[:6]) for prompt in prompts}), 1)
        self.assertEqual(len({tuple(prompt[6:]) for prompt in prompts}), 3)
        self.assertEqual(load_client.make_requests(load, "a"), requests)
        self.assertNotEqual(load_client.make_requests(load, "b")[0], requests[0])
        self.assertEqual(bodies[0]["max_tokens"], 4)
        self.assertTrue(bodies[0]["ignore_eos"] and bodies[0]["stream"])


    def test_groups_share_prefixes_of_their_own_length(self):
        load = Workload(
            clients=2,
            requests=40,
            prompt_tokens=10,
            shared_tokens=6,
            output_tokens=4,
            groups=20,
            spread=9,
        )
        requests = load_client.make_requests(load, "a")
        prompts = [json.loads(request.partition(b"\r\n\r\n")[2])["prompt"] for request in requests]
        for one, other in zip(prompts[:20], prompts[20:]):
            self.assertEqual(one[:-4], other[:-4])
            self.assertNotEqual(one[-4:], other[-4:])
        self.assertEqual(len({tuple(prompt[:6]) for prompt in prompts}), 20)
        self.assertGreater(len({len(prompt) for prompt in prompts}), 3)
        self.assertTrue(all(10 <= len(prompt) <= 19 for prompt in prompts))

    def test_cached_tokens_are_those_of_the_usage(self):
        answer = Answer(sent=0)
        reader = load_client.AnswerReader(answer)
        reader.usage = (
            b'{"usage":{"completion_tokens":1,"prompt_tokens":8,'
            b'"prompt_tokens_details":{"cached_tokens":6}}}'
        )
        reader.finish(1)
        other = Answer(sent=0, text_times=[1], prompt_tokens=4)
        answer.error = ""
        answer.text_times = [1]
        figures = load_client.summary([answer, other], seconds=1)
        self.assertEqual(figures["cached % of prompts"], 50)


class LoadTest(unittest.TestCase):
    def test_whole_loads(self):
        load = Workload(
            clients=4, requests=10, prompt_tokens=6, shared_tokens=3, output_tokens=5
        )
        with running_server([sys.executable, "-B", stand_in_server.__file__]) as port:
            figures = load_client.run_load(port, load, "seed")
            refused = self.ask(port, [stand_in_server.REFUSED])
            short = self.ask(port, [stand_in_server.SHORT])
            broken = self.ask(port, [stand_in_server.BROKEN])
        self.assertEqual(figures["errors"], 0, figures["error"])
        self.assertAlmostEqual(figures["output tokens/s"] / figures["requests/s"], 5)
        self.assertGreater(figures["first token ms, p50"], 0)
        self.assertEqual(refused, "HTTP status 400")
        self.assertEqual(short, "4 tokens instead of 5")
        self.assertEqual(broken, "the stream ended early")
        self.assertRegex(self.ask(port, [9]), "Connect call failed")  # it has stopped

    def test_a_server_that_never_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            self.assertEqual(self.ask(port, [9], timeout=0.1), "no end after 0.1 s")

    @staticmethod
    def ask(port, prompt, timeout=20):
        """The error of one request for 5 tokens."""
        content = json.dumps({"prompt": prompt, "max_tokens": 5}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n"
        return asyncio.run(load_client.ask(port, head.encode() + content, 5, timeout)).error


if __name__ == "__main__":
    unittest.main()
