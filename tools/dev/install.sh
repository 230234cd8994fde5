# Debian and PyPI packages. Sourced by ./dev. Nothing here runs twice: what is already there is left
# alone, and what is downloaded or unpacked gets its final name only when it is whole.

as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

debian_release() {
  # shellcheck source=/dev/null
  (. /etc/os-release 2>/dev/null && printf '%s-%s' "${ID:-other}" "${VERSION_ID:-any}") || true
}

# read_list FILE: its lines without comments and blanks.
read_list() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$1"; }

# Installs the Debian packages that are missing. Needs root or sudo only if some are.
install_debian_packages() {
  local release list package installed
  local -a wanted missing=()
  release=$(debian_release)
  list="$ROOT/tools/dev/packages/$release.txt"
  if [[ ! -f $list ]]; then
    say "no package list for $release; going on with what is installed (see tools/dev/packages/)"
    return
  fi
  mapfile -t wanted < <(read_list "$list")
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null) ||
    true
  for package in "${wanted[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "Debian packages to install: ${missing[*]}"
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || die "not root and no sudo; as root: apt-get install ${missing[*]}"
    sudo -v || die "sudo was refused; as root: apt-get install ${missing[*]}"
  fi
  run_logged "reading the package index" as_root apt-get update
  run_logged "installing ${#missing[@]} Debian packages" as_root \
    env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# file_key FILE...: a short name for the files' contents.
file_key() { cat "$@" | sha256sum | cut -c1-16; }

# The Python environment that downloads packages and holds the checkers; never used by quire itself.
ensure_venv() {
  local key
  key=$(file_key "$ROOT/tools/dev/pypi/source_tools.txt")
  [[ -e $ROOT/.deps/venv/.ready-$key ]] ||
    run_logged "making a Python environment for downloads" make_venv "$ROOT/.deps/venv" "$key"
}

make_venv() {
  local venv=$1 key=$2
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv" &&
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --require-hashes \
      -r "$ROOT/tools/dev/pypi/source_tools.txt" &&
    touch "$venv/.ready-$key"
}

# download_group GROUP: the packages of tools/dev/pypi/GROUP.txt into .deps/download/GROUP, sha256
# checked by pip.
download_group() {
  local list="$ROOT/tools/dev/pypi/$1.txt" folder="$ROOT/.deps/download/$1" key names
  key=$(file_key "$list")
  [[ ! -e $folder/.ready-$key ]] || return 0
  ensure_venv
  names=$(read_list "$list" | sed 's/ .*//' | paste -sd' ')
  run_logged "downloading $names from PyPI" fetch_list "$list" "$folder" "$key"
}

fetch_list() {
  local list=$1 folder=$2 key=$3
  rm -rf "$folder" "$folder.part" &&
    "$ROOT/.deps/venv/bin/pip" download --disable-pip-version-check --no-deps --require-hashes \
      --no-build-isolation --no-binary llama-cpp-python -r "$list" -d "$folder.part" &&
    touch "$folder.part/.ready-$key" &&
    mv "$folder.part" "$folder"
}

# What the build compiles of llama.cpp (MIT): the Jinja engine and the files it includes.
LLAMA_CPP_PACKAGE=llama_cpp_python-0.3.36
LLAMA_CPP_PATHS=(
  LICENSE
  common/jinja
  common/json.cpp
  common/json.h
  common/unicode.cpp
  common/unicode.h
)

ensure_sources() {
  local key
  key=$( (printf '%s\n' "${LLAMA_CPP_PATHS[@]}"; read_list "$ROOT/tools/dev/pypi/sources.txt") |
    sha256sum | cut -c1-16)
  [[ ! -e $ROOT/.deps/$LLAMA_CPP_PACKAGE/.ready-$key ]] || return 0
  download_group sources
  run_logged "unpacking the Jinja engine" unpack_sources "$ROOT/.deps/$LLAMA_CPP_PACKAGE" "$key"
}

