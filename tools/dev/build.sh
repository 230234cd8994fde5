# CMake and ninja. Sourced by ./dev.

# A compile of the server takes most of a GiB: as many jobs as cores, but one for every 1.5 GiB at
# most.
job_count() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ { print int($2 / 1572864) }' /proc/meminfo)
  [[ $memory -ge 1 ]] || memory=1
  echo $((cores < memory ? cores : memory))
}

check_preset() {
  local preset=$1 known
  known=$(cmake --list-presets -S "$ROOT" 2>/dev/null | sed -n 's/^ *"\(.*\)".*/\1/p')
  grep -qx -- "$preset" <<<"$known" ||
    usage_error "no preset is named '$preset'; there are: $(paste -sd' ' <<<"$known")"
}

# build_preset PRESET TARGET...: configures if needed and builds. Prints nothing on stdout.
build_preset() {
  local preset=$1 folder="$ROOT/build/$1" start=$SECONDS
  shift
  check_preset "$preset"
  # ninja sees changes of every CMake file but the presets.
  if [[ ! -f $folder/build.ninja ]] ||
    ! cmp -s "$ROOT/CMakePresets.json" "$folder/dev_presets.json"; then
    run_logged "configuring build/$preset" cmake -S "$ROOT" -B "$folder" --preset "$preset"
    cp "$ROOT/CMakePresets.json" "$folder/dev_presets.json"
  fi
  NINJA_STATUS='[%f/%t] ' ninja -C "$folder" -j "$(job_count)" "$@" 2>&1 | show_progress ||
    die "build/$preset: the build failed (above)"
  if [[ $PROGRESS_LINES -eq 0 ]]; then
    say "build/$preset is up to date"
  else
    say "built build/$preset ($((SECONDS - start)) s)"
  fi
}

quire_binary() { printf '%s/build/%s/apps/quire' "$ROOT" "$1"; }

build_quire() {
  install_all "$1"
  build_preset "$1" quire
}
