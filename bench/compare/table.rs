//! The table of a comparison, in Markdown. Not here: what is in it (`figures`), and what stands around it (`report`).

use std::fmt::Write as _;

use super::cases::Case;
use super::contestant::Contestant;
use super::figures::{Figure, Run};
use super::markdown::{line, number};

/// What became of each contestant in one case.
pub struct Results {
    pub case: Case,
    /// The best run so far, or why there is none.
    pub best: Vec<(Contestant, Option<Result<Run, String>>)>,
}

impl Results {
    /// Of whom it can be asked.
    pub fn new(case: Case, contestants: &[Contestant]) -> Self {
        let able = contestants.iter().filter(|&&contestant| case.suits(contestant));
        Self {
            case,
            best: able.map(|&contestant| (contestant, None)).collect(),
        }
    }

    /// Whether everybody has a run in which nothing was lost.
    pub fn all_count(&self) -> bool {
        let counts = |run: &Option<Result<Run, String>>| matches!(run, Some(Ok(run)) if run.wrong == 0);
        self.best.iter().all(|(_, run)| counts(run))
    }

    /// A heading and a table: contestants side by side, then how many times better the first is than each other.
    pub fn table(&self) -> String {
        let mut text = format!("## {}\n\n", self.case.title());
        let names = self.best.iter().map(|(contestant, _)| contestant.name());
        let first = self.best.first().map_or("", |(contestant, _)| contestant.name());
        let others = names.clone().skip(1).map(|name| format!("{first} : {name}"));
        let heads: Vec<_> = names.map(str::to_owned).chain(others).collect();
        line(&mut text, "", &heads);
        line(&mut text, "---", &vec!["---:".to_owned(); heads.len()]);
        for name in self.names() {
            let figures: Vec<_> = self.best.iter().map(|(_, run)| figure(run, name)).collect();
            let absolute = figures
                .iter()
                .map(|figure| figure.map_or("–".to_owned(), |figure| number(figure.value)));
            let ours = figures.first().copied().flatten();
            let times = figures.iter().skip(1).map(|other| match (ours, other) {
                (Some(ours), Some(other)) => ours.times(other).map_or(String::new(), |times| format!("{times:.2} ×")),
                _ => String::new(),
            });
            line(&mut text, name, &absolute.chain(times).collect::<Vec<_>>());
        }
        let wrong = self.best.iter().map(|(_, run)| match run {
            Some(Ok(run)) => run.wrong.to_string(),
            _ => "–".to_owned(),
        });
        let mut wrong: Vec<_> = wrong.collect();
        wrong.resize(heads.len(), String::new());
        line(&mut text, "lost, doubled, refused or unanswered", &wrong);
        for (contestant, run) in &self.best {
            if let Some(Err(cause)) = run {
                let cause = cause.lines().next().unwrap_or_default();
                writeln!(text, "\n{} has no figures: {cause}", contestant.name()).expect("a text takes all");
            }
        }
        text
    }

    /// The names of all figures, in order.
    fn names(&self) -> impl Iterator<Item = &str> {
        let runs = self.best.iter().filter_map(|(_, run)| run.as_ref()?.as_ref().ok());
        let longest = runs.max_by_key(|run| run.figures.len());
        longest
            .into_iter()
            .flat_map(|run| &run.figures)
            .map(|figure| figure.name.as_str())
    }
}

fn figure<'a>(run: &'a Option<Result<Run, String>>, name: &str) -> Option<&'a Figure> {
    run.as_ref()?
        .as_ref()
        .ok()?
        .figures
        .iter()
        .find(|figure| figure.name == name)
}
