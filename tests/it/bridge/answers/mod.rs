//! Whatever a server answers, the client gets one valid JSON-RPC message for each of its requests.

mod any_answer;
mod batches;
mod check;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    support::{
        sandbox::Sandbox,
        serve::Serve,
        vendor::{Answer, Effect, Era, On, Reply, Script, Vendor},
    },
};

const QUIET: Duration = Duration::from_millis(100);

const INTERNAL: i64 = -32603;
const NO_TEXT: &str = "an error without a description";
const OUTCOME_UNKNOWN: i64 = -31010;

const RESULT: &str = r#""result":{"content":[],"n":1.10}"#;
