"""A load of streaming completions on an OpenAI-compatible server of this machine.

Closed loop: every client has one request in flight and sends the next when the answer has ended,
each on a connection of its own. It shares the cores with the server that it measures, so an event
of the stream costs it a search for a few bytes; only the last one is parsed.

first token: from before the connection is made to the first event with text
gap: between two events with text
"""

import asyncio
import dataclasses
import json
import math
import random
import re
import time

HAS_TEXT = re.compile(rb'"text":\s*"[^"]')
TOKEN_IDS = range(1000, 20000)  # ordinary tokens in every vocabulary


@dataclasses.dataclass(frozen=True)
class Workload:
    clients: int
    requests: int
    prompt_tokens: int
    shared_tokens: int  # of the prompt: the same in all requests of a group
    output_tokens: int
    groups: int = 1
    spread: int = 0  # a group's prompts share, and have, up to so many tokens more


@dataclasses.dataclass
class Answer:
    """What came of one request. Times are in seconds of time.perf_counter()."""

    sent: float
    text_times: list = dataclasses.field(default_factory=list)  # of the events with text
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, as the server says
    error: str = ""


class AnswerReader:
    """Reads an HTTP answer piece by piece into an Answer."""

    def __init__(self, answer):
        self.answer = answer
        self.head_done = False
        self.chunked = False
        self.pending = b""  # of the head, or of a chunk
        self.line = b""  # the begun one
        self.usage = b""
        self.done = False

    def feed(self, data, now):
        """Takes the next bytes, which arrived at `now`."""
        self.pending += data
        if not self.head_done and not self.read_head():
            return
        lines = (self.line + self.take_payload()).split(b"\n")
        self.line = lines.pop()
        for line in lines:
            self.read_line(line, now)

    def read_head(self):
        head, end, body = self.pending.partition(b"\r\n\r\n")
        if not end:
            return False
        self.head_done = True
        self.pending = body
        status = head.split(b" ", 2)[1]
        if status != b"200":
            self.answer.error = f"HTTP status {status.decode()}"
        self.chunked = b"\r\ntransfer-encoding: chunked" in head.lower()
        return True

    def take_payload(self):
        """The whole chunks that are pending, without their framing."""
        if not self.chunked:
            payload, self.pending = self.pending, b""
            return payload
        payload = []
        while True:
            size, end, rest = self.pending.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16) if end else 0
            if not end or len(rest) < length + 2:
                return b"".join(payload)
            payload.append(rest[:length])
            self.pending = rest[length + 2 :]

    def read_line(self, line, now):
        if not line.startswith(b"data:"):
            return
        if HAS_TEXT.search(line):
            self.answer.text_times.append(now)
        elif b"[DONE]" in line:
            self.done = True
        elif b'"error":' in line:
            self.answer.error = line[5:].decode(errors="replace").strip()
        if b'"completion_tokens":' in line:
            self.usage = line[5:]

    def finish(self, wanted_tokens):
        """Call when the connection has ended."""
        answer = self.answer
        if self.usage:
            usage = json.loads(self.usage)["usage"]
            answer.output_tokens = usage["completion_tokens"]
            answer.prompt_tokens = usage.get("prompt_tokens", 0)
            details = usage.get("prompt_tokens_details") or {}
            answer.cached_tokens = details.get("cached_tokens") or 0
        if answer.error:
            return
        if not self.done:
            answer.error = "the stream ended early"
        elif answer.output_tokens != wanted_tokens:
            answer.error = f"{answer.output_tokens} tokens instead of {wanted_tokens}"
        elif not answer.text_times:
            answer.error = "no text"


class Exchange(asyncio.Protocol):
    """One request on one connection."""

    def __init__(self, request, reader, ended):
        self.request = request
        self.reader = reader
        self.ended = ended

    def connection_made(self, transport):
        transport.write(self.request)

    def data_received(self, data):
        self.reader.feed(data, time.perf_counter())

    def connection_lost(self, exc):
        if not self.ended.done():
            self.ended.set_result(None)


def make_requests(workload, seed):
    """The bytes of all requests; another seed shares no prefix with these."""
    draw = random.Random(seed)
    shared = [
        draw.choices(TOKEN_IDS, k=workload.shared_tokens + draw.randint(0, workload.spread))
        for _ in range(workload.groups)
    ]
    own_tokens = workload.prompt_tokens - workload.shared_tokens
    requests = []
    for number in range(workload.requests):
        body = {
            "model": "default",
            "prompt": shared[number % workload.groups] + draw.choices(TOKEN_IDS, k=own_tokens),
            "max_tokens": workload.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        content = json.dumps(body).encode()
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        requests.append(head.encode() + content)
    return requests


async def ask(port, request, wanted_tokens, timeout):
    loop = asyncio.get_running_loop()
    answer = Answer(sent=time.perf_counter())
    reader = AnswerReader(answer)
    ended = loop.create_future()
    transport = None
    try:
        async with asyncio.timeout(timeout):
            transport, _ = await loop.create_connection(
                lambda: Exchange(request, reader, ended), "127.0.0.1", port
            )
            await ended
        reader.finish(wanted_tokens)
    except TimeoutError:
        answer.error = f"no end after {timeout} s"
    except OSError as error:
        answer.error = str(error)
    finally:
        if transport is not None:
            transport.close()
    return answer


async def run_clients(port, requests, workload, timeout):
    waiting = iter(requests)
    answers = []

    async def client():
        for request in waiting:
            answers.append(await ask(port, request, workload.output_tokens, timeout))

    await asyncio.gather(*(client() for _ in range(workload.clients)))
    return answers


def percentile(values, share):
    """The value below which `share` (0 .. 1) of them lie, interpolated; nan of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(answers, seconds):
    """{metric: value} of the answers that `seconds` brought."""
    good = [answer for answer in answers if not answer.error]
    first_ms = [1e3 * (answer.text_times[0] - answer.sent) for answer in good]
    gaps_ms = [
        1e3 * (after - before)
        for answer in good
        for before, after in zip(answer.text_times, answer.text_times[1:])
    ]
    prompt_tokens = sum(answer.prompt_tokens for answer in good)
    cached_tokens = sum(answer.cached_tokens for answer in good)
    return {
        "requests/s": len(good) / seconds,
        "output tokens/s": sum(answer.output_tokens for answer in good) / seconds,
        "first token ms, p50": percentile(first_ms, 0.5),
        "first token ms, p99": percentile(first_ms, 0.99),
        "gap ms, p50": percentile(gaps_ms, 0.5),
        "gap ms, p99": percentile(gaps_ms, 0.99),
        "cached % of prompts": 100 * cached_tokens / max(1, prompt_tokens),
        "errors": len(answers) - len(good),
    }


def run_load(port, workload, seed, timeout=300):
    """Runs the workload on the server of 127.0.0.1:`port`. Returns its summary, with "client CPU",
    the share of one core that this program took, and "error", an example."""
    requests = make_requests(workload, seed)
    cpu_start = time.process_time()
    start = time.perf_counter()
    answers = asyncio.run(run_clients(port, requests, workload, timeout))
    seconds = time.perf_counter() - start
    result = summary(answers, seconds)
    result["client CPU"] = (time.process_time() - cpu_start) / seconds
    result["error"] = next((answer.error for answer in answers if answer.error), "")
    return result
