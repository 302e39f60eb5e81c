//! The lock: held, killed, stopped, slow, or not to be had.

use super::*;

/// t073: another process holds the lock and does not release it: nothing is sent without it.
#[tokio::test(start_paused = true)]
async fn t073_without_the_lock_nothing_is_sent() {
    let machine = Machine::new().await;
    let source = machine.process();
    let _held =
        Lock::acquire(&machine.folder.path().join("locks"), &machine.identity.entry(), Duration::ZERO).await.unwrap();
    // While the old token lives it is used.
    machine.clock.advance(3570.0);
    assert_eq!(token(&source).await.unwrap(), "access-0");
    machine.clock.advance(30.0);
    assert!(matches!(token(&source).await, Err(TokenSourceError::Lock(_))));
    assert_eq!(machine.requests(), 0);
}

/// Not a test: a process that holds a lock for as long as it lives.
#[test]
#[ignore = "runs inside of the other tests"]
fn holder() {
    let Some(locks) = std::env::var_os("HOLDER_LOCKS") else { return };
    let entry = std::env::var("HOLDER_ENTRY").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _held = runtime.block_on(Lock::acquire(locks.as_ref(), &entry, Duration::ZERO)).unwrap();
    println!("\nheld");
    // Until it is killed, or its test is gone.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// [`holder`], which ends with its test.
struct Holder {
    child: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(machine: &Machine) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "security::token_source::locks::holder", "--ignored", "--nocapture"])
            .env("HOLDER_LOCKS", machine.folder.path().join("locks"))
            .env("HOLDER_ENTRY", machine.identity.entry())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "held"));
        Self { child, _output: lines }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// t072: the holder of the lock is killed: the next has it at once, with nothing to clear away.
#[tokio::test]
async fn t072_a_killed_holder_leaves_no_lock() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    let mut holder = Holder::start(&machine);
    let call = tokio::spawn(async move { token(&source).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!call.is_finished());
    holder.child.kill().unwrap();
    let killed = Instant::now();
    assert_eq!(call.await.unwrap().unwrap(), "access-1");
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
}

/// t072: the holder of the lock is stopped, and may go on at any time: no other process spends anything.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn t072_a_stopped_holder_keeps_the_lock() {
    use rustix::process::{Pid, Signal, kill_process};
    let machine = Machine::new().await;
    machine.expire();
    let holder = Holder::start(&machine);
    kill_process(Pid::from_child(&holder.child), Signal::STOP).unwrap();
    for outcome in join_all([machine.process(), machine.process()].iter().map(token)).await {
        assert!(matches!(outcome, Err(TokenSourceError::Lock(_))));
    }
    assert_eq!(machine.requests(), 0);
}

/// t074: a server that takes its time, almost too long: no lock is too old, and one request is enough.
#[tokio::test(start_paused = true)]
async fn t074_a_slow_holder_is_waited_for() {
    let machine = Machine::new().await;
    machine.expire();
    let gate = machine.holds();
    let answer = tokio::spawn(async move {
        gate.arrived().await;
        tokio::time::sleep(DOCUMENT_DEADLINE - Duration::from_secs(2)).await;
        gate.open();
    });
    let sources: Vec<_> = (0..5).map(|_| machine.process()).collect();
    for outcome in join_all(sources.iter().map(token)).await {
        assert_eq!(outcome.unwrap(), "access-1");
    }
    answer.await.unwrap();
    assert_eq!((machine.requests(), machine.vendor.replays()), (1, 0));
}

/// t076: the lock is on a separate file. While one process holds it others read what is stored, and use what has been
/// renewed.
#[tokio::test]
async fn t076_a_held_lock_does_not_prevent_reading() {
    let machine = Machine::new().await;
    let key = machine.folder.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let credentials = machine.folder.path().join("credentials");
    let store = Arc::new(FileStore::new(credentials.clone(), KeySource::KeyFile(key)));
    machine.process_with(store.clone()).sign_in(machine.credential.clone()).await.unwrap();
    let _holder = Holder::start(&machine);
    let reader = machine.process_with(store.clone());
    assert_eq!(token(&reader).await.unwrap(), "access-0");
    machine.expire();
    let mut renewed = Credential { generation: 2, ..machine.credential.clone() };
    let tokens = renewed.tokens.as_mut().unwrap();
    tokens.access_token = Secret::new("renewed".to_owned());
    tokens.expires_at = None;
    store.save(&machine.identity.entry(), renewed.to_payload().unwrap()).await.unwrap();
    assert_eq!(token(&reader).await.unwrap(), "renewed");
    assert_eq!(machine.requests(), 0);
    let names = |folder: &std::path::Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_ne!(names(&credentials), names(&machine.folder.path().join("locks")));
}

/// t077: a file system that cannot lock, as some network homes: it is said, and nothing is sent.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn t077_without_locks_nothing_is_sent() {
    let machine = Machine::new().await;
    machine.expire();
    let process = machine.process();
    // In a separate runtime, whose threads for blocking calls start under the same rule.
    let asking = std::thread::spawn(move || {
        refuse_locks();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(token(&process)).unwrap_err()
    });
    let error = asking.join().unwrap();
    assert!(
        matches!(&error, TokenSourceError::Lock(error) if matches!(**error, LockError::Failed { .. })),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("could not lock "), "{error}");
    assert_eq!(machine.requests(), 0);
}

/// From now on the calls of flock(2) of this thread, and of those that it starts, end as they do on such a file system.
#[cfg(target_os = "linux")]
fn refuse_locks() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let number = if cfg!(target_arch = "x86_64") { 73 } else { 32 };
    let refused = SeccompAction::Errno(rustix::io::Errno::NOLCK.raw_os_error().cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new([(number, Vec::new())].into(), SeccompAction::Allow, refused, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}
