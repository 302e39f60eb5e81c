//! Asset, the accounting platform: client credentials, two environments, no discovery.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    demo::{
        activity::Activity,
        books,
        books::Business,
        form::Form,
        grant_error::GrantError,
        jwt::{Claims, SigningKey},
        ledger::{CHART, Ledger, find_account},
        listener::{Listener, Reply, Serving, Site, json, not_found},
        mcp::{Mcp, Refusal},
        money::Money,
        random,
        server::Server,
        table::{Column, Table},
        tool::{Answer, Effect, Outcome, Tool},
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// The vendor's two paths.
const MCP_PATH: &str = "/mcp";
const TOKEN_PATH: &str = "/v0/auth/token";

/// All scope tokens, which a token request without a scope gets.
const SCOPES: [&str; 2] = ["ledger:read", "invoice:create"];

/// The lifetime of a token if the request has no `expires_in`, in seconds.
const DEFAULT_LIFETIME: i64 = 3600;

/// The longest lifetime that a client can request, in seconds.
const LONGEST_LIFETIME: i64 = 24 * 3600;

/// How a token response gives the token's expiry: the vendor's documents contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiresIn {
    /// In seconds from now (RFC 6749 section 5.1).
    Seconds,
    /// As a Unix time.
    UnixTime,
    Absent,
    /// Each of the three in turn.
    #[default]
    InTurn,
}

/// One environment of Asset, served until dropped.
pub struct Asset {
    site: Arc<AssetSite>,
    _serving: Serving,
}

struct AssetSite {
    business: Business,
    /// The `resource` that a token for the MCP server names.
    mcp_url: ServerUrl,
    token_endpoint: ServerUrl,
    /// The audience of a token without a `resource`.
    rest_api: String,
    client_id: String,
    client_secret: Secret,
    key: SigningKey,
    expires_in: ExpiresIn,
    token_requests: AtomicU64,
    mcp: Mcp,
}

impl Asset {
    /// Serves the books of `business` on a port of 127.0.0.1, with new credentials.
    ///
    /// # Errors
    /// The port is taken, or the system has no randomness.
    pub(super) async fn start(business: Business, port: u16, expires_in: ExpiresIn) -> io::Result<Self> {
        let listener = Listener::bind(port).await?;
        let url = |path| format!("{}{path}", listener.origin()).parse::<ServerUrl>().map_err(io::Error::other);
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let bookkeeping = Bookkeeping { ledger: books::ledger(business, today).map_err(io::Error::other)? };
        let instructions = "The books of one invented company. Amounts are US dollars in strings with two decimals.";
        let server = Server::new("Asset", instructions, bookkeeping, TOOLS);
        let site = Arc::new(AssetSite {
            business,
            mcp_url: url(MCP_PATH)?,
            token_endpoint: url(TOKEN_PATH)?,
            rest_api: format!("{}/v0", listener.origin()),
            client_id: random::token("client_")?,
            client_secret: random::token("secret_")?.into(),
            key: SigningKey::generate()?,
            expires_in,
            token_requests: AtomicU64::new(0),
            mcp: Mcp::new(server, "Bearer realm=\"asset\"".to_owned(), ""),
        });
        let serving = listener.serve(site.clone());
        Ok(Self { site, _serving: serving })
    }

    /// The MCP endpoint, which is also the `resource`.
    pub fn mcp_url(&self) -> &ServerUrl {
        &self.site.mcp_url
    }

    /// The token endpoint. No discovery document names it.
    pub fn token_endpoint(&self) -> &ServerUrl {
        &self.site.token_endpoint
    }

    /// The client ID of this environment.
    pub fn client_id(&self) -> &str {
        &self.site.client_id
    }

    /// The client secret, generated at each start.
    pub fn client_secret(&self) -> &Secret {
        &self.site.client_secret
    }

    /// The business whose books these are.
    pub fn business(&self) -> Business {
        self.site.business
    }

    /// The number of requests so far.
    pub fn activity(&self) -> Activity {
        Activity {
            registrations: 0,
            token_requests: self.site.token_requests.load(Relaxed),
            tool_calls: self.site.mcp.tool_calls(),
        }
    }
}

impl Site for AssetSite {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            match (request.method(), request.uri().path()) {
                (&Method::POST, TOKEN_PATH) => {
                    let request_number = self.token_requests.fetch_add(1, Relaxed);
                    let tokens = self.token(&request, request_number, Timestamp::now());
                    tokens.map_or_else(GrantError::reply, |tokens| json(StatusCode::OK, &tokens))
                }
                (_, MCP_PATH) => self.mcp.answer(&request, |token, tool| self.check(token, tool, Timestamp::now())),
                _ => not_found(),
            }
        })
    }
}

