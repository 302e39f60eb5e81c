#!/usr/bin/env bash
# Takes the mechanisms that keep a sign-in alive out of the source, one by one, and fails where the tests do not notice.
#
#   tests/mutations.sh            all of them; minutes, and therefore no part of tests/run.sh
#   tests/mutations.sh NAME...    these
#
# Works on a copy of the tree. What is built stays in target/mutations, or in FINMCP_MUTATIONS_TARGET.

set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root=$PWD
readonly renewal=src/credential/renewal.rs
readonly lock=src/disk/lock.rs
export CARGO_TARGET_DIR=${FINMCP_MUTATIONS_TARGET:-$root/target/mutations}

# What nextest says of tests that fail; anything else, such as a build that fails, is no answer.
readonly tests_failed=100

readonly in_process='binary(token_source)'
readonly processes='test(=stress::t065_many_processes_renew_each_token_once)'
readonly under_fire='test(=stress::t070_t072_only_a_kill_in_the_window_loses_a_sign_in)'

readonly mutations=(lock reload adopt compare save-before-use proof lineage settle fail-closed no-locks free-reading)

# Each takes out one mechanism, and says with which tests that must be seen: each of the filters by itself.

# One lock for all.
mutate_lock() {
    replace "$renewal" 'Lock::acquire(&self.parts.locks, &self.entry, LOCK_DEADLINE)' \
        'Lock::acquire(&self.parts.locks, &format!("{}-{}-{:p}", self.entry, std::process::id(), self), LOCK_DEADLINE)'
    filters=("$in_process" "$processes")
}

# What was read before the wait for the lock is read again.
mutate_reload() {
    replace "$renewal" '// While we waited somebody may have done it.
        let stored = self.load().await?;' ''
    filters=("$in_process" "$processes")
}

# Whoever waited takes what somebody else has renewed meanwhile.
mutate_adopt() {
    replace "$renewal" '// While we waited somebody may have done it.
        let stored = self.load().await?;
        if let Some(token) = self.adopt(need, stored.as_ref()) {' '
        let stored = self.load().await?;
        if let Some(token) = self.adopt(need, stored.as_ref()).filter(|_| false) {'
    filters=("$in_process" "$processes")
}

# A refusal clears only what was refused.
mutate_compare() {
    replace "$renewal" 'stored.generation != refused.generation' 'stored.generation == u64::MAX'
    filters=("$in_process")
}

# What is renewed is stored before anybody uses it.
mutate_save-before-use() {
    replace "$renewal" 'match self.save(&renewed).await {' '
        let (account, later) = (self.clone(), renewed.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = account.save(&later).await;
        });
        if renewed.generation > 0 {
            return token;
        }
        match self.save(&renewed).await {'
    filters=("$in_process" "$processes")
}

# The store is proven to take something before the refresh token is spent.
mutate_proof() {
    replace "$renewal" 'self.save(&credential).await?;
                    // Without a scope' '// Without a scope'
    filters=("$in_process")
}

# What could not be saved belongs to the record that it was made of.
mutate_lineage() {
    replace "$renewal" 'refresh_token.is_some_and(|token| token.same_as(&self.spent))' \
        '(refresh_token.is_none() || !self.spent.expose().is_empty())'
    filters=("$in_process")
}

# A process that is told to end sees the renewal to its end.
mutate_settle() {
    replace "$renewal" 'let _ = flight.await;' 'drop(flight);'
    filters=("$in_process" "$under_fire")
}

# Without the lock nothing is done.
mutate_fail-closed() {
    replace "$lock" 'return Err(LockError::TimedOut(deadline))' 'return Ok(Self { file })'
    filters=("$in_process")
}

# Where nothing can be locked nothing is done.
mutate_no-locks() {
    replace "$lock" 'return Err(private_folder::failed("lock", &path)(error).into())' \
        'return Ok({ drop(error); Self { file } })'
    filters=("$in_process")
}

# What is stored is read and used without the lock.
mutate_free-reading() {
    replace "$renewal" '// What another process has saved is there to be used, and reading it needs no lock.' \
        'drop(self.lock().await?);'
    filters=("$in_process")
}

fail() {
    printf 'tests/mutations.sh: %s\n' "$*" >&2
    exit 1
}

# Puts $3 in the place of $2 in the file $1, where it must be exactly once.
replace() {
    local text rest
    text=$(<"$1")
    rest=${text#*"$2"}
    [ "$rest" != "$text" ] || fail "$mutation no longer applies: $1 has no: $2"
    [ "${rest#*"$2"}" = "$rest" ] || fail "$mutation is not unique: $1 has more than one: $2"
    printf '%s\n' "${text%%"$2"*}$3$rest" >"$1"
}

# Runs the tests that the filter $1 picks, up to the first that fails; the exit code is $outcome.
run() {
    outcome=0
    cargo nextest run --locked --fail-fast --failure-output final --status-level fail --final-status-level none \
        --hide-progress-bar --test token_source --test it -E "$1" >"$log" 2>&1 || outcome=$?
}

main() {
    local mutation filter filters outcome log survivors=0 chosen=("$@")
    [ "$#" -gt 0 ] || chosen=("${mutations[@]}")
    for mutation in "${chosen[@]}"; do
        [ "$(type -t "mutate_$mutation")" = function ] || fail "there is no $mutation; there are: ${mutations[*]}"
    done

    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    log=$copy/log
    git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -cf - | tar -xf - -C "$copy"
    cd "$copy"
    cp -r src pristine

    run "$in_process | $processes | $under_fire"
    [ "$outcome" = 0 ] || { cat "$log"; fail "the tests fail as it is"; }
    printf '%-16s %s\n' "as it is" "the tests pass"

    for mutation in "${chosen[@]}"; do
        "mutate_$mutation"
        for filter in "${filters[@]}"; do
            run "$filter"
            case $outcome in
                "$tests_failed") printf '%-16s noticed by %s\n' "$mutation" "$(first_failure)" ;;
                0)
                    printf '%-16s NOT NOTICED by %s\n' "$mutation" "$filter"
                    survivors=$((survivors + 1))
                    ;;
                *)
                    cat "$log"
                    fail "$mutation: the tests did not run"
                    ;;
            esac
        done
        cp -r pristine/. src
    done
    [ "$survivors" = 0 ] || fail "$survivors times the tests did not notice"
}

# The first test in the log that failed.
first_failure() {
    sed -n 's/^ *\(FAIL\|TIMEOUT\|SIGABRT\) \[[^]]*\] *\(([^)]*)\)\? *//p' "$log" | head -n 1
}

main "$@"
