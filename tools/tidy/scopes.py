"""Finds functions and statements in C++ code by its braces. No parser: it reads the tokens between
braces and tells namespaces, classes, functions and initializers apart by how they begin and end."""

import re

_TOKEN = re.compile(r"[A-Za-z_]\w*|::|->|\[\[|\]\]|[^\s\w]|\d[\w.']*")
_QUALIFIERS = {"const", "noexcept", "override", "final", "mutable", "constexpr", "volatile", "try"}


class Token:
    def __init__(self, text, line):
        self.text = text
        self.line = line


class Function:
    """A function with a body: its name, its first line, the lines of its opening and closing brace,
    and the tokens of the body."""

    def __init__(self, name, line, open_line, close_line, body):
        self.name = name
        self.line = line
        self.open_line = open_line
        self.close_line = close_line
        self.body = body

    @property
    def length(self):
        return self.close_line - self.open_line + 1


class Statement:
    """A declaration at namespace or class scope that ended in a semicolon: its tokens, without
    braces' contents."""

    def __init__(self, scope, tokens):
        self.scope = scope  # "namespace" or "class"
        self.tokens = tokens


def tokenize(code):
    """Tokens of code whose comments and strings are blank, without preprocessor lines."""
    tokens = []
    continued = False
    for number, line in enumerate(code.split("\n"), 1):
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.rstrip().endswith("\\")
        if not directive:
            tokens.extend(Token(match.group(), number) for match in _TOKEN.finditer(line))
    return tokens


def _texts(tokens):
    return [token.text for token in tokens]


def _skip_angles(texts, start):
    """The index past the <...> that opens at `start`."""
    depth = 0
    for index in range(start, len(texts)):
        if texts[index] in ("<", "("):
            depth += 1
        elif texts[index] in (">", ")"):
            depth -= 1
            if depth == 0:
                return index + 1
    return len(texts)


def _skip_prefix(texts):
    """The index past template<...>, requires, attributes, alignas and access labels."""
    index = 0
    while index < len(texts):
        text = texts[index]
        if text == "template":
            index = _skip_angles(texts, index + 1)
        elif text in ("public", "private", "protected") and texts[index + 1 : index + 2] == [":"]:
            index += 2
        elif text == "[[":
            index = texts.index("]]", index) + 1 if "]]" in texts[index:] else len(texts)
        elif text == "requires" and texts[index + 1 : index + 2] == ["("]:
            index = _skip_angles(texts, index + 1)
        else:
            break
    return index


def _top_level(texts):
    """The texts outside of parentheses and square brackets, "(" kept as a mark."""
    depth = 0
    out = []
    for text in texts:
        if text in (")", "]"):
            depth -= 1
        if depth == 0:
            out.append(text)
        if text in ("(", "["):
            depth += 1
    return out


def _has_assignment(top):
    for index, text in enumerate(top):
        previous = top[index - 1] if index > 0 else ""
        following = top[index + 1] if index + 1 < len(top) else ""
        if (
            text == "="
            and previous not in ("operator", "=", "!", "<", ">", "]")
            and following != "="
        ):
            return True
    return False


def _kind(texts):
    """What the brace that follows this head opens."""
    texts = texts[_skip_prefix(texts) :]
    if not texts:
        return "block"
    top = _top_level(texts)
    if texts[0] == "namespace" or texts[:2] == ["inline", "namespace"] or texts[0] == "extern":
        return "namespace" if "(" not in top else "function"
    head = [
        text for text in texts if text not in ("typedef", "static", "constexpr", "const", "inline")
    ]
    if head and head[0] == "enum":
        return "initializer"
    if head and head[0] in ("class", "struct", "union") and not _ends_like_function(texts, top):
        return "class"
    if "(" not in top:
        return "initializer"
    if _has_assignment(top) and "operator" not in top:
        return "lambda" if "[" in top else "initializer"
    if _opens_member_initializer(texts, top):
        return "initializer"
    return "function"


def _ends_like_function(texts, top):
    """For a head that begins with struct: `struct Foo Make() {`, not `struct alignas(8) Foo {`."""
    last = texts[-1]
    return "(" in top and (last == ")" or last in _QUALIFIERS)


def _opens_member_initializer(texts, top):
    """`Foo() : a_{` — after the colon of a constructor, a brace that follows a name or >
    initializes."""
    for index, text in enumerate(top):
        if text == ":" and index > 0 and top[index - 1] in (")", "noexcept"):
            return re.match(r"[A-Za-z_>]", texts[-1]) is not None
    return False


def _name(texts):
    texts = texts[_skip_prefix(texts) :]
    for index, text in enumerate(texts):
        if text == "(" and index > 0:
            if texts[index - 1] == "]":
                return "lambda"
            if "operator" in texts[:index]:
                return "".join(texts[texts.index("operator") : index])
            if (
                texts[index - 1] in ("TEST", "TEST_F", "TEST_P", "TYPED_TEST")
                and len(texts) > index + 3
            ):
                return f"{texts[index - 1]}({texts[index + 1]}, {texts[index + 3]})"
            start = index - 2 if texts[index - 2 : index - 1] == ["~"] else index - 1
            while start >= 2 and texts[start - 1] == "::":
                start -= 2
            return "".join(texts[start:index])
    return "?"


def _close(tokens, start):
    """The index of the brace that closes the one at `start`."""
    depth = 0
    for index in range(start, len(tokens)):
        if tokens[index].text == "{":
            depth += 1
        elif tokens[index].text == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(tokens) - 1


def scan(code):
    """(functions, statements) of a file's code."""
    tokens = tokenize(code)
    functions, statements = [], []
    scopes = ["namespace"]
    head = []
    index = 0
    parentheses = 0
    while index < len(tokens):
        token = tokens[index]
        if token.text in ("(", ")"):
            parentheses += 1 if token.text == "(" else -1
        if token.text == "{" and parentheses > 0:
            index = _close(tokens, index)  # a braced argument
        elif token.text == "{":
            kind = _kind(_texts(head))
            if kind in ("namespace", "class"):
                scopes.append(kind)
                head = []
            else:
                close = _close(tokens, index)
                if kind in ("function", "lambda"):
                    functions.append(_function(head, tokens, index, close))
                    if kind == "function":
                        head = []
                else:
                    head = head + [Token("{", token.line), Token("}", tokens[close].line)]
                index = close
        elif token.text == "}":
            if len(scopes) > 1:
                scopes.pop()
            head = []
        elif token.text == ";" and parentheses == 0:
            if head:
                statements.append(Statement(scopes[-1], head))
            head = []
        else:
            head.append(token)
        index += 1
    return functions, statements


def _function(head, tokens, start, close):
    texts = _texts(head)
    skipped = _skip_prefix(texts)
    first = head[skipped].line if skipped < len(head) else tokens[start].line
    return Function(
        _name(texts), first, tokens[start].line, tokens[close].line, tokens[start + 1 : close]
    )
