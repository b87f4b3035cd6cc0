//! What one run found out, and which of several runs is reported. Not here: how it is printed (`table`).

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
    /// It says something about the run, and nobody wins by it.
    Neither,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// With its unit.
    pub name: String,
    pub value: f64,
    pub better: Better,
}

/// Of one contestant in one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The first one says which run is the best.
    pub figures: Vec<Figure>,
    /// Deliveries that were lost, doubled or out of order, and messages without an answer: a run with any does not count.
    pub wrong: u64,
}

impl Figure {
    pub fn more(name: &str, value: f64) -> Self {
        Self::new(name, value, Better::More)
    }

    pub fn less(name: &str, value: f64) -> Self {
        Self::new(name, value, Better::Less)
    }

    pub fn aside(name: &str, value: f64) -> Self {
        Self::new(name, value, Better::Neither)
    }

    fn new(name: &str, value: f64, better: Better) -> Self {
        Self {
            name: name.to_owned(),
            value,
            better,
        }
    }

    /// How many times better this is than another's; `None` where that cannot be said.
    pub fn times(&self, other: &Self) -> Option<f64> {
        let times = match self.better {
            Better::More => self.value / other.value,
            Better::Less => other.value / self.value,
            Better::Neither => return None,
        };
        times.is_finite().then_some(times)
    }
}

impl Run {
    /// Whether it is to be reported instead of another: right before wrong, then by its first figure.
    pub fn beats(&self, other: &Self) -> bool {
        if (self.wrong == 0) != (other.wrong == 0) {
            return self.wrong == 0;
        }
        let (Some(mine), Some(others)) = (self.figures.first(), other.figures.first()) else {
            return false;
        };
        mine.times(others).is_some_and(|times| times > 1.0)
    }
}
