"""Tests of the tidy rules: each rule is shown a small tree with what it must find, and one
without."""

import pathlib
import tempfile
import unittest

import scopes
import tidy
from sources import CppFile

# A tree without violations. Tests plant theirs over it.
CLEAN = {
    "src/base/README.md": "# base\n\nDEPS: none\n",
    "src/base/status.h": "#pragma once\nnamespace quire {\nclass Status {};\n}\n",
    "src/base/status.cc": '#include "base/status.h"\n',
    "src/platform/README.md": "# platform\n\nDEPS: base\n",
    "src/platform/device.cc": '#include "base/status.h"\n// cuda is a word for here.\n',
}


def lines(count):
    return "int x;\n" * count


class TidyTest(unittest.TestCase):
    def found(self, planted, without=()):
        """(rule, path, line) of the violations in the clean tree with `planted` files, less
        `without`."""
        with tempfile.TemporaryDirectory() as folder:
            for path, text in (CLEAN | planted).items():
                if path not in without:
                    file = pathlib.Path(folder) / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text)
            return [(v.rule, v.path, v.line) for v in tidy.check(folder)]

    def rules(self, planted, without=()):
        return [rule for rule, _, _ in self.found(planted, without)]

    def code(self, text, path="src/base/planted.cc"):
        """(rule, line) of the violations in one planted C++ file."""
        return [(rule, line) for rule, where, line in self.found({path: text}) if where == path]

    def test_clean_tree_has_no_violation(self):
        self.assertEqual(self.found({}), [])


class RoomRules(TidyTest):
    def test_unknown_room(self):
        self.assertIn(("rooms", "src/cache", 1), self.found({"src/cache/a.cc": ""}))

    def test_missing_readme(self):
        self.assertEqual(
            self.found({}, ["src/base/README.md"]), [("rooms", "src/base/README.md", 1)]
        )

    def test_wrong_first_line(self):
        self.assertEqual(self.rules({"src/base/README.md": "# Base\n\nDEPS: none\n"}), ["rooms"])

    def test_long_readme(self):
        self.assertEqual(
            self.rules({"src/base/README.md": "# base\n\nDEPS: none\n" + "x\n" * 100}), ["rooms"]
        )

    def test_missing_deps_line(self):
        self.assertEqual(self.rules({"src/base/README.md": "# base\n"}), ["rooms"])

    def test_include_outside_deps(self):
        planted = {
            "src/tensor/README.md": "# tensor\nDEPS: none\n",
            "src/tensor/a.cc": '\n#include "base/status.h"\n',
        }
        self.assertEqual(self.found(planted), [("rooms", "src/tensor/a.cc", 2)])

    def test_deps_upwards(self):
        planted = {"src/base/README.md": "# base\nDEPS: tensor\n"}
        self.assertEqual(self.rules(planted), ["rooms", "rooms"])  # not above, and not used

    def test_deps_not_a_room(self):
        self.assertEqual(self.rules({"src/base/README.md": "# base\nDEPS: boost\n"}), ["rooms"])

    def test_deps_unused(self):
        planted = {"src/platform/device.cc": ""}
        self.assertEqual(self.found(planted), [("rooms", "src/platform/README.md", 3)])

    def test_relative_include(self):
        self.assertEqual(self.code('#include "status.h"\n'), [("rooms", 1)])
        tests = {
            "tests/CMakeLists.txt": "plan/*.cc\n",
            "tests/plan/a.h": "",
            "tests/plan/a.cc": '#include "plan/a.h"\n',
        }
        self.assertEqual(self.found(tests), [])
        wrong = tests | {"tests/plan/b.cc": '#include "a.h"\n'}
        self.assertEqual(self.found(wrong), [("rooms", "tests/plan/b.cc", 1)])


class NameRules(TidyTest):
    def test_shapeless_folder(self):
        self.assertIn("names", self.rules({"src/base/utils/a.cc": ""}))

    def test_shapeless_file(self):
        for name in ("misc.cc", "string_util.cc", "Common.cc"):
            self.assertIn("names", self.rules({f"src/base/{name}": ""}), name)

    def test_history(self):
        for name in ("split_v2.cc", "old_pool.cc", "pool_new.cc"):
            expected = name != "old_pool.cc"  # an adjective in front may be the thing's own name
            self.assertEqual("names" in self.rules({f"src/base/{name}": ""}), expected, name)


