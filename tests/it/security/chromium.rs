//! The last page of a sign-in, in a real browser: what it says, and what it looks like. `tests/run.sh` installs the
//! browser. The screenshots stay in `target/tmp`, for people to look at.

use std::{env, fs, io::BufReader, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;

use crate::support::{
    eventually,
    sandbox::Sandbox,
    vendor::{Effect, On, Reply, Script, Vendor},
};

/// How the person likes pages, and how wide a window is.
#[derive(Debug, Clone, Copy)]
struct Window {
    scheme: Scheme,
    width: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    /// By the browser's own number.
    fn number(self) -> u8 {
        match self {
            Self::Dark => 0,
            Self::Light => 1,
        }
    }

    /// What `callback.html` paints the ground and the card with.
    fn colors(self) -> [[u8; 3]; 2] {
        match self {
            Self::Light => [[0xf6, 0xf7, 0xf8], [0xff, 0xff, 0xff]],
            Self::Dark => [[0x16, 0x18, 0x1b], [0x1f, 0x22, 0x26]],
        }
    }
}

/// What the person sees.
struct Seen {
    /// The document, as the browser understood it.
    document: String,
    picture: Picture,
}

struct Picture {
    width: u32,
    height: u32,
    /// Three bytes each, row by row.
    pixels: Vec<u8>,
}

impl Picture {
    fn read(path: &Path) -> Self {
        let mut reader = png::Decoder::new(BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        Self { width: info.width, height: info.height, pixels }
    }

    fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let from = 3 * (y * self.width + x) as usize;
        self.pixels[from..from + 3].try_into().unwrap()
    }

    /// How many pixels of these columns `wanted` picks.
    fn count(&self, columns: std::ops::Range<u32>, wanted: impl Fn([u8; 3]) -> bool) -> u32 {
        let rows = (0..self.height).flat_map(|y| columns.clone().map(move |x| (x, y)));
        rows.filter(|(x, y)| wanted(self.at(*x, *y))).count().try_into().unwrap()
    }
}

/// Signs in at `vendor` with Chromium, with a person who consents, and returns the last page.
fn sign_in(vendor: &Vendor, window: Window, name: &str) -> Seen {
    let mut sandbox = Sandbox::new();
    // Whatever a browser remembers is its own business: the folder is not searched for secrets.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let (number, width) = (window.scheme.number(), window.width);
    let chromium = env::var("FINMCP_TEST_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let script = format!(
        "#!/bin/sh\n'{chromium}' --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
         --user-data-dir='{place}/profile' --blink-settings=preferredColorScheme={number} --window-size={width},640 \
         --screenshot='{place}/page.png' --dump-dom \"$1\" > '{place}/part' 2> '{place}/log'\nmv '{place}/part' '{place}/page.html'\n"
    );
    let program = folder.path().join("browser");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    sandbox.set("FINMCP_BROWSER", &program);
    let login = sandbox.finmcp(["login", &vendor.url(), "--profile", "books", "--timeout", "40"]);
    let document = eventually("the page in the browser", || fs::read_to_string(folder.path().join("page.html")).ok());
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(folder.path().join("page.png").exists(), "is Chromium installed? tests/run.sh does it: {log}\n{login:?}");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:?}-{width}.png", window.scheme));
    fs::copy(folder.path().join("page.png"), &kept).unwrap();
    Seen { document, picture: Picture::read(&kept) }
}

/// Panics unless there is a page with something on it, in the colours of the scheme, and nothing beyond its edges.
#[track_caller]
fn assert_is_readable(picture: &Picture, window: Window) {
    let [ground, card] = window.scheme.colors();
    assert_eq!((picture.width, picture.height), (window.width, 640), "{window:?}");
    assert_eq!(picture.at(1, 1), ground, "{window:?}");
    let area = picture.width * picture.height;
    let on_card = picture.count(0..picture.width, |pixel| pixel == card);
    assert!(on_card > area / 10, "{window:?}: a card of {on_card} pixels");
    // Ink: far from both, as text has to be.
    let light = |pixel: [u8; 3]| pixel.iter().map(|part| u32::from(*part)).sum::<u32>();
    let ink = picture.count(0..picture.width, |pixel| light(pixel).abs_diff(light(card)) > 300);
    assert!(ink > 1000, "{window:?}: {ink} pixels of text");
    let margins = [0..12, picture.width - 12..picture.width];
    let spilt: u32 = margins.map(|columns| picture.count(columns, |pixel| pixel != ground)).iter().sum();
    assert_eq!(spilt, 0, "{window:?}: something is outside of the card");
}

const WINDOWS: [Window; 4] = [
    Window { scheme: Scheme::Light, width: 320 },
    Window { scheme: Scheme::Light, width: 1200 },
    Window { scheme: Scheme::Dark, width: 320 },
    Window { scheme: Scheme::Dark, width: 1200 },
];

/// The page says who signed in to what and that the window can be closed, in a light and in a dark window, a narrow and a
/// wide one. Its policy lets its own style in.
#[test]
fn the_last_page_is_readable() {
    const PERSON: &str = "maria.fernanda.montgomery-whitfield@accounting.northwind-traders.example";
    let vendor = Vendor::start(Script { id_token: json!({"email": PERSON}), ..Script::people() });
    for window in WINDOWS {
        let Seen { document, picture } = sign_in(&vendor, window, "signed-in");
        let host = vendor.origin().replace("http://", "");
        for text in [
            format!("<h1>You are signed in to {host}</h1>"),
            format!("<dt>Signed in as</dt><dd>{PERSON}</dd>"),
            "<dt>Profile</dt><dd>books</dd>".to_owned(),
            format!("<dt>Server</dt><dd>{host}</dd>"),
            "You can close this window".to_owned(),
        ] {
            assert!(document.contains(&text), "{text}: {document}");
        }
        assert_is_readable(&picture, window);
    }
}

/// A sign-in that fails after the person has agreed is not called a success.
#[test]
fn the_last_page_of_a_failure_is_readable() {
    let vendor = Vendor::start(Script::people());
    for window in [WINDOWS[0], WINDOWS[3]] {
        let refusal = Reply::new(400).json(&json!({"error": "invalid_grant"}));
        vendor.fault(On::Path("/token"), Effect::Answer(refusal));
        let Seen { document, picture } = sign_in(&vendor, window, "failed");
        assert!(document.contains("<h1>Could not sign in to 127.0.0.1:"), "{document}");
        assert!(document.contains("Your terminal or AI client shows why"), "{document}");
        assert_is_readable(&picture, window);
    }
}

/// t030: a name that is made of markup is only a name, to a real browser too.
#[test]
fn t030_a_name_runs_nothing() {
    let hostile = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">";
    let vendor = Vendor::start(Script { id_token: json!({"email": hostile}), ..Script::people() });
    let Seen { document, picture } = sign_in(&vendor, WINDOWS[0], "hostile");
    let shown =
        "&lt;script&gt;document.title='pwned'&lt;/script&gt;&lt;img src=x onerror=\"document.title='pwned'\"&gt;";
    assert!(document.contains(shown), "{document}");
    assert!(!document.contains("<script") && !document.contains("<img") && !document.contains("<title>pwned"));
    assert_is_readable(&picture, WINDOWS[0]);
}
