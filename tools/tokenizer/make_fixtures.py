#!/usr/bin/env python3
"""Writes the tokenizer and chat template fixtures of src/tokenizer/testdata/.

    pip install gguf==0.19.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf jinja2==3.1.6
    python tools/tokenizer/make_fixtures.py SMOLLM2.gguf GEMMA3.gguf src/tokenizer/testdata

Truth comes from the libraries that the models were trained with: Hugging Face tokenizers for
SmolLM2, Google's sentencepiece for Gemma 3, both built from the vocabulary inside the GGUF; and
Jinja2, set up as transformers does, for the templates.
"""

import json
import random
import sys
from importlib.metadata import version

import gguf
import jinja2.sandbox
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, decoders, models, pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

TEXTS = [
    "",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    "\t\t x",
    " \n \n ",
    "a",
    " a",
    "a ",
    "Hello",
    "Hello, world!",
    "The capital of France is",
    "I'm can't we've they'll he'd it's you're I'D DON'T",
    "'s 't 'S'T ''s",
    "hello  world   three    four",
    "trailing spaces   ",
    "   leading spaces",
    "line\nbreak\r\nwindows\rmac",
    "0",
    "7",
    "42",
    "123456789",
    "3.14159",
    "1,234,567.89",
    "2024-11-21T13:28:00Z",
    "a1b2c3",
    "x=10**-12;",
    "²³¹½¾ Ⅻ ٣٤٥ ๑๒๓ 一二三",
    "camelCase snake_case kebab-case SCREAMING_CASE",
    "def f(x):\n    return x ** 2  # square\n\n\nprint(f(3))",
    "#include <vector>\nint main() { return std::vector<int>{1,2}.size(); }",
    '<div class="a">&nbsp;<s>old</s></div>',
    "https://example.org/a/b?c=d&e=%20f#g",
    "user@example.com",
    "$100 €50 £20 ¥1000 ₿",
    "C:\\Windows\\System32",
    "!!! ??? ... --- ___ === +++ ***",
    "()[]{}<>«»“”‘’",
    "naïve café résumé Ünïcödé",
    "cafe\u0301 n\u0303 (combining)",
    "Привет, как дела?",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم ١٢٣",
    "हिन्दी में लिखा हुआ",
    "ภาษาไทยไม่มีช่องว่าง",
    "日本語のテキストです。",
    "小明喜欢☕和咖啡",
    "한국어 문장입니다.",
    "Tiếng Việt có dấu",
    "ქართული ენა",
    "አማርኛ",
    "ᏣᎳᎩ",
    "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛",
    "ﬁne ﬂow ſtraße",
    "😀",
    "👩‍👩‍👧‍👦 family",
    "🇩🇪🇫🇷🇯🇵",
    "👍🏽 ok 🤖🤖🤖",
    "a\u200bb\u200cc\u200dd\ufeff",
    "non\u00a0breaking\u2003em\u3000wide",
    "next\u0085line\u2028sep\u2029para",
    "\x00\x01\x02\x7f",
    "tab\tnewline\nvertical\x0bform\x0c",
    "▁already▁escaped ▁",
    "ĠĊ byte level look-alikes",
    "<0x41><0x0A>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ab" * 40,
    "\n" * 33,
    " " * 40,
    " " * 70 + "x",
    "=" * 80,
    "supercalifragilisticexpialidocious",
    "Pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
    '{"key": [1, 2.5e-3, null, true], "s": "\\u00e9\\n"}',
    "SELECT * FROM t WHERE a>=1 AND b<>'x';",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "- item\n  - nested\n    - deeper\n",
    "E = mc², ∑ᵢ xᵢ ≥ √2 ∀x∈ℝ",
    "→←↑↓⇒∞≠≈±×÷",
    "ＦＵＬＬ ｗｉｄｔｈ １２３",
    "Z̸̢͝a̷l̵g̶o̴",
    "\u202eright to left\u202c",
    "don’t “quote” me—please…",
    "1st 2nd 3rd 4th",
    "A.B.C. e.g. i.e.",
    "ÀÁÂÃÄÅÆÇÈÉÊË",
    "\ue000\uf8ff private",
    "\U0010fffd",
    "\U00020000\U0002a6d6 CJK ext",
    "a\u0300\u0301\u0302b",
]

