#!/usr/bin/env bash
# Mutation tests: removes, one by one, the mechanisms that keep a sign-in alive and those that prevent duplicate calls,
# and fails if the tests do not notice.
#
#   tests/mutations.sh            all of them; takes minutes, so tests/run.sh does not run it
#   tests/mutations.sh NAME...    only these
#   tests/mutations.sh --check    only checks that each mutation still applies; part of tests/run.sh
#
# Works on a copy of the tree. The build stays in target/mutations, or in FINMCP_MUTATIONS_TARGET.

set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root=$PWD
readonly renewal=src/credential/renewal.rs
readonly lock=src/disk/lock.rs
readonly attempts=src/mcp/attempts.rs
readonly message=src/mcp/message.rs
export CARGO_TARGET_DIR=${FINMCP_MUTATIONS_TARGET:-$root/target/mutations}

# nextest's exit code for failed tests. Any other code, for example of a failed build, says nothing about the mutation.
readonly tests_failed=100

# The tests that must notice: which target to build, and which tests to run.
readonly in_process='--test it -E test(/^security::token_source::/)'
readonly processes='--test it -E test(=security::stress::t065_many_processes_renew_each_token_once)'
readonly under_fire='--test it -E test(=security::stress::t070_t072_only_a_kill_in_the_window_loses_a_sign_in)'
readonly dead_sign_ins='--test it -E test(=bridge::attempts::a2_an_ended_sign_in_is_requested_once)'
readonly law='--lib -E test(/^mcp::attempts::/)'
readonly edits='--lib -E test(/^mcp::message::/)'
readonly any_answers='--test it -E test(/^bridge::attempts::a1_(many|any)_/)'

readonly mutations=(lock reload adopt compare save-before-use proof lineage settle fail-closed no-locks free-reading
    refused-token dead-grant dead-grant-read dead-grant-adopted total-sent total-admitted reason doubt edited)

# Each function removes one mechanism and names the tests that must notice, each filter separately.

# All processes use the same lock.
mutate_lock() {
    replace "$renewal" 'Lock::acquire(&self.parts.locks, &self.entry, LOCK_DEADLINE)' \
        'Lock::acquire(&self.parts.locks, &format!("{}-{}-{:p}", self.entry, std::process::id(), self), LOCK_DEADLINE)'
    filters=("$in_process" "$processes")
}

# After waiting for the lock, the credential is read again.
mutate_reload() {
    replace "$renewal" '// Another process may have renewed it meanwhile.
        let stored = self.load().await?;' ''
    filters=("$in_process" "$processes")
}

