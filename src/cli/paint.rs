//! Colours, on a terminal alone, and not where `NO_COLOR` is set. Not here: what is said.

use std::io;

use anstream::{AutoStream, ColorChoice};

/// What a text is like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    /// ANSI's number of the colour.
    fn colour(self) -> u8 {
        match self {
            Self::Good => 32,
            Self::Doubtful => 33,
            Self::Bad => 31,
        }
    }
}

/// A part of a result, for standard output.
pub(super) fn painted(tone: Tone, text: &str) -> String {
    paint(AutoStream::choice(&io::stdout()), tone, text)
}

/// A part of what is told beside the result, for standard error.
pub(super) fn painted_aside(tone: Tone, text: &str) -> String {
    paint(AutoStream::choice(&io::stderr()), tone, text)
}

/// What stands before something that was done.
pub(super) fn tick() -> String {
    painted(Tone::Good, "✓")
}

fn paint(choice: ColorChoice, tone: Tone, text: &str) -> String {
    if choice == ColorChoice::Never {
        return text.to_owned();
    }
    format!("\u{1b}[{}m{text}\u{1b}[0m", tone.colour())
}