impl AssetSite {
    /// The client credentials grant (RFC 6749 section 4.4) with Asset's own parameters.
    fn token(&self, request: &Request<Bytes>, number: u64, now: Timestamp) -> Result<Value, GrantError> {
        if request.headers().contains_key(header::AUTHORIZATION) {
            return Err(GrantError::new("invalid_client", "client_id and client_secret must be in the form"));
        }
        let form = Form::parse(request.body())?;
        if form.get("grant_type").is_some_and(|grant| grant != "client_credentials") {
            return Err(GrantError::new("unsupported_grant_type", "only client_credentials is supported"));
        }
        let presented = Secret::new(form.get("client_secret").unwrap_or_default().to_owned());
        if form.get("client_id") != Some(&self.client_id) || !self.client_secret.same_as(&presented) {
            return Err(GrantError::new("invalid_client", "unknown client, or wrong secret for this environment"));
        }
        if form.get("business_id").is_some_and(|business| business != self.business.id) {
            return Err(GrantError::invalid_request("this client has no access to that business"));
        }
        let scope = form.get("scope").map_or_else(|| SCOPES.join(" "), str::to_owned);
        if !scope.split(' ').all(|token| SCOPES.contains(&token)) {
            return Err(GrantError::new("invalid_scope", "unknown scope"));
        }
        let lifetime: i64 = form.get("expires_in").map_or(Ok(DEFAULT_LIFETIME), |seconds| {
            let lifetime = seconds.parse().ok().filter(|seconds| (1..=LONGEST_LIFETIME).contains(seconds));
            lifetime.ok_or(GrantError::invalid_request("expires_in must be a number of seconds up to a day"))
        })?;
        let now = now.as_second();
        let claims = Claims {
            iss: self.token_endpoint.as_str().to_owned(),
            sub: self.client_id.clone(),
            // Without a resource it is a token for the REST API, which the MCP server refuses.
            aud: form.get("resource").map_or_else(|| self.rest_api.clone(), str::to_owned),
            client_id: self.client_id.clone(),
            scope,
            iat: now,
            exp: now + lifetime,
            jti: random::token("")?,
            business_id: form.get("business_id").map(str::to_owned),
            organization: None,
            sid: None,
        };
        let mut response = json!({ "access_token": self.key.sign(&claims)?, "token_type": "Bearer" });
        if let Some(value) = self.expires_in.value(number, lifetime, claims.exp) {
            response["expires_in"] = value.into();
        }
        Ok(response)
    }

    fn check(&self, token: &str, tool: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::InvalidToken(why));
        let Some(claims) = self.key.verify(token) else {
            return refuse("not a token of this environment");
        };
        if claims.aud != self.mcp_url.as_str() {
            return refuse("the token is for another resource");
        }
        if now.as_second() >= claims.exp {
            return refuse("the token has expired");
        }
        if tool.is_some() && !claims.allows("ledger:read") {
            return Err(Refusal::InsufficientScope("ledger:read".to_owned()));
        }
        Ok(())
    }
}

impl ExpiresIn {
    /// The expiry member of the token response with this number.
    fn value(self, number: u64, lifetime: i64, expires_at: i64) -> Option<i64> {
        match self {
            Self::Seconds => Some(lifetime),
            Self::UnixTime => Some(expires_at),
            Self::Absent => None,
            Self::InTurn => match number % 3 {
                0 => Some(lifetime),
                1 => Some(expires_at),
                _ => None,
            },
        }
    }
}

const TOOLS: &[Tool<Bookkeeping>] = &[
    Tool {
        name: "balance_sheet",
        title: "Balance sheet",
        description: "Balance sheet at the end of a day",
        effect: Effect::ReadsOnly,
        input: AsOf::schema,
        run: |books, arguments| books.balance_sheet(&arguments.read()?),
    },
    Tool {
        name: "ledger_activity",
        title: "Account activity",
        description: "The postings of one account over a period, with its balance before and after",
        effect: Effect::ReadsOnly,
        input: AccountActivity::schema,
        run: |books, arguments| books.ledger_activity(&arguments.read()?),
    },
    Tool {
        name: "list_accounts",
        title: "Chart of accounts",
        description: "The chart of accounts, with each account's balance at the end of a day",
        effect: Effect::ReadsOnly,
        input: AsOf::schema,
        run: |books, arguments| books.list_accounts(&arguments.read()?),
    },
    Tool {
        name: "list_transactions",
        title: "Journal entries",
        description: "The journal entries of a period, with all debits and credits",
        effect: Effect::ReadsOnly,
        input: Period::schema,
        run: |books, arguments| books.list_transactions(&arguments.read()?),
    },
    Tool {
        name: "profit_and_loss",
        title: "Profit and loss",
        description: "Profit and loss (income statement) over a period",
        effect: Effect::ReadsOnly,
        input: Period::schema,
        run: |books, arguments| books.profit_and_loss(&arguments.read()?),
    },
];

/// The data that the tools work on.
struct Bookkeeping {
    ledger: Ledger,
}

/// A first and a last day.
#[derive(Deserialize)]
struct Period {
    from: String,
    to: String,
}