SPECIAL_TEXTS = {
    "smollm2": [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "<|endoftext|>",
        "a<|im_end|>b",
        "<|im_end|",
        "<|im_start|><|im_start|>",
        " <|im_end|> ",
        "<file_sep>x <reponame>",
        "<|IM_END|>",
    ],
    "gemma3": [
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        "<bos>",
        "a<end_of_turn>b",
        "<end_of_turn",
        "<bos><bos>x",
        "<unused0> <unused99><unused100>",
        " <eos> ",
        "[multimodal]</s><table>",
    ],
}


def random_texts(count):
    """Short strings of characters from everywhere, the same ones every time."""
    rng = random.Random(20241121)
    pools = [
        (0x20, 0x7E),
        (0x20, 0x7E),
        (0xA0, 0x24F),
        (0x370, 0x52F),
        (0x900, 0xDFF),
        (0x2000, 0x2BFF),
        (0x3040, 0x9FFF),
        (0x1F300, 0x1FAFF),
    ]
    texts = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 25)):
            low, high = rng.choice(pools)
            text += rng.choice([chr(rng.randrange(low, high + 1)), " ", rng.choice("aeiou'1\n")])
        texts.append(text)
    return texts


def field(reader, key):
    return reader.fields[key].contents()


def hugging_face_bpe(reader):
    """SmolLM2's tokenizer.json: digits apart, then GPT-2's expression."""
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        AddedToken(t, special=True, normalized=False)
        for t, kind in zip(tokens, types)
        if kind == CONTROL
    ]

    def plain(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    ordinary = [plain(text) for text in TEXTS + random_texts(40)]
    tokenizer.add_special_tokens(special)
    return ordinary, [plain(text) for text in SPECIAL_TEXTS["smollm2"]]


def google_sentencepiece(reader):
    """Gemma's tokenizer.model; special tokens, which it never reads, are split off by hand."""
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    scores = field(reader, "tokenizer.ggml.scores")
    model = sentencepiece_model_pb2.ModelProto()
    for token, kind, score in zip(tokens, types, scores):
        piece = model.pieces.add()
        piece.piece = token.replace(" ", "\u2581") if kind == USER_DEFINED else token
        piece.score = score
        piece.type = UNKNOWN if token == "<unk>" else kind
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = len(tokens)
    model.trainer_spec.unk_id, model.trainer_spec.bos_id = tokens.index("<unk>"), tokens.index(
        "<bos>"
    )
    model.trainer_spec.eos_id, model.trainer_spec.pad_id = tokens.index("<eos>"), tokens.index(
        "<pad>"
    )
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    control = {t: i for i, (t, kind) in enumerate(zip(tokens, types)) if kind == CONTROL}

    def with_special(text):
        ids, rest = [], text
        while rest:
            found = [(rest.find(t), -len(t), t) for t in control if t in rest]
            at, _, token = min(found, default=(len(rest), 0, ""))
            ids += processor.encode(rest[:at]) + ([control[token]] if token else [])
            rest = rest[at + len(token) :]
        return ids

    ordinary = [processor.encode(text) for text in TEXTS + random_texts(40)]
    return ordinary, [with_special(text) for text in SPECIAL_TEXTS["gemma3"]]


def write_ids(path, name, truth, ordinary, special):
    texts = TEXTS + random_texts(40)
    entries = [{"text": t, "ids": i, "parse_special": False} for t, i in zip(texts, ordinary)]
    entries += [
        {"text": t, "ids": i, "parse_special": True} for t, i in zip(SPECIAL_TEXTS[name], special)
    ]
    with open(path, "w", encoding="utf-8") as out:
        out.write(
            json.dumps(
                {"made_by": "tools/tokenizer/make_fixtures.py", "truth": truth, "cases": []}
            )[:-2]
            + "\n"
        )
        out.write(",\n".join(json.dumps(entry, ensure_ascii=True) for entry in entries))
        out.write("\n]}\n")


CONVERSATIONS = [
    [("user", "Hello")],
    [("user", "Hello"), ("assistant", "Hi!"), ("user", "How are you?")],
    [("system", "You are terse."), ("user", "Hello")],
    [("system", ""), ("user", "Hello")],
    [
        ("user", "  spaces and\nlines \n"),
        ("assistant", "ok "),
        ("user", "<|im_end|> {{ x }} {% if %}"),
    ],
    [("user", "Ünïcödé 小明 ☕ \"quotes\" 'single' \\ back")],
    [("assistant", "I begin"), ("user", "odd order")],
]

TEMPLATES = {
    "loop_variables": (
        "{%- for m in messages %}\n  {{ loop.index }}/{{ loop.length }}{% if loop.first %}F"
        "{% endif %}{% if loop.last %}L{% endif %} {{ m.role | upper }}: "
        "{{ m['content'] | trim }}\n{%- endfor %}\n"
    ),
    "namespace_and_macro": (
        "{% set ns = namespace(n=0) %}{% macro turn(r, c='none') %}[{{ r }}|{{ c }}]"
        "{% endmacro %}{% for m in messages if m.role != 'system' %}"
        "{% set ns.n = ns.n + 1 %}{{ turn(m.role, m.content) }}{% endfor %}{{ ns.n }}"
    ),
    "slices_and_tests": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
        "SYS {{ messages[0].content }}{% else %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}{{ m.content if m.content is string else 'none' }}"
        "{{ '' if loop.last else ' -> ' }}{% endfor %}"
        "{{ eos_token if not add_generation_prompt }}"
    ),
    "filters": (
        "{{ messages | map(attribute='role') | join(',') }} {{ messages | length }} "
        "{{ messages[-1].content | replace('o', '0') }} {{ messages | tojson }} "
        "{{ missing | default('d') }} {{ missing is defined }}"
    ),
}


