//! A browser that does what a test says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    eventually,
    sandbox::Sandbox,
    visitor::{Page, visit},
};

/// What the person in front of the browser does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Signs in and consents.
    Consents,
    /// Presses "deny".
    Denies,
    /// Never looks.
    Ignores,
}

/// A program set as `FINMCP_BROWSER`. It notes how it was started; a thread of the test then plays the person.
pub struct FakeBrowser {
    folder: PathBuf,
    pages: Arc<Mutex<Vec<Page>>>,
    closing: Arc<AtomicBool>,
    person: Option<thread::JoinHandle<()>>,
}

/// One start of the browser.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Its environment, as `env` prints it.
    pub environment: String,
}

impl FakeBrowser {
    /// Writes the program into the sandbox and points `FINMCP_BROWSER` at it.
    pub fn install(sandbox: &mut Sandbox, person: Person) -> Self {
        let folder = sandbox.watched();
        let program = folder.join("browser");
        // Everything is noted before the last name appears: who sees that one sees all.
        let script = format!(
            "#!/bin/sh\ncd '{}' || exit 1\nenv > \"$$.environment\"\nprintf '%s\\0' \"$@\" > \"$$.part\"\nmv \"$$.part\" \"$$.start\"\n",
            folder.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        sandbox.set("FINMCP_BROWSER", &program);

        let pages = Arc::new(Mutex::new(Vec::new()));
        let closing = Arc::new(AtomicBool::new(false));
        let thread = {
            let (folder, pages, closing) = (folder.clone(), Arc::clone(&pages), Arc::clone(&closing));
            thread::spawn(move || {
                let mut seen = 0;
                while !closing.load(Ordering::Relaxed) {
                    let starts = starts(&folder);
                    for start in starts.iter().skip(seen) {
                        if let ([url], true) = (start.arguments.as_slice(), person != Person::Ignores) {
                            browse(url, person, &pages);
                        }
                    }
                    seen = starts.len();
                    thread::sleep(Duration::from_millis(10));
                }
            })
        };
        Self { folder, pages, closing, person: Some(thread) }
    }

    /// Every start so far, oldest first.
    pub fn starts(&self) -> Vec<Start> {
        starts(&self.folder)
    }

    /// Every page seen so far: the consent page, and what finmcp's listener answered.
    pub fn pages(&self) -> Vec<Page> {
        self.pages.lock().unwrap().clone()
    }

    /// Waits for the page that finmcp shows at the end of a sign-in.
    pub fn last_page(&self) -> Page {
        eventually("the browser's last page", || {
            self.pages().into_iter().find(|page| page.header("location").is_none())
        })
    }
}

impl Drop for FakeBrowser {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(person) = self.person.take() {
            let _ = person.join();
        }
    }
}

/// Opens `url` and follows where it leads.
fn browse(url: &str, person: Person, pages: &Mutex<Vec<Page>>) {
    let consent = if person == Person::Denies { "deny" } else { "grant" };
    let mut next = url.to_owned();
    for _ in 0..10 {
        // A listener that closed in the meantime is the test's to notice.
        let Ok(page) = visit("GET", &next, &[("x-person", consent)], "") else { return };
        let target = page.header("location").map(str::to_owned);
        pages.lock().unwrap().push(page);
        match target {
            Some(target) => next = url::Url::parse(&next).unwrap().join(&target).unwrap().into(),
            None => return,
        }
    }
}

fn starts(folder: &std::path::Path) -> Vec<Start> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "start"))
        .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path))
        .collect();
    found.sort();
    let read = |path: PathBuf| {
        let arguments = fs::read_to_string(&path).unwrap();
        Start {
            arguments: arguments.split_terminator('\0').map(str::to_owned).collect(),
            environment: fs::read_to_string(path.with_extension("environment")).unwrap(),
        }
    };
    found.into_iter().map(|(_, path)| read(path)).collect()
}