class DeadFileRules(TidyTest):
    def test_header_that_nobody_includes(self):
        self.assertEqual(self.code("", "src/base/lonely.h"), [("dead-files", 1)])

    def test_header_that_only_includes_itself(self):
        text = '#include "base/lonely.h"\n'
        self.assertEqual(self.code(text, "src/base/lonely.h"), [("dead-files", 1)])

    def test_source_outside_rooms(self):
        self.assertEqual(self.code("", "src/lonely.cc"), [("dead-files", 1)])

    def test_source_that_cmake_does_not_name(self):
        lists = "add_executable(quire main.cc)\nfile(GLOB t ${HERE}/golden/*_test.cc)\n"
        for folder in ("apps", "tests"):
            planted = {f"{folder}/CMakeLists.txt": lists}
            planted |= {
                f"{folder}/{name}": "" for name in ("main.cc", "other.cc", "golden/a_test.cc")
            }
            self.assertEqual(self.found(planted), [("dead-files", f"{folder}/other.cc", 1)])


class TextRules(TidyTest):
    def test_line_length(self):
        self.assertEqual(
            self.code("// " + "x" * 98 + "\n// " + "x" * 97 + "\n"), [("line-length", 1)]
        )

    def test_file_length(self):
        self.assertEqual(self.code("//\n" * 501), [("file-length", 501)])
        self.assertEqual(self.code("//\n" * 500), [])
        self.assertEqual(self.code("//\n" * 801, "src/base/a.cu"), [("file-length", 801)])
        self.assertEqual(self.code("//\n" * 800, "src/base/a.cu"), [])

    def test_vendor_words(self):
        for text in (
            "void cuda_stream();",
            "void RunCuda();",
            "// On NVIDIA.",
            "kHipGraph",
            '"npu"',
            "NCCLError",
        ):
            self.assertEqual(self.code(text), [("vendor-words", 1)], text)

    def test_not_vendor_words(self):
        for text in (
            "void Ship();",
            "// ascending, input, barracuda",
            "hipster",
            "// buckets ascend",
            "kInputs",
        ):
            self.assertEqual(self.code(text), [], text)

    def test_vendor_words_in_platform_files(self):
        for path in ("src/ops/x/cuda.cc", "src/ops/x/ascend_attention.cc", "src/ops/x/a.cu"):
            self.assertEqual(self.code("// cuda\n", path), [], path)

    def test_platform_kinds_in_tests(self):
        text = "void F() { Open(PlatformKind::kMusa); }\n"
        self.assertEqual(self.code(text, "src/base/a_test.cc"), [])
        self.assertEqual(self.code(text), [("vendor-words", 1)])

    def test_unfinished(self):
        for word in ("TODO", "FIXME", "XXX", "HACK"):
            self.assertEqual(self.code(f"// {word}: later\n"), [("unfinished", 1)], word)
        self.assertEqual(self.found({"tools/a.py": "# TODO\n"}), [("unfinished", "tools/a.py", 1)])

    def test_commented_code(self):
        for text in (
            "x = y + 1;",
            "Foo(bar, 2);",
            "return 0;",
            "if (x) {",
            "}",
            "} else {",
            "for (;;) {",
            "int x = 3;",
            "#include <vector>",
            "auto it = map.find(3);",
            "page->Release();",
            "std::vector<int> Make(int n) {",
            "total += Cost(x);",
            "struct Foo {",
        ):
            self.assertEqual(self.code(f"// {text}\n"), [("commented-code", 1)], text)
        self.assertEqual(self.code("/*\n x = 3;\n*/\n"), [("commented-code", 2)])
        self.assertEqual(self.code("#if 0\n#endif\n"), [("commented-code", 1)])

    def test_prose_is_not_commented_code(self):
        for text in (
            "the first that fits runs;",
            "[B + 1] ascending; entries past the end are -1",
            "Flash-Decoding (Dao et al., 2023);",
            "slot = page * page size + offset; -1 = skip",
            "if the pool is full, the least recently used leaf goes;",
            "see base/status.h",
            "return the pages to the pool that they came from;",
        ):
            self.assertEqual(self.code(f"// {text}\n"), [], text)

    def test_usage_examples_in_headers(self):
        planted = {"src/base/status.h": "//     Foo(bar, 2);\n"}
        self.assertEqual(self.found(planted), [])


