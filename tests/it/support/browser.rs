//! A browser that does what a test says.

use std::{
    collections::BTreeMap,
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
    sandbox::{Run, Sandbox},
    vendor::Vendor,
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
            self.pages().into_iter().find(|page| step(page, Person::Consents).is_none())
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

/// Runs `finmcp login URL` with `person` in front of the browser.
pub fn login(sandbox: &mut Sandbox, person: Person, url: &str, more: &[&str]) -> (Run, FakeBrowser) {
    let browser = FakeBrowser::install(sandbox, person);
    (sandbox.finmcp([&["login", url], more].concat()), browser)
}

/// A person who has signed in at `vendor`, and stays in front of the browser.
pub fn signed_in(vendor: &Vendor, more: &[&str]) -> (Sandbox, FakeBrowser) {
    let mut sandbox = Sandbox::new();
    let (run, browser) = login(&mut sandbox, Person::Consents, &vendor.url(), more);
    run.expect_success();
    (sandbox, browser)
}

/// What a person does who is shown `url` and consents; returns the pages that they see.
pub fn sign_in_at(url: &str) -> Vec<Page> {
    let pages = Mutex::default();
    browse(url, Person::Consents, &pages);
    pages.into_inner().unwrap()
}

/// Opens `url` and follows where it leads: redirects, and the forms of sign-in pages, with whatever cookies they set.
fn browse(url: &str, person: Person, pages: &Mutex<Vec<Page>>) {
    let consent = if person == Person::Denies { "deny" } else { "grant" };
    let mut cookies = Cookies::default();
    let mut next = Step { method: "GET", target: url.to_owned(), form: String::new() };
    for _ in 0..20 {
        let cookie = cookies.header(&next.target);
        let headers =
            [("x-person", consent), ("content-type", "application/x-www-form-urlencoded"), ("cookie", &cookie)];
        // A listener that closed in the meantime is the test's to notice.
        let Ok(page) = visit(next.method, &next.target, &headers, next.form) else { return };
        cookies.take(&next.target, &page);
        let step = step(&page, person);
        pages.lock().unwrap().push(page);
        match step {
            Some(step) => next = Step { target: join(&next.target, &step.target), ..step },
            None => return,
        }
    }
}

/// What a browser does next.
struct Step {
    method: &'static str,
    /// Relative to the page.
    target: String,
    form: String,
}

/// Where `page` leads: on its own, by the form that the person fills in, or by the link that cancels it.
fn step(page: &Page, person: Person) -> Option<Step> {
    if let Some(target) = page.header("location") {
        return Some(Step { method: "GET", target: target.to_owned(), form: String::new() });
    }
    let text = page.text();
    let (_, form) = text.split_once("<form")?;
    if person == Person::Denies {
        let (link, _) = text.split_once("[ Cancel ]")?;
        let link = &link[link.rfind("<a ")?..];
        return Some(Step { method: "GET", target: attribute(link, "href")?, form: String::new() });
    }
    let (form, _) = form.split_once("</form>")?;
    let (inputs, buttons) = form.split_once("<button").unwrap_or((form, ""));
    // The first button is the one that is pressed.
    let fields = inputs.split("<input").skip(1).chain([buttons]).filter_map(|input| {
        let input = input.split_once('>')?.0;
        Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_else(|| "user".to_owned())))
    });
    let fields = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Some(Step { method: "POST", target: attribute(form, "action").unwrap_or_default(), form: fields })
}

/// The value of an attribute in a tag, which must hold nothing that HTML escapes.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, value) = tag.split_once(&format!(" {name}=\""))?;
    Some(value.split_once('"')?.0.to_owned())
}

fn join(base: &str, target: &str) -> String {
    url::Url::parse(base).unwrap().join(target).unwrap().into()
}

/// Cookies by origin, path and name, with their values.
#[derive(Default)]
struct Cookies(BTreeMap<(String, String, String), String>);

impl Cookies {
    fn take(&mut self, url: &str, page: &Page) {
        let origin = url::Url::parse(url).unwrap().origin().ascii_serialization();
        for (_, cookie) in page.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let mut parts = cookie.split("; ");
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let path = parts.find_map(|part| part.strip_prefix("path=")).unwrap_or("/");
            self.0.insert((origin.clone(), path.to_owned(), name.to_owned()), value.to_owned());
        }
    }

    fn header(&self, url: &str) -> String {
        let url = url::Url::parse(url).unwrap();
        let origin = url.origin().ascii_serialization();
        let ours = self.0.iter().filter(|((of, path, _), value)| {
            *of == origin && url.path().starts_with(path.as_str()) && !value.is_empty()
        });
        ours.map(|((_, _, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
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
