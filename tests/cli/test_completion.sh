#!/usr/bin/env bash
# The completion scripts in the shells that they are for.
set -euo pipefail
# shellcheck source=tests/cli/common.sh
# shellcheck source=tests/cli/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
for shell in bash zsh fish; do
  rnx completion "$shell" >"$scratch/$shell"
done

# In bash with COMP_WORDS as readline makes them: '=' and ':' are words of their own. The last word is completed.
in_bash() {
  # shellcheck disable=SC2016
  bash --norc -c 'source "$1"; shift; COMP_WORDS=(rnx "$@"); COMP_CWORD=$#; _rnx; printf "%s\n" "${COMPREPLY[@]}"' \
    bash "$scratch/bash" "$@" | paste -sd ' '
}
in_fish() {
  fish --no-config -c "source $scratch/fish; complete -C '$1'" | cut -f 1 | paste -sd ' '
}
# zsh completes only in a line that is edited: one in a terminal of its own, with Tab pressed. Prints the line as it is then.
cat >"$scratch/edit.zsh" <<'END'
zmodload zsh/zpty
zpty -b z zsh -f -i
seen=
# Until "$1" was shown
await() {
  local part tries
  for tries in {1..200}; do
    while zpty -r -t z part; do seen+=$part; done
    [[ $seen == *${~1}* ]] && return
    sleep 0.05
  done
}
zpty -w z "PS1=; unsetopt prompt_sp; stty cols 200; autoload -Uz compinit; compinit -D -u; source $1; bindkey '^I' complete-word; print RE''ADY"
await READY
# To the beginning of the line then, to make a command of it that prints it
zpty -w -n z "$2"$'\t\x01'"print -r -- LI''NE:"$'\r'
await $'\nLINE:*\n'
print -r -- ${${${seen##*$'\n'LINE:}%%$'\n'*}%%[[:space:]]#}
zpty -d z
END
in_zsh() {
  zsh -f "$scratch/edit.zsh" "$scratch/zsh" "$1" | tr -d '\r'
}

is 'bash: commands' 'remove rename resize restore' "$(in_bash volume re)"
is 'bash: options' '--status' "$(in_bash volume list --st)"
is 'bash: values' 'memory' "$(in_bash volume create x --type = m)"
is 'bash: limits' '--soft-size --soft-inodes' "$(in_bash volume resize data --soft)"
is 'bash: volumes to be measured' 'data data-old' "$(in_bash volume usage cache da)"
is 'bash: all values' 'filesystem memory' "$(in_bash volume create x --type =)"
is 'bash: volumes' 'data data-old' "$(in_bash volume rm da)"
is 'bash: jobs' 'train' "$(in_bash job logs -f '')"
is 'bash: bases' 'minimal' "$(in_bash run --base = mi)"
is 'bash: no words of the job' '' "$(in_bash run sh --)"
cd "$scratch"
touch variables.env
is 'bash: files' 'variables.env' "$(in_bash run --env-file va)"

is 'fish: commands' 'remove rename resize restore' "$(in_fish 'rnx volume re')"
is 'fish: values' '--type=memory' "$(in_fish 'rnx volume create x --type=m')"
is 'fish: volumes' 'data data-old' "$(in_fish 'rnx volume rm da')"
is 'fish: jobs' 'train' "$(in_fish 'rnx job logs -f ')"
is 'fish: files' 'variables.env' "$(in_fish 'rnx run --env-file va')"
is 'fish: no words of the job' '' "$(in_fish 'rnx run sh --')"

is 'zsh: commands' 'rnx volume' "$(in_zsh 'rnx vol')"
is 'zsh: values' 'rnx volume create x --type=memory' "$(in_zsh 'rnx volume create x --type=m')"
is 'zsh: volumes' 'rnx volume rm data' "$(in_zsh 'rnx volume rm da')"
is 'zsh: jobs' 'rnx job logs -f train' "$(in_zsh 'rnx job logs -f tr')"
is 'zsh: files' 'rnx run --env-file variables.env' "$(in_zsh 'rnx run --env-file va')"

kill "$daemon"
is 'without a daemon there are no names, and nothing is said' '' "$(in_bash volume rm da 2>&1)"
finish
