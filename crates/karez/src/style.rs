//! Colours text on a terminal, unless `NO_COLOR` is set.

use std::io::IsTerminal as _;

/// Returns `text` in the SGR style `code` if standard error is a terminal.
pub(crate) fn on_stderr(code: &str, text: &str) -> String {
    styled(code, text, std::io::stderr().is_terminal())
}

/// Returns `text` in the SGR style `code` if standard output is a terminal.
pub(crate) fn on_stdout(code: &str, text: &str) -> String {
    styled(code, text, std::io::stdout().is_terminal())
}

fn styled(code: &str, text: &str, terminal: bool) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
