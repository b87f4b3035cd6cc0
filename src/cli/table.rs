//! Tables as the existing plugin printed them: a title, a rule, a heading, a thinner rule, rows, and the rule again. Not here:
//! the rows. A cell that is longer than its column moves the others aside; nothing is cut off.

use super::say;

/// A table that is being printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    width: usize,
}

impl Table {
    /// Prints everything above the rows.
    pub fn open(title: &str, width: usize, heading: &str) -> Self {
        let table = Self::untitled(title, width);
        say!("{heading}");
        say!("{}", "-".repeat(width));
        table
    }

    /// Prints the title alone: what follows has no columns.
    pub fn untitled(title: &str, width: usize) -> Self {
        say!("\n{title}");
        say!("{}", "=".repeat(width));
        Self { width }
    }

    /// Prints the end.
    pub fn close(self) {
        say!("{}", "=".repeat(self.width));
    }
}
