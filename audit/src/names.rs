//! Names that many rows share, users and types, each once in memory and known by a number.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Names within tenants.
#[derive(Debug, Default)]
pub(crate) struct Names {
    table: HashTable<u32>,
    /// Tenant, NUL, name: neither holds a control character, since its event kept every limit.
    texts: Vec<Box<str>>,
    hasher: DefaultHashBuilder,
    scratch: String,
}

impl Names {
    /// The number of a name; a new one where it has none.
    pub(crate) fn number(&mut self, tenant: &str, name: &str) -> u32 {
        join(&mut self.scratch, tenant, name);
        let hash = self.hasher.hash_one(self.scratch.as_str());
        if let Some(number) = self.find_text(&self.scratch, hash) {
            return number;
        }
        // Four billion names do not fit the memory of any machine.
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(self.scratch.as_str().into());
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.table
            .insert_unique(hash, number, |number| hasher.hash_one(text_of(texts, *number)));
        number
    }

    /// The number of a name that has one.
    pub(crate) fn find(&self, tenant: &str, name: &str) -> Option<u32> {
        // A store may hold anything: without this, a NUL there would move the border between the two.
        if tenant.contains('\0') {
            return None;
        }
        let mut text = String::new();
        join(&mut text, tenant, name);
        self.find_text(&text, self.hasher.hash_one(text.as_str()))
    }

    /// Tenant and name of a number.
    pub(crate) fn get(&self, number: u32) -> (&str, &str) {
        text_of(&self.texts, number).split_once('\0').unwrap_or_default()
    }

    fn find_text(&self, text: &str, hash: u64) -> Option<u32> {
        self.table
            .find(hash, |number| text_of(&self.texts, *number) == text)
            .copied()
    }
}

fn text_of(texts: &[Box<str>], number: u32) -> &str {
    texts.get(number as usize).map_or("", |text| text)
}

fn join(text: &mut String, tenant: &str, name: &str) {
    text.clear();
    text.push_str(tenant);
    text.push('\0');
    text.push_str(name);
}