class CodeRules(TidyTest):
    def test_function_length(self):
        text = "namespace quire {\n\nvoid Foo::Bar(int a,\n  int b) {\n" + lines(69) + "}\n}\n"
        self.assertEqual(self.code(text), [("function-length", 3)])
        text = "namespace quire {\n\nvoid Foo::Bar(int a,\n  int b) {\n" + lines(68) + "}\n}\n"
        self.assertEqual(self.code(text), [])
        text = "__global__ void K() {\n" + "int x;\n" * 148 + "}\n"
        self.assertEqual(self.code(text, "src/base/a.cu"), [])
        self.assertEqual(self.code(text), [("function-length", 1)])

    def test_environment(self):
        self.assertEqual(self.code('\nauto p = std::getenv("HOME");\n')[0], ("environment", 2))
        self.assertEqual(self.code("// getenv is not for here\n"), [])
        seed = {
            "src/base/test_seed.h": 'inline void F() { std::getenv("X"); }\n',
            "src/base/a_test.cc": '#include "base/test_seed.h"\n',
        }
        self.assertEqual(self.found(seed), [])

    def test_assertions(self):
        self.assertEqual(
            self.code("#include <cassert>\nvoid F() { assert(1); }\n"),
            [("assertions", 1), ("assertions", 2)],
        )
        self.assertEqual(
            self.code("static_assert(sizeof(int) == 4);\nvoid F() { my_assert(1); }\n"), []
        )

    def test_local_static(self):
        for text in (
            "static int count = 0;",
            "static std::mutex m;",
            "thread_local Buffer scratch;",
            "static const char* name = Make();",
            "static thread_local int n;",
        ):
            self.assertEqual(
                self.code("void F() {\n" + text + "\n}\n"), [("hidden-state", 2)], text
            )
        for text in (
            "static const std::vector<int> kAll = Make();",
            "static constexpr int kTwo = 2;",
            "static const char* const kName = 0;",
            "static_assert(true);",
            "static_cast<int>(x);",
        ):
            self.assertEqual(self.code("void F() {\n" + text + "\n}\n"), [], text)

    def test_hidden_state_in_tests(self):
        for path in ("src/base/a_test.cc", "src/base/test_allocator.cc"):
            self.assertEqual(self.code("int freed = 0;\n", path), [], path)

    def test_mutable_global(self):
        for text in (
            "int counter = 0;",
            "static std::mutex m;",
            "std::atomic<int> live{0};",
            "namespace {\nstd::string name;\n}",
            "inline thread_local int depth = 0;",
            "const char* name = 0;",
            "class Foo {\n static int live_;\n};",
        ):
            self.assertEqual([rule for rule, _ in self.code(text + "\n")], ["hidden-state"], text)
        for text in (
            "constexpr int kTwo = 2;",
            "const std::string kName = Make();",
            "using Foo = int;",
            "class Foo;",
            "int F(int x = 2);",
            "extern int y;",
            "enum class E { kA, kB };",
            "struct Foo {\n int x = 0;\n std::string name;\n static constexpr int kB = 2;\n};",
            "template <typename T>\nvoid F(T t);",
            "constexpr int kTable[] = {1, 2};",
            "INSTANTIATE_TEST_SUITE_P(All, Foo, Values(1));",
            "static void F(int x);",
            "bool operator==(const A&) const = default;",
            "namespace fs = std::filesystem;",
            "struct Foo {\n Foo() = default;\n static Foo Make() { return {}; }\n};",
        ):
            self.assertEqual(self.code(text + "\n"), [], text)

    def test_singleton(self):
        for text in ("Pool& p = Pool::Instance();", "auto& p = Pool::GetInstance();"):
            self.assertIn(("hidden-state", 2), self.code("void F() {\n" + text + "\n}\n"), text)


