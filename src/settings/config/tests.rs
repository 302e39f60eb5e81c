use std::collections::BTreeSet;

use clap::ValueEnum;
use serde_json::Value;

use super::*;
use crate::login::options::GrantKind;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The names in back quotes after "expected": serde lists what it knows when it meets something else.
fn expected(text: &str) -> BTreeSet<String> {
    let error = toml_edit::de::from_str::<ConfigDocument>(text).unwrap_err().to_string();
    let (_, expected) = error.split_once("expected ").expect(&error);
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Adds a member that does not exist to the table at `path`.
fn members(path: &str) -> BTreeSet<String> {
    expected(&format!("{path}\nno_such_member = 1\n"))
}

fn described(definition: &Value) -> BTreeSet<String> {
    assert_eq!(definition["additionalProperties"], false);
    definition["properties"].as_object().unwrap().keys().cloned().collect()
}

fn choices(definition: &Value) -> BTreeSet<String> {
    definition["enum"].as_array().unwrap().iter().map(|choice| choice.as_str().unwrap().to_owned()).collect()
}

/// docs/config.schema.json has every member that finmcp reads, and no other.
#[test]
fn the_schema_has_every_member() {
    let schema = schema();
    assert_eq!(described(&schema), members(""));
    for (definition, path) in [
        ("provider", "[providers.x]"),
        ("environment", "[providers.x.environments.y]"),
        ("overrides", "[providers.x.overrides]"),
        ("profile", "[profiles.x]"),
        ("identity_provider", "[profiles.x.identity_provider]"),
        ("overrides", "[profiles.x.overrides]"),
        ("signed_in", "[profiles.x.signed_in]"),
    ] {
        let (described, members) = (described(&schema["$defs"][definition]), members(path));
        assert_eq!(described, members, "{path}");
        assert!(members.len() > 1, "{path}");
    }
}

#[test]
fn the_schema_has_every_choice() {
    let schema = schema();
    let definitions = &schema["$defs"];
    let provider = &definitions["provider"]["properties"];
    let values = |path: &str, value: &str| expected(&format!("{path} = {value}"));
    assert_eq!(choices(&definitions["grant"]), values("profiles.x.grant", "'no'"));
    assert_eq!(choices(&definitions["grant"]), values("providers.x.grant", "'no'"));
    assert_eq!(choices(&provider["grants"]["items"]), values("providers.x.grants", "['no']"));
    assert_eq!(choices(&provider["client_authentication"]), values("providers.x.client_authentication", "'no'"));
    let method = &definitions["overrides"]["properties"]["token_endpoint_auth_method"];
    assert_eq!(choices(method), values("profiles.x.overrides.token_endpoint_auth_method", "'no'"));
    assert_eq!(choices(&definitions["grant"]).len(), GrantKind::value_variants().len());
}

/// Every reference leads to a definition, and every definition is used.
#[test]
fn the_schema_refers_to_what_it_defines() {
    let schema = schema();
    let text = schema.to_string();
    let used: BTreeSet<&str> = text.split("\"#/$defs/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let defined: BTreeSet<&str> = schema["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(used, defined);
}
