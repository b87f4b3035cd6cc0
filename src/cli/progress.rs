//! Shows on standard error that work goes on that takes long, where that is a terminal. Not here: the work.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Between two movements of what turns.
const TURN: Duration = Duration::from_millis(120);

const UNKNOWN_END: &str = "{spinner} {msg} ({elapsed})";
const KNOWN_END: &str = "{msg} [{bar:40}] {pos}/{len} ({elapsed})";

/// Goes when the work ends, and leaves nothing behind.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of work whose end is not known.
    pub fn start(what: &'static str) -> Self {
        Self::shown(ProgressBar::new_spinner(), UNKNOWN_END, what)
    }

    /// Of work that has so many steps.
    pub fn of(what: &'static str, steps: usize) -> Self {
        Self::shown(ProgressBar::new(steps as u64), KNOWN_END, what)
    }

    fn shown(bar: ProgressBar, template: &'static str, what: &'static str) -> Self {
        let style = ProgressStyle::with_template(template).expect("the templates are valid");
        let bar = bar.with_style(style).with_message(what);
        // Nothing is shown, and nothing turns, where nobody sees it.
        if !bar.is_hidden() {
            bar.enable_steady_tick(TURN);
        }
        Self(bar)
    }

    /// So many steps are done.
    pub fn reach(&self, steps: usize) {
        self.0.set_position(steps as u64);
    }

    /// What is done now.
    pub fn say(&self, what: &'static str) {
        self.0.set_message(what);
    }

    /// Prints something of the result meanwhile.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