impl Period {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "from": { "type": "string", "description": "The first day, YYYY-MM-DD." },
                "to": { "type": "string", "description": "The last day, YYYY-MM-DD." },
            },
            "required": ["from", "to"],
        })
    }

    fn days(&self) -> Result<(Date, Date), String> {
        let (from, to) = (parse_day(&self.from)?, parse_day(&self.to)?);
        if from <= to { Ok((from, to)) } else { Err("from is after to".to_owned()) }
    }
}

#[derive(Deserialize)]
struct AsOf {
    as_of: String,
}

impl AsOf {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "as_of": { "type": "string", "description": "The date of the balances, YYYY-MM-DD." },
            },
            "required": ["as_of"],
        })
    }
}

#[derive(Deserialize)]
struct AccountActivity {
    account: u16,
    #[serde(flatten)]
    period: Period,
}

impl AccountActivity {
    fn schema() -> Value {
        let mut schema = Period::schema();
        schema["properties"]["account"] = json!({
            "type": "integer",
            "minimum": 0,
            "maximum": u16::MAX,
            "description": "The account's number, as `list_accounts` gives it.",
        });
        schema["required"] = json!(["account", "from", "to"]);
        schema
    }
}

/// A journal entry as a tool shows it.
#[derive(Serialize)]
struct Transaction<'a> {
    date: String,
    memo: &'a str,
    postings: Vec<PostingLine>,
}

#[derive(Serialize)]
struct PostingLine {
    account: u16,
    name: &'static str,
    debit: Option<Money>,
    credit: Option<Money>,
}

impl Bookkeeping {
    fn profit_and_loss(&self, period: &Period) -> Outcome {
        let (from, to) = period.days()?;
        let statement = self.ledger.profit_and_loss(from, to);
        Answer::new(statement.to_string(), &statement)
    }

    fn balance_sheet(&self, AsOf { as_of }: &AsOf) -> Outcome {
        let statement = self.ledger.balance_sheet(parse_day(as_of)?);
        Answer::new(statement.to_string(), &statement)
    }

    fn list_accounts(&self, AsOf { as_of }: &AsOf) -> Outcome {
        let day = parse_day(as_of)?;
        let mut table = Table::new(&[Column::Left, Column::Left, Column::Right]);
        let mut accounts = Vec::with_capacity(CHART.len());
        for account in CHART {
            let balance = self.ledger.balance(account, day);
            table.row([account.code.to_string(), account.name.to_owned(), balance.grouped()]);
            accounts.push(json!({ "account": account.code, "name": account.name, "balance": balance }));
        }
        Answer::new(table.to_string(), &json!({ "as_of": as_of, "accounts": accounts }))
    }

    fn list_transactions(&self, period: &Period) -> Outcome {
        let (from, to) = period.days()?;
        let mut table = Table::new(&[Column::Left, Column::Left, Column::Right, Column::Right]);
        let mut transactions = Vec::new();
        for entry in self.ledger.entries(from, to) {
            table.row([entry.date.to_string(), entry.memo.clone()]);
            let mut postings = Vec::with_capacity(entry.postings().len());
            for posting in entry.postings() {
                let (debit, credit) = sides(posting.amount);
                let cell = |side: Option<Money>| side.map(Money::grouped).unwrap_or_default();
                table.row([String::new(), format!("  {}", posting.account.name), cell(debit), cell(credit)]);
                postings.push(PostingLine { account: posting.account.code, name: posting.account.name, debit, credit });
            }
            transactions.push(Transaction { date: entry.date.to_string(), memo: &entry.memo, postings });
        }
        Answer::new(table.to_string(), &json!({ "transactions": transactions }))
    }

    fn ledger_activity(&self, asked: &AccountActivity) -> Outcome {
        let account = find_account(asked.account).ok_or("unknown account; see list_accounts")?;
        let (from, to) = asked.period.days()?;
        let mut balance = from.yesterday().map(|day| self.ledger.balance(account, day)).unwrap_or_default();
        let opening = balance;
        let mut table = Table::new(&[Column::Left, Column::Left, Column::Right, Column::Right]);
        table.row([from.to_string(), "Opening balance".to_owned(), String::new(), opening.grouped()]);
        let mut lines = Vec::new();
        for entry in self.ledger.entries(from, to) {
            for posting in entry.postings().iter().filter(|posting| posting.account == account) {
                balance = balance + posting.amount;
                table.row([entry.date.to_string(), entry.memo.clone(), posting.amount.grouped(), balance.grouped()]);
                lines.push(json!({
                    "date": entry.date.to_string(),
                    "memo": entry.memo,
                    "amount": posting.amount,
                    "balance": balance,
                }));
            }
        }
        let structured = json!({
            "account": account.code,
            "name": account.name,
            "opening_balance": opening,
            "lines": lines,
            "closing_balance": balance,
        });
        Answer::new(table.to_string(), &structured)
    }
}

fn sides(amount: Money) -> (Option<Money>, Option<Money>) {
    if amount < Money::ZERO { (None, Some(-amount)) } else { (Some(amount), None) }
}

fn parse_day(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| "invalid day: expected YYYY-MM-DD".to_owned())
}
