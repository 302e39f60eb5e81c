//! A desktop that no variable names, as AI clients leave it: a real message bus, with stand-ins of its portal and of the
//! user's service manager. `tests/run.sh` installs the bus.

use std::{
    collections::HashMap,
    future::pending,
    io::{BufRead as _, BufReader},
    os::unix::net::UnixListener,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::json;
use zbus::{
    blocking::{Connection, connection::Builder},
    fdo, interface,
    message::Header,
    zvariant::{OwnedObjectPath, OwnedValue, Value},
};

use crate::{
    platforms::keychain::BUS,
    support::{
        PATIENCE,
        browser::{FakeBrowser, Person, sign_in_at},
        eventually,
        sandbox::Sandbox,
        serve::Serve,
        vendor::{Script, Vendor},
    },
};

const PORTAL: &str = "org.freedesktop.portal.Desktop";

/// A message bus. Dropping it ends it.
struct Bus {
    process: Child,
    address: String,
}

impl Bus {
    /// Starts one, and has the processes of the sandbox find it. A bus that starts a portal on demand has a program for that
    /// which only notes that it was started.
    fn start(sandbox: &mut Sandbox, on_demand: Option<&str>) -> Self {
        let services = sandbox.watched().join("services");
        std::fs::create_dir(&services).unwrap();
        if let Some(program) = on_demand {
            let service = format!("[D-BUS Service]\nName={PORTAL}\nExec=/bin/sh -c '{program}'\n");
            std::fs::write(services.join("portal.service"), service).unwrap();
        }
        let configuration = BUS.replace("@PATH@", &sandbox.watched().join("bus").display().to_string());
        let configuration = configuration
            .replace("</busconfig>", &format!("  <servicedir>{}</servicedir>\n</busconfig>", services.display()));
        let mut command = sandbox.command("dbus-daemon");
        command.args(["--nofork", "--nopidfile", "--print-address=1"]);
        command.arg(format!("--config-file={}", sandbox.give("bus.conf", configuration).display()));
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dbus-daemon: {error}; run this test by tests/run.sh"));
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim_end().to_owned();
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", &address);
        // What the SDKs pass on, besides HOME and PATH.
        for (name, value) in [("SHELL", "/bin/sh"), ("TERM", "xterm"), ("USER", "u"), ("LOGNAME", "u")] {
            sandbox.set(name, value);
        }
        Self { process, address }
    }

    /// A portal on it that answers so.
    fn portal(&self, answer: Answer) -> Portal {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let desktop = OpenUri { opened: opened.clone(), answer };
        let connection = Builder::address(&self.address[..])
            .and_then(|builder| builder.serve_at("/org/freedesktop/portal/desktop", desktop))
            .and_then(|builder| builder.name(PORTAL))
            .and_then(Builder::build)
            .unwrap();
        Portal { opened, _connection: connection }
    }

    /// The user's service manager on it, with these variables.
    fn manager(&self, environment: &[&str]) -> Connection {
        let environment = environment.iter().map(|variable| (*variable).to_owned()).collect();
        Builder::address(&self.address[..])
            .and_then(|builder| builder.serve_at("/org/freedesktop/systemd1", Manager { environment }))
            .and_then(|builder| builder.name("org.freedesktop.systemd1"))
            .and_then(Builder::build)
            .unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A desktop's portal, and what it was asked to open.
struct Portal {
    opened: Arc<Mutex<Vec<String>>>,
    _connection: Connection,
}

impl Portal {
    fn opened(&self) -> Vec<String> {
        self.opened.lock().unwrap().clone()
    }
}

/// How the portal answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It opens the address.
    Opens,
    /// It asks the person which browser to open, who does not answer yet.
    Asks,
    /// It takes the request, and fails.
    Fails,
    /// The person closes its question.
    IsClosed,
    /// It takes no such request.
    Refuses,
    /// It does not answer.
    Hangs,
}

struct OpenUri {
    opened: Arc<Mutex<Vec<String>>>,
    answer: Answer,
}

#[interface(name = "org.freedesktop.portal.OpenURI")]
impl OpenUri {
    #[zbus(name = "OpenURI")]
    async fn open_uri(
        &self,
        parent_window: String,
        uri: String,
        _options: HashMap<String, OwnedValue>,
        #[zbus(connection)] connection: &zbus::Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<OwnedObjectPath> {
        assert_eq!(parent_window, "");
        self.opened.lock().unwrap().push(uri);
        let request = OwnedObjectPath::try_from("/org/freedesktop/portal/desktop/request/t/1").unwrap();
        let code = match self.answer {
            Answer::Opens => 0_u32,
            Answer::IsClosed => 1,
            Answer::Fails => 2,
            Answer::Asks => return Ok(request),
            Answer::Refuses => return Err(fdo::Error::AccessDenied("no".to_owned())),
            Answer::Hangs => pending().await,
        };
        // The answer may well be there before its name is.
        let (caller, details) = (header.sender().unwrap().to_owned(), HashMap::<&str, Value<'_>>::new());
        let body = (code, details);
        connection
            .emit_signal(Some(caller), request.as_ref(), "org.freedesktop.portal.Request", "Response", &body)
            .await
            .unwrap();
        Ok(request)
    }
}

struct Manager {
    environment: Vec<String>,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    #[zbus(property)]
    fn environment(&self) -> Vec<String> {
        self.environment.clone()
    }
}

/// The system's opener, in front of all others on `PATH`. It notes how it is started, and shows nothing.
fn opener(sandbox: &mut Sandbox) -> FakeBrowser {
    let browser = FakeBrowser::install(sandbox, Person::Ignores);
    std::fs::rename(sandbox.watched().join("browser"), sandbox.watched().join("xdg-open")).unwrap();
    sandbox.unset("FINMCP_BROWSER");
    let path = std::env::var("PATH").unwrap();
    sandbox.set("PATH", format!("{}:{path}", sandbox.watched().display()));
    browser
}

fn auto(sandbox: &Sandbox, vendor: &Vendor) -> Serve {
    let mut serve = sandbox.serve([&vendor.url()[..], "--sign-in", "auto"]);
    serve.initialize();
    serve
}

/// The portal shows the page where there is one, be it started on demand: of a bridge that opens browsers, of one
/// with the tool, and of `login`. It is asked once, for the one address.
#[test]
fn b8_the_portal_opens_the_page() {
    for (answer, on_demand) in [(Answer::Opens, false), (Answer::Asks, false), (Answer::Opens, true)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let opener = opener(&mut sandbox);
        let started = sandbox.watched().join("started");
        let program = format!("touch {}; sleep 60", started.display());
        let bus = Bus::start(&mut sandbox, on_demand.then_some(&program));
        let now = (!on_demand).then(|| bus.portal(answer));

        let mut serve = auto(&sandbox, &vendor);
        let call = serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
        let portal = now.unwrap_or_else(|| {
            eventually("the portal's start", || started.exists().then_some(()));
            bus.portal(answer)
        });
        let page = eventually("the portal", || portal.opened().first().cloned());
        assert!(page.starts_with(&vendor.at("/authorize?")), "{page}");
        sign_in_at(&page);
        assert_eq!(serve.answer_to(&call).result()["content"][0]["text"], "hi", "{answer:?}");
        assert_eq!(portal.opened().len(), 1, "{answer:?}");

        sandbox.finmcp(["logout", &vendor.url()]).expect_success();
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.request("tools/list", json!({})).result();
        let result = serve.call("finmcp_sign_in", json!({})).result();
        let text = result["content"][0]["text"].as_str().unwrap();
        let pages = portal.opened();
        assert!(pages.len() == 2 && text.contains(&pages[1]) && text.contains("window was opened"), "{text}");
        sign_in_at(&pages[1]);
        serve.incoming("notifications/tools/list_changed");
        drop(serve);

        let mut login = sandbox.start(["login", &vendor.url()]);
        sign_in_at(&eventually("the portal", || portal.opened().get(2).cloned()));
        assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());
        assert!(opener.starts().is_empty(), "{answer:?}");
    }
}

/// Without a portal, or with one that does not do it, the system's opener is started on the display that the user's service
/// manager knows; with that display's variables and no others.
#[test]
fn b8_the_service_manager_knows_the_display() {
    for portal in [None, Some(Answer::Refuses), Some(Answer::Fails), Some(Answer::Hangs)] {
        for display in ["DISPLAY=:7", "WAYLAND_DISPLAY=wayland-7"] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
            let opener = opener(&mut sandbox);
            let bus = Bus::start(&mut sandbox, None);
            let portal = portal.map(|answer| bus.portal(answer));
            let others = ["LD_PRELOAD=/evil.so", "PATH=/evil", "BROWSER=/evil", "XAUTHORITY=/run/x"];
            let _manager = bus.manager(&[&[display], &others[..]].concat());
            let mut serve = auto(&sandbox, &vendor);
            let call = serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
            let start = eventually("the system's opener", || opener.starts().first().cloned());
            let has = |line: &str| start.environment.lines().any(|own| own == line);
            assert!(has(display) && has("XAUTHORITY=/run/x"), "{}", start.environment);
            assert!(!start.environment.contains("evil"), "{}", start.environment);
            assert_eq!(start.arguments.len(), 1);
            sign_in_at(&start.arguments[0]);
            assert_eq!(serve.answer_to(&call).result()["content"][0]["text"], "hi");
            assert_eq!(opener.starts().len(), 1);
            assert!(portal.is_none_or(|portal| portal.opened().len() == 1));
        }
    }
}

/// Where nothing shows the page finmcp does not wait: the client is told what to run, and `login` exits with 4. Nothing
/// is registered for a sign-in that cannot happen.
#[test]
fn b8_without_a_desktop_a_sign_in_does_not_wait() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let opener = opener(&mut sandbox);
    let command = format!("finmcp login {}", vendor.url());
    let refused = |sandbox: &Sandbox, registrations: usize| {
        let error = auto(sandbox, &vendor).call("echo", json!({"message": "hi"})).error();
        assert_eq!(error["code"], -31004, "{error}");
        assert!(error["message"].as_str().unwrap().contains(&command), "{error}");
        assert_eq!(vendor.records_at("/register").len(), registrations);
        let url = vendor.url();
        let mut serve = sandbox.serve([&url]);
        serve.initialize();
        let result = serve.call("finmcp_sign_in", json!({})).result();
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        assert!(text.contains("/authorize?") && !text.contains("window"), "{text}");
        vendor.records_at("/register").len()
    };
    // No bus at all; a bus with nothing on it; one whose service manager knows no display.
    let registered = refused(&sandbox, 0);
    sandbox.finmcp(["login", &vendor.url()]).expect_code(4).expect_stderr(&["no display", &command]);
    let bus = Bus::start(&mut sandbox, None);
    let registered = refused(&sandbox, registered);
    let _manager = bus.manager(&["PATH=/bin", "DISPLAY=", "XAUTHORITY=/run/x"]);
    let registered = refused(&sandbox, registered);
    // A portal that cannot be started.
    sandbox.finmcp(["login", &vendor.url()]).expect_code(4);
    drop(bus);
    // A bus that takes connections and never answers.
    let path = sandbox.watched().join("silent");
    let listener = UnixListener::bind(&path).unwrap();
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", path.display()));
    refused(&sandbox, registered);
    sandbox.finmcp(["login", &vendor.url()]).expect_code(4);
    drop(listener);
    assert!(opener.starts().is_empty());
}

