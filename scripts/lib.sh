# Shared by the scripts of this folder (sourced): --help, steps that all run, tools that get installed.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Prints the comment block at the head of the calling script, without the `#!` line and the `# `.
print_help() { sed -n '2,${/^#/!q;s/^# \{0,1\}//;p}' "$0"; }

failed_steps=()
# step NAME COMMAND…: runs it, says how long it took; a failure is remembered and the next step still runs.
step() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  if "$@"; then
    printf '== %s: ok in %d s\n' "$name" $((SECONDS - start))
  else
    printf '== %s: FAILED in %d s\n' "$name" $((SECONDS - start))
    failed_steps+=("$name")
  fi
}

# The script's last words: which steps failed, and the exit code that says so.
finish() {
  if ((${#failed_steps[@]})); then
    printf '\n%s: failed: %s\n' "$(basename "$0")" "${failed_steps[*]}"
    exit 1
  fi
  printf '\n%s: all steps passed in %d s\n' "$(basename "$0")" "$SECONDS"
}

# need COMMAND:PACKAGE…: installs Debian's PACKAGE for each COMMAND that is missing (as root), or says what to install.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  ((${#missing[@]})) || return 0
  if ((EUID == 0)) && command -v apt-get >/dev/null; then
    printf 'installing %s\n' "${missing[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    printf 'missing: install the packages %s\n' "${missing[*]}" >&2
    return 1
  fi
}

# House rules without building the crate: tests/tidy.rs has no dependency but std.
tidy() {
  mkdir -p target
  CARGO_MANIFEST_DIR=$PWD rustc --edition 2024 --test -o target/tidy tests/tidy.rs && RUST_BACKTRACE=0 ./target/tidy -q
}
