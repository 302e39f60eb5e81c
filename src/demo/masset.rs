//! Masset, digital assets: browser sign-in, scopes, and a rate limit for each user.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    demo::{
        activity::Activity,
        authority::{Authority, Lifetimes, Policy, TokenFormat},
        client::Client,
        endpoints::Endpoints,
        jwt::SigningKey,
        library::{ASSETS, DigitalAsset},
        listener::{Listener, Reply, Serving, Site, not_found},
        mcp::{Mcp, Refusal},
        server::Server,
        table::{Column, Table},
        tool::{self, Answer, Effect, Outcome, Tool},
    },
    server_url::ServerUrl,
};

const MCP_PATH: &str = "/mcp";

/// The issuer's path: clients find its metadata by path insertion (RFC 8414 section 3.1).
const ISSUER_PATH: &str = "/auth";

/// The scope that every request needs.
const BASE: &str = "mcp";
const ASSET_READ: &str = "mcp:asset_read";
const ASSET_CONTENT_READ: &str = "mcp:asset_content_read";

/// All scope tokens.
pub const SCOPES: [&str; 3] = [BASE, ASSET_READ, ASSET_CONTENT_READ];

/// How many requests a user may send in [`WINDOW`].
const REQUESTS: usize = 60;

/// The window of the rate limit, in seconds.
const WINDOW: i64 = 60;

/// A client that needs no registration; its redirect URI is `http://127.0.0.1/callback` with any port.
pub const CLIENT_ID: &str = "finmcp-demo";

/// Masset, served until dropped.
pub struct Masset {
    mcp_url: ServerUrl,
    site: Arc<MassetSite>,
    _serving: Serving,
}

struct MassetSite {
    endpoints: Endpoints,
    mcp: Mcp,
    limiter: Mutex<Limiter>,
}

/// Each user's requests of the last minute, and the number of refused ones: every second refusal has a `Retry-After`.
#[derive(Debug, Default)]
struct Limiter {
    taken: HashMap<String, VecDeque<i64>>,
    refused: u64,
}

impl Masset {
    /// Serves the library on a port of 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken, or the system has no randomness.
    pub(super) async fn start(port: u16, lifetimes: Lifetimes) -> io::Result<Self> {
        let listener = Listener::bind(port).await?;
        let mcp_url: ServerUrl = format!("{}{MCP_PATH}", listener.origin()).parse().map_err(io::Error::other)?;
        let authority = Authority::new(Policy {
            issuer: format!("{}{ISSUER_PATH}", listener.origin()),
            resource: mcp_url.resource(),
            organization: "Northwind Metrics, Inc.",
            scopes: &SCOPES,
            default_scopes: 1,
            format: TokenFormat::Jwt(SigningKey::generate()?),
            lifetimes,
        });
        let redirect_uri = "http://127.0.0.1/callback".parse().map_err(io::Error::other)?;
        authority.admit(CLIENT_ID, Client::new("finmcp", vec![redirect_uri]));
        let endpoints = Endpoints::new("Masset", listener.origin(), MCP_PATH, authority);
        let challenge = format!("Bearer resource_metadata=\"{}\"", endpoints.resource_metadata());
        let instructions = "The brand assets of one invented company.";
        let mcp = Mcp::new(Server::new("Masset", instructions, (), TOOLS), challenge, "mcp mcp:asset_read");
        let site = Arc::new(MassetSite { endpoints, mcp, limiter: Mutex::default() });
        let serving = listener.serve(site.clone());
        Ok(Self { mcp_url, site, _serving: serving })
    }

    /// The MCP endpoint. Clients discover everything else from it.
    pub fn mcp_url(&self) -> &ServerUrl {
        &self.mcp_url
    }

    /// The number of requests so far.
    pub fn activity(&self) -> Activity {
        self.site.endpoints.activity(self.site.mcp.tool_calls())
    }
}

impl Site for MassetSite {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            if request.uri().path() == MCP_PATH {
                return self.mcp.answer(&request, |token, tool| self.check(token, tool, Timestamp::now()));
            }
            self.endpoints.answer(&request).await.unwrap_or_else(not_found)
        })
    }
}

