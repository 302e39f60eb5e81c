//! What can be logged at (MCP logging, "Log Levels").

/// The levels, least severe first.
pub const LOG_LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Which of [`LOG_LEVELS`] the JSON text `level` is.
pub fn log_level(level: &str) -> Option<usize> {
    let name = level.strip_prefix('"')?.strip_suffix('"')?;
    LOG_LEVELS.iter().position(|known| *known == name)
}
