//! Protected resource metadata (RFC 9728).

use serde::Deserialize;

use crate::{
    oauth::{
        error::Untrusted,
        published::{self, trusted_url},
        scope::Scope,
    },
    printable::quoted,
    server_url::{ServerUrl, ServerUrlError},
};

const DOCUMENT: &str = "the protected resource metadata";

/// Protected resource metadata (RFC 9728 section 2), checked to belong to the server that finmcp connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The resource identifier as the server writes it; the `resource` parameter of every token request (RFC 8707
    /// section 2).
    pub resource: String,
    /// The issuer identifiers of its authorization servers as the server writes them; never empty.
    pub authorization_servers: Vec<String>,
    /// `scopes_supported`, which basic use needs (MCP authorization, "Scope Selection Strategy").
    pub scopes_supported: Option<Scope>,
    /// `dpop_bound_access_tokens_required`: the server accepts only DPoP-bound tokens.
    pub dpop_required: bool,
}

#[derive(Deserialize)]
struct Document {
    resource: String,
    authorization_servers: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    dpop_bound_access_tokens_required: Option<bool>,
}

/// A malformed URL with one of these prefixes is refused instead of ignored: it is not an honest mistake.
const HOSTILE: [&str; 3] = ["/", "\\\\", "-"];

/// The URLs where the metadata may be, in the order to try (MCP authorization, "Protected Resource Metadata Discovery
/// Requirements"): the URL in the challenge, the well-known URI with the server's path inserted, the one at the root.
/// RFC 9728 section 5.1 requires an absolute URL in the challenge; finmcp also resolves a path against the server, and
/// ignores text that is not a URL at all. It refuses text that names another host without a scheme (`//host`,
/// `\\host`), or that a program could take for an option.
///
/// # Errors
/// [`Untrusted`] if the challenge names a URL that is out of reach.
pub fn candidates(server: &ServerUrl, pointer: Option<&str>) -> Result<Vec<ServerUrl>, Untrusted> {
    let pointed = pointer.map(|pointer| match is_path(pointer) {
        true => server.join(pointer).map_err(|reason| Untrusted::Url { member: "resource_metadata", reason }),
        false => trusted_url("resource_metadata", pointer, server),
    });
    let pointed = match pointed.transpose() {
        Err(Untrusted::Url { reason: ServerUrlError::Malformed, .. })
            if !pointer.is_some_and(|pointer| HOSTILE.iter().any(|start| pointer.starts_with(start))) =>
        {
            None
        }
        outcome => outcome?,
    };
    let path = server.as_url().path().trim_end_matches('/');
    let inserted = (!path.is_empty()).then_some(path);
    let paths = inserted.into_iter().chain([""]);
    let known = paths.filter_map(|path| server.join(&format!("/.well-known/oauth-protected-resource{path}")).ok());
    let mut candidates: Vec<ServerUrl> = pointed.into_iter().collect();
    for candidate in known {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    Ok(candidates)
}

/// Whether `reference` is an absolute path or a path relative to the server's, so that it cannot name another host (RFC
/// 3986 section 4.2).
fn is_path(reference: &str) -> bool {
    (reference.starts_with('/') && !reference.starts_with("//")) || reference.starts_with('.')
}

impl ProtectedResource {
    /// Parses the metadata of `server`.
    ///
    /// # Errors
    /// [`Untrusted`] if the document is invalid or belongs to another resource.
    pub fn parse(body: &[u8], server: &ServerUrl) -> Result<Self, Untrusted> {
        let document: Document = published::parse(DOCUMENT, body)?;
        let unusable = |reason| Untrusted::Document { document: DOCUMENT, reason };
        if !covers(&document.resource, server) {
            return Err(Untrusted::Resource { expected: server.resource(), found: quoted(&document.resource) });
        }
        let authorization_servers = document.authorization_servers.unwrap_or_default();
        if authorization_servers.is_empty() {
            return Err(unusable("it lists no authorization server"));
        }
        let scopes_supported = document
            .scopes_supported
            .map(|tokens| tokens.iter().try_fold(Scope::default(), |scope, token| scope.with(token)))
            .transpose()
            .map_err(|_| unusable("`scopes_supported` is not valid or too long"))?;
        let dpop_required = document.dpop_bound_access_tokens_required.unwrap_or(false);
        Ok(Self { resource: document.resource, authorization_servers, scopes_supported, dpop_required })
    }
}

/// Whether `resource` identifies `server`. RFC 9728 section 3.3 requires the exact URL that the client connects to.
/// Many servers publish one document for a whole host or a parent path, so finmcp also accepts a resource at the same
/// origin whose path contains the endpoint's: a token for it goes to that origin only. The endpoint's query is ignored
/// unless the resource has one too.
pub(super) fn covers(resource: &str, server: &ServerUrl) -> bool {
    let Ok(resource) = resource.parse::<ServerUrl>() else { return false };
    let above = resource.as_url().path().trim_end_matches('/');
    let below = server.as_url().path().strip_prefix(above);
    let same_query = resource.as_url().query().is_none() || resource.as_url().query() == server.as_url().query();
    resource.same_origin(server) && same_query && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn server(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    fn read(document: &serde_json::Value, url: &str) -> Result<ProtectedResource, Untrusted> {
        ProtectedResource::parse(document.to_string().as_bytes(), &server(url))
    }

    /// t014: the specification's order.
    #[test]
    fn t014_candidates_in_order() {
        let known = |rest: &str| format!("https://mcp.example:8443/.well-known/oauth-protected-resource{rest}");
        for (url, pointer, wanted) in [
            ("https://mcp.example:8443", None, vec![known("")]),
            ("https://mcp.example:8443/", None, vec![known("")]),
            ("https://mcp.example:8443/public/mcp?a=b", None, vec![known("/public/mcp"), known("")]),
            ("https://mcp.example:8443/mcp/", None, vec![known("/mcp"), known("")]),
            (
                "https://mcp.example:8443/mcp",
                Some("https://other.example/meta"),
                vec!["https://other.example/meta".to_owned(), known("/mcp"), known("")],
            ),
            ("https://mcp.example:8443/mcp", Some(&known("/mcp")[..]), vec![known("/mcp"), known("")]),
        ] {
            let found = candidates(&server(url), pointer).unwrap();
            assert_eq!(found.iter().map(ServerUrl::as_str).collect::<Vec<_>>(), wanted, "{url} {pointer:?}");
        }
    }

    /// t003, t004, t005: a challenge can name only URLs within reach; a public server cannot name this machine, in any
    /// notation.
    #[test]
    fn t005_pointers_that_must_not_be_called() {
        for pointer in [
            "http://169.254.169.254/latest",
            "http://mcp.example/meta",
            "http://127.0.0.1:1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
            "https://169.254.169.254/",
            "https://localhost/",
            "https://localhost./",
            "https://x.localhost/",
            "file:///etc/passwd",
            "https://u@mcp.example/",
            "//127.0.0.1/meta",
            "//other.example/meta",
            "/\\other.example/meta",
            "\\\\host\\share",
            "--upload-pack=x",
            "/a b",
            "/meta#x",
        ] {
            assert!(candidates(&server("https://mcp.example/mcp"), Some(pointer)).is_err(), "{pointer}");
        }
        assert!(candidates(&server("http://127.0.0.1:1/mcp"), Some("http://127.0.0.1:2/meta")).is_ok());
    }

    /// b4: a path in the challenge is resolved against the server and cannot name another origin.
    #[test]
    fn b4_a_path_is_resolved_against_the_server() {
        for (pointer, place) in [
            ("/meta", "https://mcp.example:8443/meta"),
            (
                "/.well-known/oauth-protected-resource/v1/mcp",
                "https://mcp.example:8443/.well-known/oauth-protected-resource/v1/mcp",
            ),
            ("./meta?x=y", "https://mcp.example:8443/v1/meta?x=y"),
            ("../../../meta", "https://mcp.example:8443/meta"),
            (
                ".well-known/oauth-protected-resource",
                "https://mcp.example:8443/v1/.well-known/oauth-protected-resource",
            ),
            ("/@other.example/", "https://mcp.example:8443/@other.example/"),
            ("/.//other.example/x", "https://mcp.example:8443//other.example/x"),
        ] {
            let server = server("https://mcp.example:8443/v1/mcp");
            let found = candidates(&server, Some(pointer)).unwrap();
            assert_eq!(found[0].as_str(), place);
            assert!(found.len() >= 2 && found.iter().all(|place| place.same_origin(&server)), "{pointer}");
        }
    }

    /// b4: text that is not a URL is ignored, like a missing document: the well-known URIs remain.
    #[test]
    fn b4_text_that_is_not_a_url_is_ignored() {
        let server = server("https://mcp.example/mcp");
        let known = candidates(&server, None).unwrap();
        for pointer in ["", " ", "relative", "null", "not a url at all %%", "https://", "https://a b/c", "<url>", "\\x"]
        {
            assert_eq!(candidates(&server, Some(pointer)).unwrap(), known, "{pointer:?}");
        }
    }

    /// t013: only metadata for the server's own resource is accepted.
    #[test]
    fn t013_metadata_must_be_for_the_server() {
        for (url, resource, is_own) in [
            ("https://mcp.example/v1/mcp", "https://mcp.example/v1/mcp", true),
            ("https://mcp.example/v1/mcp", "https://MCP.example:443/v1/mcp", true),
            ("https://mcp.example/v1/mcp", "https://mcp.example/v1/mcp/", true),
            ("https://mcp.example/v1/mcp?tenant=1", "https://mcp.example/v1/mcp", true),
            ("https://mcp.example/v1/mcp", "https://mcp.example/v1", true),
            ("https://mcp.example/v1/mcp", "https://mcp.example", true),
            ("https://mcp.example", "https://mcp.example/", true),
            ("https://mcp.example/v1/mcp", "https://mcp.example/v1/m", false),
            ("https://mcp.example/v1", "https://mcp.example/v1/mcp", false),
            ("https://mcp.example/v1/mcp", "https://mcp.example/v1/mcp?tenant=2", false),
            ("https://mcp.example/mcp", "https://bank.example/mcp", false),
            ("https://mcp.example/mcp", "https://mcp.example:8443/mcp", false),
            ("https://mcp.example/mcp", "http://mcp.example/mcp", false),
            ("https://mcp.example/mcp", "https://mcp.example.evil/mcp", false),
            ("https://mcp.example/mcp", "https://mcp.example/mcp#x", false),
            ("https://mcp.example/mcp", "mcp.example", false),
            ("https://mcp.example/mcp", "", false),
        ] {
            let found = read(&json!({"resource": resource, "authorization_servers": ["https://as.example"]}), url);
            match found {
                Ok(found) => assert!(is_own && found.resource == resource, "{resource}"),
                Err(error) => assert!(!is_own && matches!(error, Untrusted::Resource { .. }), "{resource}: {error}"),
            }
        }
    }

    /// t015, t016: documents that must not be used.
    #[test]
    fn t015_bad_documents() {
        let good = r#""resource": "https://mcp.example/mcp", "authorization_servers": ["https://as.example"]"#;
        let parse = |text: &str| ProtectedResource::parse(text.as_bytes(), &server("https://mcp.example/mcp"));
        assert!(parse(&format!("{{{good}}}")).is_ok());
        assert!(parse(&format!(r#"{{{good}, "unknown": {}{}}}"#, "[".repeat(63), "]".repeat(63))).is_ok());
        for bad in [
            String::new(),
            "<!doctype html>".to_owned(),
            "[]".to_owned(),
            format!("\u{feff}{{{good}}}"),
            format!("{{{good}}} x"),
            format!(r#"{{{good}, "resource": "https://mcp.example/mcp"}}"#),
            format!(r#"{{{good}, "authorization_servers": ["https://evil.example"]}}"#),
            format!(r#"{{{good}, "scopes_supported": ["a\nb"]}}"#),
            format!(r#"{{{good}, "scopes_supported": ["{}"]}}"#, "x".repeat(5000)),
            format!(r#"{{{good}, "unknown": {}{}}}"#, "[".repeat(64), "]".repeat(64)),
            format!(r#"{{{good}, "scopes_supported": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)),
            r#"{"resource": "https://mcp.example/mcp"}"#.to_owned(),
            r#"{"resource": "https://mcp.example/mcp", "authorization_servers": []}"#.to_owned(),
            r#"{"authorization_servers": ["https://as.example"]}"#.to_owned(),
        ] {
            assert!(matches!(parse(&bad), Err(Untrusted::Document { .. })), "{}", &bad[..bad.len().min(80)]);
        }
    }

    #[test]
    fn no_scopes_and_an_empty_list_of_scopes() {
        let with = |scopes: serde_json::Value| {
            let document =
                json!({"resource": "https://a.example", "authorization_servers": ["x"], "scopes_supported": scopes});
            read(&document, "https://a.example").unwrap().scopes_supported
        };
        assert_eq!(with(json!(null)), None);
        assert_eq!(with(json!([])), Some(Scope::default()));
        assert_eq!(with(json!(["b", "a"])).map(|scope| scope.to_string()), Some("a b".to_owned()));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ProtectedResource::parse(&body, &server("https://mcp.example/mcp")).is_err());
        }

        /// t013: a resource at another origin never identifies the server.
        #[test]
        fn t013_another_origin_is_never_accepted(resource in "https://[a-z.@:/?#%0-9]{0,30}") {
            prop_assume!(resource.parse::<ServerUrl>().map_or(true, |url| !url.same_origin(&server("https://mcp.example/mcp"))));
            prop_assert!(!covers(&resource, &server("https://mcp.example/mcp")));
        }
    }
}
