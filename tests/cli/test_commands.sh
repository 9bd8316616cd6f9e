#!/usr/bin/env bash
# rnx with its filter in force: jobs in the foreground and in terminals, logs, waits, progress. Needs no root.
# shellcheck disable=SC2016 # what is in single quotes is for the shells of jobs
set -euo pipefail
# shellcheck source=tests/cli/common.sh
# shellcheck source=tests/cli/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

status_of() {
  local status=0
  "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  echo "$status"
}
mkfifo "$scratch/quiet"
exec 9<>"$scratch/quiet" # a keyboard at which nobody types
# In a terminal of its own; what it shows, without carriage returns
in_terminal() {
  local words
  printf -v words '%q ' "$@"
  script -qec "$words" /dev/null <&9 | tr -d '\r'
}

is 'the status of a job is that of rnx' 7 "$(status_of rnx run sh -c 'exit 7')"
is 'a signal is 128 and its number' 143 "$(status_of rnx run sh -c 'kill -TERM $$')"
is 'stdin and stdout are the caller'"'"'s' hello "$(echo hello | rnx run cat)"
is 'a pipe can be opened again by anybody' 666 "$(rnx run stat -L -c %a /dev/stdout | cat)"
mkfifo -m 600 "$scratch/fifo"
cat "$scratch/fifo" >/dev/null &
rnx run true >"$scratch/fifo"
is 'a FIFO with a name is left alone' 600 "$(stat -c %a "$scratch/fifo")"
is 'a timeout is told' 0 "$(status_of rnx run sh -c true 'times out')"
is '… in words' 'rnx: the job was ended by its timeout' "$(cat "$scratch/err")"
is 'SIGKILL' 137 "$(status_of rnx run sh -c 'kill -KILL $$')"
has '… for want of memory' 'for want of memory' "$(cat "$scratch/err")"

printf '# one\nA=file\nB=file\n' >"$scratch/env"
is 'variables come from files, options and the caller' 'opt file own' \
  "$(C=own rnx run -e A=opt -e C --env-file "$scratch/env" sh -c 'echo $A $B $C')"
printf 'A=1\nwrong\n' >"$scratch/env"
is 'a file that is wrong is refused' 125 "$(status_of rnx run --env-file "$scratch/env" true)"
has '… with its line' "line 2 of $scratch/env" "$(cat "$scratch/err")"
is 'a file that is not there, too' 125 "$(status_of rnx run --env-file "$scratch/none" true)"

is 'a job has a terminal' yes "$(in_terminal rnx run -it sh -c 'test -t 0 && test -t 1 && echo yes')"
is 'its size and its name' '30 90 dumb' \
  "$(in_terminal sh -c 'stty rows 30 cols 90; TERM=dumb rnx run -t sh -c "echo \$(stty size) \$TERM"')"
is 'TERM can be another' vt52 "$(in_terminal rnx run -t -e TERM=vt52 sh -c 'echo $TERM')"
is 'the terminal is as it was' same \
  "$(in_terminal sh -c 'a=$(stty -g); rnx run -t true; [ "$a" = "$(stty -g)" ] && echo same')"
cat >"$scratch/killed" <<'END'
before=$(stty -g)
(sleep 0.7 && kill -TERM "$(cat "$1")") &
sh -c 'echo $$ >"$0"; exec rnx run -t sleep 20' "$1"
echo "$? $([ "$before" = "$(stty -g)" ] && echo same)"
END
is 'also after a signal, which the job gets' '143 same' "$(in_terminal sh "$scratch/killed" "$scratch/pid")"
is 'stdin that is no terminal is typed into the job' 'hello 5' \
  "$(echo hello | rnx run -t sh -c 'stty -echo; read -r x; cat; echo $x 5' | tr -d '\r' | tail -n 1)"
is 'a megabyte comes through' 1000000 "$(rnx run -t sh -c 'head -c 1000000 /dev/zero' </dev/null | wc -c)"
is 'a reader that goes away ends it' y "$(rnx run -t yes </dev/null 2>/dev/null | head -n 1 | tr -d '\r' || true)"

id=06365ce2f601cb14ec17a3885361d722
is 'a detached job is its id' "$id" "$(rnx run -d --name train sh)"
has 'or all of it for programs' '"state": "running"' "$(rnx run -d sh --format=json && rnx run -d --format=json sh)"
has 'a world is shown' 'Directory      /work' "$(rnx run --dry-run -e A=1 sh)"
has 'jobs are listed' "${id:0:12}  train" "$(rnx job list)"
is 'by id' "$id" "$(rnx job list -q)"
is 'waited for' 137 "$(rnx job wait train)"
has 'inspected' '"base": "minimal"' "$(rnx job inspect train --format=json)"
is 'signaled' train "$(rnx job kill -s HUP train)"
is 'forgotten' "$id" "$(rnx job prune)"
is 'or not yet' 1 "$(status_of rnx job remove train)"
is 'a log has two streams' $'one\ntwo\nthree' "$(rnx job logs train 2>"$scratch/err")"
is '… the other' wrong "$(cat "$scratch/err")"
is 'its end' three "$(rnx job logs --tail=1 --stdout train)"
is 'with times' '2023-11-14T22:13:20.000Z wrong' "$(rnx job logs --timestamps --stderr train 2>&1)"
is 'followed to the end of the job' $'one\ntwo\nthree\nlater' "$(rnx job logs -f train 2>/dev/null)"
has 'bases are listed' 'minimal  pids' "$(rnx base list)"

