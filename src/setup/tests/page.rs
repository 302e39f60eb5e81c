//! docs/clients.md, against what `setup` writes.

use super::*;

/// The page shows what setup writes and says, and every file and log on every system.
#[test]
fn c9_the_page_of_the_clients_is_true() {
    let page = include_str!("../../../docs/clients.md");
    let tesorio =
        Entry { name: "tesorio".to_owned(), arguments: ["serve", "tesorio"].map(str::to_owned).into(), ..entry() };
    for (client, section) in Client::ALL.into_iter().zip(page.split("\n## ").skip(1)) {
        assert!(section.starts_with(&format!("{}\n", client.title())), "{section}");
        assert!(section.contains(&format!("\nfinmcp setup {} tesorio\n", client.id())), "{section}");
        let passed = client.passed_by_name().iter().map(|name| (*name).to_owned()).collect();
        let written = with(client, "", &Entry { passed, ..tesorio.clone() });
        assert!(section.contains(&format!("\n{written}```\n")), "{written}{section}");
        assert!(section.contains(&format!("**To start it:** {}", client.restart())), "{section}");
        for system in [System::Linux, System::Macos, System::Windows] {
            let home = if system == System::Windows { "%USERPROFILE%" } else { "~" };
            let variables = [("APPDATA", "%APPDATA%")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            let machine = Machine {
                system,
                home: home.to_owned(),
                project: ".".to_owned(),
                variables: variables.into(),
                path: Vec::new(),
            };
            let of_home = |path: &str| path.replace("%USERPROFILE%\\.", "~/.").replace('\\', "/");
            for scope in [Scope::User, Scope::Project] {
                let Some(path) = client.files(scope, &machine).first().map(|path| path.display().to_string()) else {
                    continue;
                };
                let is_shown = section.contains(&path) || section.contains(&of_home(&path));
                assert!(is_shown, "{path}: {section}");
            }
            match client.log_place(&machine) {
                Some(place) => assert!(section.contains(&place.to_string()), "{place}: {section}"),
                None => assert!(section.contains("document") || section.contains("only if"), "{section}"),
            }
        }
    }
}
