"""Writes a GGUF file of a model's shape with random bf16 weights: speed without a download.

All matrices share one pool of random numbers (the file's tensors overlap), so the file is as large
as the largest of them. The tokenizer knows single bytes and filler tokens.

    python3 bench/random_model.py --shape llama-3.1-8b /tmp/llama-3.1-8b.gguf
"""

import argparse
import array
import pathlib
import random
import struct
from dataclasses import dataclass

ALIGNMENT = 64
GGML_F32 = 0
GGML_BF16 = 30
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5  # GGUF's types of metadata values


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    context: int
    rope_base: float


SHAPES = {
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000.0),
    "llama-3.2-1b": Shape(16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000.0),
    "tiny": Shape(2, 256, 4, 2, 64, 512, 512, 2048, 10000.0),
}


def byte_names() -> list[str]:
    """The characters that stand for bytes in byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, others = {}, 0
    for byte in range(256):
        if byte in printable:
            names[byte] = chr(byte)
        else:
            names[byte] = chr(256 + others)
            others += 1
    return [names[byte] for byte in range(256)]


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def metadata(name: str, shape: Shape) -> list[bytes]:
    def number(key: str, value: int) -> bytes:
        return pair(key, U32, struct.pack("<I", value))

    def real(key: str, value: float) -> bytes:
        return pair(key, F32, struct.pack("<f", value))

    def listed(key: str, kind: int, items: list[bytes]) -> bytes:
        return pair(key, ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))

    fillers = [f"filler{i}" for i in range(shape.vocabulary - 257)]
    tokens = [*byte_names(), *fillers, "<|end|>"]
    control = [struct.pack("<i", 3 if token == "<|end|>" else 1) for token in tokens]
    end = shape.vocabulary - 1
    return [
        pair("general.architecture", STRING, text("llama")),
        pair("general.name", STRING, text(f"random {name}")),
        number("general.alignment", ALIGNMENT),
        number("llama.block_count", shape.layers),
        number("llama.context_length", shape.context),
        number("llama.embedding_length", shape.hidden),
        number("llama.feed_forward_length", shape.ffn),
        number("llama.attention.head_count", shape.heads),
        number("llama.attention.head_count_kv", shape.kv_heads),
        number("llama.attention.key_length", shape.head_dim),
        number("llama.attention.value_length", shape.head_dim),
        number("llama.rope.dimension_count", shape.head_dim),
        number("llama.vocab_size", shape.vocabulary),
        real("llama.rope.freq_base", shape.rope_base),
        real("llama.attention.layer_norm_rms_epsilon", 1e-5),
        pair("tokenizer.ggml.model", STRING, text("gpt2")),
        pair("tokenizer.ggml.pre", STRING, text("llama-bpe")),
        listed("tokenizer.ggml.tokens", STRING, [text(token) for token in tokens]),
        listed("tokenizer.ggml.token_type", I32, control),
        listed("tokenizer.ggml.merges", STRING, []),
        number("tokenizer.ggml.eos_token_id", end),
        number("tokenizer.ggml.bos_token_id", end),
        pair(
            "tokenizer.chat_template",
            STRING,
            text("{% for message in messages %}{{ message.content }}{% endfor %}"),
        ),
    ]


def matrices(shape: Shape) -> list[tuple[str, int, int]]:
    """Names, output features and input features of all matrices."""
    hidden, query = shape.hidden, shape.heads * shape.head_dim
    key = shape.kv_heads * shape.head_dim
    listed = [("token_embd", shape.vocabulary, hidden), ("output", shape.vocabulary, hidden)]
    for i in range(shape.layers):
        listed += [
            (f"blk.{i}.attn_q", query, hidden),
            (f"blk.{i}.attn_k", key, hidden),
            (f"blk.{i}.attn_v", key, hidden),
            (f"blk.{i}.attn_output", hidden, query),
            (f"blk.{i}.ffn_gate", shape.ffn, hidden),
            (f"blk.{i}.ffn_up", shape.ffn, hidden),
            (f"blk.{i}.ffn_down", hidden, shape.ffn),
        ]
    return listed


def norms(shape: Shape) -> list[str]:
    return ["output_norm"] + [
        f"blk.{i}.{name}" for i in range(shape.layers) for name in ("attn_norm", "ffn_norm")
    ]


def tensor(name: str, extents: list[int], kind: int, offset: int) -> bytes:
    packed = struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, kind, offset)
    return text(f"{name}.weight") + packed


def random_bf16(count: int, deviation: float) -> bytes:
    """bf16 numbers: the upper halves of fp32."""
    generator = random.Random(1)
    floats = array.array("f", (generator.gauss(0, deviation) for _ in range(count)))
    halves = array.array("H", floats.tobytes())
    return halves[1::2].tobytes()


def write(path: pathlib.Path, name: str) -> None:
    shape = SHAPES[name]
    tile = random_bf16(1 << 18, 0.02)
    listed = matrices(shape)
    pool = max(2 * rows * columns for _, rows, columns in listed) + len(tile)
    infos = [tensor(norm, [shape.hidden], GGML_F32, 0) for norm in norms(shape)]
    first = -(-4 * shape.hidden // ALIGNMENT) * ALIGNMENT
    for i, (matrix, rows, columns) in enumerate(listed):
        offset = first + ALIGNMENT * (37 * i) % (len(tile) // 2)
        infos.append(tensor(matrix, [columns, rows], GGML_BF16, offset))
    pairs = metadata(name, shape)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs + infos)
    with path.open("wb") as file:
        file.write(header.ljust(-(-len(header) // ALIGNMENT) * ALIGNMENT, b"\0"))
        file.write(struct.pack("<f", 1.0) * shape.hidden)
        file.write(b"\0" * (first - 4 * shape.hidden))
        for _ in range(-(-pool // len(tile))):
            file.write(tile)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("path", type=pathlib.Path)
    arguments = parser.parse_args()
    write(arguments.path, arguments.shape)


if __name__ == "__main__":
    main()