unpack_sources() {
  local target=$1 key=$2
  rm -rf "$target" "$target.part" && mkdir -p "$target.part" &&
    tar -xzf "$ROOT/.deps/download/sources/$LLAMA_CPP_PACKAGE.tar.gz" -C "$target.part" \
      --strip-components=1 "${LLAMA_CPP_PATHS[@]/#/$LLAMA_CPP_PACKAGE/vendor/llama.cpp/}" &&
    touch "$target.part/.ready-$key" &&
    mv "$target.part" "$target"
}

# What kernels include of FlashInfer (Apache-2.0): its headers, and those of CUTLASS and CCCL beside
# them. For presets of the platform that has them.
FLASHINFER_PATHS=(
  'flashinfer/data/include/*'
  'flashinfer/data/cutlass/include/*'
  'flashinfer/data/cutlass/tools/util/include/*'
  'flashinfer/data/cccl/cub/cub/*'
  'flashinfer/data/cccl/libcudacxx/include/*'
  'flashinfer/data/cccl/thrust/thrust/*'
  'flashinfer_python-*.dist-info/licenses/*'
)

has_cuda_toolkit() { command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]]; }

ensure_flashinfer() {
  local key
  key=$( (printf '%s\n' "${FLASHINFER_PATHS[@]}"; read_list "$ROOT/tools/dev/pypi/flashinfer.txt") |
    sha256sum | cut -c1-16)
  [[ ! -e $ROOT/.deps/flashinfer/.ready-$key ]] || return 0
  download_group flashinfer
  run_logged "unpacking FlashInfer's headers" unpack_flashinfer "$ROOT/.deps/flashinfer" "$key"
}

unpack_flashinfer() {
  local target=$1 key=$2
  rm -rf "$target" "$target.part" && mkdir -p "$target.part" &&
    unzip -q "$ROOT"/.deps/download/flashinfer/flashinfer_python-*.whl "${FLASHINFER_PATHS[@]}" \
      -d "$target.part" &&
    mv "$target.part"/flashinfer/data/* "$target.part"/*.dist-info/licenses "$target.part/" &&
    rmdir "$target.part/flashinfer/data" "$target.part/flashinfer" "$target.part"/*.dist-info &&
    touch "$target.part/.ready-$key" &&
    mv "$target.part" "$target"
}

# The checkers of ./dev format and ./dev tidy.
ensure_checkers() {
  local key
  key=$(file_key "$ROOT/tools/dev/pypi/checkers.txt")
  ensure_venv
  [[ ! -e $ROOT/.deps/venv/.checkers-$key ]] || return 0
  run_logged "installing the style checkers" "$ROOT/.deps/venv/bin/pip" install \
    --disable-pip-version-check --no-deps --require-hashes -r "$ROOT/tools/dev/pypi/checkers.txt"
  touch "$ROOT/.deps/venv/.checkers-$key"
}

# What ./dev test builds the Python package with: .deps/python.
ensure_python_package_tools() {
  local key folder="$ROOT/.deps/python"
  key=$(file_key "$ROOT/tools/dev/pypi/python_package.txt")
  [[ ! -e $folder/.ready-$key ]] || return 0
  run_logged "making a Python environment for the operators' package" make_package_tools "$folder" \
    "$key"
}

make_package_tools() {
  local folder=$1 key=$2
  rm -rf "$folder"
  /usr/bin/python3 -m venv "$folder" &&
    "$folder/bin/pip" install --disable-pip-version-check --no-deps --require-hashes \
      -r "$ROOT/tools/dev/pypi/python_package.txt" &&
    touch "$folder/.ready-$key"
}

# install_all [PRESET]: everything that a build, of that preset, needs. One ./dev at a time.
install_all() {
  mkdir -p "$ROOT/.deps"
  exec 9>"$ROOT/.deps/lock"
  flock -n 9 || {
    say "another ./dev is installing; waiting for it"
    flock 9
  }
  install_debian_packages
  ensure_sources
  [[ ${1:-} != cuda-* ]] || ensure_flashinfer
  exec 9>&-
}