limits=(--memory 512MB --swap 1GB --pids 50 --cpus 1.5 --write-bps 10MB)
has 'a world has its limits' $'Memory         512.0 MiB\nSwap           1.0 GiB\nProcesses      50\nCPUs           1.5\n' \
  "$(rnx run --dry-run "${limits[@]}" sh)"
has '… of devices' $'Reads          not limited\nWrites         10.0 MiB/s\nDevices        8:0\n' "$(rnx run --dry-run "${limits[@]}" sh)"
has '… for programs' '"cpus": 1.5' "$(rnx run --dry-run "${limits[@]}" --format=json sh)"
has 'a job that is not limited says so' $'Processes      not limited\n' "$(rnx job inspect train)"
has '… and what it is limited to' '"memory_bytes": 1048576' "$(rnx job inspect train --format=json)"

# Without white space
json() {
  "$@" --format=json | tr -d ' \n'
}
io='{"read_bytes":null,"write_bytes":10485760,"read_operations":5,"write_operations":null}'
has 'a volume is made with limits' '"soft_size_bytes":1048576,"soft_inodes":7,"io":'"$io"',"no_swap":null}' \
  "$(json rnx volume create data --size=2MB --soft-size=1MB --soft-inodes=7 --write-bps=10MB --read-iops=5)"
has 'memory says whether it can be in swap' '"no_swap": true' "$(rnx volume create cache --size=1MB --type=memory --format=json)"
is 'a volume is resized' data "$(rnx volume resize data --size=3MB)"
resized=$(json rnx volume resize data --size=3MB --inodes=5 --soft-size=1MB --soft-inodes=4)
has '… as it was asked' '"size_bytes":3145728,' "$resized"
has '… in files' '"inodes":5,' "$resized"
has '… and with soft limits' '"soft_size_bytes":1048576,"soft_inodes":4,' "$resized"
has '… or without them' '"soft_size_bytes":null,' "$(json rnx volume resize data --soft-size=none)"
has '… which may take its time' 'resizing volume "big" … 1s' "$(in_terminal rnx volume resize big --size=9GB)"
is 'nothing to change is refused' 2 "$(status_of rnx volume resize data)"

is 'usage is of all volumes, also of those beyond one answer, but not of what is removed meanwhile' $'cache\ndata' \
  "$(rnx volume usage | tail -n +2 | cut -d ' ' -f 1)"
has '… in bytes' '"used_bytes":524288,"size_bytes":1048576,"soft_size_bytes":262144,"used_inodes":3,"inodes":null,"soft_inodes":null,"grace_ends":"2023-11-14T22:13:20Z","inodes_grace_ends":null}' \
  "$(json rnx volume usage data)"
has '… for people' $'data  512.0 KiB  256.0 KiB  1.0 MiB  50%   3       -     -     2023-11-14T22:13:20Z' "$(rnx volume usage data)"
is 'a name that is not found does not hide the others' 1 "$(status_of rnx volume usage data lost cache)"
is '… and is reported' 'rnx: there is no such volume' "$(cat "$scratch/err")"
has '… beside them' cache "$(cat "$scratch/out")"

is 'what is missing on a host is no failure' 0 "$(status_of rnx doctor)"
has '… but told' $'missing  backend btrfs' "$(cat "$scratch/out")"
has '… with what is lost' $'         lost: volumes of this backend\n         to get it: put the store on btrfs\n' "$(cat "$scratch/out")"
has '… and that all agree' 'Store, records and kernel agree' "$(cat "$scratch/out")"
has 'the host is looked at' "$(uname -r)" "$(rnx doctor)"
has 'all of it for programs' '"differences":[],"more_differences":false,"compared":true}' "$(json rnx doctor)"
for subject in kernel namespaces uidsofjobs SELinux backendbtrfs; do
  has "… also $subject" "{\"subject\":\"$subject\",\"ok\":" "$(json rnx doctor)"
done
# The daemon here has nobody below it, and jobs' uids are nobody's
has 'daemons that are not there are not taken for confined ones' "process $daemon, which listens" "$(rnx doctor)"
touch "$JOBLET_SOCKET.different"
is 'differences are a failure' 1 "$(status_of rnx doctor)"
has '… and told' $'Store, records and kernel differ:\n- one volume is not in the store' "$(cat "$scratch/out")"
rm "$JOBLET_SOCKET.different"
is 'without a daemon the host is looked at all the same' 1 "$(status_of rnx doctor --socket="$scratch/none")"
has '… as far as it can be' 'the daemon did not say' "$(cat "$scratch/out")"
has '… which is told' 'the daemon could not be asked' "$(cat "$scratch/out")"
has '… and why not further' 'no daemon was started' "$(cat "$scratch/err")"

is 'nobody is told about progress where there is no terminal' data "$(rnx volume remove data --now --wait 2>&1)"
has 'in a terminal one is' 'removing volume "data" … 1s' "$(in_terminal rnx volume remove data --now --wait)"
has 'also of a job that is stopped' 'stopping job "train" … 1s' "$(in_terminal rnx job stop train)"
finish
