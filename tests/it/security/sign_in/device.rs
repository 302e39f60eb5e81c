//! Signing in on another device (RFC 8628).

use super::*;

fn sign_in_elsewhere(sandbox: &mut Sandbox, vendor: &Vendor, more: &[&str]) -> (Run, FakeBrowser) {
    login(sandbox, Person::Consents, &vendor.url(), &[&["--grant", "device-code"], more].concat())
}

/// t042: the code and its page are shown, the token is asked for until it comes, and no browser opens.
#[test]
fn t042_a_device_code_is_shown_and_finmcp_polls_for_the_token() {
    let script = Script { challenge_scope: Some("mcp"), device: Device::Consents, ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    vendor.fault(On::Path("/token"), Effect::Answer(error("authorization_pending")));
    let (run, browser) = sign_in_elsewhere(&mut sandbox, &vendor, &[]);
    run.expect_success().expect_stderr(&["WDJB-MJHT", &vendor.at("/go")]);
    assert!(browser.starts().is_empty() && vendor.records_at("/authorize").is_empty());
    let (asked, tokens) = (vendor.records_at("/device"), vendor.records_at("/token"));
    assert_eq!((asked.len(), tokens.len()), (1, 2));
    assert_eq!(asked[0].form()["scope"], "mcp");
    for leg in [&asked[0], &tokens[0], &tokens[1]] {
        assert_eq!((&leg.form()["resource"], &leg.form()["client_id"][..]), (&vendor.url(), "client-1"));
    }
    assert!(vendor.records_at("/register")[0].json()["grant_types"].to_string().contains("device_code"));
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// t042: it ends when the person says no, when the code has ended, and when the time is up.
#[test]
fn t042_a_device_code_that_is_never_used_ends() {
    let (denied, hesitates) = (Device::Denies, Device::Hesitates);
    for (device, answers, more, said, requests) in [
        (denied, None, &[][..], "access_denied", 1),
        // Five seconds more would be after the code's end.
        (hesitates, Some("slow_down"), &[], "3 s", 1),
        (hesitates, None, &["--timeout", "2"], "2 s", 2),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { device, ..Script::people() }));
        if let Some(answer) = answers {
            let code = json!({
                "device_code": "DC", "user_code": "AB-CD", "verification_uri": vendor.at("/go"), "expires_in": 3,
                "interval": 1,
            });
            vendor.fault(On::Path("/device"), Effect::Answer(Reply::new(200).json(&code)));
            vendor.fault(On::Path("/token"), Effect::Answer(error(answer)));
        }
        let (run, _browser) = sign_in_elsewhere(&mut sandbox, &vendor, more);
        run.expect_code(1).expect_stderr(&[said]);
        assert!((1..=requests).contains(&vendor.records_at("/token").len()), "{said}");
    }
}

fn error(code: &str) -> Reply {
    Reply::new(400).json(&json!({"error": code}))
}
