//! Nothing that a server says is run.

use super::*;

/// t001: what a shell, an option parser or a URL handler would read something into is refused, or stays one argument:
/// the URL as the parser writes it. Sixty of them; no command runs.
#[test]
fn t001_nothing_in_a_url_is_a_command() {
    let bare = [
        "--upload-pack=touch pwned",
        "-a Calculator",
        "; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "| touch pwned",
        "cmd.exe",
        "calc:",
        "\\\\host\\share\\x.exe",
        "file:///usr/bin/touch",
    ];
    let tails = [
        "$(touch${IFS}pwned)",
        "$(touch%20pwned)",
        "$(touch pwned)",
        "`touch pwned`",
        "`touch${IFS}pwned`",
        "%60touch%20pwned%60",
        ";touch${IFS}pwned",
        ";touch%20pwned;",
        "&touch${IFS}pwned",
        "&&touch${IFS}pwned",
        "||touch${IFS}pwned",
        "|touch${IFS}pwned",
        "%0atouch%20pwned",
        "%0d%0atouch%20pwned",
        "\ntouch pwned",
        "\r\ntouch pwned",
        "\u{0}touch pwned",
        "\u{1b}]52;c;x\u{7}",
        "\"&touch pwned&\"",
        "\";touch pwned;\"",
        "%22;touch%20pwned",
        "';touch pwned;'",
        "%27;touch%20pwned;%27",
        "<(touch${IFS}pwned)",
        ">pwned",
        ">>pwned",
        "<pwned",
        "%3Epwned",
        "^&touch^ pwned",
        "^%26calc",
        "%VAR%",
        "%COMSPEC%",
        "%%COMSPEC%%",
        "!touch",
        "~/../pwned",
        "*",
        "?",
        "{touch,pwned}",
        "$((1+1))",
        "${PATH}",
        "$PATH",
        "$IFS$9touch",
        "\\touch pwned",
        "%5Ctouch",
        "a b --flag",
        "%20--flag",
        "--flag",
        "-n",
        "#touch",
        "@pwned",
        "=cmd|'/c calc'!A0",
        "..%2f..%2fpwned",
        "\u{202e}exe.pwned",
        "\u{ff04}(touch pwned)",
    ];
    let whole = tails.iter().flat_map(|tail| [format!("{{}}/a{tail}"), format!("{{}}/a?x={tail}")]);
    let payloads: Vec<String> = bare.iter().map(|bare| (*bare).to_owned()).chain(whole).collect();
    assert!(payloads.len() > 60);
    let (opened, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_parallel(&payloads, |payload| {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let payload = payload.replace("{}", &vendor.origin());
        vendor.change(|script| script.authorization_server = json!({"authorization_endpoint": payload}));
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let mut login = sandbox.start(["login", &vendor.url(), "--client-id", "x"]);
        let started = eventually("a browser or an end", || match browser.starts().first() {
            Some(start) => Some(Some(start.clone())),
            None => (!login.is_running()).then_some(None),
        });
        match started {
            None => {
                assert_eq!(login.exit_within(PATIENCE), Some(5), "{payload:?}: {}", login.stderr());
                eventually("the reason", || login.stderr().contains("`authorization_endpoint` cannot").then_some(()));
                refused.fetch_add(1, Ordering::Relaxed);
            }
            Some(start) => {
                let normal = url::Url::parse(&payload).unwrap();
                let [argument] = start.arguments.as_slice() else { panic!("{payload:?}: {:?}", start.arguments) };
                let rest = argument.strip_prefix(normal.as_str()).unwrap_or_else(|| panic!("{payload:?}: {argument}"));
                assert!(rest.starts_with(['?', '&']) || normal.query() == Some(""), "{payload:?}: {argument}");
                let odd = |letter: char| !letter.is_ascii_graphic() || "\"'`\\<>".contains(letter);
                assert!(!argument.contains(odd), "{payload:?}: {argument}");
                opened.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(login);
        let pwned = ["home", "tmp", "work", "watched", "given"]
            .iter()
            .any(|folder| sandbox.home().with_file_name(folder).join("pwned").exists());
        assert!(!pwned, "{payload:?} ran");
    });
    let (opened, refused) = (opened.into_inner(), refused.into_inner());
    assert!(opened > 20 && refused > 20, "{opened} opened, {refused} refused");
}

/// t001: the system's opener is a program that gets the URL as its one argument, found on the PATH, and no shell.
#[cfg(target_os = "linux")]
#[test]
fn t001_the_systems_opener_gets_one_argument() {
    use std::os::unix::fs::PermissionsExt as _;

    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let endpoint = format!("{}/a?x=$(touch%20pwned)&y=;id", vendor.origin());
    vendor.change(|script| script.authorization_server = json!({"authorization_endpoint": endpoint}));
    let folder = sandbox.watched();
    let seen = folder.join("seen");
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\nprintf '%s\\n' \"$#\" \"$1\" > '{0}.part'\nmv '{0}.part' '{0}'\n",
        seen.display()
    );
    std::fs::write(folder.join("xdg-open"), script).unwrap();
    std::fs::set_permissions(folder.join("xdg-open"), std::fs::Permissions::from_mode(0o700)).unwrap();
    sandbox.set("PATH", &folder);
    sandbox.set("DISPLAY", ":0");
    let login = sandbox.start(["login", &vendor.url(), "--client-id", "x"]);
    let seen = eventually("the opener", || std::fs::read_to_string(&seen).ok());
    let (count, url) = seen.split_once('\n').unwrap();
    assert_eq!(count, "1");
    assert!(url.starts_with(&format!("{endpoint}&")), "{url}");
    drop(login);
    assert!(!sandbox.home().with_file_name("work").join("pwned").exists());
}
