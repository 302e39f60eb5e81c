//! The log levels (MCP logging, "Log Levels").

/// The levels, least severe first.
pub const LOG_LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The index in [`LOG_LEVELS`] of the level in the JSON text `level`.
pub fn log_level(level: &str) -> Option<usize> {
    let name = level.strip_prefix('"')?.strip_suffix('"')?;
    LOG_LEVELS.iter().position(|known| *known == name)
}
