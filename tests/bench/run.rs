//! The command line.

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

/// Compares finmcp with other bridges.
#[derive(Parser)]
#[command(name = "cargo bench --bench bench --")]
struct Arguments {
    /// Quick run, about a minute
    #[arg(long)]
    quick: bool,
    /// Number of rounds
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// finmcp binary to measure (default: the one that cargo builds for the bench, whose dependencies also have the
    /// tests' features)
    #[arg(long, value_name = "PATH")]
    finmcp: Option<PathBuf>,
    /// Passed by cargo to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the minimal relay.
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
