//! What can be typed, and what it does.

mod check;
mod client;
mod contestant;
mod direct;
mod load;
mod measure;
mod process;
mod rehearsal;
mod relay;
mod report;
mod script;
mod server;

use std::{env, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};

use contestant::Contestant;
use measure::{Plan, Results};
use relay::Sabotage;
use report::Circumstances;

/// finmcp side by side with others.
#[derive(Parser)]
#[command(name = "cargo bench --bench bench --")]
struct Arguments {
    /// A first impression, in a minute
    #[arg(long)]
    quick: bool,
    /// How many rounds
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// The finmcp to measure, in place of the one that cargo builds for this (whose dependencies have the features that
    /// the tests need, too)
    #[arg(long, value_name = "PATH")]
    finmcp: Option<PathBuf>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// To be the minimal relay.
    #[command(hide = true)]
    Relay {
        url: String,
        #[arg(long)]
        sabotage: Option<Sabotage>,
    },
}

pub fn main() -> ExitCode {
    let is_bench = env::args().any(|argument| argument == "--bench");
    let is_relay = env::args().nth(1).is_some_and(|argument| argument == "relay");
    if !is_bench && !is_relay {
        return rehearsal::run(env::args().skip(1).collect());
    }
    match Arguments::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn run(self) -> Result<()> {
        if let Some(Role::Relay { url, sabotage }) = self.role {
            return relay::run(url, sabotage);
        }
        let mut plan = if self.quick { Plan::quick() } else { Plan::full() };
        if let Some(rounds) = self.rounds {
            plan.rounds = rounds.into();
        }
        let finmcp = self.finmcp.unwrap_or_else(|| env!("CARGO_BIN_EXE_finmcp").into());
        let (rivals, absent) = Contestant::rivals()?;
        let mut contestants = vec![Contestant::direct(), Contestant::relay(None)?, Contestant::finmcp(finmcp)?];
        contestants.extend(rivals);
        let circumstances = Circumstances::begin(jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string());
        let begun = Instant::now();
        let results = Results::measure(contestants, plan)?;
        println!("{}", report::render(&results, &absent, &circumstances.end(begun.elapsed())));
        Ok(())
    }
}
