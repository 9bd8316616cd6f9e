#!/usr/bin/env bash
# docs/cli.md says what rnx takes, and the man pages are made without a warning. test_reference.sh PROGRAMS MAN SOURCE
set -euo pipefail
if ! "$1/cli_docs" markdown | diff -u "$3/docs/cli.md" -; then
  echo 'docs/cli.md is not current: build the target cli_docs_update' >&2
  exit 1
fi
for page in rnx rnx-run rnx-job rnx-volume rnx-audit; do
  warnings=$(LC_ALL=C.UTF-8 groff -man -Tutf8 -k -ww -z "$2/man1/$page.1" 2>&1)
  if [ -n "$warnings" ]; then
    printf '%s\n' "$warnings" >&2
    exit 1
  fi
done
