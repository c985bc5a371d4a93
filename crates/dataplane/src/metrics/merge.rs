//! One Prometheus text from those of several worker processes.

use super::family::{self, Merge};
use std::collections::HashMap;
use std::fmt::Write;

/// Adds up samples of the same name and labels; families that `FAMILIES` says otherwise of keep the
/// largest or the smallest value. Families keep the order in which they first come. A line that is no
/// Prometheus text is left out.
pub fn merge(texts: &[String]) -> String {
    let mut families: Vec<Merging> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for text in texts {
        let mut current = None;
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.trim_start().splitn(3, ' ');
                let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                    continue;
                };
                let index = position(&mut families, &mut known, name);
                current = Some(index);
                match (word, families.get_mut(index)) {
                    ("HELP", Some(family)) => rest.clone_into(&mut family.help),
                    ("TYPE", Some(family)) => rest.clone_into(&mut family.kind),
                    _ => {}
                }
                continue;
            }
            let Some((key, value)) = split_sample(line) else { continue };
            let name = key.split('{').next().unwrap_or_default();
            let belongs =
                current.filter(|&index: &usize| families.get(index).is_some_and(|family| family.owns(name)));
            let index = belongs.unwrap_or_else(|| position(&mut families, &mut known, name));
            if let Some(family) = families.get_mut(index) {
                family.add(key, value);
            }
        }
    }
    let mut merged = String::new();
    for family in &families {
        family.write(&mut merged);
    }
    merged
}

fn position(families: &mut Vec<Merging>, known: &mut HashMap<String, usize>, name: &str) -> usize {
    if let Some(&index) = known.get(name) {
        return index;
    }
    known.insert(name.to_owned(), families.len());
    families.push(Merging::new(name));
    families.len() - 1
}

/// A family and its samples so far, in the order in which they first came.
struct Merging {
    name: String,
    help: String,
    kind: String,
    rule: Merge,
    samples: Vec<(String, f64)>,
    known: HashMap<String, usize>,
}

impl Merging {
    fn new(name: &str) -> Self {
        // Times of birth and descriptions of the build mean nothing when they are added up, whoever
        // has written them.
        let foreign = if ["_start_time_seconds", "_created", "_info"].iter().any(|end| name.ends_with(end)) {
            Merge::Max
        } else {
            Merge::Sum
        };
        Self {
            name: name.to_owned(),
            help: String::new(),
            kind: String::new(),
            rule: family::find(name).map_or(foreign, |family| family.merge),
            samples: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn owns(&self, sample: &str) -> bool {
        sample.strip_prefix(self.name.as_str()).is_some_and(|suffix| match self.kind.as_str() {
            "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
            "summary" => matches!(suffix, "" | "_sum" | "_count"),
            _ => suffix.is_empty(),
        })
    }

    fn add(&mut self, key: &str, value: f64) {
        let index = *self.known.entry(key.to_owned()).or_insert(self.samples.len());
        match self.samples.get_mut(index) {
            None => self.samples.push((key.to_owned(), value)),
            Some((_, total)) => {
                *total = match self.rule {
                    Merge::Sum => *total + value,
                    Merge::Max => total.max(value),
                    Merge::Min => total.min(value),
                }
            }
        }
    }

    fn write(&self, out: &mut String) {
        // Writing to a `String` cannot fail.
        if !self.help.is_empty() {
            let _ = writeln!(out, "# HELP {} {}", self.name, self.help);
        }
        if !self.kind.is_empty() {
            let _ = writeln!(out, "# TYPE {} {}", self.name, self.kind);
        }
        for (key, value) in &self.samples {
            let _ = match *value {
                f64::INFINITY => writeln!(out, "{key} +Inf"),
                f64::NEG_INFINITY => writeln!(out, "{key} -Inf"),
                value => writeln!(out, "{key} {value}"),
            };
        }
    }
}

/// `name{labels}` and the value; a timestamp is left out.
fn split_sample(line: &str) -> Option<(&str, f64)> {
    let end = match line.find(['{', ' ', '\t'])? {
        brace if line[brace..].starts_with('{') => brace + labels_len(&line[brace..])?,
        space => space,
    };
    let (key, rest) = line.split_at(end);
    if key.is_empty() || key.starts_with('{') {
        return None;
    }
    Some((key, rest.split_whitespace().next()?.parse().ok()?))
}

/// Length of `{…}`, whose quoted values may hold braces, spaces and escaped quotes.
fn labels_len(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(index + 1),
            _ => {}
        }
    }
    None
}
