//! A paragraph of a report that people write, and that a new report keeps. Not here: the rest of the report.

pub const BEGIN: &str = "<!-- by hand -->";
pub const END: &str = "<!-- /by hand -->";

/// The new report with the paragraph of the old one, if that has any.
pub fn keep(new: &str, old: &str) -> String {
    match (between(new), between(old)) {
        (Some(blank), Some(written)) => {
            new.replacen(&format!("{BEGIN}{blank}{END}"), &format!("{BEGIN}{written}{END}"), 1)
        }
        _ => new.to_owned(),
    }
}

/// What stands between the marks.
fn between(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(BEGIN)?;
    Some(rest.split_once(END)?.0)
}
