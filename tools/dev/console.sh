# Messages and long-running commands. Sourced by ./dev.
# Everything a person reads while waiting goes to stderr; stdout is for results.

say() { printf 'dev: %s\n' "$*" >&2; }

die() {
  printf 'dev: error: %s\n' "$*" >&2
  exit 1
}

usage_error() {
  printf 'dev: %s\n' "$*" >&2
  exit 2
}

# run_logged WHAT COMMAND...: runs a command with its output in .deps/log/, shows the seconds while
# it runs, and shows the end of the output if it fails.
run_logged() {
  local what=$1 log pid start=$SECONDS
  shift
  mkdir -p "$ROOT/.deps/log"
  log="$ROOT/.deps/log/$(date +%Y%m%d-%H%M%S)-$$-$RANDOM.log"
  "$@" </dev/null >"$log" 2>&1 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  if [[ -t 2 ]]; then
    while kill -0 "$pid" 2>/dev/null; do
      printf '\r\033[Kdev: %s ... %d s' "$what" $((SECONDS - start)) >&2
      sleep 0.2
    done
    printf '\r\033[K' >&2
  fi
  if ! wait "$pid"; then
    tail -n 20 "$log" >&2
    die "$what: failed; the whole output is in $log"
  fi
  trap - INT TERM
  rm -f "$log"
  say "$what ($((SECONDS - start)) s)"
}

# Turns ninja's lines into one line that moves on a terminal; lines that are not progress (warnings,
# errors) stay. Elsewhere the progress lines are printed as they come. Leaves their number in
# PROGRESS_LINES (./dev sets lastpipe, so that the end of a pipe runs in this shell).
show_progress() {
  PROGRESS_LINES=0
  local line width=100 moving=
  [[ -t 2 ]] && moving=yes && width=$(tput cols 2>/dev/null || echo 100)
  while IFS= read -r line || [[ -n $line ]]; do
    case $line in
      'ninja: Entering directory'* | 'ninja: no work to do.') ;;
      *'Re-checking globbed directories'* | *'Re-running CMake...' | '-- '*) ;;
      '['[0-9]*'/'[0-9]*']'*)
        PROGRESS_LINES=$((PROGRESS_LINES + 1))
        line=${line/Building CXX object /}
        line=${line/.dir\//: }
        if [[ -n $moving ]]; then
          printf '\r\033[K%s' "${line:0:width-1}" >&2
        else
          printf '%s\n' "$line" >&2
        fi
        ;;
      *) printf '%s%s\n' "${moving:+$'\r\033[K'}" "$line" >&2 ;;
    esac
  done
  [[ -z $moving ]] || printf '\r\033[K' >&2
}
