//! The parameters of a request's query. One that is wrong, or that nobody takes, is an error that names it: a filter that
//! was misspelled must not look like one that found everything.

use std::collections::BTreeMap;
use std::fmt::Display;

use url::form_urlencoded;

use super::Problem;
use crate::archive::query::PAGE_MAX;

/// How many a page has where nobody says.
pub(super) const LIMIT: u16 = 100;

/// What stands behind the `?`, by name. Each is given once at most.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Takes the query apart. An empty value counts as not given.
    pub fn of(query: Option<&str>) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if value.is_empty() {
                continue;
            }
            if parameters.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(wrong(&name, &"is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter that may be absent.
    pub fn take<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let text = self.0.remove(name);
        let value = text.map(|text| parse(&text)).transpose();
        value.map_err(|cause| wrong(name, &cause))
    }

    /// A parameter that must be there.
    pub fn need<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Problem> {
        self.take(name, parse)?.ok_or_else(|| wrong(name, &"is missing"))
    }

    /// How many a page has: `limit`, or [`LIMIT`].
    pub fn limit(&mut self) -> Result<u16, Problem> {
        let limit = |text: &str| {
            let number = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            number.ok_or_else(|| format!("takes a number from 1 to {PAGE_MAX}"))
        };
        Ok(self.take("limit", limit)?.unwrap_or(LIMIT))
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            Some(name) => Err(wrong(&name, &"is no parameter of this route")),
            None => Ok(()),
        }
    }
}

/// Longest part of a name that is shown, in characters.
const SHOWN: usize = 40;

fn wrong(name: &str, cause: &dyn Display) -> Problem {
    let name: String = name.chars().take(SHOWN).collect();
    Problem::invalid(name, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let number = |text: &str| text.parse::<u8>();
        let mut parameters = Parameters::of(Some("limit=7&user=&x=a%20b+c")).unwrap();
        assert_eq!(parameters.take("limit", number), Ok(Some(7)));
        assert_eq!(parameters.take("user", number), Ok(None));
        assert_eq!(
            parameters.need("room", number),
            Err(Problem::invalid("room", "is missing"))
        );
        assert_eq!(
            parameters.finish(),
            Err(Problem::invalid("x", "is no parameter of this route"))
        );
        let mut text = Parameters::of(Some("x=a%20b+c")).unwrap();
        assert_eq!(
            text.take("x", |text| Ok::<_, &str>(text.to_owned())),
            Ok(Some("a b c".into()))
        );
        assert_eq!(text.finish(), Ok(()));
        assert_eq!(
            Parameters::of(Some("a=1&a=2")).unwrap_err(),
            Problem::invalid("a", "is given twice")
        );
        assert!(Parameters::of(None).unwrap().finish().is_ok());
    }
}