# A process that waited uses the token that another one has renewed meanwhile.
mutate_adopt() {
    replace "$renewal" '// Another process may have renewed it meanwhile.
        let stored = self.load().await?;
        if let Some(token) = self.adopt(need, stored.as_ref()) {' '
        let stored = self.load().await?;
        if let Some(token) = self.adopt(need, stored.as_ref()).filter(|_| false) {'
    filters=("$in_process" "$processes")
}

# A refusal clears only the refused credential.
mutate_compare() {
    replace "$renewal" 'stored.generation != refused.generation' 'stored.generation == u64::MAX'
    filters=("$in_process")
}

# A renewed token is stored before it is used.
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

# A write to the store is tested before the refresh token is used.
mutate_proof() {
    replace "$renewal" 'self.save(&credential).await?;
                    // Without a scope' '// Without a scope'
    filters=("$in_process")
}

# An unsaved renewal belongs to the record that it renewed.
mutate_lineage() {
    replace "$renewal" 'refresh_token.is_some_and(|token| token.same_as(&self.spent))' \
        '(refresh_token.is_none() || !self.spent.expose().is_empty())'
    filters=("$in_process")
}

# A process that is told to exit finishes the renewal first.
mutate_settle() {
    replace "$renewal" 'let _ = flight.await;' 'drop(flight);'
    filters=("$in_process" "$under_fire")
}

# Without the lock, nothing is renewed.
mutate_fail-closed() {
    replace "$lock" 'Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None)' \
        'Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(Some(Self { file }))'
    filters=("$in_process")
}

# If the file system cannot lock, nothing is renewed.
mutate_no-locks() {
    replace "$lock" 'return Err(private_folder::failed("lock", &path)(error).into())' \
        'return Ok({ drop(error); Some(Self { file }) })'
    filters=("$in_process")
}

# The stored token is read and used without the lock.
mutate_free-reading() {
    replace "$renewal" '// Another process may have saved a newer token; reading it needs no lock.' \
        'drop(self.lock().await?);'
    filters=("$in_process")
}

# A token that the server refused does not count as a sign-in, even if it has not expired.
mutate_refused-token() {
    replace "$renewal" 'self.state().refused.as_ref() == Some(&token);' 'false;'
    filters=("$in_process")
}

# A sign-in that the authorization server ended is stored as ended.
mutate_dead-grant() {
    replace "$renewal" 'end: Some(end), ..refused };' 'end: None, ..refused };'
    filters=("$in_process" "$dead_sign_ins")
}

# A sign-in stored as ended is not renewed.
mutate_dead-grant-read() {
    replace "$renewal" 'Some(Credential { end: Some(end), .. }) => {' 'Some(Credential { end: Some(end), .. }) if false => {'
    filters=("$in_process")
}

# The token of an ended sign-in is not used.
mutate_dead-grant-adopted() {
    replace "$renewal" 'stored.filter(|stored| stored.end.is_none())?;' 'stored?;'
    filters=("$in_process")
}

# The total number of sends is limited: `send` refuses more.
mutate_total-sent() {
    replace "$attempts" 'if record.sends >= SENDS_LIMIT {' 'if false {'
    filters=("$law")
}

# The total number of sends is limited: `admit` refuses more.
mutate_total-admitted() {
    replace "$attempts" 'if record.sends >= SENDS_LIMIT {' 'if false {'
    replace "$attempts" ' && self.sends < SENDS_LIMIT' ''
    filters=("$law" "$any_answers")
}

# The number of retries for each reason is limited.
mutate_reason() {
    replace "$attempts" ' && self.spent[reason as usize] < reason.limit()' ''
    filters=("$law")
}

# A message that the server may have executed is not sent again.
mutate_doubt() {
    replace "$attempts" '!self.may_have_run && ' ''
    filters=("$law" "$any_answers")
}

# An edited message keeps its record of attempts.
mutate_edited() {
    replace "$message" 'Some(Self { attempts, ..edited })' '{ drop(attempts); Some(edited) }'
    filters=("$edits")
}

fail() {
    printf 'tests/mutations.sh: %s\n' "$*" >&2
    exit 1
}

# Replaces $2 with $3 in the file $1, where it must occur exactly once.
replace() {
    local text rest
    text=$(<"$1")
    rest=${text#*"$2"}
    [ "$rest" != "$text" ] || fail "$mutation no longer applies: $1 has no: $2"
    [ "${rest#*"$2"}" = "$rest" ] || fail "$mutation is not unique: $1 has more than one: $2"
    printf '%s\n' "${text%%"$2"*}$3$rest" >"$1"
}

# Runs the tests that the filter $1 selects, up to the first failure. Sets $outcome to the exit code.
run() {
    local picked
    read -ra picked <<<"$1"
    outcome=0
    cargo nextest run --locked --fail-fast --failure-output final --status-level fail --final-status-level none \
        --hide-progress-bar "${picked[@]}" >"$log" 2>&1 || outcome=$?
}

main() {
    local mutation filter filters outcome log survivors=0 chosen=("$@")
    local -A all
    local check=''
    if [ "${1-}" = --check ]; then
        check=yes
        shift
        chosen=("$@")
    fi
    [ "$#" -gt 0 ] || chosen=("${mutations[@]}")
    for mutation in "${chosen[@]}"; do
        [ "$(type -t "mutate_$mutation")" = function ] || fail "there is no $mutation; there are: ${mutations[*]}"
    done

    # Always the same path, so that builds can be reused.
    copy=$CARGO_TARGET_DIR/tree
    rm -rf "$copy"
    mkdir -p "$copy"
    trap 'rm -rf "$copy"' EXIT
    log=$copy/log
    git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -cf - | tar -xmf - -C "$copy"
    cd "$copy"
    cp -r src pristine

    # Check that every mutation applies before building any.
    for mutation in "${chosen[@]}"; do
        "mutate_$mutation"
        for filter in "${filters[@]}"; do all[$filter]=; done
        cp -r pristine/. src
    done
    [ -z "$check" ] || return 0
    for filter in "${!all[@]}"; do
        run "$filter"
        [ "$outcome" = 0 ] || { cat "$log"; fail "the tests fail without a mutation: $filter"; }
    done
    printf '%-18s %s\n' "no mutation" "the tests pass"

    for mutation in "${chosen[@]}"; do
        "mutate_$mutation"
        for filter in "${filters[@]}"; do
            run "$filter"
            case $outcome in
                "$tests_failed") printf '%-18s noticed by %s\n' "$mutation" "$(first_failure)" ;;
                0)
                    printf '%-18s NOT NOTICED by %s\n' "$mutation" "$filter"
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
    [ "$survivors" = 0 ] || fail "$survivors mutations were not noticed"
}

# The first test in the log that failed.
first_failure() {
    sed -n 's/^ *\(FAIL\|TIMEOUT\|SIGABRT\) \[[^]]*\] *\(([^)]*)\)\? *//p' "$log" | head -n 1
}

main "$@"