def render(source, messages, add_generation_prompt):
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x, **kw: json.dumps(x, ensure_ascii=False, **kw)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source).render(
        messages=messages,
        add_generation_prompt=add_generation_prompt,
        bos_token="<s>",
        eos_token="</s>",
    )


def write_templates(path, smollm2):
    templates = {"smollm2": smollm2, **TEMPLATES}
    cases = []
    for name, source in templates.items():
        for turns in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in turns]
            for prompt in (False, True):
                cases.append(
                    {
                        "template": name,
                        "messages": messages,
                        "add_generation_prompt": prompt,
                        "text": render(source, messages, prompt),
                    }
                )
    with open(path, "w", encoding="utf-8") as out:
        header = {
            "made_by": "tools/tokenizer/make_fixtures.py",
            "truth": "jinja2 " + version("jinja2"),
            "templates": templates,
            "cases": [],
        }
        out.write(json.dumps(header)[:-2] + "\n")
        out.write(",\n".join(json.dumps(case) for case in cases))
        out.write("\n]}\n")


def main():
    smollm2_path, gemma3_path, folder = sys.argv[1:]
    smollm2 = gguf.GGUFReader(smollm2_path)
    write_ids(
        folder + "/smollm2_ids.json",
        "smollm2",
        "tokenizers " + version("tokenizers"),
        *hugging_face_bpe(smollm2)
    )
    gemma3 = gguf.GGUFReader(gemma3_path)
    write_ids(
        folder + "/gemma3_ids.json",
        "gemma3",
        "sentencepiece " + version("sentencepiece"),
        *google_sentencepiece(gemma3)
    )
    write_templates(folder + "/chat_templates.json", field(smollm2, "tokenizer.chat_template"))


if __name__ == "__main__":
    main()
