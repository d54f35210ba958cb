//! Metrics with labels, all of whose series exist before the first event.
//!
//! A series that is missing until something happens cannot be alerted on; and a label that takes whatever it is given
//! makes as many series as there are users. What is not in the list is counted as `other`.

use super::Error;

/// Series for all but what the lists name.
const OTHER: &str = "other";

/// A label and every value it may take.
#[derive(Clone, Debug)]
pub struct Label {
    name: &'static str,
    values: Vec<String>,
}

impl Label {
    /// A label such as `outcome` with values such as `counted` and `duplicate`; `other` is always there as well.
    pub fn new(name: &'static str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name,
            values: values.into_iter().map(Into::into).collect(),
        }
    }
}

/// One metric for each combination of label values.
///
/// Looking one up compares texts: take the metrics you need once, at the start, and keep them.
#[derive(Clone, Debug)]
pub struct Family<M> {
    members: Vec<(Vec<String>, M)>,
    other: M,
}

impl<M: Clone> Family<M> {
    /// The metric of these values, in the order of the labels; for values not in the lists the one that is `other`.
    #[must_use]
    pub fn get(&self, values: &[&str]) -> &M {
        self.members
            .iter()
            .find(|(of, _)| of == values)
            .map_or(&self.other, |(_, metric)| metric)
    }

    /// Every combination of values with its metric, without `other`.
    pub fn iter(&self) -> impl Iterator<Item = (&[String], &M)> {
        self.members
            .iter()
            .map(|(values, metric)| (values.as_slice(), metric))
    }

    pub(super) fn new(labels: &[Label], make: impl Fn(&[&str]) -> Result<M, Error>) -> Result<Self, Error> {
        let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
        for label in labels {
            let longer = |values: Vec<String>| {
                label
                    .values
                    .iter()
                    .map(move |value| values.iter().chain([value]).cloned().collect())
            };
            combinations = combinations.into_iter().flat_map(longer).collect();
        }
        let mut members = Vec::with_capacity(combinations.len());
        for values in combinations {
            let texts: Vec<&str> = values.iter().map(String::as_str).collect();
            let metric = make(&texts)?;
            members.push((values, metric));
        }
        let other = make(&vec![OTHER; labels.len()])?;
        Ok(Self { members, other })
    }
}

pub(super) fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|label| label.name).collect()
}