/// A portal that opens nothing, on a desktop whose display is unknown: the address is all there is, and a bridge
/// without another way to show it says so instead of waiting. One whose question the person has closed is not followed
/// by the system's opener.
#[test]
fn b8_a_portal_that_opens_nothing_does_not_count_as_a_display() {
    for (answer, display) in [
        (Answer::Refuses, None),
        (Answer::Fails, None),
        (Answer::Hangs, None),
        (Answer::IsClosed, None),
        (Answer::IsClosed, Some("DISPLAY=:7")),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let opener = opener(&mut sandbox);
        let bus = Bus::start(&mut sandbox, None);
        let portal = bus.portal(answer);
        let _manager = display.map(|display| bus.manager(&[display]));
        let mut serve = auto(&sandbox, &vendor);
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!(error["code"], -31004, "{answer:?}: {error}");
        assert_eq!(portal.opened().len(), 1, "{answer:?}");
        // Nor is the person asked again at once.
        assert_eq!(serve.call("echo", json!({"message": "hi"})).error()["code"], -31004);
        assert_eq!((portal.opened().len(), opener.starts().len()), (1, 0), "{answer:?}");
    }
}

/// What the person names, and what says that no person is here, comes first: the bus is not asked then. A bridge that
/// needs no sign-in, and one that is only started, do not ask it either.
#[test]
fn b8_the_bus_is_used_only_to_show_a_page() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let path = sandbox.watched().join("silent");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", path.display()));
    let url = vendor.url();
    sandbox.finmcp(["login", &url]).expect_success();
    assert_eq!(browser.starts().len(), 1);
    auto(&sandbox, &vendor).call("echo", json!({"message": "hi"})).result();
    sandbox.finmcp(["logout", &url]).expect_success();
    sandbox.unset("FINMCP_BROWSER");
    for mode in ["auto", "tool", "off"] {
        let mut serve = sandbox.serve([&url[..], "--sign-in", mode]);
        if mode == "auto" {
            // Without a request that needs a token.
            serve.post("ping", json!({}));
        } else {
            serve.initialize();
            serve.request("tools/list", json!({}));
        }
        drop(serve);
    }
    for (name, value) in [("CI", "true"), ("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")] {
        sandbox.set(name, value);
        sandbox.finmcp(["login", &url]).expect_code(4);
        let mut serve = sandbox.serve([&url]);
        serve.initialize();
        serve.call("finmcp_sign_in", json!({})).result();
        sandbox.unset(name);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "the bus was asked");
}
