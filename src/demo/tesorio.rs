//! Tesorio, accounts receivable: browser sign-in, rotating refresh tokens, dynamic client registration.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    demo::{
        activity::Activity,
        authority::{Authority, Lifetimes, Policy, TokenFormat},
        endpoints::Endpoints,
        listener::{Listener, Reply, Serving, Site, not_found},
        mcp::{Mcp, Refusal},
        money::Money,
        receivables::{Promise, Receivables},
        server::Server,
        table::{Column, Table},
        tool::{self, Answer, Effect, Outcome, Tool},
    },
    server_url::ServerUrl,
};

const MCP_PATH: &str = "/v1/mcp";

/// Tesorio, served until dropped.
pub struct Tesorio {
    mcp_url: ServerUrl,
    site: Arc<TesorioSite>,
    receivables: Arc<Receivables>,
    _serving: Serving,
}

struct TesorioSite {
    endpoints: Endpoints,
    mcp: Mcp,
}

impl Tesorio {
    /// Serves receivables on a port of 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken.
    pub(super) async fn start(port: u16, lifetimes: Lifetimes) -> io::Result<Self> {
        let listener = Listener::bind(port).await?;
        let mcp_url: ServerUrl = format!("{}{MCP_PATH}", listener.origin()).parse().map_err(io::Error::other)?;
        let authority = Authority::new(Policy {
            issuer: listener.origin().to_owned(),
            resource: mcp_url.resource(),
            organization: "Northwind Metrics, Inc.",
            scopes: &[],
            default_scopes: 0,
            format: TokenFormat::Opaque,
            lifetimes,
        });
        let endpoints = Endpoints::new("Tesorio", listener.origin(), MCP_PATH, authority);
        let challenge = format!("Bearer resource_metadata=\"{}\"", endpoints.resource_metadata());
        let receivables = Arc::new(Receivables::new(Timestamp::now().to_zoned(TimeZone::UTC).date()));
        let instructions = "Customers, invoices and payments of one invented company.";
        let collections = Collections { receivables: receivables.clone() };
        let mcp = Mcp::new(Server::new("Tesorio", instructions, collections, TOOLS), challenge, "");
        let site = Arc::new(TesorioSite { endpoints, mcp });
        let serving = listener.serve(site.clone());
        Ok(Self { mcp_url, site, receivables, _serving: serving })
    }

    /// The MCP endpoint. Clients discover everything else from it.
    pub fn mcp_url(&self) -> &ServerUrl {
        &self.mcp_url
    }

    /// The promises that the write tool has recorded: one for each time it was executed.
    pub fn promises(&self) -> Vec<Promise> {
        self.receivables.promises()
    }

    /// The number of requests so far.
    pub fn activity(&self) -> Activity {
        self.site.endpoints.activity(self.site.mcp.tool_calls())
    }
}

impl Site for TesorioSite {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            if request.uri().path() == MCP_PATH {
                let authority = self.endpoints.authority();
                let check = |token: &str, _: Option<&str>| {
                    authority
                        .introspect(token, Timestamp::now())
                        .map(drop)
                        .ok_or(Refusal::InvalidToken("the token is expired, revoked or unknown"))
                };
                return self.mcp.answer(&request, check);
            }
            self.endpoints.answer(&request).await.unwrap_or_else(not_found)
        })
    }
}

const TOOLS: &[Tool<Collections>] = &[
    Tool {
        name: "list_customers",
        title: "Customers",
        description: "Customers, with their payment terms and what they owe",
        effect: Effect::ReadsOnly,
        input: tool::no_arguments,
        run: |collections, _| collections.list_customers(),
    },
    Tool {
        name: "list_invoices",
        title: "Invoices",
        description: "Invoices of the last six months, with what is still open",
        effect: Effect::ReadsOnly,
        input: InvoiceFilter::schema,
        run: |collections, arguments| collections.list_invoices(&arguments.read()?),
    },
    Tool {
        name: "list_payments",
        title: "Payments",
        description: "Payments received",
        effect: Effect::ReadsOnly,
        input: tool::no_arguments,
        run: |collections, _| collections.list_payments(),
    },
    Tool {
        name: "record_promise_to_pay",
        title: "Record a promise to pay",
        description: "Records that a customer promised to pay an open invoice by a day",
        effect: Effect::Adds,
        input: PromiseToPay::schema,
        run: |collections, arguments| collections.record_promise_to_pay(arguments.read()?),
    },
];

/// The data that the tools work on.
struct Collections {
    receivables: Arc<Receivables>,
}

#[derive(Deserialize)]
struct InvoiceFilter {
    customer: Option<String>,
}

impl InvoiceFilter {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "customer": {
                    "type": ["string", "null"],
                    "description": "Only this customer's, by its identifier.",
                },
            },
        })
    }
}

#[derive(Deserialize)]
struct PromiseToPay {
    invoice: String,
    pay_by: String,
    amount: Money,
}

impl PromiseToPay {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "invoice": { "type": "string", "description": "The invoice, by its identifier." },
                "pay_by": { "type": "string", "description": "The day it is to be paid, YYYY-MM-DD." },
                "amount": {
                    "type": "string",
                    "pattern": Money::PATTERN,
                    "description": "The promised amount in US dollars, for example 1234.50.",
                },
            },
            "required": ["invoice", "pay_by", "amount"],
        })
    }
}

impl Collections {
    fn list_customers(&self) -> Outcome {
        let customers = self.receivables.customers();
        let mut table = Table::new(&[Column::Left, Column::Left, Column::Right, Column::Right]);
        for customer in &customers {
            let terms = format!("{} days", customer.payment_terms_days);
            table.row([customer.id.to_owned(), customer.name.to_owned(), terms, customer.balance.grouped()]);
        }
        Answer::new(table.to_string(), &json!({ "customers": customers }))
    }

    fn list_invoices(&self, filter: &InvoiceFilter) -> Outcome {
        let mut invoices = self.receivables.invoices();
        if let Some(customer) = &filter.customer {
            invoices.retain(|invoice| invoice.customer == customer);
        }
        let mut table = Table::new(&[Column::Left, Column::Left, Column::Left, Column::Right, Column::Right]);
        for invoice in &invoices {
            table.row([
                invoice.id.clone(),
                invoice.customer.to_owned(),
                invoice.due.clone(),
                invoice.amount.grouped(),
                invoice.open.grouped(),
            ]);
        }
        Answer::new(table.to_string(), &json!({ "invoices": invoices }))
    }

    fn list_payments(&self) -> Outcome {
        let payments = self.receivables.payments();
        let mut table = Table::new(&[Column::Left, Column::Left, Column::Right]);
        for payment in &payments {
            table.row([payment.received.clone(), payment.invoice.clone(), payment.amount.grouped()]);
        }
        Answer::new(table.to_string(), &json!({ "payments": payments }))
    }

    fn record_promise_to_pay(&self, asked: PromiseToPay) -> Outcome {
        let pay_by: jiff::civil::Date = asked.pay_by.parse().map_err(|_| "invalid day: expected YYYY-MM-DD")?;
        let promise = Promise { invoice: asked.invoice, pay_by: pay_by.to_string(), amount: asked.amount };
        let recorded = self.receivables.record_promise(promise.clone()).map_err(|error| error.to_string())?;
        let text = format!("{} promised for {} by {}", promise.amount.grouped(), promise.invoice, promise.pay_by);
        Answer::new(text, &json!({ "promise": promise, "promises_recorded": recorded }))
    }
}
