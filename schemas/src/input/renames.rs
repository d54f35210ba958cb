//! Other names for the fields of what people send: with them, any CSV file with a header and any JSON objects are events.

use std::borrow::Cow;

/// Most names of one list.
const RENAMES: usize = 256;

/// Their names, and ours in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames(Vec<(String, String)>);

impl Renames {
    /// Reads `theirs:ours,theirs2:ours2`. A comma, a colon or a backslash of a name itself is written behind a backslash.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut renames: Vec<(String, String)> = Vec::new();
        for pair in pairs(text)? {
            let Ok([theirs, ours]) = <[String; 2]>::try_from(pair) else {
                return Err("must be theirs:ours, with commas between several".to_owned());
            };
            let (theirs, ours) = (theirs.trim().to_owned(), ours.trim().to_owned());
            if theirs.is_empty() || ours.is_empty() {
                return Err("has an empty name".to_owned());
            }
            if renames.iter().any(|(other, _)| *other == theirs) {
                return Err(format!("names `{theirs}` twice"));
            }
            if renames.len() == RENAMES {
                return Err(format!("has more than {RENAMES} names"));
            }
            renames.push((theirs, ours));
        }
        Ok(Self(renames))
    }

    /// Whether nothing has another name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, in the order of the list.
    pub fn theirs(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(theirs, _)| theirs.as_str())
    }

    /// Our name for theirs, if it has one.
    pub fn ours(&self, theirs: &[u8]) -> Option<&str> {
        let mut renames = self.0.iter();
        renames
            .find(|(other, _)| other.as_bytes() == theirs)
            .map(|(_, ours)| ours.as_str())
    }

    pub(super) fn apply<'a>(&'a self, name: Cow<'a, str>) -> Cow<'a, str> {
        self.ours(name.as_bytes()).map_or(name, Cow::Borrowed)
    }
}

/// Cuts at commas, and each piece at colons, where these are not escaped.
fn pairs(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut pairs = vec![vec![String::new()]];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let Some(pair) = pairs.last_mut() else { break };
        let literal = match letter {
            ',' => {
                pairs.push(vec![String::new()]);
                continue;
            }
            ':' => {
                pair.push(String::new());
                continue;
            }
            '\\' => letters
                .next()
                .filter(|next| matches!(next, ',' | ':' | '\\'))
                .ok_or("has a backslash that is not before a comma, a colon or a backslash")?,
            letter => letter,
        };
        if let Some(name) = pair.last_mut() {
            name.push(literal);
        }
    }
    Ok(pairs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_commas_and_colons_that_are_not_escaped() {
        let renames = Renames::parse(r"customer:user_id, a\,b\:c\\ : type").unwrap();
        assert_eq!(renames.ours(b"customer"), Some("user_id"));
        assert_eq!(renames.ours(br"a,b:c\"), Some("type"));
        assert_eq!(renames.ours(b"other"), None);
    }

    #[test]
    fn a_list_that_can_be_read_in_two_ways_is_refused() {
        for text in ["", "a", "a:", ":b", "a:b:c", "a:b,", "a:b,a:c", r"a\x:b", r"a:b\"] {
            assert!(Renames::parse(text).is_err(), "{text}");
        }
        let many: Vec<String> = (0..257).map(|n| format!("a{n}:b")).collect();
        assert!(Renames::parse(&many.join(",")).is_err());
    }
}
