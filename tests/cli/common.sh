# What the tests of rnx have in common; sourced. Arguments of a test: the directory of the programs.
# shellcheck shell=bash
programs=$(cd "$1" && pwd)
export PATH=$programs:$PATH
scratch=$(mktemp -d)
export JOBLET_SOCKET=$scratch/api.sock
daemon=
clean_up() {
  if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; fi
  rm -rf "$scratch"
}
trap clean_up EXIT

fake_daemon "$JOBLET_SOCKET" >"$scratch/ready" &
daemon=$!
for _ in $(seq 100); do
  if [ -s "$scratch/ready" ]; then break; fi
  sleep 0.05
done

failures=0
# is WHAT EXPECTED ACTUAL
is() {
  if [ "$2" != "$3" ]; then
    printf 'FAILED: %s\n  expected: %q\n  actual:   %q\n' "$1" "$2" "$3" >&2
    failures=$((failures + 1))
  fi
}
has() {
  case $3 in
    *"$2"*) ;;
    *) is "$1" "…$2…" "$3" ;;
  esac
}
# The rnx of this test that are still there: their environment names its socket
left() {
  local entry
  for entry in /proc/[0-9]*; do
    if [ "$(cat "$entry/comm" 2>/dev/null)" = rnx ] && tr '\0' '\n' 2>/dev/null <"$entry/environ" | grep -qxF "JOBLET_SOCKET=$JOBLET_SOCKET"; then
      tr '\0' ' ' <"$entry/cmdline"
    fi
  done 2>/dev/null
}
finish() {
  local leftover
  for _ in $(seq 50); do
    leftover=$(left)
    if [ -z "$leftover" ]; then break; fi
    sleep 0.1
  done
  is 'nothing runs on' '' "$leftover"
  [ "$failures" -eq 0 ] || exit 1
}
