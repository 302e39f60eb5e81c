use super::*;

/// The faults of `text`, each as its line and the beginning of its problem.
fn found(text: &str) -> Vec<(usize, String)> {
    let problem = |fault: Fault| fault.problem.split([':', ',']).next().unwrap_or_default().to_owned();
    faults(text).into_iter().map(|fault| (fault.line, problem(fault))).collect()
}

fn check(text: &str, expected: &[(usize, &str)]) {
    let expected: Vec<(usize, String)> = expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect();
    assert_eq!(found(text), expected, "{text}");
}

#[test]
fn c7_every_fault_is_found_with_its_line() {
    for valid in ["", "# only a comment\n", "default = \"asset\"\n[profiles.x]\nurl = \"https://a.example/mcp\"\n"] {
        check(valid, &[]);
    }
    check(
        "defalt = \"asset\"\n\n[profiles.books] # x\nurl = \"mcp.example.com\"\ngrant = \"no\"\nscope = 7\n",
        &[(1, "unknown field `defalt`"), (4, "url"), (5, "unknown variant `no`"), (6, "invalid type")],
    );
    check(
        "[providers.acme]\nurl = \"https://acme.example/mcp\"\ngrants = [\"none\", \"api-key\"]\nclient_id = \"\"\n",
        &[(3, "grants"), (4, "client_id is empty")],
    );
    check(
        "[providers.acme]\nurl = \"http://acme.example/mcp\"\ngrants = [\"none\", \"api-key\"]\n",
        &[(2, "url"), (3, "grants")],
    );
    check("[profil.x]\na = 1\n[profil.y]\nb = 1\n", &[(1, "unknown field `profil`"), (3, "unknown field `profil`")]);
    check(
        "[profiles.x]\nprovider = \"nope\"\n[profiles.y]\nprovider = \"masset\"\n",
        &[(1, "there is no provider \"nope\""), (3, "it has no url")],
    );
    check("default = \"tesoro\"\nca_file = \"/nonexistent.pem\"\n", &[(1, "default"), (2, "ca_file")]);
    check(
        "client_metadata_url = \"http://a.example\"\n",
        &[(1, "client_metadata_url must be an https URL with a path")],
    );
}

#[test]
fn c7_what_is_no_toml_does_not_hide_the_rest() {
    check("a b\ndefalt = 1\n", &[(1, "key with no value"), (2, "unknown field `defalt`")]);
    // The members of a section whose header is lost are not those of the section before.
    check(
        "[profiles.x]\nurl = \"https://a.example/\"\n[profiles.y\nurl = \"b\"\n[profiles.z]\nurl = \"c\"\n",
        &[(3, "unclosed table"), (6, "url")],
    );
    check("profiles = 7\ndefault = 8\n", &[(1, "invalid type"), (2, "invalid type")]);
}

#[test]
fn c7_a_fault_has_no_followers() {
    // A preset that is invalid is there: its profiles and the default may name it.
    check("default = \"acme\"\n[providers.acme]\nurl = \"no\"\n[profiles.acme]\nprovider = \"acme\"\n", &[(3, "url")]);
    // Without its URL, a provider needs one.
    check("[providers.acme.environments.live]\nurl = \"no\"\n", &[(2, "url")]);
    check("[profiles]\nx = { url = \"no\", scope = \"a\" }\n", &[(2, "url")]);
    check(
        "[profiles.x]\nprovider = \"asset\"\n[profiles.x.signed_in]\nissuer = \"i\"\n[profiles.x.overrides]\nnope = true\n",
        &[(3, "missing field `resource`"), (6, "unknown field `nope`")],
    );
}