impl MassetSite {
    fn check(&self, token: &str, tool: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        let claims = self.endpoints.authority().introspect(token, now);
        let claims = claims.ok_or(Refusal::InvalidToken("the token is expired, revoked or for something else"))?;
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner).take(&claims.sub, now.as_second())?;
        let needed = [BASE].into_iter().chain(tool.and_then(scope_of));
        if needed.clone().all(|scope| claims.allows(scope)) {
            return Ok(());
        }
        // RFC 6750 section 3: the complete scope that this request needs, not only the missing part.
        Err(Refusal::InsufficientScope(needed.collect::<Vec<_>>().join(" ")))
    }
}

/// The scope that a tool needs in addition to the base scope.
fn scope_of(tool: &str) -> Option<&'static str> {
    match tool {
        "asset_search" | "get_asset_metadata" | "get_asset_preview" => Some(ASSET_READ),
        "get_asset_text" => Some(ASSET_CONTENT_READ),
        _ => None,
    }
}

impl Limiter {
    /// Counts a request of `user` at `now` (Unix seconds), if it is within the limit.
    fn take(&mut self, user: &str, now: i64) -> Result<(), Refusal> {
        let taken = self.taken.entry(user.to_owned()).or_default();
        while taken.front().is_some_and(|then| then + WINDOW <= now) {
            taken.pop_front();
        }
        if let Some(oldest) = taken.front().filter(|_| taken.len() >= REQUESTS) {
            self.refused += 1;
            let wait = u64::try_from(oldest + WINDOW - now).unwrap_or_default();
            return Err(Refusal::TooManyRequests((self.refused % 2 == 1).then_some(wait)));
        }
        taken.push_back(now);
        Ok(())
    }
}

const TOOLS: &[Tool<()>] = &[
    Tool {
        name: "asset_search",
        title: "Search",
        description: "Search assets by words in titles and tags",
        effect: Effect::ReadsOnly,
        input: Query::schema,
        run: |(), arguments| asset_search(&arguments.read()?),
    },
    Tool {
        name: "get_asset_metadata",
        title: "About an asset",
        description: "The metadata of one asset",
        effect: Effect::ReadsOnly,
        input: AssetId::schema,
        run: |(), arguments| {
            let asset = arguments.read::<AssetId>()?.find()?;
            Answer::new(format!("{}: {} in {}", asset.title, asset.kind, asset.collection), asset)
        },
    },
    Tool {
        name: "get_asset_preview",
        title: "Preview of an asset",
        description: "A preview image of one asset",
        effect: Effect::ReadsOnly,
        input: AssetId::schema,
        run: |(), arguments| {
            let asset = arguments.read::<AssetId>()?.find()?;
            Ok(Answer::picture(asset.title, &asset.preview()))
        },
    },
    Tool {
        name: "get_asset_text",
        title: "Text of an asset",
        description: "The text of one asset",
        effect: Effect::ReadsOnly,
        input: AssetId::schema,
        run: |(), arguments| {
            let asset = arguments.read::<AssetId>()?.find()?;
            Answer::new(asset.text(), &json!({ "id": asset.id, "text": asset.text() }))
        },
    },
    Tool {
        name: "get_taxonomy",
        title: "Collections and tags",
        description: "All collections and tags",
        effect: Effect::ReadsOnly,
        input: tool::no_arguments,
        run: |(), _| get_taxonomy(),
    },
];

#[derive(Deserialize)]
struct Query {
    query: String,
}

impl Query {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "description": "Words in the title or tags; omit to list all assets.",
                },
            },
            "required": ["query"],
        })
    }
}

#[derive(Deserialize)]
struct AssetId {
    id: String,
}

impl AssetId {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": { "id": { "type": "string", "description": "The asset's identifier." } },
            "required": ["id"],
        })
    }

    fn find(&self) -> Result<&'static DigitalAsset, String> {
        DigitalAsset::find(&self.id).ok_or_else(|| "unknown asset; see asset_search".to_owned())
    }
}

fn asset_search(Query { query }: &Query) -> Outcome {
    let assets = DigitalAsset::search(query);
    let mut table = Table::new(&[Column::Left, Column::Left, Column::Left]);
    for asset in &assets {
        table.row([asset.id, asset.title, asset.collection]);
    }
    Answer::new(table.to_string(), &json!({ "assets": assets }))
}

fn get_taxonomy() -> Outcome {
    let mut collections: Vec<_> = ASSETS.iter().map(|asset| asset.collection).collect();
    collections.dedup();
    let mut tags: Vec<_> = ASSETS.iter().flat_map(|asset| asset.tags).collect();
    tags.sort();
    tags.dedup();
    Answer::new(collections.join(", "), &json!({ "collections": collections, "tags": tags }))
}