class DocumentRules(TidyTest):
    def test_links(self):
        planted = {
            "README.md": "[a](docs/a.md) [b](docs/b.md#x) [c](https://x.y/z) [d](#here)\n",
            "docs/a.md": "[up](../README.md)\n",
        }
        self.assertEqual(self.found(planted), [("links", "README.md", 1)])

    def test_requirements(self):
        rows = {
            f"{letter}{n}": "not yet"
            for letter, n in [(r[0], r[1:]) for r in tidy.rules_docs.REQUIREMENTS]
        }
        test = {"src/base/a_test.cc": "TEST(Pool, Frees) {}\nTEST_P(Tree, Splits) {}\n"}

        def check(changed):
            text = "".join(
                f"| {key} | {what} |\n" for key, what in (rows | changed).items() if what
            )
            return [rule for rule, _, _ in self.found(test | {"docs/requirements.md": text})]

        self.assertEqual(check({"A1": "`Pool.Frees`, `Tree.*`"}), [])
        self.assertEqual(check({"A1": "`Pool.Leaks`"}), ["requirements"])
        self.assertEqual(check({"B5": ""}), ["requirements"])

    def test_dependencies(self):
        planted = {
            "tools/dev/packages/debian-12.txt": "# comment\ncmake\n",
            "tools/dev/pypi/a.txt": "gguf==1.2 --hash=sha256:00\n",
        }
        listed = {"docs/dependencies.md": "| `cmake` | 3 |\n| `gguf` | 1.2 |\n"}
        self.assertEqual(self.found(planted | listed), [])
        self.assertEqual(
            self.rules(planted | {"docs/dependencies.md": "`gguf` 1.1\n"}), ["dependencies"] * 2
        )


class AllowFile(TidyTest):
    def test_excuses_one_rule_in_one_file(self):
        planted = {
            "src/base/a.cc": "int live;\n// TODO\n",
            "tools/tidy/allow.txt": "# exceptions\nhidden-state src/base/a.cc: the reason\n",
        }
        self.assertEqual(self.rules(planted), ["unfinished"])

    def test_needs_a_reason(self):
        planted = {
            "src/base/a.cc": "int live;\n",
            "tools/tidy/allow.txt": "hidden-state src/base/a.cc:\n",
        }
        self.assertEqual(sorted(self.rules(planted)), ["allow", "hidden-state"])

    def test_stale(self):
        self.assertEqual(self.rules({"tools/tidy/allow.txt": "rooms src/x.cc: gone\n"}), ["allow"])


class FunctionFinder(unittest.TestCase):
    def names(self, code):
        return [(f.name, f.line, f.length) for f in scopes.scan(CppFile("a.cc", code).code)[0]]

    def test_shapes(self):
        for code, name in (
            ("void F() {}", "F"),
            ("Foo::Foo(int a) : a_(a), b_{2}, c_{} {\n}", "Foo::Foo"),
            ("Foo::~Foo() {}", "Foo::~Foo"),
            ("bool Foo::operator==(const Foo& o) const {}", "operator=="),
            ("template <typename T, int n = 2>\nT F(T t) noexcept {}", "F"),
            ("auto F() -> std::vector<int> {}", "F"),
            ("struct Foo F() {}", "F"),
            ("static const int* F(int x = 3) {}", "F"),
            ("TEST(Pool, Frees) {}", "TEST(Pool, Frees)"),
            ("void F(std::span<int> s = {}) const override {}", "F"),
            ("[[nodiscard]] int F() {}", "F"),
            ("auto kF = [](int x) {};", "lambda"),
        ):
            found = self.names(code)
            self.assertEqual(len(found), 1, code)
            self.assertEqual(found[0][0], name, code)

    def test_not_functions(self):
        for code in (
            "namespace a::b {}",
            "class A final : public B<int(int)> {};",
            "enum class E : int { kA };",
            "constexpr int kA[] = {1, 2};",
            "struct alignas(64) A {};",
            'extern "C" {}',
            "std::vector<int> v{1, 2};",
            "#define F() \\\n  {}\n",
            "// void F() {}",
            'const char* k = R"x(void F() {)x";',
        ):
            self.assertEqual(self.names(code), [], code)

    def test_nested(self):
        code = "namespace a {\nclass B {\n public:\n  B() : c_{1} {\n  }\n"
        code += "  int d() { return 1'000; }\n};\n"
        code += "int E() {\n  auto f = [] {\n  };\n  struct G { void h() {} };\n}\n}\n"
        self.assertEqual([name for name, _, _ in self.names(code)], ["B", "d", "E"])
        self.assertEqual([line for _, line, _ in self.names(code)], [4, 6, 8])
        self.assertEqual([length for _, _, length in self.names(code)], [2, 1, 5])


if __name__ == "__main__":
    unittest.main()
