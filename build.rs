//! Leaves the unwind tables out of a release for Linux. A panic ends the process there (`panic = "abort"`), so nothing
//! ever reads them, and they would be an eighth of the binary.
#![expect(clippy::disallowed_methods, reason = "this is how cargo speaks to a build script")]

use std::{env, error::Error, fs, path::PathBuf};

/// Added to the linker's own script, of which it replaces nothing.
const SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT BEFORE .text;\n";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let is_release = env::var("PROFILE")? == "release";
    if is_release && env::var("CARGO_CFG_TARGET_OS")? == "linux" && has_usual_linker() {
        let script = PathBuf::from(env::var("OUT_DIR")?).join("no-unwind-tables.ld");
        fs::write(&script, SCRIPT)?;
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
    Ok(())
}

/// Whether GNU's linker or LLVM's does the work, by way of a C compiler: others do not know such scripts.
fn has_usual_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let linker = env::var("RUSTC_LINKER").unwrap_or_default();
    !flags.contains("link") && (linker.is_empty() || linker.ends_with("gcc"))
}
