#!/usr/bin/env bash
# docs/system-calls.md says what the tables say. test_reference.sh SYSCALL_TABLES PAGE
set -euo pipefail
if ! "$1" markdown | diff -u "$2" -; then
  echo 'docs/system-calls.md is not current: build the target syscall_docs_update' >&2
  exit 1
fi
